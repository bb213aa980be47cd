use std::path::PathBuf;

use clap::Args;
use eyot_core::{Reference, Result};

use crate::cli::Global;
use crate::output::{Output, size};
use crate::session::Session;

/// Writes something of the registry into an OCI image layout directory, for where no network goes.
///
/// What it needs and what refers to it, such as signatures, goes along. A directory takes as many
/// exports as you like; skopeo and oras read it too.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  eyot export acme/scorer:1.0.0 ./carry")]
pub(crate) struct Export {
    /// What to write: NAME:TAG or NAME@DIGEST.
    reference: Reference,
    /// The directory.
    dir: PathBuf,
}

impl Export {
    pub(crate) async fn run(self, global: &Global, output: &Output) -> Result<()> {
        let session = Session::open(global).await?;
        let spinner = output.spinner(&format!("exporting {}", self.reference));
        let moved = eyot_oci::export(session.client().registry(), &self.reference, &self.dir).await;
        spinner.finish_and_clear();
        let moved = moved.map_err(|error| error.context(format!("cannot export {}", self.reference)))?;
        output.result(&moved, |_| {
            format!(
                "{} manifests, {} blobs ({}) in {}",
                moved.manifests,
                moved.blobs,
                size(moved.bytes),
                self.dir.display()
            )
        })
    }
}
