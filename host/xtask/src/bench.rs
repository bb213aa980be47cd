//! Benchmarks, on the release build.

use anyhow::Result;
use clap::Subcommand;

use crate::process::{cargo, run, say};
use crate::setup::{self, Profile};

/// What is measured.
#[derive(Subcommand)]
pub(crate) enum Bench {
    /// Cold starts: an instance, a compiled component from disk, the first prediction after a deploy.
    Cold,
    /// A small model over HTTP, alone and behind a component, beside two floors in the same run.
    Serving,
    /// The registry, beside Debian's docker-registry in the same run.
    Registry,
}

pub(crate) fn run_bench(what: &Bench) -> Result<()> {
    setup::run(Profile::Release)?;
    crate::components::build(Profile::Release)?;
    if matches!(what, Bench::Registry) {
        setup::rival()?;
    }
    let name = match what {
        Bench::Cold => "cold",
        Bench::Serving => "serving",
        Bench::Registry => "registry",
    };
    say(&format!("measuring {name}"));
    // All of the workspace is selected for the same features as everywhere; only one target is built.
    let eyot = setup::built(Profile::Release, "eyot")?;
    run(cargo().args(["bench", "--locked", "--quiet", "--workspace", "--bench", name]).env("EYOT_BIN", eyot))
}
