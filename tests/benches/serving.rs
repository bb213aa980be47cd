//! Serving a small model, beside two floors in the same run: `cargo xtask bench serving`.
//!
//! Floor A calls the loaded model in a loop. Floor B is a bare hyper server that reads the same JSON with
//! serde, calls the same model and writes JSON: no component, no checks, no metrics. Each server has one
//! processor to itself, the load generator another; a round asks each server in turn, so that what else
//! the machine does hits all alike.

#![allow(clippy::print_stdout)]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use eyot_core::config::BackendChoice;
use eyot_nn::{Backends, LoadedModel, Models, NamedTensor, Settings, Tensor};
use eyot_store::Memory;
use eyot_tests::{Eyot, component, cpu, fixture, path, pin, quantile};
use serde_json::{Value, json};

mod floor;

/// Rounds, of which the median and the spread are shown.
const ROUNDS: usize = 7;
/// Requests of a round on one connection.
const ALONE: usize = 3000;
/// Connections of a round under load, and requests on each.
const CONNECTIONS: usize = 16;
const EACH: usize = 2000;

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let model = runtime.block_on(load())?;
    if std::env::args().nth(1).as_deref() == Some("floor") {
        return runtime.block_on(floor::serve(model));
    }
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    ensure!(
        processors >= 2,
        "one processor for the server and one for the load: this machine has {processors}"
    );
    println!("digits on {}, {processors} processors", model.ran_on());
    print("A  the model in a loop, µs a call", &runtime.block_on(in_a_loop(&model))?);
    pin([0])?;
    let floor = floor::Floor::start()?;
    let dir = tempfile::tempdir()?;
    let eyot = Eyot::new(dir.path())?;
    let server = eyot.up()?;
    pin([1])?;
    let onnx = fixture("digits");
    eyot.json(&["deploy", &onnx.to_string_lossy(), "--name", "digits"])?;
    deploy_component(&eyot)?;
    let alone = json!({ "name": "pixels", "datatype": "FP32", "shape": [1, 64], "data": vec![3; 64] });
    let body = json!({ "inputs": [alone] }).to_string();
    let subjects = [
        Subject::new("B  bare hyper, JSON", &floor.url, "/v2/models/digits/infer", &body, floor.pid()),
        Subject::new(
            "eyot, built-in handler, JSON",
            &server.gateway,
            "/v2/models/digits/infer",
            &body,
            server.pid(),
        ),
        Subject::new(
            "eyot, a component's handler, JSON",
            &server.gateway,
            "/v2/models/wrapped/infer",
            &wrapped(),
            server.pid(),
        ),
    ];
    println!("\none connection, µs a request{:>26} {:>8} {:>8} {:>8}", "min", "p50", "max", "p99");
    measure(&subjects, |subject| subject.alone())?;
    println!(
        "\n{CONNECTIONS} connections, requests a second{:>17} {:>8} {:>8} {:>8}",
        "min", "median", "max", "µs CPU"
    );
    measure(&subjects, |subject| subject.together())?;
    server.stop()
}

async fn load() -> Result<Arc<LoadedModel>> {
    let backends = Backends::open(&eyot_core::config::Data::default().backends, BackendChoice::Auto)?;
    let models = Models::new(Arc::new(Memory::default()), backends, 1);
    Ok(models.load_bytes(std::fs::read(fixture("digits"))?.into(), Settings::default()).await?)
}

fn deploy_component(eyot: &Eyot) -> Result<()> {
    let wasm = component("digits-image").context("cargo xtask components")?;
    let onnx = fixture("digits").to_string_lossy().into_owned();
    eyot.json(&["push", &onnx, "--as", "digits:1"])?;
    eyot.json(&["push", &wasm.to_string_lossy(), "--as", "digits-image:1"])?;
    eyot.json(&["deploy", "digits-image:1", "--name", "wrapped", "--model", "digits=digits:1"]).map(drop)
}

/// A picture of 32 × 32: sixteen times the numbers of the model's own input.
fn wrapped() -> String {
    let input = json!({ "name": "image", "datatype": "UINT8", "shape": [1, 32, 32], "data": vec![3; 1024] });
    json!({ "inputs": [input] }).to_string()
}

async fn in_a_loop(model: &LoadedModel) -> Result<Vec<f64>> {
    let mut rounds = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let started = Instant::now();
        for _ in 0..ALONE {
            let tensor = Tensor::of(vec![1, 64], &[3_f32; 64])?;
            model.infer(vec![NamedTensor { name: "pixels".to_owned(), tensor }]).await?;
        }
        rounds.push(started.elapsed().as_secs_f64() * 1e6 / ALONE as f64);
    }
    Ok(rounds)
}

/// Something that is asked.
struct Subject {
    name: &'static str,
    address: String,
    request: Vec<u8>,
    pid: u32,
}

impl Subject {
    fn new(name: &'static str, url: &str, path: &str, body: &str, pid: u32) -> Self {
        let address = url.trim_start_matches("http://").to_owned();
        let head = format!("POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n");
        let request = format!("{head}content-length: {}\r\n\r\n{body}", body.len()).into_bytes();
        Self { name, address, request, pid }
    }

    /// The median of a round's times, and its 99th percentile.
    fn alone(&self) -> Result<(f64, f64)> {
        let mut connection = Connection::open(self)?;
        let mut taken = Vec::with_capacity(ALONE);
        for _ in 0..ALONE {
            let started = Instant::now();
            connection.ask()?;
            taken.push(started.elapsed().as_secs_f64() * 1e6);
        }
        taken.sort_by(f64::total_cmp);
        Ok((quantile(&taken, 0.5), quantile(&taken, 0.99)))
    }

    /// A round's requests a second, and the server's CPU time for each.
    fn together(&self) -> Result<(f64, f64)> {
        let (before, started) = (cpu(self.pid)?, Instant::now());
        std::thread::scope(|scope| {
            let ask = || {
                let mut connection = Connection::open(self)?;
                (0..EACH).try_for_each(|_| connection.ask())
            };
            let threads: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(ask)).collect();
            threads
                .into_iter()
                .try_for_each(|thread| thread.join().unwrap_or_else(|_| bail!("a thread panicked")))
        })?;
        let requests = (CONNECTIONS * EACH) as f64;
        Ok((requests / started.elapsed().as_secs_f64(), (cpu(self.pid)? - before) * 1e6 / requests))
    }
}

/// Rounds over all subjects in turn; the first of each is not counted.
fn measure(subjects: &[Subject], round: impl Fn(&Subject) -> Result<(f64, f64)>) -> Result<()> {
    let mut taken = vec![(Vec::new(), Vec::new()); subjects.len()];
    for number in 0..=ROUNDS {
        for (subject, (main, beside)) in subjects.iter().zip(&mut taken) {
            let (one, other) = round(subject).with_context(|| subject.name.to_owned())?;
            if number > 0 {
                main.push(one);
                beside.push(other);
            }
        }
    }
    for (subject, (mut main, mut beside)) in subjects.iter().zip(taken) {
        main.sort_by(f64::total_cmp);
        beside.sort_by(f64::total_cmp);
        let at = |fraction| quantile(&main, fraction);
        println!(
            "{:<45} {:>8.1} {:>8.1} {:>8.1} {:>8.1}",
            subject.name,
            at(0.0),
            at(0.5),
            at(1.0),
            quantile(&beside, 0.5)
        );
    }
    Ok(())
}

fn print(what: &str, rounds: &[f64]) {
    let mut sorted = rounds.to_vec();
    sorted.sort_by(f64::total_cmp);
    println!(
        "{what:<45} {:>8.2} {:>8.2} {:>8.2}",
        quantile(&sorted, 0.0),
        quantile(&sorted, 0.5),
        quantile(&sorted, 1.0)
    );
}

/// One kept connection; what it reads is checked to be an answer.
struct Connection<'a> {
    stream: TcpStream,
    request: &'a [u8],
    buffer: Vec<u8>,
}

impl<'a> Connection<'a> {
    fn open(subject: &'a Subject) -> Result<Self> {
        let stream = TcpStream::connect(&subject.address)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, request: &subject.request, buffer: vec![0; 1 << 16] })
    }

    fn ask(&mut self) -> Result<()> {
        self.stream.write_all(self.request)?;
        let mut filled = 0;
        loop {
            let read = self.stream.read(&mut self.buffer[filled..])?;
            ensure!(read > 0, "the server closed the connection");
            filled += read;
            let Some(end) = self.buffer[..filled].windows(4).position(|four| four == b"\r\n\r\n") else {
                continue;
            };
            let head = std::str::from_utf8(&self.buffer[..end])?;
            ensure!(
                head.starts_with("HTTP/1.1 200"),
                "{head}\n{}",
                String::from_utf8_lossy(&self.buffer[end..filled])
            );
            let length = head
                .lines()
                .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
            let length: usize = length.context("the answer has no length")?;
            if filled >= end + 4 + length {
                let answer: Value = serde_json::from_slice(&self.buffer[end + 4..filled])?;
                ensure!(answer["outputs"][0]["data"][0].is_number(), "{answer}");
                return Ok(());
            }
        }
    }
}

/// Where the benchmark itself lies, so that it can start the floor as a program of its own.
fn this() -> Result<std::path::PathBuf> {
    std::env::current_exe().with_context(|| format!("where is this program? not in {}", path(".").display()))
}
