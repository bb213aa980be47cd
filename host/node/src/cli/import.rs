use std::path::PathBuf;

use clap::Args;
use eyot_core::{Reference, Result};

use crate::cli::GlobalOptions;
use crate::output::{CommandOutput, size};
use crate::session::ApiSession;

/// Reads an OCI image layout directory into the registry, every byte checked.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  eyot import ./carry\n  eyot import ./from-skopeo --into acme/scorer")]
pub(crate) struct ImportCommand {
    /// The directory.
    dir: PathBuf,
    /// The repository [default: the names in the directory]; needed where those are tags alone.
    #[arg(long, value_name = "REPOSITORY")]
    into: Option<String>,
}

impl ImportCommand {
    pub(crate) async fn run(self, global: &GlobalOptions, output: &CommandOutput) -> Result<()> {
        if let Some(into) = &self.into {
            Reference::check_repository(into)?;
        }
        let session = ApiSession::open(global).await?;
        let into = self.into.as_deref().map(|into| session.client().repository(into));
        let spinner = output.spinner(&format!("importing {}", self.dir.display()));
        let stats = eyot_oci::import(session.client().registry(), &self.dir, into.as_deref()).await;
        spinner.finish_and_clear();
        let stats = stats.map_err(|error| error.context(format!("cannot import {}", self.dir.display())))?;
        output.result(&stats, |_| {
            let summary =
                format!("{} manifests, {} blobs ({})", stats.manifests, stats.blobs, size(stats.bytes));
            let names = stats.names.iter().cloned();
            names.chain([summary]).collect::<Vec<_>>().join("\n")
        })
    }
}
