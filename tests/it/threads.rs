//! Threads of a server: as many as there is work for, each with a name, whatever was asked of it before.

use std::collections::BTreeMap;
use std::fs;

use eyot_tests::{Server, fixture};
use serde_json::json;

use crate::world::{World, text};

/// Deployments that fail, and clients that ask for them at once.
const FAILED_DEPLOYMENTS: usize = 1000;
const CLIENTS: usize = 20;
/// Threads that a server may have: those of its runtimes and for files, for SQL, and for inference.
const MOST_THREADS: usize = 100;

/// How many threads of each name a process has, less the number at the end.
fn threads(server: &Server) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for thread in fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap().flatten() {
        // One that ends meanwhile has no name any more.
        let Ok(name) = fs::read_to_string(thread.path().join("comm")) else { continue };
        let name = name.trim().trim_end_matches(|last: char| last.is_ascii_digit() || last == '-');
        *found.entry(name.to_owned()).or_default() += 1;
    }
    found
}

#[test]
fn a_thousand_failed_deployments_leave_no_thread_behind() {
    let world = World::new();
    let server = world.up();
    world.eyot.json(&["deploy", text(&fixture("iris-forest")), "--name", "iris"]).unwrap();
    // No back end computes it so: which shows when it is loaded.
    let unable = json!({ "source": "iris-forest:latest", "inference": { "precision": "int8" } }).to_string();
    let missing = json!({ "source": "nobody:1" }).to_string();
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (server, unable, missing) = (&server, &unable, &missing);
            scope.spawn(move || {
                for round in 0..FAILED_DEPLOYMENTS / CLIENTS {
                    let body = if round % 2 == 0 { unable } else { missing };
                    let path = format!("/api/v1/deployments/failed-{client}-{round}");
                    let answer = server.api_put(&path, body.clone()).unwrap();
                    assert!([404, 501].contains(&answer.status), "{}: {}", answer.status, answer.text());
                }
            });
        }
    });
    let found = threads(&server);
    assert!(found.values().sum::<usize>() <= MOST_THREADS, "{found:?}");
    assert!(found.keys().all(|name| ["eyot", "sqlx"].iter().any(|ours| name.starts_with(ours))), "{found:?}");
    assert_eq!(server.api_get("/api/v1/deployments").unwrap().json().as_array().unwrap().len(), 1);
}
