use std::path::PathBuf;

use clap::Args;
use eyot_core::{Reference, Result};

use crate::cli::GlobalOptions;
use crate::output::{CommandOutput, size};
use crate::session::ApiSession;

/// Writes something of the registry into an OCI image layout directory, for where no network goes.
///
/// What it needs and what refers to it, such as signatures, goes along. A directory takes as many
/// exports as you like; skopeo and oras read it too.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  eyot export acme/scorer:1.0.0 ./carry")]
pub(crate) struct ExportCommand {
    /// What to write: NAME:TAG or NAME@DIGEST.
    reference: Reference,
    /// The directory.
    dir: PathBuf,
}

impl ExportCommand {
    pub(crate) async fn run(self, global: &GlobalOptions, output: &CommandOutput) -> Result<()> {
        let session = ApiSession::open(global).await?;
        let spinner = output.spinner(&format!("exporting {}", self.reference));
        let reference = session.client().qualified(&self.reference);
        let stats = eyot_oci::export(session.client().registry(), &reference, &self.dir).await;
        spinner.finish_and_clear();
        let stats = stats.map_err(|error| error.context(format!("cannot export {}", self.reference)))?;
        output.result(&stats, |_| {
            format!(
                "{} manifests, {} blobs ({}) in {}",
                stats.manifests,
                stats.blobs,
                size(stats.bytes),
                self.dir.display()
            )
        })
    }
}
