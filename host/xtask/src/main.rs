//! Automation: `cargo xtask setup | demo | test | memcheck | components | conformance | bench | wasi-testsuite | structure |
//! deny | dist | fuzz | budget | tidy`.

#![allow(clippy::print_stdout, clippy::print_stderr)]

mod bench;
mod budget;
mod components;
mod conformance;
mod demo;
mod dependencies;
mod dist;
mod fuzz;
mod memcheck;
mod process;
mod setup;
mod structure;
mod test;
mod tidy;
mod wasi_testsuite;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The automation of this repository.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct CliArguments {
    #[command(subcommand)]
    command: XtaskCommand,
}

#[derive(Subcommand)]
enum XtaskCommand {
    /// Installs what building guests and running models needs: the wasm target, ONNX Runtime, OpenVINO.
    Setup,
    /// Trains, registers, deploys and predicts on real data with a binary that is quick to build.
    Demo {
        /// Starts with an empty data folder: nothing is cached.
        #[arg(long)]
        fresh: bool,
        /// Uses the debug build, which the tests have built already.
        #[arg(long)]
        debug: bool,
    },
    /// Sets up what is missing and runs every test.
    Test,
    /// Runs the tests of inference under valgrind, where it is installed.
    Memcheck,
    /// Builds every component under components/ into target/components/.
    Components,
    /// Runs the conformance suite of wasi:nn on every back end that is here; prints what does not pass.
    Conformance,
    /// Measures; prints median and spread.
    Bench {
        /// Measures the binary as it is handed out, which takes several times as long to build.
        #[arg(long)]
        dist: bool,
        #[command(subcommand)]
        what: bench::BenchmarkSuite,
    },
    /// Runs the public tests of WASI on a build that is there; prints a table.
    WasiTestsuite {
        /// A checkout of the suite with its programs built.
        folder: PathBuf,
        /// Runs programs in the world of a step, and none that needs a network.
        #[arg(long)]
        as_step: bool,
    },
    /// Prints figures of the code's structure: circles of modules, names of one word, numbers without a unit.
    Structure {
        /// Prints what the figures count, too.
        #[arg(long)]
        details: bool,
    },
    /// Checks licences, sources and duplicates of what is compiled in, with `cargo deny`, which it installs.
    Deny {
        /// Also what is known of vulnerabilities: the list is fetched from GitHub.
        #[arg(long)]
        advisories: bool,
    },
    /// Packs a program that is optimised across crates: a Python wheel, a package of Debian, a container file.
    Dist {
        /// Packs this program, and builds none.
        #[arg(long)]
        binary: Option<PathBuf>,
        /// Where the packages go [default: target/packages].
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Tries inputs by chance with `cargo fuzz`, each target of tests/fuzz for a minute; needs a nightly compiler.
    Fuzz {
        /// One target.
        target: Option<String>,
        /// So many inputs of each, however long that takes.
        #[arg(long)]
        inputs: Option<u64>,
    },
    /// Prints what the stages of a run of CI took, and its slowest tests.
    Budget {
        /// The file that `EYOT_BUDGET` named to the run.
        stages: PathBuf,
    },
    /// Checks the house rules that a compiler does not: arrows between crates and modules, sizes, READMEs,
    /// unused dependencies.
    Tidy {
        /// Writes the tables that pages show anew.
        #[arg(long)]
        write: bool,
    },
}

fn main() -> ExitCode {
    let done = match CliArguments::parse().command {
        XtaskCommand::Setup => setup::run(setup::BuildProfile::Release),
        XtaskCommand::Demo { fresh, debug } => {
            demo::run_demo(if debug { setup::BuildProfile::Debug } else { setup::BuildProfile::Demo }, fresh)
        }
        XtaskCommand::Test => test::run_tests(),
        XtaskCommand::Memcheck => memcheck::check(),
        XtaskCommand::Components => setup::run(setup::BuildProfile::Debug)
            .and_then(|()| components::build(setup::BuildProfile::Debug)),
        XtaskCommand::Conformance => setup::run(setup::BuildProfile::Debug)
            .and_then(|()| components::build(setup::BuildProfile::Debug))
            .and_then(|()| conformance::report()),
        XtaskCommand::Bench { dist, what } => bench::run_bench(
            &what,
            if dist { setup::BuildProfile::Dist } else { setup::BuildProfile::Release },
        ),
        XtaskCommand::WasiTestsuite { folder, as_step } => {
            let view =
                if as_step { wasi_testsuite::GuestWorld::Step } else { wasi_testsuite::GuestWorld::Machine };
            wasi_testsuite::report(&folder, view)
        }
        XtaskCommand::Structure { details } => structure::report(details),
        XtaskCommand::Deny { advisories } => dependencies::deny(advisories),
        XtaskCommand::Dist { binary, out } => dist::pack(binary.as_deref(), out.as_deref()),
        XtaskCommand::Fuzz { target, inputs } => fuzz::run_targets(target.as_deref(), inputs),
        XtaskCommand::Budget { stages } => budget::report(&stages),
        XtaskCommand::Tidy { write } => tidy::run(write),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}
