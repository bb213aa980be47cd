use std::path::PathBuf;

use clap::Args;
use eyot_core::{Error, Result};

use crate::backup::{BackupFolder, restore};
use crate::cli::GlobalOptions;
use crate::output::{CommandOutput, size};

/// Brings a backup into an empty data folder, every byte checked.
///
/// Tokens, ids, digests and names are those of the backup. Where storage.database names a PostgreSQL database, which must
/// be empty, the rows go there, whatever they were in. What was cut off is gone on with by the same command; until it
/// ends, no server opens the folder.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  eyot restore /mnt/backups/eyot --data ./state\n  \
    eyot restore /mnt/backups/eyot --data ./state --set storage.database=postgres://eyot@db/eyot")]
pub(crate) struct RestoreCommand {
    /// A folder that eyot backup wrote.
    folder: PathBuf,
}

impl RestoreCommand {
    pub(crate) async fn run(self, global: &GlobalOptions, output: &CommandOutput) -> Result<()> {
        if global.server().is_some() {
            return Err(Error::unsupported(
                "a backup is restored on the machine where the data folder will be",
            )
            .hint("run eyot restore there, with --data and without --server"));
        }
        let config = global.config()?;
        let (backup, document) = BackupFolder::for_reading(&self.folder)?;
        let bar = output.bar(document.blob_bytes, "restoring blobs");
        let restored = restore(&backup, &document, &config, |bytes| bar.inc(bytes)).await;
        bar.finish_and_clear();
        let report = restored?;
        output.result(&report, |_| {
            format!(
                "{}: {} rows, {} blobs ({}), {} other files, all as they were on {}\n\
                 {} entries of the audit log are in order",
                report.data.display(),
                report.rows,
                report.blobs,
                size(report.blob_bytes),
                report.guest_files,
                document.created_at,
                report.log_entries
            )
        })
    }
}
