use std::path::PathBuf;

use clap::{Args, Subcommand};
use eyot_core::{Period, Result};
use eyot_oci::{PolicyRequirement, SIGNATURE_PREDICATE};

use crate::cli::GlobalOptions;
use crate::keys;
use crate::output::{CommandOutput, table};
use crate::session::ApiSession;

/// Requires attestations of what repositories hold.
///
/// Only manifests with the required statements can be tagged in them or deployed from them. Pushing by digest alone is
/// allowed, so that there is something to sign.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  eyot policy set 'acme/*' --key release.pub\n  \
    eyot policy set 'acme/*' --key a.pub --key b.pub --key c.pub --threshold 2 --max-age 2160h\n  \
    eyot policy set 'acme/*' --add --predicate https://slsa.dev/provenance/v1 --key builder.pub\n  \
    eyot policy show\n  eyot policy remove 'acme/*'")]
pub(crate) struct PolicyCommand {
    #[command(subcommand)]
    command: PolicyAction,
}

#[derive(Debug, Subcommand)]
enum PolicyAction {
    /// Requires a kind of statement in some repositories.
    Set {
        /// Which repositories, '*' standing for any text.
        repository: String,
        /// A public key that is trusted; may be repeated.
        #[arg(long = "key", value_name = "FILE", required = true)]
        keys: Vec<PathBuf>,
        /// How many of the keys must have signed.
        #[arg(long, value_name = "NUMBER", default_value_t = 1)]
        threshold: usize,
        /// The in-toto predicate type of the statement.
        #[arg(long, value_name = "URI", default_value = SIGNATURE_PREDICATE)]
        predicate: String,
        /// The greatest age of the statement, as in 720h [default: any age].
        #[arg(long, value_name = "TIME")]
        max_age: Option<Period>,
        /// Adds the requirement to the policy, instead of replacing it.
        #[arg(long)]
        add: bool,
    },
    /// Shows every policy.
    Show,
    /// Removes a policy.
    Remove {
        /// The pattern that it was set for.
        repository: String,
    },
}

impl PolicyCommand {
    pub(crate) async fn run(self, global: &GlobalOptions, output: &CommandOutput) -> Result<()> {
        let session = ApiSession::open(global).await?;
        let client = session.client();
        match self.command {
            PolicyAction::Set { repository, keys, threshold, predicate, max_age, add } => {
                let keys =
                    keys.iter().map(|file| keys::read_public(file)?.to_pem()).collect::<Result<_>>()?;
                let mut policy = eyot_oci::SignaturePolicy { repository, require: Vec::new() };
                if add {
                    let before = client.policies().await?;
                    let before = before.into_iter().find(|found| found.repository == policy.repository);
                    policy.require = before.map(|before| before.require).unwrap_or_default();
                }
                policy.require.push(PolicyRequirement { predicate, keys, threshold, max_age });
                client.set_policy(&policy).await?;
                output.result(&policy, |_| lines(&policy).join("\n"))
            }
            PolicyAction::Show => {
                let policies = client.policies().await?;
                output.result(&policies, |output| match policies.as_slice() {
                    [] => "no repository has a policy; eyot policy set makes one".to_owned(),
                    policies => {
                        let rows: Vec<_> = policies.iter().flat_map(rows).collect();
                        table(output, &["REPOSITORIES", "KEYS", "AGE", "STATEMENT"], &rows)
                    }
                })
            }
            PolicyAction::Remove { repository } => {
                client.remove_policy(&repository).await?;
                let removed = serde_json::json!({ "removed": repository });
                output.result(&removed, |_| format!("{repository} has no policy any more"))
            }
        }
    }
}

fn rows(policy: &eyot_oci::SignaturePolicy) -> Vec<Vec<String>> {
    let row = |wanted: &PolicyRequirement| {
        let keys = format!("{} of {}", wanted.threshold, wanted.keys.len());
        let age = wanted.max_age.map_or_else(|| "any".to_owned(), |age| age.to_string());
        vec![policy.repository.clone(), keys, age, wanted.predicate.clone()]
    };
    policy.require.iter().map(row).collect()
}

fn lines(policy: &eyot_oci::SignaturePolicy) -> Vec<String> {
    rows(policy).into_iter().map(|row| row.join("  ")).collect()
}
