//! What `wasi:nn` does here, as its own suite of guests sees it: a line for each check, a column for each back
//! end.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::process::{output, root, say};
use crate::setup::{self, BuildProfile};

/// What came of one check on one back end.
struct CheckResult {
    outcome: String,
    reason: String,
}

/// Prints the report: every check that did not pass on some back end, and how many did. Asks a binary and
/// components that are built.
///
/// Fails when a check does on any back end.
pub(crate) fn report() -> Result<()> {
    say("wasi:nn, as its conformance suite finds it");
    let backends = backends()?;
    let mut checks: Vec<String> = Vec::new();
    let mut found: BTreeMap<(String, String), CheckResult> = BTreeMap::new();
    for backend in &backends {
        for (name, result) in ask(backend)? {
            if !checks.contains(&name) {
                checks.push(name.clone());
            }
            found.insert((name, backend.clone()), result);
        }
    }
    let of = |name: &str, backend: &str| found.get(&(name.to_owned(), backend.to_owned()));
    for name in &checks {
        let told = backends.iter().filter_map(|backend| Some((backend, of(name, backend)?)));
        for (backend, result) in told.filter(|(_, result)| result.outcome != "pass") {
            println!("{:<11}  {backend:<11}  {name}: {}", result.outcome, result.reason);
        }
    }
    let count = |backend: &str, outcome: &str| {
        checks.iter().filter(|name| of(name, backend).is_some_and(|one| one.outcome == outcome)).count()
    };
    println!("{:<11}  {:>6}  {:>11}  {:>4}", "back end", "pass", "unsupported", "fail");
    for backend in &backends {
        let [pass, unsupported, fail] =
            ["pass", "unsupported", "fail"].map(|outcome| count(backend, outcome));
        println!("{backend:<11}  {pass:>6}  {unsupported:>11}  {fail:>4}");
    }
    match backends.iter().map(|backend| count(backend, "fail")).sum::<usize>() {
        0 => Ok(()),
        failed => bail!("{failed} checks of wasi:nn fail"),
    }
}

/// The back ends of this machine.
fn backends() -> Result<Vec<String>> {
    let listed = eyot(&["backend", "list"])?;
    let rows = listed.as_array().context("eyot backend list printed no list")?;
    Ok(rows.iter().filter_map(|row| row["name"].as_str().map(str::to_owned)).collect())
}

fn ask(backend: &str) -> Result<Vec<(String, CheckResult)>> {
    let suite = root().join("target/components/testing-nn.wasm");
    let suite = suite.to_str().context("the path of this repository is no text")?;
    let report = eyot(&["invoke", suite, "report", "--set", &format!("inference.backend={backend}")])?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let result = |one: &Value| {
        (text(&one["name"]), CheckResult { outcome: text(&one["outcome"]), reason: text(&one["reason"]) })
    };
    Ok(report.as_array().context("the suite gave no report")?.iter().map(result).collect())
}

fn eyot(arguments: &[&str]) -> Result<Value> {
    let mut eyot = Command::new(setup::built(BuildProfile::Debug, "eyot")?);
    let said = output(eyot.args(arguments).arg("--json"))?;
    serde_json::from_str(&said).with_context(|| format!("eyot {} printed no JSON", arguments.join(" ")))
}
