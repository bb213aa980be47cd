//! Strangers' clients against a real server: the scripts of host/gateway/clients.

use eyot_tests::{fixture, path, python};

use crate::world::{World, text};

/// What the scripts ask for: models under the names of their files.
fn models() -> Vec<String> {
    let entries = std::fs::read_dir(path("tests/fixtures/onnx")).unwrap();
    let names = entries.filter_map(|entry| Some(entry.unwrap().path().file_stem()?.to_str()?.to_owned()));
    let mut names: Vec<_> = names
        .filter(|name| name.starts_with("same-") || ["add-fp32", "iris-forest"].contains(&name.as_str()))
        .collect();
    names.sort();
    names
}

#[test]
fn of_the_open_inference_protocol() {
    if python().is_none() {
        return;
    }
    let world = World::new();
    let server = world.eyot.up_with(&["gateway.model-control=true"]).unwrap();
    for name in models() {
        world.eyot.json(&["deploy", text(&fixture(&name)), "--name", &name]).unwrap();
    }
    // Two revisions that answer otherwise, for `revisions`.
    world.eyot.json(&["deploy", text(&fixture("add-fp32")), "--name", "split"]).unwrap();
    world.eyot.json(&["deploy", text(&fixture("center")), "--name", "split", "--no-traffic"]).unwrap();
    world.eyot.json(&["traffic", "split", "1=50", "2=50", "--sticky", "x-user"]).unwrap();
    let mut failures = Vec::new();
    for script in ["triton_http", "triton_grpc", "kserve_sdk", "revisions", "faults", "pasted"] {
        let Some(mut python) = python() else { return };
        let script = path("host/gateway/clients").join(script).with_extension("py");
        let output = python.arg(&script).arg(&server.gateway).output().unwrap();
        if !output.status.success() {
            failures.push(format!("{}: {}", script.display(), String::from_utf8_lossy(&output.stderr)));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Alone, and behind a component, whose memory the numbers go through.
#[test]
fn what_passes_through_a_model_is_each_clients_own() {
    let Some(mut python) = python() else { return };
    let world = World::new();
    if !world.push("testing-through") {
        return;
    }
    let server = world.up();
    let model = fixture("passed");
    world.eyot.json(&["deploy", text(&model), "--name", "passed"]).unwrap();
    let model = format!("model={}", text(&model));
    world.eyot.json(&["deploy", "testing-through:0.1.0", "--name", "through", "--model", &model]).unwrap();
    let script = path("host/gateway/clients/passing.py");
    let output = python.arg(&script).args([&server.gateway, "passed", "through"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    server.stop().unwrap();
}
