//! The examples in other languages than Rust, from source to what they are for.

use std::path::Path;
use std::process::Command;

use eyot_tests::{Answer, Server, component, fixture, path, program, python, with_python_tools};
use serde_json::{Value, json};

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

/// Files as the elements of a BYTES tensor, in the protocol's binary form.
fn ask_for_files(server: &Server, files: &[Vec<u8>]) -> Answer {
    let lengths = files.iter().map(|file| u32::try_from(file.len()).unwrap().to_le_bytes());
    let data: Vec<u8> = lengths.zip(files).flat_map(|(length, file)| [&length, &file[..]].concat()).collect();
    let parameters = json!({ "binary_data_size": data.len() });
    let input =
        json!({ "name": "png", "datatype": "BYTES", "shape": [files.len()], "parameters": parameters });
    let head = json!({ "inputs": [input] }).to_string();
    let length = head.len().to_string();
    let headers = [("inference-header-content-length", length.as_str())];
    server.post_with("/v2/models/digits-png/infer", &headers, [head.into_bytes(), data].concat()).unwrap()
}

/// A command on an example in the checkout: what it builds goes where other guests are built.
fn in_place<'a>(command: &'a mut Command, example: &Path) -> &'a mut Command {
    command.current_dir(example).env("CARGO_TARGET_DIR", path("target/guests"))
}

fn output(command: &mut Command) -> Value {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

#[test]
fn digits_in_png_files_are_read_by_two_languages_in_one_component() {
    // Without a wasm target there is nothing in Rust to link.
    if component("digits-steps").is_none() {
        return;
    }
    let world = World::new();
    let server = world.up();
    let handler = path("components/examples/digits-png/handler");
    let mut build = world.eyot.command(&["build", "--json"]);
    let Some(build) = with_python_tools(&mut build) else { return };
    let built = output(in_place(build, &handler));
    assert_eq!((&built[0]["name"], &built[0]["missing"]), (&json!("digits-png"), &json!([])));

    // What was linked is told by the file and by the registry, under the digests of the parts.
    output(in_place(&mut world.eyot.command(&["push", ".", "--json"]), &handler));
    let described = world.eyot.json(&["inspect", "digits-png:0.1.0"]).unwrap();
    assert_eq!(described["digest"], built[0]["digest"]);
    let plug = path("components/examples/digits-png/png/build/png.wasm");
    let composition = json!({
        "socket": { "name": "digits-png", "digest": described["composition"]["socket"]["digest"] },
        "plugs": [{
            "name": "png:0.1.0",
            "digest": eyot_core::Digest::of(std::fs::read(plug).unwrap()),
            "fills": ["digits:png/functions"],
        }],
    });
    assert_eq!(described["composition"], composition);
    assert_eq!(described["exports"], json!(["eyot:ml/handler@0.1.0"]));

    world.eyot.json(&["push", text(&fixture("digits"))]).unwrap();
    world.eyot.json(&["deploy", "digits", "--name", "digits"]).unwrap();
    world.eyot.json(&["deploy", "digits-png:0.1.0", "--model", "digits=digits"]).unwrap();
    let rows = path("components/examples/digits/data/digits.csv");
    let mut write = Command::new("python3");
    write.arg(path("tests/python/png.py")).arg(&rows).arg("12").arg(world.dir.path());
    output(&mut write);
    let files: Vec<Vec<u8>> =
        (0..12).map(|row| std::fs::read(world.dir.path().join(format!("{row}.png"))).unwrap()).collect();
    let answer = ask_for_files(&server, &files);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let lines = std::fs::read_to_string(rows).unwrap();
    let labels = lines.lines().skip(1).take(12).map(|line| line.rsplit(',').next().unwrap().parse().unwrap());
    let labels: Vec<i64> = labels.collect();
    assert_eq!(answer.json()["outputs"][0]["data"], json!(labels), "{}", answer.text());
    for (file, says) in [
        (b"GIF89a".to_vec(), "file 1: no PNG file that can be read: it does not begin as one"),
        (files[1][..files[1].len() - 1].to_vec(), "file 1: no PNG file that can be read: it ends too early"),
    ] {
        let refused = ask_for_files(&server, &[files[0].clone(), file]);
        assert_eq!((refused.status, &refused.json()["error"]), (400, &json!(says)));
    }
}
