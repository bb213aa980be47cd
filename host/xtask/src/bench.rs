//! Benchmarks, on the release build.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;
use clap::Subcommand;

use crate::process::{cargo, root, run, say, target};
use crate::setup::{self, BuildProfile};

/// What is measured.
#[derive(Subcommand)]
pub(crate) enum BenchmarkSuite {
    /// Cold starts: an instance, a compiled component from disk, the first prediction after a deploy.
    Cold,
    /// Three models over HTTP and gRPC, alone and behind components, beside two floors in the same run.
    Serving,
    /// Functions and components that answer HTTP, beside `wasmtime serve` where that is installed.
    Functions,
    /// The registry, beside Debian's docker-registry in the same run.
    Registry,
}

pub(crate) fn run_bench(what: &BenchmarkSuite, profile: BuildProfile) -> Result<()> {
    setup::run(profile)?;
    crate::components::build(profile)?;
    if matches!(what, BenchmarkSuite::Registry) {
        setup::rival()?;
    }
    let name = match what {
        BenchmarkSuite::Cold => "cold",
        // The engine has a benchmark of its own that is called serving.
        BenchmarkSuite::Serving => "serving-wire",
        // Both that are called so: over HTTP, and what reflection costs in the engine.
        BenchmarkSuite::Functions => "functions",
        BenchmarkSuite::Registry => "registry",
    };
    say(&format!("measuring {name}"));
    // All of the workspace is selected for the same features as everywhere; only one target is built.
    let eyot = setup::built(profile, "eyot")?;
    let mut bench = cargo();
    bench.args(["bench", "--locked", "--quiet", "--workspace", "--bench", name]).env("EYOT_BIN", eyot);
    if matches!(what, BenchmarkSuite::Serving) {
        bench.env("EYOT_MODELS", models()?);
    }
    run(&mut bench)
}

/// The folder of the models to measure with, written by a script where they are not there yet.
fn models() -> Result<PathBuf> {
    let script = root().join("tests/python/models.py");
    let folder = target()?.join("models");
    let (marker, wanted) = (folder.join("made-by"), std::fs::read_to_string(&script)?);
    if std::fs::read_to_string(&marker).is_ok_and(|found| found == wanted) {
        return Ok(folder);
    }
    setup::python()?;
    say("writing models to measure with: MobileNetV2 and a small BERT, with made-up weights");
    std::fs::create_dir_all(&folder)?;
    let mut python = Command::new("python3");
    python.env("PYTHONPATH", target()?.join("python")).arg(script).arg(&folder);
    run(&mut python)?;
    std::fs::write(marker, wanted)?;
    Ok(folder)
}
