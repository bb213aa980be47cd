//! Requests that are sent again with the same `Idempotency-Key`: they are done once.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use eyot_tests::{Answer, Server};
use serde_json::json;

use crate::world::World;

fn make(server: &Server, key: &str, path: &str, body: &serde_json::Value) -> Answer {
    let headers = [("idempotency-key", key), ("content-type", "application/json")];
    server.api_send("POST", path, &headers, body.to_string().as_bytes()).unwrap()
}

#[test]
fn a_request_that_is_sent_again_is_answered_as_before_and_done_once() {
    let world = World::new();
    let server = world.up();
    let project = |name: &str| json!({ "name": name });
    let long = "k".repeat(256);
    for (key, path, body, status, replayed) in [
        ("1", "/api/v1/projects", project("fraud"), 200, false),
        ("1", "/api/v1/projects", project("fraud"), 200, true),
        ("1", "/api/v1/projects", project("churn"), 422, false),
        ("1", "/p/fraud/api/v1/projects", project("fraud"), 422, false),
        ("2", "/api/v1/projects", project("fraud"), 409, false),
        // What was refused has changed nothing, and is looked at anew.
        ("2", "/api/v1/projects", project("fraud"), 409, false),
        ("3", "/api/v1/tokens", json!({ "name": "ci", "scopes": ["project:default:viewer"] }), 200, false),
        // A secret is shown once.
        ("3", "/api/v1/tokens", json!({ "name": "ci", "scopes": ["project:default:viewer"] }), 409, false),
        ("", "/api/v1/projects", project("churn"), 400, false),
        (&long, "/api/v1/projects", project("churn"), 400, false),
    ] {
        let answer = make(&server, key, path, &body);
        assert_eq!(answer.status, status, "{key} {path}: {}", answer.text());
        assert_eq!(answer.header("idempotency-replayed").is_some(), replayed, "{key} {path}");
    }
    let first = make(&server, "1", "/api/v1/projects", &project("fraud"));
    assert_eq!(first.json()["name"], "fraud", "{}", first.text());

    // Many at once: one does it, the others are told so or wait for its answer.
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let ask = || make(&server, "many", "/api/v1/projects", &project("many")).status;
        let asking: Vec<_> = (0..16).map(|_| scope.spawn(ask)).collect();
        asking.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert!(
        statuses.contains(&200) && statuses.iter().all(|status| matches!(status, 200 | 409)),
        "{statuses:?}"
    );
    assert_eq!(make(&server, "many", "/api/v1/projects", &project("many")).status, 200);
    let log = server.api_get("/api/v1/audit").unwrap().text();
    assert_eq!(log.matches("project.created").count(), 2, "{log}");

    // It is known after kill -9 as well.
    server.kill().unwrap();
    let server = world.up();
    let again = make(&server, "1", "/api/v1/projects", &project("fraud"));
    assert_eq!((again.status, again.header("idempotency-replayed")), (200, Some("true")));
    server.stop().unwrap();
}

/// Stands before a server, and ends the first connection when the request has been answered and before the answer is
/// handed on.
fn cutting_proxy(server: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = server.trim_start_matches("http://").to_owned();
    // Ends with the test's process.
    std::thread::spawn(move || {
        let mut has_cut = false;
        for client in listener.incoming() {
            let (client, server) = (client.unwrap(), TcpStream::connect(&server).unwrap());
            let (mut up, mut down) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || copy(&mut up, &mut down));
            let (mut client, mut server) = (client, server);
            if has_cut {
                std::thread::spawn(move || copy(&mut server, &mut client));
                continue;
            }
            // The first bytes of an answer: what was asked for is done by now.
            has_cut = server.read(&mut [0; 512]).is_ok_and(|count| count > 0);
            let _ = client.shutdown(std::net::Shutdown::Both);
        }
    });
    url
}

fn copy(from: &mut TcpStream, into: &mut TcpStream) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if into.write_all(&buffer[..count]).is_err() {
            return;
        }
    }
    let _ = into.shutdown(std::net::Shutdown::Write);
}

#[test]
fn a_command_whose_answer_is_lost_is_done_once() {
    let world = World::new();
    let server = world.up();
    let proxy = cutting_proxy(&server.api);
    let made = world.eyot.command(&["--server", &proxy, "project", "create", "fraud"]).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let log = server.api_get("/api/v1/audit").unwrap().text();
    assert_eq!(log.matches("project.created").count(), 1, "{log}");
    server.stop().unwrap();
}
