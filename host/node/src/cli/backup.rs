use std::path::PathBuf;

use clap::Args;
use eyot_core::{Error, Result};

use crate::backup::{BackupFolder, BackupReport, write_backup};
use crate::cli::GlobalOptions;
use crate::output::{CommandOutput, size};
use crate::session::ApiSession;

/// Copies all of a data folder into another folder, also while a server runs on it.
///
/// Rows are those of one moment, blobs are hashed on their way; what components keep is consistent file by file. A second
/// backup into the same folder copies only the blobs that are new, and takes the place of the first one once it is whole.
/// Caches are not in it, nor is eyot.toml.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  eyot backup /mnt/backups/eyot\n  eyot backup ./copy --data ./state --json"
)]
pub(crate) struct BackupCommand {
    /// The folder of the backup: empty, or one with an earlier backup.
    folder: PathBuf,
}

impl BackupCommand {
    pub(crate) async fn run(self, global: &GlobalOptions, output: &CommandOutput) -> Result<()> {
        if global.server().is_some() {
            return Err(Error::unsupported("a backup is made on the machine where the data folder is")
                .hint("run eyot backup there, with --data and without --server"));
        }
        let data = global.config()?.data.dir;
        if !data.join("registry").is_dir() {
            return Err(Error::not_found(format!("{} is no data folder", data.display()))
                .hint("name the data folder with --data"));
        }
        let folder = BackupFolder::for_writing(&self.folder, &data)?;
        let session = ApiSession::open(global).await?;
        let what = format!("copying {} to {}", data.display(), self.folder.display());
        let bar = output.spinner(&what);
        let written = write_backup(&folder, &data, session.client(), |_| {}).await;
        bar.finish_and_clear();
        let report = written?;
        if !report.missing_blobs.is_empty() {
            let missing: Vec<_> = report.missing_blobs.iter().map(ToString::to_string).collect();
            output.note(&format!("not in the data folder, though rows name them: {}", missing.join(", ")));
        }
        output.result(&report, |_| human(&report))
    }
}

fn human(report: &BackupReport) -> String {
    format!(
        "{}: {} rows, {} blobs ({}), {} other files\n{} blobs ({}) were new",
        report.backup.display(),
        report.rows,
        report.blobs,
        size(report.blob_bytes),
        report.guest_files,
        report.copied_blobs,
        size(report.copied_bytes)
    )
}
