use clap::{Args, Subcommand};
use eyot_core::{Clock as _, Period, Result, Role, SystemClock, Timestamp};
use eyot_oci::AccessScope;

use crate::cli::GlobalOptions;
use crate::output::{CommandOutput, table};
use crate::session::ApiSession;

/// Makes, lists and revokes tokens, with which others reach the control plane and the registry.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  eyot token create me --role owner\n  \
    eyot token create ci --scope 'repository:acme/*:pull,push' --expires 720h\n  eyot token ls\n  eyot token revoke ci")]
pub(crate) struct TokenCommand {
    #[command(subcommand)]
    command: TokenAction,
}

#[derive(Debug, Subcommand)]
enum TokenAction {
    /// Makes a token and prints its secret, this once.
    Create {
        /// A name for people; the log shows it.
        name: String,
        /// What its holder is: viewer, editor (pushes, runs pipelines), deployer, admin (deletes, tokens, policies)
        /// or owner; each may do what the one before it may.
        #[arg(long, value_name = "ROLE", required_unless_present = "scopes")]
        role: Option<Role>,
        /// What it allows beside: repository:NAME:pull,push,delete with '*' for any text, registry:catalog:*,
        /// registry:admin:* or project:default:ROLE; may be repeated.
        #[arg(long = "scope", value_name = "SCOPE")]
        scopes: Vec<AccessScope>,
        /// How long it is good, as in 720h [default: until it is revoked].
        #[arg(long, value_name = "TIME")]
        expires: Option<Period>,
    },
    /// Lists tokens; their secrets are not kept.
    Ls,
    /// Ends a token with the next request.
    Revoke {
        /// The token's name.
        name: String,
    },
}

impl TokenCommand {
    pub(crate) async fn run(self, global: &GlobalOptions, output: &CommandOutput) -> Result<()> {
        let session = ApiSession::open(global).await?;
        let client = session.client();
        match self.command {
            TokenAction::Create { name, role, mut scopes, expires } => {
                scopes.extend(role.map(AccessScope::of_role));
                let until = |period: Period| {
                    let milliseconds = i64::try_from(period.0.as_millis()).unwrap_or(i64::MAX);
                    Timestamp(SystemClock.now().0.saturating_add(milliseconds))
                };
                let minted = client.create_token(&name, scopes, expires.map(until)).await?;
                output.result(&minted, |_| minted.secret.clone())
            }
            TokenAction::Ls => {
                let tokens = client.tokens().await?;
                output.result(&tokens, |output| {
                    let now = SystemClock.now();
                    let rows: Vec<_> = tokens.iter().map(|token| row(token, now)).collect();
                    table(output, &["NAME", "STATE", "SCOPES"], &rows)
                })
            }
            TokenAction::Revoke { name } => {
                client.revoke_token(&name).await?;
                output.result(&serde_json::json!({ "revoked": name }), |_| format!("{name} is revoked"))
            }
        }
    }
}

fn row(token: &eyot_oci::AccessToken, now: Timestamp) -> Vec<String> {
    let state = match (token.revoked, token.expires) {
        (Some(_), _) => "revoked".to_owned(),
        (None, Some(expires)) if expires <= now => "expired".to_owned(),
        (None, Some(expires)) => format!("until {expires}"),
        (None, None) => "good".to_owned(),
    };
    let scopes: Vec<_> = token.scopes.iter().map(ToString::to_string).collect();
    vec![token.name.clone(), state, scopes.join(" ")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_token_is_good_for_at_a_time() {
        let second = |second: i64| Timestamp(second * 1000);
        for (expires, revoked, expected) in [
            (None, None, "good"),
            (Some(second(61)), None, "until 1970-01-01T00:01:01Z"),
            (Some(second(60)), None, "expired"),
            (Some(second(59)), None, "expired"),
            (Some(second(61)), Some(second(1)), "revoked"),
            (None, Some(second(1)), "revoked"),
        ] {
            let (id, name) = ("1".to_owned(), "ci".to_owned());
            let token =
                eyot_oci::AccessToken { id, name, scopes: Vec::new(), created: second(0), expires, revoked };
            assert_eq!(row(&token, second(60)), ["ci", expected, ""], "{expires:?} {revoked:?}");
        }
    }
}
