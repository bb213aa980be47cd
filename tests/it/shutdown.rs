//! A server that is asked to stop.

use std::time::Instant;

use eyot_tests::{Server, wait_until};
use serde_json::json;

use crate::world::World;

fn wait(milliseconds: i64) -> String {
    json!({ "inputs": [{ "name": "milliseconds", "datatype": "INT64", "shape": [1], "data": [milliseconds] }] }).to_string()
}

fn ask(server: &Server, milliseconds: i64) -> eyot_tests::Answer {
    server.post("/v2/models/slow/infer", wait(milliseconds)).unwrap()
}

#[test]
fn requests_in_flight_end_new_ones_are_refused_and_a_restart_serves_again() {
    let world = World::new();
    if !world.push("testing-slow-handler") {
        return;
    }
    let mut server = world.eyot.up_with(&["gateway.concurrency=1", "gateway.queue=0"]).unwrap();
    world.eyot.json(&["deploy", "testing-slow-handler:0.1.0", "--name", "slow"]).unwrap();
    std::thread::scope(|scope| {
        // The short ones below may be at work when it comes: it asks until it is let in.
        let long = scope.spawn(|| {
            std::iter::repeat_with(|| ask(&server, 1500)).find(|answer| answer.status != 429).unwrap()
        });
        // One at a time and no queue: once another is refused, the long one is at work.
        let refused = loop {
            let answer = ask(&server, 1);
            if answer.status != 200 {
                break answer;
            }
        };
        assert_eq!((refused.status, refused.retry_after.as_deref()), (429, Some("1")));
        server.terminate();
        let address = server.gateway.trim_start_matches("http://");
        wait_until("nobody is let in", || std::net::TcpStream::connect(address).is_err());
        assert!(!long.is_finished(), "the drain waits for it");
        let answer = long.join().unwrap();
        assert_eq!(
            (answer.status, &answer.json()["outputs"][0]["data"]),
            (200, &json!([1500])),
            "{}",
            answer.text()
        );
    });
    let status = server.wait().unwrap();
    assert!(status.success(), "{status}: {}", server.log());

    let again = world.up();
    assert_eq!(ask(&again, 1).status, 200, "what was deployed serves after a restart");
    for (milliseconds, status, says) in [(0, 400, "0 ms is no time"), (-1, 500, "asked for -1 ms")] {
        let answer = ask(&again, milliseconds);
        assert_eq!((answer.status, answer.text().contains(says)), (status, true), "{}", answer.text());
    }
    again.stop().unwrap();
}

#[test]
fn a_handler_that_computes_for_ever_ends_at_its_deadline_and_hurts_nobody() {
    let world = World::new();
    if !world.push("testing-slow-handler") {
        return;
    }
    let server = world.eyot.up_with(&["handlers.timeout=200ms"]).unwrap();
    world.eyot.json(&["deploy", "testing-slow-handler:0.1.0", "--name", "slow"]).unwrap();
    std::thread::scope(|scope| {
        let endless: Vec<_> = (0..4).map(|_| scope.spawn(|| ask(&server, 60_000))).collect();
        let started = Instant::now();
        for _ in 0..20 {
            assert_eq!(ask(&server, 1).status, 200);
        }
        assert!(started.elapsed().as_secs() < 30, "others were kept waiting");
        for endless in endless {
            let answer = endless.join().unwrap();
            assert_eq!(answer.status, 504, "{}", answer.text());
            assert!(answer.text().contains("did not answer before its deadline"), "{}", answer.text());
        }
    });
}

#[test]
fn one_data_folder_has_one_server() {
    let world = World::new();
    let server = world.up();
    let refused = world.eyot.refused(&["up"]).unwrap();
    assert_eq!((refused.kind.as_str(), refused.hint.contains("--server")), ("conflict", true), "{refused:?}");
    let taken = server.api.trim_start_matches("http://").to_owned();
    let other = World::new();
    let refused = other.eyot.refused(&["up", "--set", &format!("api.listen={taken}")]).unwrap();
    assert_eq!(
        (refused.kind.as_str(), refused.message.contains("cannot listen on")),
        ("conflict", true),
        "{refused:?}"
    );
}
