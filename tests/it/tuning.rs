//! How a deployment's models run and its instances are kept: said at deploy, kept, and shown.

use eyot_tests::{Server, fixture};
use serde_json::{Value, json};

use crate::world::{World, text};

fn good() -> String {
    let input = json!({ "name": "X", "datatype": "FP32", "shape": [1, 4], "data": [5.1, 3.5, 1.4, 0.2] });
    json!({ "inputs": [input] }).to_string()
}

fn figure(server: &Server, start: &str) -> String {
    let metrics = server.get("/metrics").unwrap().text();
    let line = metrics.lines().find(|line| line.starts_with(start));
    line.and_then(|line| line.rsplit(' ').next())
        .unwrap_or_else(|| panic!("no {start} in {metrics}"))
        .to_owned()
}

fn finding(world: &World, name: &str) -> Value {
    let findings = world.eyot.json(&["doctor"]).unwrap();
    findings.as_array().unwrap().iter().find(|one| one["name"] == name).unwrap().clone()
}

#[test]
fn settings_are_kept_with_the_revision_and_told_wherever_it_is_shown() {
    let world = World::new();
    let server = world.up();
    let said =
        ["--backend", "tract", "--intra-threads", "2", "--max-batch", "8", "--max-delay", "200us", "--pin"];
    let onnx = fixture("iris-forest");
    let deploy = ["deploy", text(&onnx), "--name", "iris"];
    let deployed = world.eyot.json(&[&deploy[..], &said].concat()).unwrap();
    let settings =
        json!({ "backend": "tract", "intra-threads": 2, "max-batch": 8, "max-delay": "200us", "pin": true });
    assert_eq!(deployed["inference"], settings);
    assert_eq!(server.post("/v2/models/iris/infer", good()).unwrap().status, 200);
    let table = world.eyot.text(&["deployments"]).unwrap();
    assert!(
        table.contains("tract 0.23 (cpu) backend=tract intra-threads=2 max-batch=8 max-delay=200us pin=true"),
        "{table}"
    );
    let found = finding(&world, "deployments")["found"].as_str().unwrap().to_owned();
    assert_eq!(found, "1 of 1 serve; 1 on tract 0.23 (cpu)");
    let labels = "{deployment=\"iris\",revision=\"1\",backend=\"tract\",provider=\"cpu\"}";
    assert_eq!(figure(&server, &format!("eyot_inference_duration_seconds_count{labels}")), "1");
    let metrics = server.get("/metrics").unwrap().text();
    let memory = metrics.lines().find(|line| line.starts_with("eyot_model_memory_bytes{")).unwrap();
    assert!(memory.contains("backend=\"tract\"") && memory.contains("pinned=\"true\""), "{memory}");
    // The same again is no new revision; another setting is.
    assert_eq!(world.eyot.json(&[&deploy[..], &said].concat()).unwrap()["revision"], 1);
    let other = world.eyot.json(&[&deploy[..], &["--backend", "tract"]].concat()).unwrap();
    assert_eq!((&other["revision"], &other["inference"]), (&json!(2), &json!({ "backend": "tract" })));
    server.stop().unwrap();
    let server = world.up();
    assert_eq!(
        figure(
            &server,
            "eyot_backend_info{deployment=\"iris\",revision=\"2\",model=\"model\",backend=\"tract\""
        ),
        "1"
    );
    server.stop().unwrap();
}

#[test]
fn an_instance_serves_as_often_as_was_said() {
    let world = World::new();
    if !world.push("testing-through") {
        return;
    }
    let server = world.up();
    let model = format!("model={}", text(&fixture("iris-forest")));
    for (name, reuse, started) in [("fresh", "1", 11), ("thrice", "3", 4)] {
        let deploy = ["deploy", "testing-through:0.1.0", "--name", name, "--model", &model, "--reuse", reuse];
        world.eyot.json(&deploy).unwrap();
        for _ in 0..10 {
            assert_eq!(server.post(&format!("/v2/models/{name}/infer"), good()).unwrap().status, 200);
        }
        // The first was started to be asked for its signature, and serves as well.
        let count = figure(&server, &format!("eyot_instances_started_total{{deployment=\"{name}\""));
        assert!(count.parse::<u64>().unwrap() <= started, "{name}: {count}");
        assert!(count.parse::<u64>().unwrap() + 1 >= started, "{name}: {count}");
    }
    server.stop().unwrap();
}

#[test]
fn settings_that_make_no_sense_are_refused_and_say_what_would() {
    let world = World::new();
    let server = world.up();
    let onnx = fixture("iris-forest");
    let deploy = ["deploy", text(&onnx), "--name", "iris"];
    for (said, says) in [
        (&["--backend", "magic"][..], "unknown variant `magic`, expected one of `auto`, `onnxruntime`"),
        (&["--precision", "f8"], "unknown variant `f8`"),
        (&["--tolerance", "0.1"], "--precision"),
        (&["--precision", "bf16", "--tolerance", "7"], "a tolerance of 7 makes no sense"),
        (&["--intra-threads", "0"], "intra-threads is 0"),
        (&["--max-batch", "0"], "max-batch is 0"),
        (&["--reuse", "0"], "reuse is 0"),
        (&["--max-delay", "5"], "'5' cannot be read"),
        (&["--target", "tpu"], "tpu"),
        (&["--backend", "tract", "--precision", "bf16"], "tract does not compute at bf16"),
        (&["--backend", "tract", "--target", "gpu"], "tract does not compute on gpu"),
    ] {
        let output = world.eyot.command(&[&deploy[..], said].concat()).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && told.contains(says), "{said:?}: {told}");
    }
    assert_eq!(world.eyot.json(&["deployments"]).unwrap(), json!([]));
    server.stop().unwrap();
}
