//! Every test, after what they need is there.

use std::process::{Command, Stdio};

use anyhow::{Result, bail};
use eyot_test_services::{POSTGRES_VARIABLE, PostgresServer};

use crate::budget::stage;
use crate::process::{cargo, root, run, say};
use crate::setup::{self, BuildProfile};

pub(crate) fn run_tests() -> Result<()> {
    stage("the program and its back ends", || setup::run(BuildProfile::Debug))?;
    stage("components", || crate::components::build(BuildProfile::Debug))?;
    stage("what tests need", || {
        setup::python()?;
        setup::clients()?;
        setup::tools()
    })?;
    stage("conformance of wasi:nn", crate::conformance::report)?;
    stage("tests of the guests", test_guests)?;
    say("examples in the documentation");
    let mut examples = cargo();
    examples.args(["test", "--locked", "--quiet", "--doc", "--workspace"]);
    stage("examples in the documentation", || run(&mut examples))?;
    say("tests of the host, the registry and the whole");
    if has_nextest() {
        let nextest = |more: &str| run(cargo().args(["nextest", "run", "--locked", "--workspace", more]));
        stage("compile the tests", || nextest("--no-run"))?;
        stage("tests of what keeps rows, on PostgreSQL", test_on_postgres)?;
        return stage("run the tests", || nextest("--no-fail-fast"));
    }
    run(cargo().args(["test", "--locked", "--workspace", "--lib", "--bins", "--tests", "--no-fail-fast"]))
}

/// Crates that keep rows. On SQLite their tests run with all others.
const ROW_CRATES: &str = "package(eyot-access) + package(eyot-oci) + package(eyot-deploy) + package(eyot-pipelines) + package(eyot-tracking)";

fn test_on_postgres() -> Result<()> {
    let Some(server) = PostgresServer::start()? else { return Ok(()) };
    let mut nextest = cargo();
    nextest.args(["nextest", "run", "--locked", "--workspace", "--lib", "--no-fail-fast", "-E", ROW_CRATES]);
    run(nextest.env(POSTGRES_VARIABLE, server.folder()))
}

fn test_guests() -> Result<()> {
    say("tests of the guests, on this machine's own target");
    let host = host()?;
    let mut guests = cargo();
    guests.args(["test", "--locked", "--quiet", "--workspace", "--target", &host]);
    run(guests.current_dir(root().join("components")).env("CARGO_TARGET_DIR", crate::components::target()))
}

fn has_nextest() -> bool {
    let found = cargo().args(["nextest", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    found.is_ok_and(|status| status.success())
}

/// The target of this machine: `components/` is built for wasm unless told otherwise.
fn host() -> Result<String> {
    let said = crate::process::output(Command::new("rustc").arg("-vV"))?;
    match said.lines().find_map(|line| line.strip_prefix("host: ")) {
        Some(host) => Ok(host.to_owned()),
        None => bail!("rustc -vV names no host"),
    }
}
