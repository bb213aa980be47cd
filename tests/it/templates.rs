//! Every template builds, passes its own test, and does what its README says.

use std::path::Path;
use std::process::Command;

use eyot_tests::{Server, path, with_python_tools};
use serde_json::json;

use crate::world::{World, step, text};

fn new(world: &World, language: &str, kind: &str, name: &str) -> std::path::PathBuf {
    let dir = world.dir.path().join(name);
    world.eyot.json(&["new", "--lang", language, "--kind", kind, name, "--dir", text(&dir)]).unwrap();
    let refused =
        world.eyot.refused(&["new", "--lang", language, "--kind", kind, name, "--dir", text(&dir)]).unwrap();
    assert_eq!(refused.kind, "conflict");
    dir
}

/// Runs a command in a project; guests of all templates share one target.
fn run(command: &mut Command, dir: &Path) -> String {
    command.current_dir(dir).env("CARGO_TARGET_DIR", path("target/templates"));
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Deploys the handler of a folder and asks it what every handler template answers.
fn handler(world: &World, server: &Server, push: &mut Command, name: &str, dir: &Path) {
    run(push, dir);
    world.eyot.json(&["deploy", &format!("{name}:0.1.0")]).unwrap();
    let ask = |values: &[f32]| {
        let input = json!({ "name": "x", "datatype": "FP32", "shape": [values.len()], "data": values });
        server.post(&format!("/v2/models/{name}/infer"), json!({ "inputs": [input] }).to_string()).unwrap()
    };
    let answer = ask(&[1.0, 3.0]);
    assert_eq!(
        (answer.status, &answer.json()["outputs"][0]["data"]),
        (200, &json!([-1.0, 1.0])),
        "{}",
        answer.text()
    );
    let refused = ask(&[]);
    assert_eq!((refused.status, refused.json()["error"].as_str().unwrap()), (400, "x has no element"));
}

/// Runs the pipeline of a folder; answers what every step template gives.
fn pipeline(world: &World, push: &mut Command, dir: &Path) {
    run(push, dir);
    let done = world.eyot.json(&["run", text(&dir.join("pipeline.toml"))]).unwrap();
    let outputs = &step(&done, "clean")["outputs"];
    assert_eq!(outputs["dropped"], 1, "{done:#}");
    let rows = outputs["rows"].as_str().unwrap().trim_start_matches("sha256:").to_owned();
    let rows = std::fs::read_to_string(world.eyot.data().join("registry/blobs/sha256").join(rows)).unwrap();
    assert_eq!(rows, "name,age\nAda,36\n");
}

#[test]
fn in_rust() {
    // Without a wasm target `cargo xtask components` has built nothing either, and says so.
    if eyot_tests::component("digits-steps").is_none() {
        return;
    }
    let world = World::new();
    let server = world.up();
    for (kind, name) in [("handler", "rusty-scores"), ("step", "rusty-rows")] {
        let dir = new(&world, "rust", kind, name);
        run(Command::new("cargo").args(["test", "--quiet", "--target", &host()]), &dir);
        run(&mut world.eyot.command(&["build"]), &dir);
        let mut push = world.eyot.command(&["push", "."]);
        match kind {
            "handler" => handler(&world, &server, &mut push, name, &dir),
            _ => pipeline(&world, &mut push, &dir),
        }
    }
}

#[test]
fn in_python() {
    let world = World::new();
    let server = world.up();
    for (kind, name) in [("handler", "scores"), ("step", "rows")] {
        let dir = new(&world, "python", kind, name);
        let mut build = world.eyot.command(&["build"]);
        let Some(build) = with_python_tools(&mut build) else { return };
        run(build, &dir);
        let sdk = dir.join("build/sdk");
        run(Command::new("python3").args(["-m", "unittest", "--quiet"]).env("PYTHONPATH", sdk), &dir);
        let mut push = world.eyot.command(&["push", "."]);
        match kind {
            "handler" => handler(&world, &server, &mut push, name, &dir),
            _ => pipeline(&world, &mut push, &dir),
        }
    }
}

#[test]
fn a_mistake_in_python_is_named_with_its_line() {
    let world = World::new();
    let dir = new(&world, "python", "step", "rows");
    std::fs::write(dir.join("app.py"), "import eyot\n\n@eyot.function\ndef f(x: dict): ...\n").unwrap();
    let mut build = world.eyot.command(&["build", "--json"]);
    let Some(build) = with_python_tools(&mut build) else { return };
    let output = build.current_dir(&dir).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("app.py: line 4: 'dict' cannot cross a component's boundary"), "{said}");
}

fn host() -> String {
    let output = Command::new("rustc").arg("-vV").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.lines().find_map(|line| line.strip_prefix("host: ")).unwrap().to_owned()
}
