//! What others notice of a component that misbehaves in every way it can.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, bail};
use eyot_tests::{Eyot, Server, quantile};

use crate::ROUNDS;
use crate::asked::Subject;

/// Every way: the function of testing-functions, and what it is sent.
fn ways() -> Vec<(&'static str, String)> {
    vec![
        ("spin", String::new()),
        ("grow", r#"{"bytes": 4000000000}"#.to_owned()),
        ("deep", r#"{"levels": 100000000}"#.to_owned()),
        ("crash", r#"{"message": "asked to"}"#.to_owned()),
        ("greet", format!(r#"{{"name": {}}}"#, "[".repeat(100_000))),
        ("greet", format!(r#"{{"name": [{}]}}"#, vec!["1"; 1_000_000].join(","))),
    ]
}

/// The times of a function while another deployment is quiet, and while it is asked for the worst on a
/// connection for each way, again and again.
pub(crate) fn measure(eyot: &Eyot, server: &Server) -> Result<()> {
    eyot.json(&["deploy", "testing-functions:1", "--name", "unruly", "--timeout", "1s"])?;
    let request = r#"{"name": "Ann"}"#;
    let asked = Subject::new("", &server.gateway, "/fn/functions/greet", request, server.pid());
    println!(
        "\n{:<47} {:>8} {:>8} {:>8} {:>8}",
        "beside a component that misbehaves, µs", "p50", "min", "p99", "max"
    );
    let mut taken = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        taken[0].push(asked.alone()?);
        taken[1].push(beside(server, &asked)?);
    }
    for (what, mut taken) in ["while it is quiet", "while it misbehaves"].into_iter().zip(taken) {
        taken.sort_by(|one, other| one.1.total_cmp(&other.1));
        let of = |pick: fn(&(f64, f64)) -> f64| taken.iter().map(pick).collect::<Vec<_>>();
        let (mut middles, tails) = (of(|it| it.0), of(|it| it.1));
        middles.sort_by(f64::total_cmp);
        println!(
            "{what:<47} {:>8.1} {:>8.1} {:>8.1} {:>8.1}",
            quantile(&middles, 0.5),
            quantile(&tails, 0.0),
            quantile(&tails, 0.5),
            quantile(&tails, 1.0)
        );
    }
    Ok(())
}

fn beside(server: &Server, asked: &Subject) -> Result<(f64, f64)> {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let unruly: Vec<_> = ways()
            .into_iter()
            .map(|(function, body)| {
                let over = &over;
                scope.spawn(move || -> Result<()> {
                    while !over.load(Ordering::Relaxed) {
                        let answer = server.post(&format!("/fn/unruly/{function}"), body.as_str())?;
                        if answer.status < 400 {
                            bail!("{function} was answered with {}", answer.status);
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        let taken = asked.alone();
        over.store(true, Ordering::Relaxed);
        for thread in unruly {
            thread.join().unwrap_or_else(|_| bail!("a thread panicked"))?;
        }
        taken
    })
}
