//! Good deployments beside one whose guests do the worst, under load: every answer is checked, and the
//! server's memory stays what it was.
//!
//! Two minutes in CI, a few seconds elsewhere; `EYOT_SOAK_SECONDS=600` makes it ten minutes.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use eyot_tests::{Server, fixture};
use serde_json::{Value, json};

use crate::world::{World, text};

/// How long the load lasts.
fn length() -> Duration {
    let asked = std::env::var("EYOT_SOAK_SECONDS").ok().and_then(|text| text.parse().ok());
    let usual = if std::env::var_os("CI").is_some() { 120 } else { 6 };
    Duration::from_secs(asked.unwrap_or(usual))
}

const LATE: &str = "did not answer before its deadline";

/// What an unruly guest is asked to do, and what its caller must hear.
const FAULTS: [(i64, u16, &str); 6] = [
    (1, 500, "trapped"),
    (2, 504, LATE),
    (3, 500, "ran out of memory"),
    (4, 504, LATE),
    (5, 500, "exited with status"),
    (6, 400, "there is no fault 6"),
];

/// Flowers in groups of one to eight, no two groups alike.
fn flowers() -> Vec<Vec<[f64; 4]>> {
    let flower = |at: usize| {
        let step = |part: usize, most: usize| (at * part % most) as f64 / 10.0;
        [4.3 + step(7, 36), 2.0 + step(11, 24), 1.0 + step(13, 59), 0.1 + step(17, 24)]
    };
    (1..=8).map(|size| (0..size).map(|row| flower(size * 31 + row)).collect()).collect()
}

fn classify(flowers: &[[f64; 4]]) -> String {
    let data: Vec<f64> = flowers.iter().flatten().copied().collect();
    let input = json!({ "name": "X", "datatype": "FP32", "shape": [flowers.len(), 4], "data": data });
    json!({ "inputs": [input] }).to_string()
}

fn unruly(number: i64, fault: i64) -> String {
    let input =
        |name: &str, value: i64| json!({ "name": name, "datatype": "INT64", "shape": [1], "data": [value] });
    json!({ "inputs": [input("number", number), input("fault", fault)] }).to_string()
}

/// What the good clients have been answered.
#[derive(Default)]
struct Seen {
    stop: AtomicBool,
    right: AtomicU64,
    faults: AtomicU64,
}

impl Seen {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }
}

/// Asks for groups of flowers, and compares each answer with what the same group got alone and before.
fn good(server: &Server, name: &str, expected: &[(String, Value)], seen: &Seen) {
    let path = format!("/v2/models/{name}/infer");
    for (request, outputs) in expected.iter().cycle() {
        if !seen.goes_on() {
            return;
        }
        let answer = server.post(&path, request.clone()).unwrap();
        assert_eq!((answer.status, &answer.json()["outputs"]), (200, outputs), "{name}: {}", answer.text());
        seen.right.fetch_add(1, Ordering::Relaxed);
    }
}

/// Makes guests fail in one way, and asks for a good answer after each.
fn bad(server: &Server, (fault, status, says): (i64, u16, &str), seen: &Seen) {
    let ask = |number, fault| server.post("/v2/models/unruly/infer", unruly(number, fault)).unwrap();
    for number in 0.. {
        if !seen.goes_on() {
            return;
        }
        let answer = ask(number, fault);
        let told = answer.text();
        // On a busy machine the time may be over before a guest has come to its fault.
        let late = answer.status == 504 && told.contains(LATE);
        assert!(
            late || answer.status == status && told.contains(says),
            "fault {fault}: {} {told}",
            answer.status
        );
        seen.faults.fetch_add(1, Ordering::Relaxed);
        let answer = ask(number, 0);
        let right = json!([7 * number]);
        assert_eq!((answer.status, &answer.json()["outputs"][0]["data"]), (200, &right), "{}", answer.text());
        seen.right.fetch_add(1, Ordering::Relaxed);
    }
}

/// Asks for what never ends, and goes away.
fn gone(server: &Server, seen: &Seen) {
    let address = server.gateway.trim_start_matches("http://");
    let body = unruly(1, 4);
    while seen.goes_on() {
        let mut stream = TcpStream::connect(address).unwrap();
        let head = format!(
            "POST /v2/models/unruly/infer HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
        // The next connection is made when the server has seen this one's request, or some later one's.
        let before = figure(server, "eyot_instances_ended_total", "cause=\"abandoned\"");
        drop(stream);
        while seen.goes_on() && figure(server, "eyot_instances_ended_total", "cause=\"abandoned\"") <= before
        {
            std::thread::yield_now();
        }
    }
}

/// One figure of the unruly deployment, or 0 where there is none yet.
fn figure(server: &Server, name: &str, label: &str) -> f64 {
    let metrics = server.get("/metrics").unwrap().text();
    let line = metrics
        .lines()
        .find(|line| line.starts_with(name) && line.contains("\"unruly\"") && line.contains(label));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_default()
}

/// Megabytes of memory that a process holds.
fn resident(pid: u32) -> f64 {
    eyot_tests::Resident::of(pid).unwrap().now as f64 / 1e6
}

fn median(part: &[f64]) -> f64 {
    let mut sorted = part.to_vec();
    sorted.sort_by(f64::total_cmp);
    eyot_tests::quantile(&sorted, 0.5)
}

/// Tells that a client has ended, also when it ends by failing.
struct Over(mpsc::Sender<()>);

impl Drop for Over {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

#[test]
fn guests_that_do_the_worst_under_load_cost_nobody_an_answer_and_no_memory() {
    let world = World::new();
    if !(world.push("testing-through") && world.push("testing-unruly-handler")) {
        return;
    }
    let limits = ["handlers.memory=32 MiB", "gateway.concurrency=32"];
    let server = world.eyot.up_with(&limits).unwrap();
    world.eyot.json(&["deploy", text(&fixture("iris-forest")), "--name", "iris"]).unwrap();
    let model = format!("model={}", text(&fixture("iris-forest")));
    let through = ["deploy", "testing-through:0.1.0", "--name", "through", "--model", &model];
    world.eyot.json(&through).unwrap();
    // Its own deadline is short, so that there are many faults; the others' is as long as ever.
    let unruly = ["deploy", "testing-unruly-handler:0.1.0", "--name", "unruly", "--timeout", "500ms"];
    world.eyot.json(&unruly).unwrap();
    let expected: Vec<(String, Value)> = flowers()
        .iter()
        .map(|group| {
            let request = classify(group);
            let answer = server.post("/v2/models/iris/infer", request.clone()).unwrap();
            assert_eq!(answer.status, 200, "{}", answer.text());
            (request, answer.json()["outputs"].clone())
        })
        .collect();
    let (seen, mut memory) = (Seen::default(), Vec::new());
    std::thread::scope(|scope| {
        let (over, ended) = mpsc::channel();
        let over = || Over(over.clone());
        let (server, seen, expected) = (&server, &seen, &expected);
        for name in ["iris", "through", "iris", "through"] {
            let over = over();
            scope.spawn(move || (over, good(server, name, expected, seen)));
        }
        for fault in FAULTS {
            let over = over();
            scope.spawn(move || (over, bad(server, fault, seen)));
        }
        let last = over();
        scope.spawn(move || (last, gone(server, seen)));
        let until = Instant::now() + length();
        // Whoever fails ends the load for all.
        while Instant::now() < until && ended.recv_timeout(length() / 60).is_err() {
            memory.push(resident(server.pid()));
        }
        seen.stop.store(true, Ordering::Relaxed);
    });
    let (right, faults) = (seen.right.into_inner(), seen.faults.into_inner());
    let quarter = memory.len() / 4;
    let (early, late) = (median(&memory[quarter..2 * quarter]), median(&memory[3 * quarter..]));
    println!("{right} right answers beside {faults} faults; {early:.0} MB early, {late:.0} MB late");
    for cause in ["trap", "deadline", "memory", "exit", "abandoned"] {
        let ended = figure(&server, "eyot_instances_ended_total", &format!("cause=\"{cause}\""));
        assert!(ended > 0.0, "no guest was counted as ended by {cause}");
    }
    assert!(right > 100 && faults > 10, "{right} right answers, {faults} faults");
    assert!(late <= early * 1.05 + 8.0, "memory grows: {memory:.0?} MB");
    server.stop().unwrap();
}
