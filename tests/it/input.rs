//! Wrong input, through every door: named, answered with what would be right, and leaving nothing behind.

use eyot_core::Digest;
use eyot_tests::fixture;
use serde_json::{Value, json};

use crate::world::{World, text};

/// A core module, whole and valid, which imports what no component is given: `env.secret`.
const MODULE: &[u8] = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x02\x0e\x01\x03env\x06secret\0\0";

#[test]
fn what_cannot_be_pushed_is_refused_and_not_stored() {
    let world = World::new();
    let server = world.up();
    let iris = std::fs::read(fixture("iris-forest")).unwrap();
    let cut = world.write("cut.onnx", &iris[..iris.len() / 2]);
    for (file, kind, says) in [
        ("missing.wasm".to_owned(), "not_found", "missing.wasm"),
        (world.write("empty.wasm", b""), "invalid", "no wasm component"),
        (world.write("module.wasm", MODULE), "invalid", "cannot become a component"),
        (world.write("text.wasm", b"#!/bin/sh"), "invalid", "no wasm component"),
        (world.write("text.onnx", b"hello"), "invalid", "no ONNX model"),
        (world.write("pickle.onnx", b"\x80\x04\x95"), "invalid", "a pickle, which is never loaded"),
        (cut, "invalid", "cut.onnx"),
        (text(&fixture("unknown-op")).to_owned(), "", "Teleport"),
        (text(&fixture("external")).to_owned(), "unsupported", "lies in another file"),
        (world.write("notes.txt", b"x"), "invalid", "neither .wasm nor .onnx"),
    ] {
        let refused = world.eyot.refused(&["push", &file]).unwrap();
        assert!(refused.message.contains(says), "{file}: {}", refused.message);
        assert!(kind.is_empty() || refused.kind == kind, "{file}: {}", refused.kind);
    }
    assert_eq!(world.eyot.json(&["ls"]).unwrap(), json!([]));
    drop(server);
    assert_eq!(world.eyot.json(&["verify"]).unwrap()["checked"], 0);
}

#[test]
fn what_cannot_be_deployed_changes_nothing() {
    let world = World::new();
    let server = world.up();
    world.eyot.json(&["deploy", text(&fixture("iris-forest")), "--name", "iris"]).unwrap();
    let absent = format!("iris@{}", Digest::of("absent"));
    for (arguments, kind, says) in [
        (vec!["deploy", "nothing:1", "--name", "iris"], "not_found", "there is no 'nothing:1'"),
        (vec!["deploy", absent.as_str(), "--name", "iris"], "not_found", "there is no 'iris@sha256:"),
        (vec!["deploy", "iris@sha256:12", "--name", "iris"], "invalid", "sha256"),
        (vec!["deploy", "models:/iris@champion", "--name", "iris"], "not_found", "iris"),
        (vec!["deploy", "missing.onnx", "--name", "iris"], "not_found", "missing.onnx"),
        (vec!["deploy", "iris-forest", "--name", "Not A Name"], "", ""),
        (vec!["deploy", "iris-forest", "--model", "a=iris-forest"], "invalid", "granted"),
        (vec!["undeploy", "none"], "not_found", "there is no deployment 'none'"),
        (vec!["predict", "none", "{}"], "not_found", "there is no model 'none'"),
    ] {
        let command = world.eyot.command(&[&arguments[..], &["--json"]].concat()).output().unwrap();
        let said = String::from_utf8_lossy(&command.stderr);
        assert!(!command.status.success() && said.contains(says), "{arguments:?}: {said}");
        assert!(kind.is_empty() || said.contains(&format!("\"kind\": \"{kind}\"")), "{arguments:?}: {said}");
    }
    let deployments = world.eyot.json(&["deployments"]).unwrap();
    assert_eq!(deployments.as_array().unwrap().len(), 1);
    assert_eq!((&deployments[0]["revision"], &deployments[0]["state"]), (&json!(1), &json!("serving")));
    assert_eq!(server.post("/v2/models/iris/infer", good().to_string()).unwrap().status, 200);
}

fn good() -> Value {
    json!({ "inputs": [{ "name": "X", "datatype": "FP32", "shape": [1, 4], "data": [5.1, 3.5, 1.4, 0.2] }] })
}

/// `good()` with one field of its input replaced.
fn with(field: &str, value: Value) -> String {
    let mut request = good();
    request["inputs"][0][field] = value;
    request.to_string()
}

#[test]
fn a_wrong_request_is_a_4xx_that_names_what_is_wrong() {
    let world = World::new();
    let server = world.up();
    world.eyot.json(&["deploy", text(&fixture("iris-forest")), "--name", "iris"]).unwrap();
    let infer = "/v2/models/iris/infer";
    for (path, body, status, says) in [
        (infer, with("datatype", json!("FP64")), 400, "input 'X' is FP32, not FP64"),
        (infer, with("datatype", json!("FLOAT")), 400, "'FLOAT' is no datatype"),
        (infer, with("shape", json!([1, 3])), 400, "input 'X'"),
        (infer, with("shape", json!([4])), 400, "input 'X' has the shape [-1, 4], not [4]"),
        (infer, with("shape", json!([-1, 4])), 400, "-1"),
        (infer, with("name", json!("Y")), 400, "there is no input 'Y'; inputs are 'X'"),
        (infer, with("data", json!([1, 2, 3])), 400, "input 'X': its shape has 4 elements, its data 3"),
        (infer, with("data", json!([1, 2, 3, "4"])), 400, "element 3 is \"4\""),
        (infer, with("data", json!([1, 2, 3, {}])), 400, "element 3 is {"),
        (infer, with("data", json!(null)), 400, "input 'X': it has no 'data'"),
        (infer, with("data", json!([[1, 2], [3]])), 400, "ragged"),
        (infer, good().to_string().replace("5.1", "1e400"), 400, "element 0"),
        (infer, json!({ "inputs": [] }).to_string(), 400, "input 'X' is missing"),
        (infer, json!({}).to_string(), 400, "inputs"),
        (infer, "{\"inputs\": [".to_owned(), 400, "cannot be read"),
        (infer, "\u{0}".to_owned(), 400, "cannot be read"),
        (infer, String::new(), 400, "no body"),
        (infer, "[".repeat(100_000), 400, "cannot be read"),
        ("/v2/models/none/infer", good().to_string(), 404, "there is no model 'none'; deployed are: iris"),
        ("/v2/models/iris/versions/9/infer", good().to_string(), 404, "no version '9'"),
        ("/v2/models/iris/inferr", good().to_string(), 404, "there is no route"),
    ] {
        let answer = server.post(path, body.clone()).unwrap();
        let shown: String = body.chars().take(120).collect();
        assert_eq!(answer.status, status, "{path} {shown}: {}", answer.text());
        let error = answer.json()["error"].as_str().unwrap_or_default().to_owned();
        assert!(error.contains(says), "{path} {shown}: {error}");
    }
    let huge = vec![b' '; 100_000_000];
    let answer = server.post(infer, huge).unwrap();
    assert_eq!(
        (answer.status, answer.text().contains("larger than 64 MiB")),
        (413, true),
        "{}",
        answer.text()
    );
    let answer = server.post(infer, good().to_string()).unwrap();
    assert_eq!(answer.status, 200);
}

#[test]
fn a_wrong_pipeline_is_refused_with_its_place_before_anything_runs() {
    let world = World::new();
    let head = "[pipeline]\nname = \"p\"\n";
    for (source, says) in [
        ("[pipeline\n".to_owned(), "pipeline.toml:1:"),
        (format!("{head}colour = \"red\"\n"), "pipeline.toml:3:1: unknown field `colour`"),
        (
            format!("{head}[steps.a]\ncomponent = \"absent:1\"\n"),
            "pipeline.toml:4:13: there is no 'absent:1' in the registry",
        ),
        (format!("{head}[steps.a]\ncomponent = \"Absent\"\n"), "pipeline.toml:4:13:"),
        (
            format!("{head}[steps.a]\nregister = \"m\"\nmodel = {{ from = \"b.x\" }}\n"),
            "pipeline.toml:5:9: there is no step 'b'",
        ),
        (format!("{head}[inputs]\nd = {{ path = \"absent.csv\" }}\n"), "absent.csv"),
        (format!("{head}[inputs]\nd = {{ path = \"../../etc/passwd\" }}\n"), "leaves the pipeline's folder"),
        (head.to_owned(), "the pipeline has no step"),
    ] {
        let file = world.write("pipeline.toml", &source);
        let refused = world.eyot.refused(&["run", &file]).unwrap();
        assert!(refused.message.contains(says), "{source}: {}", refused.message);
    }
    let missing = world.eyot.refused(&["run", "no-such-pipeline.toml"]).unwrap();
    assert_eq!((missing.kind.as_str(), missing.code), ("not_found", 3));
    assert_eq!(world.eyot.json(&["runs"]).unwrap(), json!([]));
}

#[test]
fn an_unknown_key_is_an_error_wherever_it_stands() {
    let world = World::new();
    let file = world.write("eyot.toml", "[gateway]\nqueu = 7\n");
    let component = world.write(
        "component.toml",
        "[component]\nname = \"a\"\nversion = \"1\"\nlanguage = \"rust\"\ncolour = 1\n",
    );
    for (arguments, says) in [
        (vec!["config", "--config", &file], "line 2"),
        (vec!["config", "--config", &component], "unknown field `colour`"),
        (vec!["config", "--set", "gateway.queu=7"], "there is no option 'gateway.queu'"),
        (vec!["config", "--set", "gateway.queue=many"], "'many' is no whole number"),
        (vec!["config", "--config", "absent.toml"], "absent.toml"),
    ] {
        let refused = world.eyot.refused(&arguments).unwrap();
        assert!(refused.message.contains(says), "{arguments:?}: {}", refused.message);
    }
    let output = world.eyot.command(&["config"]).env("EYOT_GATEWAY__QUEU", "7").output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("EYOT_GATEWAY__QUEU"), "{output:?}");
}
