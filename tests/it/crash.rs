//! kill -9 at bad moments: after a restart the store verifies clean and the same command succeeds.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};

use eyot_tests::{component, path, wait_until};
use serde_json::json;

use crate::world::{World, statuses, step, text};

/// A component with `megabytes` of padding in a custom section, so that pushing it takes a while.
fn padded(wasm: &Path, megabytes: usize) -> Vec<u8> {
    let mut bytes = std::fs::read(wasm).unwrap();
    let content = [&[3][..], b"pad", &vec![0x5a; megabytes << 20]].concat();
    bytes.push(0);
    let mut length = content.len();
    while length >= 0x80 {
        bytes.push(length as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend(content);
    bytes
}

/// Whether a folder holds anything.
fn filled(dir: &Path) -> bool {
    std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some())
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

fn clean(world: &World) {
    let verified = world.eyot.json(&["verify"]).unwrap();
    assert_eq!(verified["damaged"], json!([]), "{verified}");
}

#[test]
fn during_a_push() {
    let Some(wasm) = component("testing-echo") else { return };
    let world = World::new();
    let file = world.write("padded.wasm", padded(&wasm, 64));
    let arguments = ["push", file.as_str(), "--as", "padded:1"];
    // Without a server the command is the process that writes; with one, the server is.
    for round in 0..4 {
        let mut push =
            world.eyot.command(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let partial = world.eyot.data().join("registry/tmp");
        // Each round dies at another moment: at the first sight of a partial blob, or some writes later.
        for _ in 0..=round * 40 {
            wait_until("some bytes are there", || filled(&partial) || push.try_wait().unwrap().is_some());
        }
        kill(push);
        clean(&world);
    }
    for _ in 0..3 {
        let server = world.up();
        let mut push =
            world.eyot.command(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let partial = world.eyot.data().join("registry/tmp");
        wait_until("some bytes are there", || filled(&partial) || push.try_wait().unwrap().is_some());
        server.kill().unwrap();
        kill(push);
        clean(&world);
    }
    let pushed = world.eyot.json(&arguments).unwrap();
    let listed = world.eyot.json(&["ls"]).unwrap();
    assert_eq!((&listed[0]["digest"], listed.as_array().unwrap().len()), (&pushed["digest"], 1));
    clean(&world);
}

#[test]
fn during_a_pipeline() {
    let world = World::new();
    if !world.push("digits-steps") {
        return;
    }
    let file = path("components/examples/digits/pipeline.toml");
    for moment in ["ingest       running", "split        succeeded", "train        running"] {
        let mut run = world
            .eyot
            .command(&["run", text(&file)])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(run.stderr.take().unwrap()).lines();
        // A step that an earlier round finished comes out of the cache and is not seen to run.
        let _ = lines.map_while(Result::ok).find(|line| line.starts_with(moment));
        kill(run);
        clean(&world);
    }
    let runs = world.eyot.json(&["runs"]).unwrap();
    for run in runs.as_array().unwrap() {
        assert_ne!(run["status"], "running", "{run:#}");
    }
    let run = world.digits();
    assert_eq!(run["status"], "succeeded", "{run:#}");
    assert_eq!(step(&run, "split")["status"], "cached");
    assert_eq!(statuses(&world.digits()), ["cached"; 7]);
    clean(&world);
}

#[test]
fn during_a_deploy() {
    let world = World::new();
    if !(world.push("digits-steps") && world.push("digits-image")) {
        return;
    }
    world.digits();
    let model = ["deploy", "models:/digits@champion"];
    let handler =
        ["deploy", "digits-image:0.1.0", "--name", "digits", "--model", "digits=models:/digits@champion"];
    world.eyot.json(&model).unwrap();
    for round in 0..4 {
        let server = world.up();
        let mut deploy =
            world.eyot.command(&handler).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let compiled = world.eyot.data().join("cache/compiled");
        let before = std::fs::read_dir(&compiled).unwrap().count();
        // The first round dies while the handler is compiled; the others around the database's commit.
        wait_until("it compiles", || {
            round > 0
                || std::fs::read_dir(&compiled).unwrap().count() != before
                || deploy.try_wait().unwrap().is_some()
        });
        for _ in 0..round * 200_000 {
            std::hint::spin_loop();
        }
        server.kill().unwrap();
        kill(deploy);
        clean(&world);
    }
    let server = world.up();
    let deployments = world.eyot.json(&["deployments"]).unwrap();
    assert_eq!(
        (&deployments[0]["state"], deployments.as_array().unwrap().len()),
        (&json!("serving"), 1),
        "{deployments:#}"
    );
    world.eyot.json(&handler).unwrap();
    let metadata = server.get("/v2/models/digits").unwrap().json();
    assert_eq!(metadata["platform"], "eyot_component", "{metadata:#}");
    server.stop().unwrap();
    clean(&world);
}
