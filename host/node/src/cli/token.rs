use clap::{Args, Subcommand};
use eyot_access::{AccessScope, AccessToken};
use eyot_api::TokenOptions;
use eyot_core::{Clock as _, Period, Result, Role, SystemClock, Timestamp};

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
        #[arg(long, value_name = "ROLE")]
        role: Option<Role>,
        /// What it allows beside: repository:NAME:pull,push,delete with '*' for any text, registry:catalog:*,
        /// registry:admin:* or project:NAME:ROLE; may be repeated. A user's or service's token never allows more than
        /// they may themselves, and all of that without --role and --scope.
        #[arg(long = "scope", value_name = "SCOPE")]
        scopes: Vec<AccessScope>,
        /// How long it is good, as in 720h [default: until it is revoked].
        #[arg(long, value_name = "TIME")]
        expires: Option<Period>,
        /// The service of the project whose it is [default: it is yours].
        #[arg(long, value_name = "NAME")]
        service: Option<String>,
    },
    /// Lists tokens; their secrets are not kept.
    Ls,
    /// Gives a token another secret and prints it, this once.
    Rotate {
        /// The token's name.
        name: String,
        /// How long the secret that it had is good, as in 24h.
        #[arg(long, value_name = "TIME", default_value = "0s")]
        grace: Period,
    },
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
            TokenAction::Create { name, role, mut scopes, expires, service } => {
                let project = global.project().cloned();
                let role_in = project.clone().unwrap_or_default();
                scopes.extend(role.map(|role| AccessScope::of_role(&role_in, role)));
                let until = |period: Period| {
                    let milliseconds = i64::try_from(period.0.as_millis()).unwrap_or(i64::MAX);
                    Timestamp(SystemClock.now().0.saturating_add(milliseconds))
                };
                let expires = expires.map(until);
                let token = TokenOptions { name, scopes, project, service, expires };
                let minted = client.create_token(token).await?;
                output.result(&minted, |_| minted.secret.clone())
            }
            TokenAction::Ls => {
                let tokens = client.tokens().await?;
                output.result(&tokens, |output| {
                    let now = SystemClock.now();
                    let rows: Vec<_> = tokens.iter().map(|token| row(token, now)).collect();
                    table(output, &["NAME", "OWNER", "PROJECT", "STATE", "SCOPES"], &rows)
                })
            }
            TokenAction::Rotate { name, grace } => {
                let rotated = client.rotate_token(&name, grace.0).await?;
                output.result(&rotated, |_| rotated.secret.clone())
            }
            TokenAction::Revoke { name } => {
                client.revoke_token(&name).await?;
                output.result(&serde_json::json!({ "revoked": name }), |_| format!("{name} is revoked"))
            }
        }
    }
}

fn row(token: &AccessToken, now: Timestamp) -> Vec<String> {
    let state = match (token.revoked, token.expires) {
        (Some(_), _) => "revoked".to_owned(),
        (None, Some(expires)) if expires <= now => "expired".to_owned(),
        (None, Some(expires)) => format!("until {expires}"),
        (None, None) => "good".to_owned(),
    };
    let scopes: Vec<_> = token.scopes.iter().map(ToString::to_string).collect();
    let owner = token.owner.clone().unwrap_or_default();
    let project = token.project.as_ref().map(ToString::to_string).unwrap_or_default();
    vec![token.name.clone(), owner, project, state, scopes.join(" ")]
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
            let token = AccessToken {
                id,
                name,
                scopes: Vec::new(),
                owner: None,
                project: None,
                created: second(0),
                expires,
                revoked,
            };
            assert_eq!(row(&token, second(60)), ["ci", "", "", expected, ""], "{expires:?} {revoked:?}");
        }
    }
}
