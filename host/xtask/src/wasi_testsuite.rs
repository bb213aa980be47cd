//! The public suite of tests of WASI, as `eyot invoke` passes it: a folder of programs, each with a file that says how
//! it is run and what it must do.

mod case;
mod message;
mod peer;
mod service;
mod spec;
mod time_limit;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::process::say;
use crate::setup::{self, BuildProfile};
pub(crate) use case::GuestWorld;
use case::{TestCase, TestOutcome};

/// Why programs in AssemblyScript lose their arguments.
const TAKES_ALL_MEMORY: &str = "AssemblyScript's allocator takes all memory that is there when it starts, and with it the \
    page in which the adapter of preview 1 keeps what it knows";

/// Tests of the public suite that do not pass here, and why; the table in tests/README.md says the same.
const KNOWN_FAILURES: &[(&str, &str)] = &[
    ("args_get-multiple-arguments", TAKES_ALL_MEMORY),
    ("environ_get-multiple-variables", TAKES_ALL_MEMORY),
    (
        "fd_write-to-invalid-fd",
        "the adapter of preview 1 answers that nothing was written before it looks where to",
    ),
    ("fopen-with-no-access", "a libc of today says ENOENT by itself, and asks no host"),
    ("http-client-path-none", "wasmtime sends no request without a path"),
    ("http-client-sent", "wasmtime says that a request was sent which was not"),
    ("http-request", "wasmtime refuses paths that do not begin with a slash: they could name another host"),
    (
        "sockets-tcp-connect",
        "Linux lets two sockets that do not listen share an address, as WASI asks for it",
    ),
    (
        "sockets-udp-send",
        "wasmtime answers invalid-argument for port 0; later ones need a peer that nobody starts",
    ),
];

/// Programs with the same manifest.
struct TestSuite {
    name: String,
    cases: Vec<PathBuf>,
}

/// Runs every test below `folder` and prints a table.
///
/// Fails when one does not pass that is not explained, or when there is none.
pub(crate) fn report(folder: &Path, view: GuestWorld) -> Result<()> {
    let eyot = setup::built(BuildProfile::Debug, "eyot")?;
    ensure!(eyot.is_file(), "{} is not there: cargo build makes it", eyot.display());
    let mut suites = Vec::new();
    find(folder, &mut suites)?;
    if suites.is_empty() {
        bail!(
            "there is no .wasm file below {}: give the folder of a suite with its programs built",
            folder.display()
        );
    }
    let (mut passed, mut all, mut unexplained) = (0, 0, 0);
    let mut table = Vec::new();
    for suite in suites {
        say(&suite.name);
        let mut in_suite = 0;
        for program in &suite.cases {
            let name = program.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let outcome = TestCase::read(program).and_then(|case| case.run(&eyot, view));
            let outcome = outcome.unwrap_or_else(|error| TestOutcome::Failed(format!("{error:#}")));
            let explained = KNOWN_FAILURES.iter().find(|(test, _)| *test == name).map(|(_, why)| *why);
            match (&outcome, explained) {
                (TestOutcome::Passed, _) => in_suite += 1,
                (TestOutcome::Failed(why), Some(explained)) => {
                    println!("explained    {name}: {explained} ({why})")
                }
                (TestOutcome::Unsupported(why), _) => println!("unsupported  {name}: {why}"),
                (TestOutcome::Failed(why), None) => {
                    unexplained += 1;
                    println!("failed       {name}: {why}");
                }
            }
        }
        table.push((suite.name, in_suite, suite.cases.len()));
        passed += in_suite;
    }
    println!("{:<44}  {:>6}  {:>5}", "suite", "passed", "tests");
    for (name, passed, tests) in &table {
        println!("{name:<44}  {passed:>6}  {tests:>5}");
        all += tests;
    }
    println!("{:<44}  {passed:>6}  {all:>5}", "all");
    if unexplained > 0 {
        bail!("{unexplained} tests fail that nothing explains");
    }
    Ok(())
}

/// Every folder below `folder` that holds programs, in the order of their paths.
fn find(folder: &Path, suites: &mut Vec<TestSuite>) -> Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()?;
    paths.sort();
    let is_program =
        |path: &&PathBuf| path.is_file() && path.extension().is_some_and(|ending| ending == "wasm");
    let cases: Vec<_> = paths.iter().filter(is_program).cloned().collect();
    if !cases.is_empty() {
        suites.push(TestSuite { name: name(folder), cases });
    }
    // A link may lead back.
    paths.iter().filter(|path| path.is_dir() && !path.is_symlink()).try_for_each(|path| find(path, suites))
}

/// What a folder's manifest says, or where it lies.
fn name(folder: &Path) -> String {
    let manifest = std::fs::read_to_string(folder.join("manifest.json")).ok();
    let manifest: Option<Value> = manifest.and_then(|text| serde_json::from_str(&text).ok());
    let name = manifest.and_then(|manifest| manifest["name"].as_str().map(str::to_owned));
    name.unwrap_or_else(|| folder.display().to_string())
}
