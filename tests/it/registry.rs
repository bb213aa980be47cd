//! Strangers' tools against the registry of a real server: the scripts of registry/oci/clients.

use std::process::Command;

use eyot_tests::{path, program, python};

use crate::world::World;

#[test]
fn skopeo_oras_and_curl_push_and_pull() {
    let world = World::new();
    let server = world.up();
    let address = server.api.trim_start_matches("http://");
    let script = |name: &str| path("registry/oci/clients").join(name);
    let mut runs = Vec::new();
    for (tool, name) in [("skopeo", "skopeo.sh"), ("curl", "curl.sh")] {
        if program(tool).is_some() {
            let mut bash = Command::new("bash");
            bash.arg(script(name)).arg(address);
            runs.push((name, bash));
        }
    }
    if let Some(mut python) = python() {
        python.arg(script("oras_client.py")).arg(address);
        runs.push(("oras_client.py", python));
    }
    for (name, mut command) in runs {
        let output = command.output().unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
    drop(server);
    assert_eq!(world.eyot.json(&["verify"]).unwrap()["damaged"], serde_json::json!([]));
}
