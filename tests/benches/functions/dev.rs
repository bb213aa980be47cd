//! From a change in a source to the answer that has it: `eyot dev` on a function in Rust.

use std::io::{BufRead as _, BufReader, Lines};
use std::process::{Child, ChildStdout, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use eyot_tests::{Eyot, Server, pin, quantile};
use serde_json::{Value, json};

use crate::ROUNDS;

/// Changes a function, waits until it serves, and asks it, again and again; the first build, which compiles what
/// it depends on, is not counted.
pub(crate) fn measure(eyot: &Eyot, server: &Server) -> Result<()> {
    let projects = tempfile::tempdir()?;
    let dir = projects.path().join("changing");
    let path = dir.to_string_lossy().into_owned();
    eyot.json(&["new", "--lang", "rust", "--kind", "function", "changing", "--dir", &path])?;
    let source = dir.join("src/lib.rs");
    let first = std::fs::read_to_string(&source)?;
    ensure!(first.contains(".sqrt()"), "the template has another function now");
    // A compiler may use all there is, as where somebody develops.
    pin([0, 1])?;
    let mut dev = Dev::start(eyot, &path)?;
    pin([1])?;
    dev.round()?;
    let mut taken = [Vec::new(), Vec::new(), Vec::new()];
    for number in 2..2 + ROUNDS {
        let started = Instant::now();
        std::fs::write(&source, first.replace(".sqrt()", &format!(".sqrt() * {number}.0")))?;
        let round = dev.round()?;
        let answer = server.post("/fn/changing/summarize", r#"{"values": [1, 3]}"#)?;
        let whole = started.elapsed().as_secs_f64() * 1e3;
        ensure!(answer.json()["deviation"] == json!(number as f64), "{}", answer.text());
        let part = |name: &str| round[name].as_f64().with_context(|| format!("no {name}: {round}"));
        for (taken, found) in taken.iter_mut().zip([whole, part("built_ms")?, part("swapped_ms")?]) {
            taken.push(found);
        }
    }
    println!("\n{:<47} {:>8} {:>8} {:>8}", "a change in a function in Rust, ms", "min", "median", "max");
    let parts = ["until it answers", "  of which cargo build", "  of which push and swap"];
    for (what, mut taken) in parts.into_iter().zip(taken) {
        taken.sort_by(f64::total_cmp);
        let [least, middle, most] = [0.0, 0.5, 1.0].map(|fraction| quantile(&taken, fraction));
        println!("{what:<47} {least:>8.0} {middle:>8.0} {most:>8.0}");
    }
    Ok(())
}

/// `eyot dev`, whose rounds are read one by one; ended when dropped.
struct Dev {
    child: Child,
    rounds: Lines<BufReader<ChildStdout>>,
}

impl Dev {
    fn start(eyot: &Eyot, dir: &str) -> Result<Self> {
        let mut command = eyot.command(&["dev", dir, "--json"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let rounds = BufReader::new(child.stdout.take().context("it has no stdout")?).lines();
        Ok(Self { child, rounds })
    }

    fn round(&mut self) -> Result<Value> {
        let line = self.rounds.next().context("eyot dev ended")??;
        Ok(serde_json::from_str(&line)?)
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
