//! Serving a tiny model, a picture classifier and a language model, beside two floors in the same run:
//! `cargo xtask bench serving`.
//!
//! Floor A calls the model's library in a loop. Floor B is a bare hyper server that reads the same
//! request, calls the same library and writes the answer: no component, no checks, no metrics. Each
//! server has one processor to itself, the load generator another; a round asks each server in turn, so
//! that what else the machine does hits all alike.

#![allow(clippy::print_stdout)]

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use eyot_tests::{Eyot, Resident, Server, component, named_parts, pin, quantile, spread};
use serde_json::json;

mod floor;
mod grpc;
mod request;
mod soak;
mod subject;

use request::{Case, Form};
use subject::{CONNECTIONS, Subject};

/// Rounds, of which the median and the spread are shown.
const ROUNDS: usize = 5;
/// Deployments whose cost is measured while they do nothing.
const DEPLOYMENTS: usize = 200;

fn main() -> Result<()> {
    let cases = request::cases()?;
    if std::env::args().nth(1).as_deref() == Some("floor") {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        return runtime.block_on(floor::serve(cases));
    }
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    ensure!(
        processors >= 2,
        "one processor for the server and one for the load: this machine has {processors}"
    );
    pin([0])?;
    let floor = floor::Floor::start()?;
    let dir = tempfile::tempdir()?;
    let eyot = Eyot::new(dir.path())?;
    let server = eyot.up()?;
    pin([1])?;
    let idle = resident(server.pid())?;
    deploy(&eyot, &cases)?;
    // Without a name all but the soak, which takes ten minutes.
    let named = named_parts();
    let wanted = |part: &str| named.is_empty() || named.iter().any(|name| name == part);
    for case in cases.iter().filter(|case| wanted(case.name)) {
        compare(case, &floor, &server)?;
    }
    if wanted("memory") {
        println!("\nmemory, MB");
        println!("{:<52} {:>8.1}", "eyot up, nothing deployed", idle / 1e6);
        second_revision(&eyot, &server, &cases)?;
        many(&server)?;
    }
    if named.iter().any(|name| name == "soak") {
        let digits = cases.iter().find(|case| case.name == "digits").context("there are no digits")?;
        let (what, through) = ("eyot, a component", "digits-through");
        let subject = Subject::new(what, digits, Form::Json, &server.gateway, through, server.pid())?;
        soak::run(&subject, server.pid())?;
    }
    server.stop()?;
    drop(floor);
    if wanted("processors") {
        println!("\n{CONNECTIONS} connections, binary, requests a second by the server's processors");
        println!("{:<45} {:>8} {:>8} {:>8}", "", "one", "two", "ratio");
        cases.iter().filter(|case| case.name != "digits").try_for_each(|case| scale(&eyot, case))?;
    }
    Ok(())
}

/// Each model alone, and behind a component that hands its inputs on; the tiny one also with a fresh
/// instance for every request.
fn deploy(eyot: &Eyot, cases: &[Case]) -> Result<()> {
    let wasm = component("testing-through").context("cargo xtask components")?;
    eyot.json(&["push", &wasm.to_string_lossy(), "--as", "testing-through:1"])?;
    for case in cases {
        let (name, model) = (case.name, format!("{}:1", case.name));
        eyot.json(&["push", &case.onnx.to_string_lossy(), "--as", &model])?;
        eyot.json(&["deploy", &model, "--name", name])?;
        let (to, grant) = (format!("{name}-through"), format!("model={model}"));
        eyot.json(&["deploy", "testing-through:1", "--name", &to, "--model", &grant])?;
    }
    let fresh = ["--name", "digits-fresh", "--model", "model=digits:1", "--reuse", "1"];
    eyot.json(&[&["deploy", "testing-through:1"][..], &fresh].concat()).map(drop)
}

/// Bytes of memory that a process holds.
fn resident(pid: u32) -> Result<f64> {
    Ok(Resident::of(pid)?.now as f64)
}

fn compare(case: &Case, floor: &floor::Floor, server: &Server) -> Result<()> {
    let model = floor::load(case)?;
    let name = case.name;
    println!("\n{name}, one connection, µs a request{:>20} {:>8} {:>8} {:>8}", "min", "p50", "max", "p99");
    let rounds: Result<Vec<_>> = (0..ROUNDS).map(|_| floor::in_a_loop(&*model, case)).collect();
    print("A  the model in a loop", rounds?);
    let subjects = subjects(case, floor, server)?;
    measure(&subjects, |subject| subject.alone())?;
    let title = format!("{name}, {CONNECTIONS} connections, requests a second");
    println!("{title:<45} {:>8} {:>8} {:>8} {:>8}", "min", "median", "max", "µs CPU");
    measure(&subjects, |subject| subject.together())
}

fn subjects(case: &Case, floor: &floor::Floor, server: &Server) -> Result<Vec<Subject>> {
    let (name, through) = (case.name, format!("{}-through", case.name));
    let b = |form| Subject::new("B  bare hyper", case, form, &floor.url, name, floor.pid());
    let eyot = |what: &str, form, to: &str| Subject::new(what, case, form, &server.gateway, to, server.pid());
    let mut subjects = vec![b(Form::Json)?, b(Form::Binary)?];
    for form in [Form::Json, Form::Binary, Form::Grpc] {
        subjects.push(eyot("eyot, the model alone", form, name)?);
        subjects.push(eyot("eyot, a component", form, &through)?);
    }
    if name == "digits" {
        subjects.push(eyot("eyot, a fresh instance each", Form::Json, "digits-fresh")?);
    }
    Ok(subjects)
}

/// Rounds over all subjects in turn; the first of each is not counted.
fn measure(subjects: &[Subject], round: impl Fn(&Subject) -> Result<(f64, f64)>) -> Result<()> {
    let mut taken = vec![Vec::new(); subjects.len()];
    for number in 0..=ROUNDS {
        for (subject, taken) in subjects.iter().zip(&mut taken) {
            let found = round(subject).with_context(|| subject.name.clone())?;
            if number > 0 {
                taken.push(found);
            }
        }
    }
    subjects.iter().zip(taken).for_each(|(subject, taken)| print(&subject.name, taken));
    Ok(())
}

/// Minimum, median and maximum of what was measured, and the median of what was measured beside it.
fn print(what: &str, taken: Vec<(f64, f64)>) {
    let (main, beside) = taken.into_iter().unzip();
    let ([min, median, max], [_, other, _]) = (spread(main), spread(beside));
    println!("{what:<45} {min:>8.1} {median:>8.1} {max:>8.1} {other:>8.1}");
}

/// What another revision of a model that is loaded already takes.
fn second_revision(eyot: &Eyot, server: &Server, cases: &[Case]) -> Result<()> {
    for case in cases {
        let before = resident(server.pid())?;
        let model = format!("{}:1", case.name);
        eyot.json(&["deploy", &model, "--name", case.name, "--concurrency", "63"])?;
        let what = format!("a second revision of {}, of {:.1} MB", case.name, size(case)?);
        println!("{what:<52} {:>8.1}", (resident(server.pid())? - before) / 1e6);
    }
    Ok(())
}

fn size(case: &Case) -> Result<f64> {
    Ok(std::fs::metadata(&case.onnx)?.len() as f64 / 1e6)
}

/// What deployments take that do nothing, and how long it takes to list them.
fn many(server: &Server) -> Result<()> {
    let before = resident(server.pid())?;
    let body = json!({ "source": "testing-through:1", "models": { "model": "digits:1" } });
    for number in 0..DEPLOYMENTS {
        let answer = server.api_put(&format!("/api/v1/deployments/idle-{number}"), body.to_string())?;
        ensure!(answer.status == 200, "{}", answer.text());
    }
    let each = (resident(server.pid())? - before) / DEPLOYMENTS as f64;
    println!("{:<52} {:>8.3}", format!("each of {DEPLOYMENTS} idle deployments of a component"), each / 1e6);
    let mut taken = Vec::with_capacity(20);
    for _ in 0..20 {
        let started = Instant::now();
        let listed = server.api_get("/api/v1/deployments")?;
        taken.push(started.elapsed().as_secs_f64() * 1e3);
        ensure!(listed.json().as_array().is_some_and(|all| all.len() > DEPLOYMENTS), "{}", listed.text());
    }
    taken.sort_by(f64::total_cmp);
    println!("\nlisting them all over HTTP: {:.1} ms", quantile(&taken, 0.5));
    for number in 0..DEPLOYMENTS {
        let answer = server.api_delete(&format!("/api/v1/deployments/idle-{number}"))?;
        ensure!(answer.status == 200, "{}", answer.text());
    }
    Ok(())
}

/// A server with one processor, and one with two; the load runs beside them.
fn scale(eyot: &Eyot, case: &Case) -> Result<()> {
    let mut rates = [Vec::new(), Vec::new()];
    for (processors, rates) in [&[0][..], &[0, 1]].into_iter().zip(&mut rates) {
        pin(processors.iter().copied())?;
        let server = eyot.up()?;
        pin([0, 1])?;
        let through = format!("{}-through", case.name);
        let subject = Subject::new("", case, Form::Binary, &server.gateway, &through, server.pid())?;
        for round in 0..=ROUNDS {
            let (rate, _) = subject.together()?;
            if round > 0 {
                rates.push(rate);
            }
        }
        rates.sort_by(f64::total_cmp);
        server.stop()?;
    }
    let [one, two] = rates.map(|rates| quantile(&rates, 0.5));
    println!("{:<45} {one:>8.1} {two:>8.1} {:>8.2}", case.name, two / one);
    Ok(())
}
