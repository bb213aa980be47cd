//! A function in Python, and the same function in a loop of plain CPython.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use eyot_tests::{Eyot, path, quantile, with_python_tools};
use serde_json::json;

/// Calls in the plain loop; each is timed.
const CALLS: usize = 5000;

/// Numbers that are summarized.
fn values() -> Vec<f64> {
    (0..64).map(|number| f64::from(number) / 7.0).collect()
}

/// What is asked over HTTP.
pub(crate) fn request() -> String {
    json!({ "values": values() }).to_string()
}

/// Builds the project that `eyot new` makes, deploys its function as `python`, and answers what a call of it
/// takes in CPython itself: the least, the median and the most of some rounds, and the 99th percentile, in µs.
/// `None` without the Python tools.
pub(crate) fn deploy(eyot: &Eyot, rounds: usize) -> Result<Option<[f64; 4]>> {
    let dir = tempfile::tempdir()?;
    let project = dir.path().join("python");
    let folder = project.to_string_lossy();
    eyot.json(&["new", "--lang", "python", "--kind", "function", "python", "--dir", &folder])?;
    let mut build = eyot.command(&["build", &folder]);
    let Some(build) = with_python_tools(&mut build) else { return Ok(None) };
    let built = build.output().context("eyot build")?;
    ensure!(built.status.success(), "eyot build: {}", String::from_utf8_lossy(&built.stderr));
    eyot.json(&["push", &folder])?;
    eyot.json(&["deploy", "python:0.1.0", "--name", "python"])?;
    let program = format!(
        "import time\nfrom app import summarize\nvalues = {:?}\ntaken = []\nfor _ in range({CALLS}):\n    \
         begun = time.perf_counter_ns()\n    summarize(values)\n    taken.append(time.perf_counter_ns() - begun)\n\
         print(*taken)",
        values()
    );
    let (mut medians, mut tails) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let mut python = Command::new("python3");
        python.args(["-c", &program]).current_dir(&project).env("PYTHONPATH", path("components/sdk/python"));
        let ended = python.output().context("python3")?;
        ensure!(ended.status.success(), "python3: {}", String::from_utf8_lossy(&ended.stderr));
        let said = String::from_utf8(ended.stdout)?;
        let taken: Result<Vec<f64>, _> = said.split_whitespace().map(str::parse::<f64>).collect();
        let mut taken = taken?;
        taken.sort_by(f64::total_cmp);
        medians.push(quantile(&taken, 0.5) / 1e3);
        tails.push(quantile(&taken, 0.99) / 1e3);
    }
    medians.sort_by(f64::total_cmp);
    tails.sort_by(f64::total_cmp);
    let at = |fraction| quantile(&medians, fraction);
    Ok(Some([at(0.0), at(0.5), at(1.0), quantile(&tails, 0.5)]))
}
