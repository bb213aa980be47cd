//! A registry that holds many manifests: how it starts, and how its tags are listed.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use eyot_tests::Eyot;

use crate::at_once;
use crate::content::{Artifact, manifest};
use crate::http::Connection;

/// Manifests, each with a tag.
const MANY: usize = 100_000;
const REPOSITORY: &str = "bench/many";
const WRITERS: usize = 16;
/// Entries of a page that clients ask for.
const PAGE: usize = 1000;
const TIMES: usize = 5;

pub(crate) fn measure(dir: &Path) -> Result<()> {
    let eyot = Eyot::new(dir.join("many"))?;
    let server = eyot.up()?;
    let address = |server: &eyot_tests::Server| server.api.trim_start_matches("http://").to_owned();
    let started = Instant::now();
    push(&address(&server))?;
    let seconds = started.elapsed().as_secs_f64();
    println!("\n{MANY} manifests pushed, each with a tag: {:.0} a second", MANY as f64 / seconds);
    for (what, page) in [("pages of 1000", Some(PAGE)), ("as few pages as there are", None)] {
        let mut taken = Vec::new();
        for _ in 0..TIMES {
            taken.push(list(&address(&server), page)?);
        }
        print(&format!("listing {MANY} tags, {what}, ms"), taken);
    }
    server.stop()?;
    let mut taken = Vec::new();
    for _ in 0..TIMES {
        let started = Instant::now();
        let server = eyot.up()?;
        first_answer(&address(&server))?;
        taken.push(started.elapsed().as_secs_f64() * 1e3);
        server.stop()?;
    }
    print("start until the first manifest is answered, ms", taken);
    let mut taken = Vec::new();
    for number in 0..TIMES {
        let server = eyot.up()?;
        let mut connection = Connection::open(&address(&server))?;
        let manifest = manifest(&Artifact::new(64, 0).blob, (MANY + number) as u64).to_string();
        connection.push_manifest(REPOSITORY, &format!("later-{number}"), manifest.as_bytes())?;
        server.kill()?;
        let started = Instant::now();
        let server = eyot.up()?;
        first_answer(&address(&server))?;
        taken.push(started.elapsed().as_secs_f64() * 1e3);
        server.kill()?;
    }
    print("the same after a push and kill -9, ms", taken);
    Ok(())
}

fn push(address: &str) -> Result<()> {
    let artifact = Artifact::new(64, 0);
    artifact.push(&mut Connection::open(address)?, REPOSITORY, &tag(0))?;
    at_once(WRITERS, |writer| {
        let mut connection = Connection::open(address)?;
        for number in (writer..MANY).step_by(WRITERS).filter(|number| *number > 0) {
            let manifest = manifest(&artifact.blob, number as u64).to_string();
            connection.push_manifest(REPOSITORY, &tag(number), manifest.as_bytes())?;
        }
        Ok(())
    })
}

fn tag(number: usize) -> String {
    format!("build-{number:06}")
}

/// Lists all tags; answers the milliseconds.
fn list(address: &str, page: Option<usize>) -> Result<f64> {
    let mut connection = Connection::open(address)?;
    let first = format!("/v2/{REPOSITORY}/tags/list");
    let mut next = Some(page.map_or(first.clone(), |page| format!("{first}?n={page}")));
    let (started, mut found) = (Instant::now(), 0);
    while let Some(path) = next {
        let answer = connection.ask("GET", &path, "application/json", b"")?;
        ensure!(answer.status == 200, "{path}: {}", answer.status);
        let list: serde_json::Value = serde_json::from_slice(&answer.body)?;
        found += list["tags"].as_array().context("no tags")?.len();
        let link = answer.header("link").and_then(|link| link.strip_prefix('<')?.split_once('>'));
        next = link.map(|(path, _)| path.to_owned());
    }
    ensure!(found == MANY, "{found} tags were listed");
    Ok(started.elapsed().as_secs_f64() * 1e3)
}

fn first_answer(address: &str) -> Result<()> {
    let path = format!("/v2/{REPOSITORY}/manifests/{}", tag(MANY / 2));
    let answer = Connection::open(address)?.ask("GET", &path, "application/json", b"")?;
    ensure!(answer.status == 200, "{path}: {}", answer.status);
    Ok(())
}

fn print(what: &str, taken: Vec<f64>) {
    crate::row(what, taken, None);
}
