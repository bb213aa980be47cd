//! Functions and components that answer HTTP: `cargo xtask bench functions`.
//!
//! The same component answers through Eyot and through `wasmtime serve`, where that tool is, with the same
//! reuse of instances; a call of a function over HTTP stands beside them. Each server has one processor to
//! itself, the load generator another, and a round asks each in turn.

#![allow(clippy::print_stdout)]

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use eyot_tests::{Eyot, Resident, Rival, Server, component, named_parts, pin, quantile, spread};

mod asked;
mod dev;
mod neighbours;
mod python;

use asked::{CONNECTIONS, Subject};

/// Rounds, of which the median and the spread are shown.
const ROUNDS: usize = 7;
/// Functions that are deployed at once.
const MANY: usize = 1000;

/// What Eyot tells a component of its route, as Spin does, which `wasmtime serve` does not: a component that reads
/// its headers has that much more to read.
const TOLD: &str = "spin-full-url: http://127.0.0.1:8080/web-128/\r\nspin-path-info: /\r\n\
    spin-client-addr: 127.0.0.1:50000\r\nspin-matched-route: /web-128/...\r\n\
    spin-raw-component-route: /web-128/...\r\nspin-component-route: /web-128\r\nspin-base-path: /\r\n";

/// A record of ten fields.
const TEN: &str = r#"{"value": {"truth": true, "small": 255, "large": 9007199254740993, "negative": -5, "single": 0.1,
 "double": 1e300, "letter": "é", "text": "some text", "colour": "green", "maybe": null}}"#;

fn main() -> Result<()> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    ensure!(
        processors >= 2,
        "one processor for the servers and one for the load: this machine has {processors}"
    );
    let dir = tempfile::tempdir()?;
    let eyot = Eyot::new(dir.path())?;
    pin([0])?;
    let server = eyot.up()?;
    pin([1])?;
    deploy(&eyot)?;
    // Without a name all.
    let named = named_parts();
    let parts: [(&str, Part); 4] =
        [("calls", calls), ("neighbours", neighbours::measure), ("dev", dev::measure), ("many", many)];
    for (name, part) in parts {
        if named.is_empty() || named.iter().any(|wanted| wanted == name) {
            part(&eyot, &server).context(name)?;
        }
    }
    server.stop()
}

type Part = fn(&Eyot, &Server) -> Result<()>;

/// Calls and requests, beside `wasmtime serve` on the server's processor.
fn calls(eyot: &Eyot, server: &Server) -> Result<()> {
    pin([0])?;
    let rivals: Vec<Rival> =
        [("testing-web2", 1), ("testing-web2", 128), ("testing-web3", 1), ("testing-web3", 128)]
            .into_iter()
            .map(|(name, reuse)| Rival::start(name, reuse))
            .collect::<Result<Option<Vec<_>>>>()?
            .unwrap_or_default();
    pin([1])?;
    if rivals.is_empty() {
        println!(
            "no `wasmtime` on the PATH: its rows are left out (cargo install wasmtime-cli --version 48.0.8)"
        );
    }
    let in_a_loop = python::deploy(eyot, ROUNDS)?;
    let mut subjects = subjects(server, &rivals)?;
    if in_a_loop.is_some() {
        let (what, body) = ("eyot, a function in Python, 64 numbers", python::request());
        subjects.push(Subject::new(what, &server.gateway, "/fn/python/summarize", &body, server.pid()));
    }
    println!("one connection, µs a request{:>28} {:>8} {:>8} {:>8}", "min", "p50", "max", "p99");
    measure(&subjects, |subject| subject.alone())?;
    if let Some([least, middle, most, tail]) = in_a_loop {
        let what = "the same function in a loop of CPython";
        println!("{what:<47} {least:>8.1} {middle:>8.1} {most:>8.1} {tail:>8.1}");
    }
    println!(
        "\n{CONNECTIONS} connections, requests a second{:>19} {:>8} {:>8} {:>8}",
        "min", "median", "max", "µs CPU"
    );
    measure(&subjects, |subject| subject.together())
}

/// Each guest with instances that serve one request, 128, and as many as they like.
fn deploy(eyot: &Eyot) -> Result<()> {
    for name in ["testing-web2", "testing-web3", "testing-functions"] {
        let wasm = component(name).context("cargo xtask components")?;
        eyot.json(&["push", &wasm.to_string_lossy(), "--as", &format!("{name}:1")])?;
    }
    for (name, reuse) in
        [("testing-web2", "1"), ("testing-web2", "128"), ("testing-web3", "1"), ("testing-web3", "128")]
    {
        let to = format!("{}-{reuse}", name.trim_start_matches("testing-"));
        let flags = ["--name", &to, "--reuse", reuse, "--allow-http", "localhost"];
        eyot.json(&[&["deploy", &format!("{name}:1")][..], &flags].concat())?;
    }
    eyot.json(&["deploy", "testing-functions:1", "--name", "functions"])?;
    eyot.json(&["deploy", "testing-functions:1", "--name", "fresh", "--reuse", "1"]).map(drop)
}

fn subjects(server: &Server, rivals: &[Rival]) -> Result<Vec<Subject>> {
    let eyot =
        |what: &str, path: &str, body: &str| Subject::new(what, &server.gateway, path, body, server.pid());
    let mut subjects = Vec::new();
    for (version, guest) in [("0.2", "web2"), ("0.3", "web3")] {
        for reuse in [1, 128] {
            let how =
                if reuse == 1 { "fresh instances".to_owned() } else { format!("{reuse} requests each") };
            let what = format!("WASI {version} HTTP, {how}");
            subjects.push(eyot(&format!("eyot, {what}"), &format!("/{guest}-{reuse}/"), ""));
            let same = rivals.iter().find(|rival| rival.is(&format!("testing-{guest}"), reuse));
            let rival = |name: &str, rival: &Rival| Subject::new(name, &rival.url, "/", "", rival.pid());
            subjects.extend(same.map(|same| rival(&format!("wasmtime serve, {what}"), same)));
            if reuse > 1 {
                let name = format!("wasmtime serve, {version}, sent those headers too");
                subjects.extend(same.map(|same| rival(&name, same).telling(TOLD)));
            }
        }
    }
    subjects.push(eyot("eyot, a function, one text", "/fn/functions/greet", r#"{"name": "Ann"}"#));
    subjects.push(eyot("eyot, a function, a record of ten fields", "/fn/functions/whole", TEN));
    subjects.push(eyot("eyot, a function, fresh instances", "/fn/fresh/greet", r#"{"name": "Ann"}"#));
    Ok(subjects)
}

/// Rounds over all subjects in turn; the first of each is not counted.
fn measure(subjects: &[Subject], round: impl Fn(&Subject) -> Result<(f64, f64)>) -> Result<()> {
    let mut taken = vec![(Vec::new(), Vec::new()); subjects.len()];
    for number in 0..=ROUNDS {
        for (subject, (main, beside)) in subjects.iter().zip(&mut taken) {
            let (one, other) = round(subject).with_context(|| subject.name.clone())?;
            if number > 0 {
                main.push(one);
                beside.push(other);
            }
        }
    }
    for (subject, (main, beside)) in subjects.iter().zip(taken) {
        let ([least, middle, most], [_, other, _]) = (spread(main), spread(beside));
        println!("{:<47} {least:>8.1} {middle:>8.1} {most:>8.1} {other:>8.1}", subject.name);
    }
    Ok(())
}

/// What a server holds with so many functions deployed, and how long the first request to each takes.
fn many(eyot: &Eyot, server: &Server) -> Result<()> {
    let before = Resident::of(server.pid())?.now;
    let started = Instant::now();
    for number in 0..MANY {
        let body = r#"{"source": "testing-functions:1"}"#;
        let answer = server.api_put(&format!("/api/v1/deployments/many-{number}"), body)?;
        ensure!(answer.status == 200, "{}", answer.text());
    }
    let deployed = started.elapsed();
    let held = Resident::of(server.pid())?.now;
    let mut first = Vec::with_capacity(MANY);
    for number in 0..MANY {
        let started = Instant::now();
        let answer = server.post(&format!("/fn/many-{number}/greet"), r#"{"name": "Ann"}"#)?;
        first.push(started.elapsed().as_secs_f64() * 1e3);
        ensure!(answer.status == 200, "{}", answer.text());
    }
    first.sort_by(f64::total_cmp);
    let listing = Instant::now();
    let all = eyot.json(&["deployments"])?;
    ensure!(all.as_array().is_some_and(|all| all.len() > MANY), "not all are listed");
    println!(
        "\n{MANY} functions deployed in {:.1} s; listed by a command in {:.0} ms",
        deployed.as_secs_f64(),
        listing.elapsed().as_secs_f64() * 1e3
    );
    println!(
        "{:<47} {:>8.1} MB, {:.1} MB before",
        "memory of the server",
        held as f64 / 1e6,
        before as f64 / 1e6
    );
    println!(
        "{:<47} {:>8.2} ms p50, {:.2} p99, {:.2} at most",
        "the first request to each",
        quantile(&first, 0.5),
        quantile(&first, 0.99),
        quantile(&first, 1.0)
    );
    Ok(())
}
