//! What a component asks of its stores ends in time, is bounded by its memory, and holds only so many threads.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use eyot_tests::{Resident, Server, wait_until};

use crate::world::World;

/// What is ended at all is ended within this, also where the machine is busy.
const LONG: Duration = Duration::from_secs(30);
const ENDLESS: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n";
/// As many as the server has for all databases.
const SQL_THREADS: usize = 32;

/// A server with the guest deployed as `w`; `None` where it is not built.
fn served(world: &World, flags: &[&str]) -> Option<Server> {
    if !world.push("testing-stores") {
        return None;
    }
    let server = world.eyot.up_with(&["handlers.memory=64 MiB", "gateway.concurrency=64"]).unwrap();
    let granted =
        ["deploy", "testing-stores:0.1.0", "--name", "w", "--key-value", "default", "--sqlite", "default"];
    world.eyot.json(&[&granted[..], flags].concat()).unwrap();
    Some(server)
}

/// How many threads of a server have a name that begins so.
fn threads(server: &Server, name: &str) -> usize {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap().flatten();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|found| found.starts_with(name)).count()
}

/// Waits until the threads for SQL are gone, as they are once they have nothing to do.
fn wait_until_idle(server: &Server) {
    wait_until("no thread computes on", || {
        server.get("/metrics").unwrap();
        threads(server, "eyot-sql") == 0
    });
}

#[test]
fn settings_and_stores_of_wasi_are_those_that_a_spin_application_is_granted() {
    let world = World::new();
    let Some(server) = served(&world, &["--var", "greeting=hello"]) else { return };
    for (path, body, expected) in [
        ("/w/config", "greeting", r#"Some("hello") of ["greeting"]"#),
        ("/w/config", "other", r#"None of ["greeting"]"#),
        ("/w/shared", "kept", "kept"),
    ] {
        let answer = server.post(path, body).unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (200, expected), "{path}");
    }
}

#[test]
fn endless_sql_ends_with_its_call_with_its_client_and_with_its_deployment() {
    let world = World::new();
    let Some(server) = served(&world, &["--timeout", "500ms"]) else { return };
    let begun = Instant::now();
    let answer = server.post("/w/sql", ENDLESS).unwrap();
    assert!(answer.status >= 400 && begun.elapsed() < LONG, "{answer:?}");
    wait_until_idle(&server);

    // Clients that go away at once.
    world
        .eyot
        .json(&[
            "deploy",
            "testing-stores:0.1.0",
            "--name",
            "w",
            "--key-value",
            "default",
            "--sqlite",
            "default",
            "--timeout",
            "10m",
        ])
        .unwrap();
    let request =
        format!("POST /w/sql HTTP/1.1\r\nhost: eyot\r\ncontent-length: {}\r\n\r\n{ENDLESS}", ENDLESS.len());
    let ask = || {
        let mut stream = TcpStream::connect(server.gateway.trim_start_matches("http://")).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream
    };
    for _ in 0..10 {
        let streams: Vec<_> = (0..16).map(|_| ask()).collect();
        assert!(threads(&server, "eyot-sql") <= SQL_THREADS);
        drop(streams);
    }
    let _waits = ask();
    world.eyot.json(&["undeploy", "w"]).unwrap();
    wait_until_idle(&server);
    let granted =
        ["deploy", "testing-stores:0.1.0", "--name", "w", "--key-value", "default", "--sqlite", "default"];
    world.eyot.json(&granted).unwrap();
    assert_eq!(server.post("/w/sql", "SELECT 1").unwrap().text(), "1 rows, 0 bytes");
}

#[test]
fn what_the_host_builds_for_a_component_is_bounded_by_its_memory() {
    let world = World::new();
    let Some(server) = served(&world, &[]) else { return };
    let many = |bytes: &str| {
        format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60) SELECT zeroblob({bytes}) FROM n"
        )
    };
    assert_eq!(server.post("/w/sql", many("100000")).unwrap().text(), "60 rows, 6000000 bytes");
    for bytes in ["100000000", "20000000", "3000000"] {
        let answer = server.post("/w/sql", many(bytes)).unwrap();
        assert!(answer.status >= 400, "{bytes}: {answer:?}");
    }
    // As often as one likes, as long as it is not all at once.
    assert_eq!(server.post("/w/set", "10 2000000").unwrap().text(), "10 keys");
    assert_eq!(server.post("/w/get", "10 10").unwrap().text(), "200000000 bytes");
    assert_eq!(server.post("/w/sql", "SELECT 1").unwrap().text(), "1 rows, 0 bytes");
    let peak = Resident::of(server.pid()).unwrap().peak;
    assert!(peak < 1 << 30, "the server took {peak} bytes");
}

#[test]
fn what_a_component_prints_has_a_rate() {
    let world = World::new();
    let Some(server) = served(&world, &[]) else { return };
    // 30 MB, where 8 may come at once.
    for _ in 0..10 {
        assert_eq!(server.post("/w/print", "3000 1000").unwrap().status, 200);
    }
    let log = server.log();
    assert!(log.len() < 12_000_000, "{}", log.len());
    assert!(log.contains("output is dropped"));
}
