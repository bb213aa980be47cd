use clap::Args;
use eyot_core::Result;
use serde::Serialize;

use crate::output::CommandOutput;

/// Prints the version and what steps can rely on.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  eyot version --json")]
pub(crate) struct VersionCommand {}

#[derive(Serialize)]
struct VersionReport {
    version: &'static str,
    /// Part of every cache key: steps that ran under the same semantics are comparable.
    semantics: &'static str,
    target: String,
}

impl VersionCommand {
    pub(crate) fn run(self, output: &CommandOutput) -> Result<()> {
        let target = format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS);
        let versions =
            VersionReport { version: env!("CARGO_PKG_VERSION"), semantics: eyot_engine::SEMANTICS, target };
        output.result(&versions, |_| {
            format!("eyot {} ({}, steps {})", versions.version, versions.target, versions.semantics)
        })
    }
}
