use std::path::PathBuf;

use clap::Args;
use eyot_core::{Reference, Result};

use crate::cli::GlobalOptions;
use crate::output::{CommandOutput, size};
use crate::session::ApiSession;

/// Fetches the files of a data set, a model or a component into a folder.
///
/// Files that are there and right stay, and of large ones only the pieces that changed are fetched; other
/// files of the folder are left alone.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  eyot pull acme/rows:2 ./rows\n  eyot pull models/digits:1.0.0 ./digits")]
pub(crate) struct PullCommand {
    /// What is fetched: NAME:TAG or NAME@DIGEST.
    reference: Reference,
    /// The folder; made if it is not there.
    dir: PathBuf,
}

impl PullCommand {
    pub(crate) async fn run(self, global: &GlobalOptions, output: &CommandOutput) -> Result<()> {
        let session = ApiSession::open(global).await?;
        let reference = session.client().qualified(&self.reference);
        let pulled = session.client().registry().pull_files(&reference, &self.dir).await?;
        output.result(&pulled, |_| {
            let (files, whole, travelled) =
                (pulled.files, size(pulled.pushed.size), size(pulled.transferred_bytes));
            format!("{}: {files} files, {whole}, of which {travelled} were fetched", self.dir.display())
        })
    }
}
