//! What Spin 2's SDKs build: the package `fermyon:spin@2.0.0`.

use serde_json::json;

use crate::world::World;

#[test]
fn stores_databases_and_variables_of_spin_2_are_those_of_today() {
    let world = World::new();
    if !world.push("testing-spin2") {
        return;
    }
    let server = world.up();
    let deploy = ["deploy", "testing-spin2:0.1.0", "--name", "s"];
    let granted = ["--key-value", "default", "--sqlite", "default", "--var", "greeting=hello"];
    let deployed = world.eyot.json(&[&deploy[..], &granted[..]].concat()).unwrap();
    assert_eq!(deployed["warnings"], json!(null), "{deployed:#}");
    let answer = server.post("/fn/s/run", "{}").unwrap();
    let expected = json!([
        "one",
        "[\"a\", \"b\"] true false",
        "no such store",
        "[\"n\", \"x\", \"s\", \"b\", \"z\"] [Value::Integer(7), Value::Real(0.5), Value::Text(\"é\"), Value::Blob([1, 2]), Value::Null]",
        "hello",
        "undefined",
        "no name",
    ]);
    assert_eq!((answer.status, answer.json()), (200, expected), "{}", answer.text());
    // Without grants it is deployed, told what is missing, and serves what needs none.
    let deployed = world.eyot.json(&["deploy", "testing-spin2:0.1.0", "--name", "bare"]).unwrap();
    let warnings = deployed["warnings"].as_array().unwrap();
    for (place, flag) in ["--key-value", "--sqlite"].iter().enumerate() {
        assert!(warnings[place].as_str().unwrap().contains(flag), "{deployed:#}");
    }
    assert_eq!(server.post("/fn/bare/idle", "{}").unwrap().json(), "idle");
    let refused = server.post("/fn/bare/run", "{}").unwrap();
    assert!(refused.status == 422 && refused.text().contains("NoSuchStore"), "{}", refused.text());
}
