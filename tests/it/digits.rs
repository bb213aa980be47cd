//! From a CSV file to predictions over HTTP.

use eyot_core::Digest;
use eyot_tests::{Digit, Server, fixture, held_out, path, prediction_request, python};
use serde_json::{Value, json};

use crate::world::{World, statuses, step, text};

fn label(server: &Server, deployment: &str, rows: &[Digit]) -> Vec<i64> {
    let answer = server.post(&format!("/v2/models/{deployment}/infer"), prediction_request(rows)).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    integers(&answer.json()["outputs"][0])
}

fn integers(output: &Value) -> Vec<i64> {
    output["data"].as_array().unwrap().iter().map(|value| value.as_i64().unwrap()).collect()
}

#[test]
fn trains_registers_deploys_and_predicts_like_onnxruntime() {
    let world = World::new();
    let server = world.up();
    if !world.push("digits-steps") {
        return;
    }
    let run = world.digits();
    assert_eq!(run["status"], "succeeded", "{run:#}");
    assert_eq!(statuses(&run), ["succeeded"; 7]);
    let again = world.digits();
    assert_eq!(statuses(&again), ["cached"; 7]);
    for step in again["steps"].as_array().unwrap() {
        let before = run["steps"].as_array().unwrap().iter().find(|one| one["step"] == step["step"]).unwrap();
        assert_eq!(step["outputs"], before["outputs"]);
    }

    let deployed = world.eyot.json(&["deploy", "models:/digits@champion"]).unwrap();
    assert_eq!((&deployed["name"], &deployed["revision"]), (&json!("digits"), &json!(1)));
    let rows = held_out(&server, &run).unwrap();
    let together = label(&server, "digits", &rows);
    let right = rows.iter().zip(&together).filter(|(row, label)| row.label == **label).count();
    let accuracy = right as f64 / rows.len() as f64;
    assert!(accuracy >= 0.95, "{accuracy}");
    assert_eq!(
        step(&run, "evaluate")["outputs"]["accuracy"],
        json!(accuracy),
        "inside of the pipeline and over HTTP"
    );

    let Some(mut python) = python() else { return };
    let model = step(&run, "export")["outputs"]["model"].as_str().unwrap();
    let onnx = server.api_get(&format!("/v2/models/digits/blobs/{model}")).unwrap().body;
    let files = [world.write("model.onnx", onnx), world.write("rows.csv", b"")];
    let id = run["id"].as_str().unwrap();
    world.eyot.json(&["runs", id, "--get", "split.test", "--out", &files[1]]).unwrap();
    for (artifact, says) in
        [("split", "names no output"), ("split.none", "gave no artifact 'none'"), ("a.b", "has no step 'a'")]
    {
        let refused = world.eyot.refused(&["runs", id, "--get", artifact, "--out", &files[1]]).unwrap();
        assert!(refused.message.contains(says), "{}", refused.message);
    }
    let output = python.arg(path("tests/python/evaluate.py")).args(files).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let reference: Value = serde_json::from_slice(&output.stdout).unwrap();
    for (index, row) in rows.iter().enumerate() {
        let answer = server
            .post("/v2/models/digits/infer", prediction_request(std::slice::from_ref(row)))
            .unwrap()
            .json();
        assert_eq!(answer["outputs"][0]["data"][0], reference["label"][index], "row {index}");
        let chances = answer["outputs"][1]["data"].as_array().unwrap().iter();
        for (ours, theirs) in chances.zip(reference["probabilities"][index].as_array().unwrap()) {
            let difference = (ours.as_f64().unwrap() - theirs.as_f64().unwrap()).abs();
            assert!(difference < 1e-5, "row {index}: {ours} {theirs}");
        }
    }
}

#[test]
fn a_handler_works_before_and_after_its_model() {
    let world = World::new();
    let server = world.up();
    if !(world.push("digits-steps") && world.push("digits-image")) {
        return;
    }
    let run = world.digits();
    let grant = "digits=models:/digits@champion";
    world.eyot.json(&["deploy", "digits-image:0.1.0", "--model", grant]).unwrap();
    world.eyot.json(&["deploy", "models:/digits@champion"]).unwrap();
    let rows = held_out(&server, &run).unwrap();
    let rows = &rows[..40];
    // Multiples of 17 survive the way to 255 and back, so both see the same numbers.
    let exact = |pixel: &u8| if *pixel >= 8 { 15 } else { 0 };
    let coarse: Vec<Digit> = rows
        .iter()
        .map(|row| Digit { pixels: row.pixels.iter().map(exact).collect(), label: row.label })
        .collect();
    let dark = |row: &Digit| {
        (0..1024)
            .map(|index| f64::from(row.pixels[index / 128 * 8 + index % 32 / 4]) / 16.0 * 255.0)
            .map(|grey| grey.round() as u8)
            .collect::<Vec<_>>()
    };
    let pictures: Vec<u8> = coarse.iter().flat_map(dark).collect();
    let light: Vec<u8> = pictures.iter().map(|grey| 255 - grey).collect();
    let expected = label(&server, "digits", &coarse);
    for pixels in [pictures, light] {
        let input =
            json!({ "name": "image", "datatype": "UINT8", "shape": [rows.len(), 32, 32], "data": pixels });
        let answer =
            server.post("/v2/models/digits-image/infer", json!({ "inputs": [input] }).to_string()).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        let [digit, probability, name] =
            <[Value; 3]>::try_from(answer.json()["outputs"].as_array().unwrap().clone()).unwrap();
        assert_eq!(integers(&digit), expected);
        assert!(
            probability["data"]
                .as_array()
                .unwrap()
                .iter()
                .all(|chance| (0.1..=1.0).contains(&chance.as_f64().unwrap()))
        );
        let names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];
        let expected: Vec<_> = expected.iter().map(|digit| names[usize::try_from(*digit).unwrap()]).collect();
        assert_eq!(name["data"], json!(expected));
    }
    // The model that it needs was not granted.
    let refused = server.post("/v2/models/digits/infer", "{}").unwrap();
    assert_eq!(refused.status, 400);
    let refused = world.eyot.refused(&["deploy", "digits-image:0.1.0", "--name", "without"]).unwrap();
    assert!(refused.message.contains("opens the model 'digits', which it was not granted"), "{refused:?}");
    assert_eq!(server.get("/v2/models/without/ready").unwrap().status, 404);
}

#[test]
fn a_run_without_a_server_gives_the_same_bytes() {
    let (local, served) = (World::new(), World::new());
    let server = served.up();
    if !(local.push("digits-steps") && served.push("digits-steps")) {
        return;
    }
    let (local_run, served_run) = (local.digits(), served.digits());
    let kept = Digest::of(std::fs::read(fixture("digits")).unwrap());
    assert_eq!(
        step(&local_run, "export")["outputs"]["model"],
        kept.to_string(),
        "the bytes that another machine wrote"
    );
    for name in ["ingest", "split", "train", "export", "evaluate"] {
        let (one, other) = (step(&local_run, name), step(&served_run, name));
        assert_eq!((&one["outputs"], &one["cache_key"]), (&other["outputs"], &other["cache_key"]), "{name}");
    }
    drop(server);
    let lineage = local.eyot.text(&["runs", local_run["id"].as_str().unwrap(), "--lineage"]).unwrap();
    let model = step(&local_run, "export")["outputs"]["model"].as_str().unwrap();
    for edge in
        [format!("step export -> {model}  model"), "step register -> models:/digits/1  registered".to_owned()]
    {
        assert!(lineage.contains(&edge), "{lineage}");
    }
}

#[test]
fn another_seed_is_another_model_and_a_bad_one_is_not_registered() {
    let world = World::new();
    if !world.push("digits-steps") {
        return;
    }
    let file = path("components/examples/digits/pipeline.toml");
    let first = world.digits();
    let other = world.eyot.json(&["run", text(&file), "--param", "seed=8"]).unwrap();
    assert_eq!(step(&other, "ingest")["status"], "cached");
    assert_eq!(step(&other, "train")["status"], "succeeded");
    assert_ne!(step(&other, "export")["outputs"], step(&first, "export")["outputs"]);
    assert_eq!(step(&other, "register")["outputs"]["version"], 2);
    let refused = world.eyot.refused(&["run", text(&file), "--param", "minimum-accuracy=1.01"]).unwrap();
    assert!(refused.message.contains("below the minimum of 1.01"), "{}", refused.message);
    let model = world.eyot.json(&["models", "digits"]).unwrap();
    assert_eq!(model["versions"].as_array().unwrap().len(), 2);
}
