use clap::Args;
use eyot_core::{Error, Result};
use eyot_oci::{CollectionMode, CollectionReport};
use serde::Serialize;

use crate::cli::GlobalOptions;
use crate::output::{CommandOutput, size};
use crate::session::ApiSession;

/// Collects what the registry needs no longer, while it is in use.
///
/// Removed are blobs that no manifest uses and nobody pins, once their lease has ended, uploads that
/// nobody goes on with, and what the rules [[registry.retention]] say.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  eyot gc --dry-run\n  eyot gc --scrub --json")]
pub(crate) struct GcCommand {
    /// Only says what would be removed.
    #[arg(long)]
    dry_run: bool,
    /// Hashes every blob again as well, and moves damaged ones to quarantine.
    #[arg(long, conflicts_with = "dry_run")]
    scrub: bool,
}

#[derive(Serialize)]
struct GarbageReport {
    #[serde(flatten)]
    collection: CollectionReport,
    #[serde(skip_serializing_if = "Option::is_none")]
    scrub: Option<eyot_oci::ScrubReport>,
}

impl GcCommand {
    pub(crate) async fn run(self, global: &GlobalOptions, output: &CommandOutput) -> Result<()> {
        let session = ApiSession::open(global).await?;
        let mode = if self.dry_run { CollectionMode::DryRun } else { CollectionMode::Remove };
        let collection = session.client().collect_garbage(mode).await?;
        let scrub = match self.scrub {
            true => Some(session.client().scrub().await?),
            false => None,
        };
        let report = GarbageReport { collection, scrub };
        output.result(&report, |_| human(&report))?;
        match report.scrub.map(|scrub| scrub.quarantined) {
            Some(damaged) if !damaged.is_empty() => {
                let names: Vec<_> = damaged.iter().map(ToString::to_string).collect();
                Err(Error::corrupt(format!("moved to quarantine: {}", names.join(", ")))
                    .hint("push them again from where they came"))
            }
            _ => Ok(()),
        }
    }
}

fn human(report: &GarbageReport) -> String {
    let collection = &report.collection;
    let removed = if collection.dry_run { "would be removed" } else { "removed" };
    let mut lines: Vec<_> = collection
        .retired
        .iter()
        .map(|name| {
            let tag =
                name.tag.as_deref().map_or_else(|| format!("@{}", name.digest), |tag| format!(":{tag}"));
            format!("{}{tag}: {}", name.repository, name.rule)
        })
        .collect();
    let (names, blobs, bytes) = (collection.retired.len(), collection.blobs, size(collection.bytes));
    lines.push(format!("{names} names, {blobs} blobs ({bytes}), {} uploads {removed}", collection.uploads));
    if let Some(scrub) = &report.scrub {
        lines.push(format!(
            "{} blobs hashed, {}, {} damaged",
            scrub.checked,
            size(scrub.bytes),
            scrub.quarantined.len()
        ));
    }
    lines.join("\n")
}
