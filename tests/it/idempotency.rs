//! Requests that are sent again with the same `Idempotency-Key`: they are done once.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

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

/// Stands before a server, and ends a connection when the first request that changes something has been answered and
/// before its answer is handed on.
fn cutting_proxy(server: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = server.trim_start_matches("http://").to_owned();
    // Ends with the test's process.
    std::thread::spawn(move || {
        let left_to_cut = Arc::new(AtomicUsize::new(1));
        for client in listener.incoming() {
            let (client, server) = (client.unwrap(), TcpStream::connect(&server).unwrap());
            let is_change = Arc::new(AtomicBool::new(false));
            let (mut up, mut down) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            let seen = is_change.clone();
            std::thread::spawn(move || {
                copy(&mut up, &mut down, |request| {
                    seen.fetch_or(request.starts_with(b"POST "), Ordering::SeqCst);
                    true
                });
            });
            let (mut client, mut server, left_to_cut) = (client, server, left_to_cut.clone());
            std::thread::spawn(move || {
                copy(&mut server, &mut client, |_| {
                    let none_left = |left: usize| left.checked_sub(1);
                    let cut = is_change.load(Ordering::SeqCst)
                        && left_to_cut.fetch_update(Ordering::SeqCst, Ordering::SeqCst, none_left).is_ok();
                    !cut
                });
            });
        }
    });
    url
}

/// Hands bytes on for as long as `goes_on` says so of them.
fn copy(from: &mut TcpStream, into: &mut TcpStream, goes_on: impl Fn(&[u8]) -> bool) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if !goes_on(&buffer[..count]) || into.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    // Where one side has ended the other one has, too.
    for side in [from, into] {
        let _ = side.shutdown(Shutdown::Both);
    }
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
