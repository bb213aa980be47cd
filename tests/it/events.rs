//! What changes is told, once and in order, to whoever listens.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::time::Duration;

use eyot_test_services::PostgresServer;
use eyot_tests::fixture;
use serde_json::{Value, json};

use crate::world::{World, text};

/// `eyot events --follow`, killed when dropped.
struct Following {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Following {
    fn start(world: &World, more: &[&str]) -> Self {
        let arguments = [&["events", "--follow", "--json"], more].concat();
        let command = world.eyot.command(&arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut child = command.unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    fn next(&mut self) -> Value {
        serde_json::from_str(&self.lines.next().unwrap().unwrap()).unwrap()
    }

    fn topics(&mut self, count: usize) -> Vec<String> {
        (0..count).map(|_| self.next()["topic"].as_str().unwrap().to_owned()).collect()
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn change(world: &World, name: &str) {
    world.eyot.json(&["deploy", text(&fixture("iris-forest")), "--name", name]).unwrap();
}

/// Goes on while the server is killed and started again, on the ports that the first one had.
fn nothing_is_missed_or_repeated(world: &World) {
    let server = world.up();
    let listen = |url: &str| url.trim_start_matches("http://").to_owned();
    let ports = [
        format!("api.listen={}", listen(&server.api)),
        format!("gateway.listen={}", listen(&server.gateway)),
    ];
    change(world, "one");
    let mut all = Following::start(world, &["--after", "0"]);
    let mut deployments = Following::start(world, &["--after", "0", "--topic", "deployment"]);
    assert_eq!(all.topics(2), ["artifact.pushed", "deployment.changed"]);
    let first = deployments.next();
    assert_eq!((&first["subject"], &first["id"]), (&json!("one"), &json!(2)));

    server.kill().unwrap();
    let server = world.eyot.up_with(&[&ports[0], &ports[1]]).unwrap();
    change(world, "two");
    world.eyot.json(&["undeploy", "one"]).unwrap();
    assert_eq!(deployments.topics(2), ["deployment.changed", "deployment.removed"]);
    let told: Vec<i64> = (0..3).map(|_| all.next()["id"].as_i64().unwrap()).collect();
    assert_eq!(told, [3, 4, 5]);
    let kept = world.eyot.text(&["events", "--json"]).unwrap();
    let ids: Vec<Value> =
        kept.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].clone()).collect();
    assert_eq!(ids, [1, 2, 3, 4, 5].map(Value::from));
    server.stop().unwrap();
}

#[test]
fn followers_miss_and_repeat_nothing_when_the_server_is_killed() {
    nothing_is_missed_or_repeated(&World::new());
}

#[test]
fn followers_miss_and_repeat_nothing_on_postgresql() {
    let Some(postgres) = PostgresServer::start().unwrap() else { return };
    nothing_is_missed_or_repeated(&World::on_postgres(&postgres));
}

#[test]
fn clients_come_back_after_the_last_event_that_they_had() {
    let world = World::new();
    let server = world.eyot.up_with(&["api.event-listeners=1"]).unwrap();
    change(&world, "one");
    let ask = |headers: &[(&str, &str)], query: &str| {
        server.api_send("GET", &format!("/api/v1/events?follow=false{query}"), headers, b"").unwrap()
    };
    let all = ask(&[], "&after=0").text();
    let expected = "id: 1\nevent: artifact.pushed\ndata: {\"id\":1,\"project\":\"default\",\"topic\":\"artifact.pushed\"";
    assert!(all.starts_with(expected), "{all}");
    assert!(all.contains("\n\nid: 2\nevent: deployment.changed\n"), "{all}");
    // The header is what a browser says when it comes back to the same address.
    let rest = ask(&[("last-event-id", "1")], "&after=0").text();
    assert!(rest.starts_with("id: 2\n"), "{rest}");
    assert_eq!(ask(&[], "").text(), "");
    assert!(ask(&[], "&tail=1").text().starts_with("id: 2\n"));
    assert!(ask(&[], "&after=0&topics=deploy").text().is_empty(), "a topic is named up to a dot");
    assert_eq!(ask(&[("last-event-id", "x")], "").status, 400);
    for wrong in ["&afer=1", "&after=x", "&follow=perhaps"] {
        let refused = ask(&[], wrong);
        assert_eq!((refused.status, &refused.json()["error"]["kind"]), (400, &json!("invalid")), "{wrong}");
    }
    // One may listen, and one does.
    let listening = Following::start(&world, &["--after", "1"]);
    let mut listening = listening;
    assert_eq!(listening.next()["id"], 2);
    let refused = ask(&[], "");
    assert_eq!((refused.status, &refused.json()["error"]["kind"]), (429, &json!("exhausted")));
    drop(listening);
    server.stop().unwrap();
}

#[test]
fn who_listens_keeps_no_server_from_ending() {
    let world = World::new();
    let mut server = world.up();
    change(&world, "one");
    let mut listening = Following::start(&world, &["--after", "0"]);
    listening.topics(2);
    let started = std::time::Instant::now();
    server.terminate();
    assert!(server.wait().unwrap().success());
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[test]
fn events_are_told_to_those_who_may_read_them() {
    let world = World::new();
    let server = world.eyot.up_with(&["registry.anonymous=none"]).unwrap();
    change(&world, "one");
    let token = |arguments: &[&str]| {
        let made = world.eyot.json(&[&["token", "create"], arguments].concat()).unwrap();
        format!("Bearer {}", made["secret"].as_str().unwrap())
    };
    let events = |token: &str| {
        let headers: &[(&str, &str)] = if token.is_empty() { &[] } else { &[("authorization", token)] };
        server.api_send("GET", "/api/v1/events?follow=false&after=0", headers, b"").unwrap()
    };
    let viewer = events(&token(&["viewer", "--role", "viewer"])).text();
    assert!(viewer.contains("deployment.changed") && viewer.contains("artifact.pushed"), "{viewer}");
    assert_eq!(events("").status, 401);
    assert_eq!(events(&token(&["puller", "--scope", "repository:*:pull"])).status, 403);
    server.stop().unwrap();
}
