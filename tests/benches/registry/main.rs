//! The registry beside Debian's docker-registry in the same run: `cargo xtask bench registry`.
//!
//! Small answers: each server has one processor to itself, the load generator another, and a round asks
//! each server in turn, so that what else the machine does hits all alike. Large blobs: everybody may
//! use every processor, beside what hashing and writing the same bytes costs with nothing around it.

#![allow(clippy::print_stdout)]

mod content;
mod docker;
mod http;
mod many;

use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use eyot_core::Digest;
use eyot_tests::{Eyot, Resident, Server, cpu, pin, quantile};

use content::{Artifact, LARGE, fill};
use docker::Docker;
use http::Connection;

/// Rounds, of which the median and the spread are shown.
const ROUNDS: usize = 5;
const CONNECTIONS: usize = 16;
/// Requests on each connection in a round.
const EACH: usize = 500;
/// Clients that push at once, and what each pushes.
const CLIENTS: usize = 64;
const PUSHED: usize = 16 << 20;

/// What is measured with the registries' folders under a path.
type Part = fn(&Path) -> Result<()>;

fn main() -> Result<()> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    ensure!(
        processors >= 2,
        "one processor for the server and one for the load: this machine has {processors}"
    );
    let dir = tempfile::tempdir()?;
    // Those that are named, as in `cargo bench --bench registry -- large`; without a name all.
    let named = eyot_tests::named_parts();
    let parts: [(&str, Part); 4] =
        [("small", small), ("large", large), ("memory", memory), ("many", many::measure)];
    for (name, part) in parts {
        if named.is_empty() || named.iter().any(|wanted| wanted == name) {
            part(dir.path()).context(name)?;
            pin(0..processors)?;
        }
    }
    Ok(())
}

/// A registry that is asked.
struct Subject {
    name: &'static str,
    address: String,
    pid: u32,
}

/// Both registries, fresh; they end when the first two are dropped.
fn start(dir: &Path) -> Result<(Server, Docker, [Subject; 2])> {
    let server = Eyot::new(dir.join("eyot"))?.up()?;
    let docker = Docker::start(dir)?;
    let address = server.api.trim_start_matches("http://").to_owned();
    let subjects = [
        Subject { name: "eyot", address, pid: server.pid() },
        Subject { name: "docker-registry", address: docker.address.clone(), pid: docker.pid() },
    ];
    Ok((server, docker, subjects))
}

/// Small answers under load.
fn small(dir: &Path) -> Result<()> {
    pin([0])?;
    let (server, _docker, subjects) = start(&dir.join("small"))?;
    pin([1])?;
    let artifact = Artifact::new(1024, 1);
    for subject in &subjects {
        artifact.push(&mut Connection::open(&subject.address)?, "bench/small", "1").context(subject.name)?;
    }
    let (manifest, blob) = (&artifact.manifest, &artifact.blob);
    let by_tag = "/v2/bench/small/manifests/1".to_owned();
    let by_digest = format!("/v2/bench/small/manifests/{}", Digest::of(manifest));
    let of_blob = format!("/v2/bench/small/blobs/{}", Digest::of(blob));
    for (what, path, expected) in [
        ("manifest by tag", by_tag, manifest),
        ("manifest by digest", by_digest, manifest),
        ("blob of 1 KiB", of_blob, blob),
    ] {
        println!(
            "\n{what}, {CONNECTIONS} connections, requests a second {:>12} {:>9} {:>9} {:>9}",
            "min", "median", "max", "µs CPU"
        );
        measure(&subjects, |subject| together(subject, &path, expected))?;
    }
    server.stop()
}

/// A round's requests a second, and the server's CPU time for each in µs.
fn together(subject: &Subject, path: &str, expected: &[u8]) -> Result<(f64, f64)> {
    let request = Connection::request(&subject.address, "GET", path);
    let (before, started) = (cpu(subject.pid)?, Instant::now());
    at_once(CONNECTIONS, |_| {
        let mut connection = Connection::open(&subject.address)?;
        (0..EACH).try_for_each(|_| connection.expect(&request, expected))
    })?;
    let requests = (CONNECTIONS * EACH) as f64;
    Ok((requests / started.elapsed().as_secs_f64(), (cpu(subject.pid)? - before) * 1e6 / requests))
}

/// Does something in several threads; fails if one did.
fn at_once(threads: usize, work: impl Fn(usize) -> Result<()> + Sync) -> Result<()> {
    std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..threads).map(|number| scope.spawn(move || work(number))).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap_or_else(|_| bail!("a thread panicked")))
    })
}

/// Rounds over all subjects in turn; the first of each is not counted.
fn measure(subjects: &[Subject], round: impl Fn(&Subject) -> Result<(f64, f64)>) -> Result<()> {
    let mut taken = vec![(Vec::new(), Vec::new()); subjects.len()];
    for number in 0..=ROUNDS {
        for (subject, (main, beside)) in subjects.iter().zip(&mut taken) {
            let (one, other) = round(subject).context(subject.name)?;
            if number > 0 {
                main.push(one);
                beside.push(other);
            }
        }
    }
    for (subject, (main, mut beside)) in subjects.iter().zip(taken) {
        beside.sort_by(f64::total_cmp);
        row(subject.name, main, Some(quantile(&beside, 0.5)));
    }
    Ok(())
}

/// A line of a table: the least, the median and the most of some rounds.
fn row(what: &str, mut rounds: Vec<f64>, beside: Option<f64>) {
    rounds.sort_by(f64::total_cmp);
    let at = |fraction| quantile(&rounds, fraction);
    let beside = beside.map_or_else(String::new, |beside| format!("{beside:>9.1}"));
    println!("{what:<52} {:>9.0} {:>9.0} {:>9.0} {beside}", at(0.0), at(0.5), at(1.0));
}

/// Blobs of 512 MiB.
fn large(dir: &Path) -> Result<()> {
    let (server, _docker, subjects) = start(&dir.join("large"))?;
    println!("\n{} MiB, MB a second {:>42} {:>9} {:>9}", LARGE >> 20, "min", "median", "max");
    let mut bytes = vec![0; LARGE];
    let (mut hashed, mut written) = (Vec::new(), Vec::new());
    let mut taken: [(Vec<f64>, Vec<f64>); 2] = Default::default();
    for round in 0..ROUNDS {
        // New bytes for each round: what a registry has already is not pushed again.
        fill(&mut bytes, round as u64 + 1);
        let started = Instant::now();
        let digest = Digest::of(&bytes);
        hashed.push(rate(started));
        written.push(write(dir, &bytes)?);
        for (subject, (pushed, pulled)) in subjects.iter().zip(&mut taken) {
            let mut connection = Connection::open(&subject.address)?;
            let started = Instant::now();
            connection.push_blob("bench/large", &digest, &bytes).context(subject.name)?;
            pushed.push(rate(started));
            let request =
                Connection::request(&subject.address, "GET", &format!("/v2/bench/large/blobs/{digest}"));
            let started = Instant::now();
            connection.expect(&request, &bytes).context(subject.name)?;
            pulled.push(rate(started));
        }
    }
    row("floor: sha256 of the bytes in memory, one thread", hashed, None);
    row("floor: writing them to a file, with fsync", written, None);
    for (subject, (pushed, pulled)) in subjects.iter().zip(taken) {
        row(&format!("push, {}", subject.name), pushed, None);
        row(&format!("pull, {}", subject.name), pulled, None);
    }
    server.stop()
}

fn rate(started: Instant) -> f64 {
    LARGE as f64 / 1e6 / started.elapsed().as_secs_f64()
}

fn write(dir: &Path, bytes: &[u8]) -> Result<f64> {
    let started = Instant::now();
    let mut file = tempfile::tempfile_in(dir)?;
    bytes.chunks(1 << 20).try_for_each(|piece| file.write_all(piece))?;
    file.sync_all()?;
    Ok(rate(started))
}

/// Memory while many clients push at once.
fn memory(dir: &Path) -> Result<()> {
    let (server, _docker, subjects) = start(&dir.join("memory"))?;
    println!(
        "\n{CLIENTS} clients push {} MiB each{:>27} {:>9} {:>9}",
        PUSHED >> 20,
        "idle MiB",
        "peak MiB",
        "MB/s"
    );
    let mut bytes = vec![0; PUSHED];
    fill(&mut bytes, 77);
    for subject in &subjects {
        // One push beforehand: what is loaded once is not what a push takes.
        let digest = Digest::of(&bytes);
        Connection::open(&subject.address)?.push_blob("bench/memory", &digest, &bytes)?;
        let idle = Resident::of(subject.pid)?;
        Resident::forget_peak(subject.pid)?;
        let started = Instant::now();
        at_once(CLIENTS, |number| {
            let mut bytes = bytes.clone();
            bytes[..8].copy_from_slice(&(number as u64 + 1).to_le_bytes());
            let digest = Digest::of(&bytes);
            Connection::open(&subject.address)?.push_blob("bench/memory", &digest, &bytes)
        })
        .context(subject.name)?;
        let seconds = started.elapsed().as_secs_f64();
        let peak = Resident::of(subject.pid)?.peak;
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        println!(
            "{:<52} {:>9.1} {:>9.1} {:>9.0}   {:+.1} MiB",
            subject.name,
            mib(idle.now),
            mib(peak),
            (CLIENTS * PUSHED) as f64 / 1e6 / seconds,
            mib(peak) - mib(idle.now)
        );
    }
    server.stop()
}
