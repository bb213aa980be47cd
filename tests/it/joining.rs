//! Calls of different clients that run as one: only where each gets what it would get alone.

use std::sync::atomic::{AtomicUsize, Ordering};

use eyot_tests::{Server, fixture};
use serde_json::{Value, json};

use crate::world::{World, text};

const CLIENTS: usize = 16;
const CALLS: usize = 480;

/// Half of them pictures as they are, half scaled already.
fn question(call: usize) -> String {
    let most = if call.is_multiple_of(2) { 255.0 } else { 0.75 };
    let data: Vec<f64> = (0..16).map(|at| most * ((call * 7 + at * 5) % 16) as f64 / 15.0).collect();
    json!({ "inputs": [{ "name": "x", "datatype": "FP32", "shape": [1, 16], "data": data }] }).to_string()
}

fn answer(server: &Server, call: usize) -> Value {
    let answer = server.post("/v2/models/m/infer", question(call)).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["outputs"][0]["data"].clone()
}

/// Asks from all clients at once. How many answers are not what the same question gets alone.
fn wrong_answers(server: &Server) -> usize {
    let alone: Vec<Value> = (0..CALLS).map(|call| answer(server, call)).collect();
    let (next, wrong) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                loop {
                    let call = next.fetch_add(1, Ordering::Relaxed);
                    let Some(expected) = alone.get(call) else { return };
                    wrong.fetch_add(usize::from(answer(server, call) != *expected), Ordering::Relaxed);
                }
            });
        }
    });
    wrong.into_inner()
}

fn batches(server: &Server) -> u64 {
    let metrics = server.get("/metrics").unwrap().text();
    let lines = metrics.lines().filter(|line| line.starts_with("eyot_model_batches_total{"));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

#[test]
fn what_many_clients_ask_at_once_is_answered_as_if_each_were_alone() {
    let world = World::new();
    let server = world.eyot.up_with(&["inference.threads=1"]).unwrap();
    let deploy = |name: &str| {
        world.eyot.json(&["deploy", text(&fixture(name)), "--name", "m", "--max-batch", "16"]).unwrap()
    };
    // One of which a row depends on the others, which numbers between zero and one do not show.
    let deployed = deploy("scaled");
    let why = "rows may depend on each other: node 'largest' (ReduceMax): it computes across rows";
    assert_eq!(deployed["not_joined"], json!({ "model": why }));
    assert_eq!(wrong_answers(&server), 0);
    assert_eq!(batches(&server), 0);
    let told =
        world.eyot.text(&["deploy", text(&fixture("scaled")), "--name", "n", "--max-batch", "16"]).unwrap();
    let line = format!("calls of 'model' are not joined, whatever --max-batch says: {why}");
    assert!(told.lines().any(|shown| shown == line), "{told}");
    // One of rows is joined, and gives the same.
    let deployed = deploy("chain");
    assert_eq!(deployed["not_joined"], Value::Null);
    assert_eq!(wrong_answers(&server), 0);
    assert!(batches(&server) > 0, "nothing was joined");
    server.stop().unwrap();
}
