//! Several inferences under way in one instance: `eyot:ml/models-async`, and handlers that are asynchronous.

use eyot_tests::{Server, fixture, held_out, path, prediction_request, with_python_tools};
use serde_json::{Value, json};

use crate::world::{World, text};

/// A server with the guest deployed as `o` over one of the fixtures: `chain`, which gains by company and is
/// never run in passing, or `heavy`, which takes long for what it is given.
fn served(world: &World, model: &str, settings: &[&str]) -> Option<Server> {
    if !world.push("testing-overlap") {
        return None;
    }
    let server = world.eyot.up_with(settings).unwrap();
    let model = format!("model={}", text(&fixture(model)));
    world.eyot.json(&["deploy", "testing-overlap:0.1.0", "--name", "o", "--model", &model]).unwrap();
    Some(server)
}

fn call(server: &Server, function: &str, arguments: &Value) -> Value {
    let answer = server.post(&format!("/fn/o/{function}"), arguments.to_string()).unwrap();
    assert_eq!(answer.status, 200, "{function} {arguments}: {}", answer.text());
    answer.json()
}

/// Predictions of a deployment of which at most so many inferences were under way at the same time.
fn at_once(server: &Server, deployment: &str, at_most: u32) -> u64 {
    let label = format!("deployment=\"{deployment}\",revision=\"1\",le=\"{at_most}\"");
    figure(server, "eyot_inferences_at_once_bucket", &label)
}

/// The sum of a figure over all of its labels that hold `label`.
fn figure(server: &Server, name: &str, label: &str) -> u64 {
    let metrics = server.get("/metrics").unwrap().text();
    let lines = metrics.lines().filter(|line| line.starts_with(&format!("{name}{{")) && line.contains(label));
    let number = |line: &str| line.rsplit(' ').next().and_then(|number| number.parse::<u64>().ok());
    lines.map(|line| number(line).unwrap_or_else(|| panic!("{line}"))).sum()
}

#[test]
fn inferences_started_at_once_are_under_way_together_and_give_the_same_bits() {
    let world = World::new();
    let Some(server) = served(&world, "chain", &["inference.threads=1"]) else { return };
    // One thread: while it runs the first, others come to wait, and then run as one where that pays.
    let mut asked = 0;
    while figure(&server, "eyot_model_batches_total", "") == 0 {
        assert!(asked < 100, "what waits together never runs as one");
        call(&server, "agrees", &json!({ "count": 8, "rows": 1 }));
        asked += 1;
    }
    call(&server, "agrees", &json!({ "count": 3, "rows": 500 }));
    assert_eq!(figure(&server, "eyot_inference_duration_seconds_count", "deployment=\"o\""), asked + 1);
    assert_eq!(at_once(&server, "o", 8), asked + 1);
    let world = World::new();
    let Some(server) = served(&world, "heavy", &["inference.threads=1"]) else { return };
    call(&server, "agrees", &json!({ "count": 8, "rows": 100 }));
    assert_eq!((at_once(&server, "o", 4), at_once(&server, "o", 8)), (0, 1), "eight, no fewer and no more");
}

#[test]
fn an_inference_that_is_given_up_before_its_turn_never_runs() {
    let world = World::new();
    let Some(server) = served(&world, "heavy", &["inference.threads=1"]) else { return };
    let runs = || figure(&server, "eyot_model_runs_total", "");
    let before = runs();
    call(&server, "gives-up", &json!({ "count": 5, "rows": 500 }));
    // The next one's turn comes after the thread has seen what waited before it.
    call(&server, "agrees", &json!({ "count": 1, "rows": 1 }));
    assert_eq!(figure(&server, "eyot_model_abandoned_total", ""), 5);
    assert_eq!(runs() - before, 3, "the one that was kept, and the next two");
    assert_eq!(call(&server, "races", &json!({ "rows": 40 })), json!(40));
}

#[test]
fn errors_are_those_that_a_waiting_call_hears() {
    let world = World::new();
    let Some(server) = served(&world, "chain", &["handlers.handles=20", "inference.threads=1"]) else {
        return;
    };
    let told = call(&server, "refusals", &json!({}));
    for (told, says) in told.as_array().unwrap().iter().zip([
        "InvalidInput: input 'x' is missing",
        "InvalidInput: there is no input 'z'",
        "InvalidInput: input 'x' is given twice",
        "InvalidInput: there is no input 'z'",
        "InvalidInput: input 'x' is FP32, not INT64",
        "InvalidInput: input 'x' has the shape [-1, 16], not [1, 15]",
    ]) {
        assert!(told.as_str().unwrap().starts_with(says), "{told} for {says}");
    }
    // No more of them than an instance may have handles.
    assert_eq!(call(&server, "crowds", &json!({ "count": 25, "rows": 100 })), json!([5, ["Unavailable"]]));
    assert_eq!(call(&server, "crowds", &json!({ "count": 20, "rows": 100 })), json!([0, []]));
}

#[test]
fn a_full_queue_and_a_deadline_end_those_that_they_concern() {
    for (setting, count, kind, refused) in [
        // Ten wait, and no more than a few have had their turn while the others came.
        ("inference.queue=10", 30, "Unavailable", 15..=20),
        // Together they take longer than there is time for.
        ("handlers.timeout=4s", 120, "Timeout", 1..=120),
    ] {
        let world = World::new();
        let Some(server) = served(&world, "heavy", &["inference.threads=1", setting]) else { return };
        let answer = call(&server, "crowds", &json!({ "count": count, "rows": 500 }));
        assert!(refused.contains(&answer[0].as_u64().unwrap()), "{setting}: {answer}");
        assert_eq!(answer[1], json!([kind]));
        call(&server, "agrees", &json!({ "count": 2, "rows": 1 }));
    }
}

#[test]
fn what_a_call_leaves_behind_ends_with_it() {
    let world = World::new();
    let Some(server) = served(&world, "heavy", &["inference.threads=1"]) else { return };
    let started = || figure(&server, "eyot_instances_started_total", "deployment=\"o\"");
    let before = started();
    for _ in 0..3 {
        call(&server, "agrees", &json!({ "count": 2, "rows": 1 }));
    }
    assert_eq!(started(), before, "an instance that has nothing under way is used again");
    for _ in 0..3 {
        assert_eq!(call(&server, "leaves", &json!({ "rows": 500 })), json!(true));
    }
    assert_eq!(started(), before + 2, "one that was left with something is not");
    call(&server, "agrees", &json!({ "count": 1, "rows": 1 }));
}

#[test]
fn a_handler_asks_two_models_at_once() {
    let world = World::new();
    let server = world.up();
    if !(world.push("digits-steps") && world.push("digits-vote")) {
        return;
    }
    let run = world.digits();
    let pipeline = path("components/examples/digits/pipeline.toml");
    world.eyot.json(&["run", text(&pipeline), "--param", "seed=8"]).unwrap();
    let models = ["--model", "one=models:/digits/1", "--model", "other=models:/digits/2"];
    world.eyot.json(&[&["deploy", "digits-vote:0.1.0"], &models[..]].concat()).unwrap();
    for (name, version) in [("one", 1), ("other", 2)] {
        world.eyot.json(&["deploy", &format!("models:/digits/{version}"), "--name", name]).unwrap();
    }
    let rows = held_out(&server, &run).unwrap();
    let asked = prediction_request(&rows);
    let ask = |name: &str| -> Value {
        let answer = server.post(&format!("/v2/models/{name}/infer"), asked.clone()).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    };
    let output = |answer: &Value, name: &str| -> Vec<f32> {
        let outputs = answer["outputs"].as_array().unwrap();
        let data = outputs.iter().find(|output| output["name"] == name).unwrap()["data"].as_array().unwrap();
        data.iter().map(|value| value.as_f64().unwrap() as f32).collect()
    };
    let (voted, one, other) = (ask("digits-vote"), ask("one"), ask("other"));
    let (first, second) = (output(&one, "probabilities"), output(&other, "probabilities"));
    let means: Vec<f32> = first.iter().zip(&second).map(|(one, other)| (one + other) / 2.0).collect();
    assert_eq!(output(&voted, "probabilities"), means);
    let right = |answer: &Value| {
        let labels = output(answer, "label");
        labels.iter().zip(&rows).filter(|(label, row)| **label as i64 == row.label).count()
    };
    assert!(
        right(&voted) >= right(&one).min(right(&other)),
        "two together know no less than the worse of them"
    );
    // So many rows that the first of the two is seldom done before the second is asked for.
    let asked = prediction_request(&vec![rows; 10].concat());
    let overlapped = || at_once(&server, "digits-vote", 2) > at_once(&server, "digits-vote", 1);
    let ask = || server.post("/v2/models/digits-vote/infer", asked.clone()).unwrap().status;
    assert!((0..20).any(|_| ask() == 200 && overlapped()), "it asks for one after the other");
}

#[test]
fn a_step_is_refused_what_no_digest_names() {
    let world = World::new();
    if !world.push("testing-overlap") {
        return;
    }
    let source =
        "[pipeline]\nname = \"p\"\n[steps.one]\ncomponent = \"testing-overlap:0.1.0\"\ncall = \"refusals\"\n";
    let refused = world.eyot.refused(&["run", &world.write("pipeline.toml", source)]).unwrap();
    assert!(
        refused.message.contains("imports 'eyot:ml/models-async@0.1.0', which is not granted"),
        "{refused:?}"
    );
}

#[test]
fn handlers_and_functions_in_python_wait_for_several_models() {
    let world = World::new();
    let folder = world.copy("components/testing/overlap-python");
    let mut build = world.eyot.command(&["build", text(&folder)]);
    let Some(build) = with_python_tools(&mut build) else { return };
    let output = build.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    world.eyot.json(&["push", text(&folder)]).unwrap();
    let server = world.eyot.up_with(&["inference.threads=1"]).unwrap();
    let (one, other) =
        (format!("one={}", text(&fixture("heavy"))), format!("other={}", text(&fixture("heavy"))));
    let deploy = ["deploy", "overlap-python:0.1.0", "--name", "o", "--model", &one, "--model", &other];
    world.eyot.json(&deploy).unwrap();
    world.eyot.json(&["deploy", text(&fixture("heavy")), "--name", "alone"]).unwrap();
    let data: Vec<f32> = (0..3200).map(|at| at as f32 / 32.0).collect();
    let asked = json!({ "inputs": [{ "name": "x", "datatype": "FP32", "shape": [200, 16], "data": data }] });
    let ask = |name: &str| server.post(&format!("/v2/models/{name}/infer"), asked.to_string()).unwrap();
    let (both, alone) = (ask("o"), ask("alone"));
    assert_eq!(both.status, 200, "{}", both.text());
    assert_eq!(both.json()["outputs"], alone.json()["outputs"], "the mean of the same is the same");
    assert_eq!((at_once(&server, "o", 1), at_once(&server, "o", 2)), (0, 1));
    let rows = json!([300, 100, 200, 500]);
    assert_eq!(call(&server, "each", &json!({ "rows": rows, "width": 16 })), rows);
    assert_eq!((at_once(&server, "o", 2), at_once(&server, "o", 4)), (1, 2));
    let refused = server.post("/fn/o/each", r#"{"rows": [1, 1], "width": 15}"#).unwrap();
    assert_eq!(refused.status, 422);
    assert!(refused.text().contains("input 'x' has the shape [-1, 16], not [1, 15]"), "{}", refused.text());
}
