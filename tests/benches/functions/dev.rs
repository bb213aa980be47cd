//! From a change in a source to the answer that has it: `eyot dev` on a function in Rust.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use eyot_tests::{Dev, Eyot, Server, pin, spread};
use serde_json::json;

use crate::ROUNDS;

/// Changes a function, waits until it serves, and asks it, again and again; the first build, which compiles what
/// it depends on, is not counted.
pub(crate) fn measure(eyot: &Eyot, server: &Server) -> Result<()> {
    let projects = tempfile::tempdir()?;
    let dir = projects.path().join("changing");
    let into = dir.to_string_lossy();
    eyot.json(&["new", "--lang", "rust", "--kind", "function", "changing", "--dir", &into])?;
    let source = dir.join("src/lib.rs");
    let first = std::fs::read_to_string(&source)?;
    ensure!(first.contains(".sqrt()"), "the template has another function now");
    // A compiler may use all there is, as where somebody develops.
    pin([0, 1])?;
    let mut dev = Dev::start(eyot, &dir)?;
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
    for (what, taken) in parts.into_iter().zip(taken) {
        let [least, middle, most] = spread(taken);
        println!("{what:<47} {least:>8.0} {middle:>8.0} {most:>8.0}");
    }
    Ok(())
}
