//! What others notice of a component that misbehaves in every way it can.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, bail};
use eyot_tests::{Eyot, Server, give_way, spread};

use crate::ROUNDS;
use crate::asked::Subject;

/// Every way: what it is, where it is asked for, and what is sent there.
fn ways() -> Vec<(&'static str, &'static str, String)> {
    vec![
        ("loops without end", "/fn/unruly/spin", String::new()),
        ("loops without end, in WASI 0.3 HTTP", "/unruly-web/spin", String::new()),
        ("wants all memory", "/fn/unruly/grow", r#"{"bytes": 4000000000}"#.to_owned()),
        ("calls itself without end", "/fn/unruly/deep", r#"{"levels": 100000000}"#.to_owned()),
        ("traps", "/fn/unruly/crash", r#"{"message": "asked to"}"#.to_owned()),
        (
            "is sent 100,000 nested lists",
            "/fn/unruly/greet",
            format!(r#"{{"name": {}}}"#, "[".repeat(100_000)),
        ),
        (
            "is sent a million numbers",
            "/fn/unruly/sum",
            format!(r#"{{"numbers": [{}]}}"#, vec!["1"; 1_000_000].join(",")),
        ),
    ]
}

/// The times of a function while another deployment is quiet, and while that is asked for the worst on one
/// connection, again and again.
pub(crate) fn measure(eyot: &Eyot, server: &Server) -> Result<()> {
    eyot.json(&["deploy", "testing-functions:1", "--name", "unruly", "--timeout", "1s"])?;
    let web = ["--name", "unruly-web", "--timeout", "1s", "--allow-http", "localhost"];
    eyot.json(&[&["deploy", "testing-web3:1"][..], &web].concat())?;
    let request = r#"{"name": "Ann"}"#;
    let asked = Subject::new("", &server.gateway, "/fn/functions/greet", request, server.pid());
    println!(
        "\n{:<47} {:>8} {:>8} {:>8} {:>8}",
        "a function beside one that, µs", "p50", "min", "p99", "max"
    );
    let ways = ways();
    let mut taken = vec![Vec::new(); ways.len() + 1];
    for _ in 0..ROUNDS {
        taken[0].push(asked.alone()?);
        for ((_, path, body), taken) in ways.iter().zip(&mut taken[1..]) {
            taken.push(beside(server, &asked, path, body)?);
        }
    }
    let names = std::iter::once("is quiet").chain(ways.iter().map(|way| way.0));
    for (name, taken) in names.zip(taken) {
        let (middles, tails) = taken.into_iter().unzip();
        let ([_, usual, _], [least, middle, most]) = (spread(middles), spread(tails));
        println!("{name:<47} {:>8.1} {least:>8.1} {middle:>8.1} {most:>8.1}", usual);
    }
    Ok(())
}

fn beside(server: &Server, asked: &Subject, path: &str, body: &str) -> Result<(f64, f64)> {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let unruly = scope.spawn(|| -> Result<()> {
            // It shares a processor with who measures, and is not what is to be measured.
            give_way()?;
            while !over.load(Ordering::Relaxed) {
                server.post(path, body)?;
            }
            Ok(())
        });
        // The first round is not counted here either: it takes sixteen faults to know a deployment by them.
        let taken = asked.alone().and_then(|_| asked.alone());
        over.store(true, Ordering::Relaxed);
        unruly.join().unwrap_or_else(|_| bail!("a thread panicked"))?;
        taken
    })
}
