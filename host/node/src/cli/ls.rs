use clap::Args;
use eyot_core::Result;
use eyot_oci::QuotaUsage;

use crate::cli::GlobalOptions;
use crate::output::{CommandOutput, size, table};
use crate::session::ApiSession;

/// Lists components, models and other artifacts in the registry.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  eyot ls\n  eyot ls digits --json")]
pub(crate) struct LsCommand {
    /// Only repositories that contain this text.
    filter: Option<String>,
    /// Shows what repositories may hold in all, and what they hold of it: registry.quota.
    #[arg(long, conflicts_with = "filter")]
    usage: bool,
}

impl LsCommand {
    pub(crate) async fn run(self, global: &GlobalOptions, output: &CommandOutput) -> Result<()> {
        let session = ApiSession::open(global).await?;
        if self.usage {
            return usage(&session, output).await;
        }
        let mut entries = session.client().artifacts().await?;
        if let Some(filter) = &self.filter {
            entries.retain(|entry| entry.repository.contains(filter.as_str()));
        }
        output.result(&entries, |output| {
            if entries.is_empty() {
                return "nothing here yet; eyot push adds a component or a model".to_owned();
            }
            let rows: Vec<_> = entries
                .iter()
                .map(|entry| {
                    let tag = entry.tag.as_deref().map_or_else(String::new, |tag| format!(":{tag}"));
                    let name = format!("{}{tag}", entry.repository);
                    vec![name, entry.kind.as_str().to_owned(), size(entry.size), entry.digest.short()]
                })
                .collect();
            table(output, &["NAME", "KIND", "SIZE", "DIGEST"], &rows)
        })
    }
}

async fn usage(session: &ApiSession, output: &CommandOutput) -> Result<()> {
    let usage = session.client().usage().await?;
    output.result(&usage, |output| {
        if usage.is_empty() {
            return "no repository has a quota; registry.quota in eyot.toml gives one".to_owned();
        }
        let row = |usage: &QuotaUsage| vec![usage.repository.clone(), size(usage.bytes), size(usage.limit)];
        table(output, &["REPOSITORIES", "USED", "OF"], &usage.iter().map(row).collect::<Vec<_>>())
    })
}
