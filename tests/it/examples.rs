//! The examples in other languages than Rust, from source to what they are for.

use eyot_tests::{program, python, with_python_tools};
use serde_json::json;

use crate::world::{World, step, text};

fn passed(world: &World, arguments: &[&str]) {
    let ended = world.eyot.json(arguments).unwrap();
    let ended = ended.as_array().unwrap();
    assert!(!ended.is_empty() && ended.iter().all(|case| case["passed"] == true), "{ended:#?}");
}

#[test]
fn tickets_are_trained_tokenised_and_sorted_in_python() {
    let world = World::new();
    let dir = world.copy("components/examples/tickets");
    let Some(mut train) = python() else { return };
    let trained = train.arg("train.py").current_dir(&dir).output().unwrap();
    let said = String::from_utf8_lossy(&trained.stdout).into_owned();
    let accuracy =
        said.strip_prefix("accuracy ").and_then(|rest| rest.split(' ').next()?.parse::<f64>().ok());
    assert!(
        accuracy.is_some_and(|accuracy| accuracy > 0.7),
        "{said}{}",
        String::from_utf8_lossy(&trained.stderr)
    );

    let mut build = world.eyot.command(&["build", text(&dir)]);
    let Some(build) = with_python_tools(&mut build) else { return };
    let built = build.output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let grant = format!("tickets={}", text(&dir.join("model.onnx")));
    passed(&world, &["test", text(&dir), "--model", &grant]);
}

#[test]
fn trips_become_features_in_javascript() {
    if program("node").and(program("npm")).is_none() {
        return;
    }
    let world = World::new();
    let dir = world.copy("components/examples/trips");
    world.eyot.json(&["build", text(&dir)]).unwrap();
    passed(&world, &["test", text(&dir)]);
    world.eyot.json(&["push", text(&dir)]).unwrap();
    let run = world.eyot.json(&["run", text(&dir.join("pipeline.toml"))]).unwrap();
    assert_eq!(step(&run, "engineer")["outputs"]["rows"], 5);
}

#[test]
fn readings_are_shortened_by_a_program_in_c() {
    let world = World::new();
    let dir = world.copy("components/examples/readings");
    world.eyot.json(&["build", text(&dir)]).unwrap();
    world.eyot.json(&["push", text(&dir)]).unwrap();
    let pipeline = dir.join("pipeline.toml");
    for (width, expected) in [
        ("60", "start,count,min,mean,max\n0,3,20.5,20.7333333,21\n60,2,21.2,21.3,21.4\n300,1,19,19,19\n"),
        ("120", "start,count,min,mean,max\n0,5,20.5,20.96,21.4\n240,1,19,19,19\n"),
    ] {
        let run = world.eyot.json(&["run", text(&pipeline), "--param", &format!("width={width}")]).unwrap();
        let digest = step(&run, "shorten")["outputs"]["buckets"].as_str().unwrap().to_owned();
        let blob = world.eyot.data().join("registry/blobs/sha256").join(digest.trim_start_matches("sha256:"));
        assert_eq!(std::fs::read_to_string(blob).unwrap(), expected, "{width}");
    }
    let refused = world.eyot.refused(&["run", text(&pipeline), "--param", "width=0"]).unwrap();
    assert!(refused.message.contains("--width: must be a number of seconds above 0"), "{}", refused.message);
    let described = world.eyot.json(&["inspect", "readings:0.1.0"]).unwrap();
    assert_eq!(described["exports"], json!(["wasi:cli/run@0.2.12"]));
}
