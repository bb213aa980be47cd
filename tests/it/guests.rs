//! The guests of `components/testing`: what a component may do, must not do, and can see.

use std::fmt::Write as _;

use eyot_tests::{fixture, path};
use serde_json::{Value, json};

use crate::world::{World, step, text};

/// A pipeline of steps of one component: name, function, arguments as TOML.
fn pipeline(component: &str, inputs: &str, steps: &[(&str, &str, &str)]) -> String {
    let mut text = format!("[pipeline]\nname = \"guests\"\n{inputs}");
    for (name, function, with) in steps {
        write!(text, "\n[steps.{name}]\ncomponent = \"{component}:0.1.0\"\ncall = \"{function}\"\nwith = {{ {with} }}\n").unwrap();
    }
    text
}

#[test]
fn every_type_crosses_both_ways() {
    let world = World::new();
    if !world.push("testing-echo") {
        return;
    }
    world.write("blob.bin", vec![7; 100_000]);
    let scalars = "truth = true, small = 255, large = 9007199254740993, negative = -5, single = 0.1, double = 1e300, letter = 'é', text = 'a\"b'";
    let source = pipeline(
        "testing-echo",
        "[inputs]\nblob = { path = \"blob.bin\", media-type = \"application/x-blob\" }\n",
        &[
            ("scalars", "scalars", &format!("value = {{ {scalars} }}")),
            ("nested", "nested", "value = { pairs = [[1, 'x'], [2, 'y']] }"),
            ("maybe", "maybe", "value = 3"),
            ("copy", "copy", "file = { input = 'blob' }, times = 3"),
            ("all", "all", "files = { from = 'many.output' }"),
            ("many", "all", "files = []"),
        ],
    );
    let run = world.eyot.json(&["run", &world.write("pipeline.toml", source)]).unwrap();
    assert_eq!(
        step(&run, "scalars")["outputs"],
        json!({"truth": true, "small": 255, "large": 9_007_199_254_740_993_u64, "negative": -5, "single": 0.1, "double": 1e300, "letter": "é", "text": "a\"b"})
    );
    assert_eq!(step(&run, "nested")["outputs"], json!({"pairs": [[1, "x"], [2, "y"]], "scalars": null}));
    assert_eq!(step(&run, "maybe")["outputs"], json!({"output": 3}));
    let copied = step(&run, "copy")["outputs"]["output"].as_str().unwrap();
    let blob = world.eyot.data().join("registry/blobs/sha256").join(copied.trim_start_matches("sha256:"));
    assert_eq!(std::fs::read(blob).unwrap(), vec![7; 300_000]);
}

#[test]
fn what_is_invoked_ends_at_its_deadline() {
    let Some(wasm) = eyot_tests::component("testing-faults") else { return };
    let world = World::new();
    let told = world.eyot.refused(&["--set", "steps.timeout=300ms", "invoke", text(&wasm), "spin"]).unwrap();
    assert!(told.message.contains("did not answer before its deadline"), "{told:?}");
    assert_eq!(told.hint, "a call may take 300ms: raise steps.timeout, or make it do less in one call");
}

#[test]
fn a_fault_names_component_export_and_cause_and_fails_its_run_only() {
    let world = World::new();
    if !world.push("testing-faults") {
        return;
    }
    let digest =
        world.eyot.json(&["inspect", "testing-faults:0.1.0"]).unwrap()["digest"].as_str().unwrap().to_owned();
    let trap = "trapped: wasm trap: wasm `unreachable` instruction executed";
    for (function, with, says) in [
        ("panic", "message = 'no such row'", format!("{trap}; its last words: no such row")),
        ("spin", "", "did not answer before its deadline".to_owned()),
        ("exhaust", "", "ran out of memory".to_owned()),
        ("recover", "", format!("{trap}; its last words: the answer is missing")),
        ("exit", "status = 3", "exited with status".to_owned()),
        ("fail", "message = 'too few rows'", ": too few rows".to_owned()),
    ] {
        let mut source =
            pipeline("testing-faults", "", &[("faulty", function, with), ("fine", "fail", "message = 'x'")]);
        source = source.replace(
            "[steps.fine]",
            "timeout = \"300ms\"\nmemory = \"16 MiB\"\n[steps.fine]\nafter = [\"faulty\"]",
        );
        let file = world.write("pipeline.toml", source);
        let refused = world.eyot.refused(&["run", &file]).unwrap();
        let whole = format!("component {digest}, export eyot:component/steps#{function}");
        assert!(
            refused.message.contains(&whole) && refused.message.contains(&says),
            "{function}: {}",
            refused.message
        );
        assert!(refused.message.contains("step 'faulty'"), "{function}: {}", refused.message);
        if function != "fail" && function != "exit" {
            assert!(refused.message.contains("wasm backtrace:"), "{function}: {}", refused.message);
        }
        let runs = world.eyot.json(&["runs"]).unwrap();
        let run = runs
            .as_array()
            .unwrap()
            .iter()
            .find(|run| run["error"].as_str().is_some_and(|error| error.contains(&says)))
            .unwrap();
        assert_eq!(
            (&step(run, "faulty")["status"], &step(run, "fine")["status"]),
            (&json!("failed"), &json!("skipped"))
        );
    }
}

#[test]
fn a_step_sees_a_world_that_stands_still() {
    let observe = || -> Option<Value> {
        let world = World::new();
        if !world.push("testing-hermetic") {
            return None;
        }
        let steps = [
            ("one", "observe", "zero = 0.0"),
            ("two", "observe", "zero = -0.0"),
            ("nap", "nap", "seconds = 86400"),
        ];
        let file = world.write("pipeline.toml", pipeline("testing-hermetic", "", &steps));
        Some(world.eyot.json(&["run", &file]).unwrap())
    };
    let Some((first, second)) = observe().zip(observe()) else { return };
    let (one, two) = (&step(&first, "one")["outputs"], &step(&first, "two")["outputs"]);
    let expected = json!({
        "random": one["random"],
        "unix-nanoseconds": 946_684_800_000_000_000_u64,
        // A reading of the monotonic clock takes a microsecond.
        "elapsed-nanoseconds": 1000,
        "environment": [],
        "arguments": one["arguments"],
        "files": [],
        "nan-bits": 0x7fc0_0000,
    });
    assert_eq!(*one, expected);
    assert_eq!(one, &step(&second, "one")["outputs"], "the same on every machine");
    assert_ne!(one["random"], two["random"], "another step draws other numbers");
    // A day passes at once.
    assert_eq!(step(&first, "nap")["outputs"]["output"], 86_400_000_001_000_u64);
    assert_eq!(step(&first, "nap")["outputs"], step(&second, "nap")["outputs"]);
}

#[test]
fn wasi_nn_is_as_published_on_every_back_end() {
    let model = std::fs::read(fixture("add-fp32")).unwrap();
    for backend in ["tract", "auto"] {
        let world = World::new();
        if !world.push("testing-nn") {
            return;
        }
        world.write("model.onnx", &model);
        let inputs = "[inputs]\nmodel = { path = \"model.onnx\", media-type = \"application/onnx\" }\n";
        let source = pipeline(
            "testing-nn",
            inputs,
            &[("nn", "conformance", "model = { input = 'model' }"), ("report", "report", "")],
        );
        let file = world.write("pipeline.toml", source);
        let run = world.eyot.json(&["run", &file, "--set", &format!("inference.backend={backend}")]).unwrap();
        assert_eq!(step(&run, "nn")["outputs"]["output"], "pass", "{backend}");
        let report = &step(&run, "report")["outputs"]["output"];
        let count =
            |outcome: &str| report.as_array().unwrap().iter().filter(|one| one["outcome"] == outcome).count();
        let (passed, unsupported) = (count("pass"), count("unsupported"));
        println!(
            "wasi:nn conformance on {backend}: {passed} checks pass, {unsupported} are unsupported here"
        );
        // What a back end says it cannot do is honest, but not much may be left to that: one type, and two targets.
        assert!(passed >= 198 && unsupported <= 17 && count("fail") == 0, "{report:#}");
    }
}

#[test]
fn programs_of_the_crate_wasi_nn_run_unchanged() {
    let model = std::fs::read(fixture("add-fp32")).unwrap();
    for backend in ["tract", "auto"] {
        let world = World::new();
        if !world.push("testing-nn1-program") {
            return;
        }
        world.write("model.onnx", &model);
        let source = "[pipeline]\nname = \"nn1\"\n[inputs]\nmodel = { path = \"model.onnx\", media-type = \"application/onnx\" }\n\
            [steps.checks]\ncomponent = \"testing-nn1-program:0.1.0\"\nwith = { model = { input = 'model' } }\n\
            outputs = { outcome = { path = 'outcome', media-type = 'text/plain' } }\n";
        let file = world.write("pipeline.toml", source);
        let run = world.eyot.json(&["run", &file, "--set", &format!("inference.backend={backend}")]).unwrap();
        assert_eq!(step(&run, "checks")["status"], "succeeded", "{backend}: {run:#}");
    }
}

#[test]
fn a_handler_of_the_crate_wasi_nn_finds_the_model_that_it_was_granted() {
    let world = World::new();
    if !world.push("testing-nn1") {
        return;
    }
    let server = world.up();
    world.eyot.json(&["push", text(&fixture("add-fp32"))]).unwrap();
    world.eyot.json(&["deploy", "testing-nn1:0.1.0", "--model", "add=add-fp32"]).unwrap();
    let ask = |rows: usize| {
        let data: Vec<usize> = (0..2 * rows).collect();
        let input = json!({ "name": "x", "datatype": "FP32", "shape": [rows, 2], "data": data });
        server.post("/v2/models/testing-nn1/infer", json!({ "inputs": [input] }).to_string()).unwrap()
    };
    for _ in 0..3 {
        let answer = ask(2);
        assert_eq!(answer.json()["outputs"][0]["data"], json!([1.0, 2.0, 3.0, 4.0]), "{}", answer.text());
    }
    let refused = ask(0);
    assert_eq!((refused.status, refused.text().contains("Not Found")), (400, true), "{}", refused.text());
}

#[test]
fn what_a_step_reports_is_seen_and_kept_with_its_run() {
    let world = World::new();
    if !world.push("digits-steps") {
        return;
    }
    let file = path("components/examples/digits/pipeline.toml");
    let output = world.eyot.command(&["run", file.to_str().unwrap()]).output().unwrap();
    let (said, shown) = (String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
    assert!(said.contains("train        running") && said.contains("evaluate     succeeded"), "{said}");
    assert!(shown.contains("succeeded (7 steps, 0 from the cache)"), "{shown}");
    assert!(!said.contains('\x1b') && !shown.contains('\x1b'), "colours are for terminals");
}
