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

/// By several clients at once, on whichever back end is there, and on the one that always is.
#[test]
fn what_has_a_default_may_be_left_out_or_given() {
    if python().is_none() {
        return;
    }
    let world = World::new();
    let server = world.up();
    let model = fixture("defaults");
    for (name, options) in [("defaults", &[][..]), ("on-tract", &["--backend", "tract"])] {
        let deploy = ["deploy", text(&model), "--name", name];
        world.eyot.json(&[&deploy[..], options].concat()).unwrap();
        let Some(mut python) = python() else { return };
        let script = path("host/gateway/clients/defaults.py");
        let output = python.arg(&script).args([&server.gateway, name]).output().unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        for page in ["docs", "openapi.json"] {
            let page = server.get(&format!("/v2/models/{name}/{page}")).unwrap();
            assert!(page.status == 200 && page.text().contains("[10, 20]"), "{name}: {}", page.text());
        }
    }
    let shown = world.eyot.text(&["inspect", text(&model)]).unwrap();
    assert!(shown.contains("scale FP32 [], optional: 2 without it"), "{shown}");
    // Rows of a file: without columns of their names they stand, and with them each row has its own.
    for (csv, expected) in [
        ("a,b\n1,3\n2,4\n", [[12.0, 26.0], [14.0, 28.0]]),
        ("a,scale,b\n1,3,3\n2,-1,4\n", [[13.0, 29.0], [8.0, 16.0]]),
    ] {
        let input = world.write("rows.csv", csv);
        let output = text(&world.dir.path().join("rows.jsonl")).to_owned();
        world
            .eyot
            .json(&["predict", "defaults", "--input", &input, "--output", &output, "--restart"])
            .unwrap();
        let answers = std::fs::read_to_string(output).unwrap();
        let expected: Vec<_> = expected.iter().map(|row| serde_json::json!({ "y": row })).collect();
        let answers: Vec<serde_json::Value> =
            answers.lines().map(|row| serde_json::from_str(row).unwrap()).collect();
        assert_eq!(answers, expected, "{csv}");
    }
    server.stop().unwrap();
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
