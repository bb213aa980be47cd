//! A server that is starting, and the commands that want it.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use eyot_tests::{fixture, program, wait_until};
use serde_json::Value;

use crate::world::{World, text};

/// Two ports that are free now.
fn free_ports() -> [String; 2] {
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().to_string())
}

/// A server in the background, ended with the test.
struct Detached(libc::pid_t);

impl Detached {
    fn new(said: &Value) -> Self {
        Self(said["pid"].as_i64().unwrap().try_into().unwrap())
    }

    fn signal(&self, signal: i32) -> bool {
        // SAFETY: sends a signal to a server that this test started.
        unsafe { libc::kill(self.0, signal) == 0 }
    }
}

impl Drop for Detached {
    fn drop(&mut self) {
        self.signal(libc::SIGKILL);
    }
}

/// What the README says, pasted at once.
const PASTE: &str = r#"
eyot up > "$EYOT_DATA.log" 2>&1 &
eyot deploy "$MODEL" --name iris
curl -sf "http://$EYOT_GATEWAY__LISTEN/v2/models/iris/infer" -d \
  '{"inputs": [{"name": "X", "datatype": "FP32", "shape": [1, 4], "data": [5.1, 3.5, 1.4, 0.2]}]}'
kill %1
wait %1
"#;

#[test]
fn a_server_and_a_deployment_started_at_once_find_each_other() {
    if program("curl").is_none() {
        return;
    }
    for round in 0..12 {
        let world = World::new();
        let [api, gateway] = free_ports();
        let mut bash = Command::new("bash");
        let binary = Path::new(world.eyot.command(&[]).get_program()).to_owned();
        let folders = std::env::var_os("PATH").unwrap_or_default();
        let folders =
            std::iter::once(binary.parent().unwrap().to_owned()).chain(std::env::split_paths(&folders));
        bash.args(["-c", PASTE]).env("PATH", std::env::join_paths(folders).unwrap());
        bash.env("EYOT_API__LISTEN", api).env("EYOT_GATEWAY__LISTEN", gateway);
        bash.env("EYOT_DATA", world.eyot.data());
        let output = bash.env("MODEL", fixture("iris-forest")).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "round {round}: {} {said}", output.status);
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(printed.contains(r#""model_name":"iris""#), "{printed} {said}");
    }
}

#[test]
fn a_detached_server_answers_when_the_command_returns_and_stops_when_it_is_told_to() {
    let world = World::new();
    let listen = ["--set", "api.listen=127.0.0.1:0", "--set", "gateway.listen=127.0.0.1:0"];
    let up = [&["up", "--detach"], &listen[..]].concat();
    let said = world.eyot.json(&up).unwrap();
    let server = Detached::new(&said);
    world.eyot.json(&["deploy", text(&fixture("iris-forest")), "--name", "iris"]).unwrap();
    let url = format!("{}/v2/models/iris/ready", said["gateway"].as_str().unwrap());
    assert_eq!(eyot_tests::get(&url).unwrap().status, 200);
    let refused = world.eyot.refused(&up).unwrap();
    assert_eq!((refused.kind.as_str(), refused.hint.contains("--server")), ("conflict", true), "{refused:?}");
    assert!(server.signal(libc::SIGTERM));
    wait_until("it has ended", || !world.eyot.data().join("server.json").exists());
    // The folder is free when it has ended: the next one waits for that, and says how it is stopped.
    let told = world.eyot.text(&up).unwrap();
    let next = world.eyot.data().join("server.json");
    let next: Value = serde_json::from_slice(&std::fs::read(next).unwrap()).unwrap();
    let next_server = Detached::new(&next);
    assert!(told.contains(&format!("kill {}", next_server.0)) && told.contains("server.log"), "{told}");
    let log = std::fs::read_to_string(said["log"].as_str().unwrap()).unwrap();
    assert!(log.contains("draining") && log.contains("stopped"), "{log}");
    drop(server);
    assert!(next_server.signal(libc::SIGTERM));
}

#[test]
fn a_detached_server_that_does_not_start_says_why() {
    let world = World::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!("api.listen={}", taken.local_addr().unwrap());
    for detach in [&["up"][..], &["up", "--detach"]] {
        let refused = world.eyot.refused(&[detach, &["--set", &taken]].concat()).unwrap();
        assert_eq!(refused.kind, "conflict", "{refused:?}");
        assert!(refused.message.contains("cannot listen on"), "{refused:?}");
        assert!(refused.hint.contains("--set api.listen"), "{refused:?}");
    }
}
