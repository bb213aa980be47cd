//! The tests of inference under valgrind: no value of a back end may lie in memory that is not held.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::process::{cargo, output, root, run, say};
use crate::setup::{self, BuildProfile};

/// What runs under valgrind: values that go into a library of others and come out of it, whose memory is theirs or
/// ours, joined and split. It makes a test fifty times as slow, so not all of them.
const TEST_FILTERS: &[&str] =
    &["aliases::", "batch::", "job::tests::", "aligned::", "suite::onnx_runtime", "suite::tract"];

/// Fails when valgrind finds a read, write or jump that is wrong, or a test fails. Without valgrind it says so and
/// does nothing.
pub(crate) fn check() -> Result<()> {
    if !has_valgrind() {
        say("ignored: valgrind is not installed; on Debian: apt-get install valgrind");
        return Ok(());
    }
    setup::run(BuildProfile::Debug)?;
    let tests = tests()?;
    say("tests of inference under valgrind, which takes minutes");
    let mut valgrind = Command::new("valgrind");
    valgrind
        .args(["--quiet", "--error-exitcode=99", "--num-callers=40", "--fair-sched=yes"])
        .arg(format!("--suppressions={}", root().join("host/nn/memcheck.supp").display()))
        .arg(tests)
        .arg("--test-threads=1")
        .args(TEST_FILTERS)
        .current_dir(root().join("host/nn"));
    run(&mut valgrind).context("valgrind found something, or a test fails")
}

fn has_valgrind() -> bool {
    let found =
        Command::new("valgrind").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    found.is_ok_and(|status| status.success())
}

/// The built tests of eyot-nn, with the features of everything else.
fn tests() -> Result<PathBuf> {
    let arguments = ["test", "--locked", "--workspace", "--lib", "--no-run", "--message-format=json"];
    let messages = output(cargo().args(arguments))?;
    let built = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut of_nn = built.filter(|message| {
        message["target"]["name"] == "eyot_nn"
            && message["profile"]["test"] == true
            && message["executable"].is_string()
    });
    match of_nn.next().as_ref().and_then(|message| message["executable"].as_str()) {
        Some(path) => Ok(Path::new(path).to_owned()),
        None => bail!("cargo built no tests of eyot-nn"),
    }
}
