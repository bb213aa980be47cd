//! Connections and bodies that are of no use to anybody: each is ended in its time, and none keeps others out. Those
//! that are slow and alive are not disturbed.

mod frames;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use eyot_tests::{Server, fixture, wait_until};

use crate::registry::Authority;
use crate::world::{World, text};
use frames::{DATA, END_STREAM, GOAWAY, HEADERS, PING, PREFACE, frame, head, next, next_of};

/// What is ended at all is ended within this, also where the machine is busy.
const LONGEST: Duration = Duration::from_secs(30);
/// How slow a client is here.
const PAUSE: Duration = Duration::from_millis(100);
/// Limits that such a client passes several times over.
const SHORT: [&str; 4] = [
    "http.header-timeout=250ms",
    "http.idle-timeout=250ms",
    "api.body-timeout=250ms",
    "gateway.body-timeout=250ms",
];

fn planes(server: &Server) -> [String; 2] {
    [&server.api, &server.gateway].map(|url| url.split_once("//").unwrap().1.to_owned())
}

/// Opens a connection, says something and nothing more.
fn says(address: &str, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LONGEST)).unwrap();
    stream.write_all(bytes).unwrap();
    stream
}

/// What it hears until the server ends the connection; none where that does not come.
fn until_ended(mut stream: TcpStream) -> Option<Vec<u8>> {
    let (mut heard, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Some(heard),
            Ok(read) => heard.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Some(heard),
            Err(_) => return None,
        }
    }
}

/// The head and the body of the next answer over HTTP/1.1, which has a length.
fn next_answer(stream: &mut TcpStream) -> String {
    let (mut heard, mut byte) = (Vec::new(), [0]);
    while !heard.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap_or_else(|error| {
            panic!("no whole answer ({error}): {}", String::from_utf8_lossy(&heard));
        });
        heard.extend_from_slice(&byte);
    }
    let head = String::from_utf8(heard).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).unwrap();
    head + &String::from_utf8(body).unwrap()
}

#[test]
fn who_connects_and_says_nothing_more_is_ended() {
    let world = World::new();
    let server = world.eyot.up_with(&SHORT).unwrap();
    let asked_over_http2 = [PREFACE, &head("GET", "/v2", &[], END_STREAM)].concat();
    for address in planes(&server) {
        for (what, bytes) in [
            ("nothing", &b""[..]),
            ("half a preface", b"PRI * HTTP/2.0\r\n"),
            ("a preface", PREFACE),
            ("half a head", b"GET /v2 HTTP/1.1\r\nhost: loc"),
            ("a request", b"GET /v2 HTTP/1.1\r\nhost: localhost\r\n\r\n"),
            ("a request over HTTP/2", &asked_over_http2),
        ] {
            let heard = until_ended(says(&address, bytes));
            assert!(heard.is_some(), "{address} waits for ever after {what}");
            let answered = heard.unwrap().starts_with(b"HTTP/1.1 200");
            assert_eq!(answered, what == "a request", "{address} {what}");
        }
    }
    server.stop().unwrap();
}

#[test]
fn who_only_says_over_http2_that_it_is_there_is_told_to_go() {
    let world = World::new();
    let server = world.eyot.up_with(&SHORT).unwrap();
    for address in planes(&server) {
        let mut stream = says(&address, &[PREFACE, &head("GET", "/v2", &[], END_STREAM)].concat());
        assert!(next_of(&mut stream, HEADERS).is_some(), "{address}");
        let started = Instant::now();
        let mut is_told = false;
        while stream.write_all(&frame(PING, 0, 0, &[7; 8])).is_ok() {
            let Some(frame) = next(&mut stream) else { break };
            is_told |= frame.kind == GOAWAY;
            assert!(started.elapsed() < LONGEST, "{address} stays open");
        }
        assert!(is_told, "{address}: a request may be lost that was on its way");
    }
    server.stop().unwrap();
}

#[test]
fn who_never_finishes_a_handshake_is_ended() {
    let world = World::new();
    let authority = Authority::new(&world);
    let settings = authority.settings();
    let (cert, key) = (&settings[0].replace("api.", "gateway."), &settings[1].replace("api.", "gateway."));
    let settings = [SHORT.as_slice(), &settings.each_ref().map(String::as_str), &[cert, key]].concat();
    let server = world.eyot.up_with(&settings).unwrap();
    for address in planes(&server) {
        for bytes in [&b""[..], &[22, 3, 1, 1, 0, 1, 0], b"GET /v2 HTTP/1.1\r\nhost: localhost\r\n\r\n"] {
            assert!(until_ended(says(&address, bytes)).is_some(), "{address} waits for ever after {bytes:?}");
        }
    }
    server.stop().unwrap();
}

#[test]
fn silent_connections_keep_nobody_out() {
    let world = World::new();
    let server = world.eyot.up_with_descriptors(64, &[]).unwrap();
    let planes = planes(&server);
    let _silent: Vec<_> = (0..80).map(|number| says(&planes[number % 2], b"")).collect();
    world.eyot.json(&["deploy", text(&fixture("iris-forest")), "--name", "iris"]).unwrap();
    for round in 0..20 {
        let _others: Vec<_> = (0..4).map(|number| says(&planes[number % 2], b"GET /")).collect();
        assert_eq!(server.get("/v2/models/iris/ready").unwrap().status, 200, "{round}");
        assert_eq!(server.api_get("/api/v1/deployments").unwrap().status, 200, "{round}");
    }
    server.stop().unwrap();
}

#[test]
fn connections_at_work_are_not_sent_away_for_others() {
    let world = World::new();
    let server =
        world.eyot.up_with(&["http.max-connections=4", "http.max-connections-per-address=3"]).unwrap();
    let [api, _] = planes(&server);
    let head = "POST /api/v1/pipeline-runs HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n";
    let mut working: Vec<_> = (0..3).map(|_| says(&api, head.as_bytes())).collect();
    for stream in &mut working {
        // Said when the body is waited for.
        assert!(next_answer(stream).starts_with("HTTP/1.1 100 "));
    }
    assert_eq!(until_ended(says(&api, b"")).as_deref(), Some(&b""[..]), "one more than may be at work");
    assert!(server.log().contains("http.max-connections-per-address"), "{}", server.log());
    for stream in &mut working {
        stream.write_all(b"{}").unwrap();
        assert!(next_answer(stream).starts_with("HTTP/1.1 400 "));
    }
    // Nobody is at work any more: who has been idle for longest makes room.
    let mut fresh = says(&api, b"GET /v2 HTTP/1.1\r\nhost: localhost\r\n\r\n");
    assert!(next_answer(&mut fresh).starts_with("HTTP/1.1 200 "));
    server.stop().unwrap();
}

#[test]
fn a_body_that_does_not_come_is_not_waited_for() {
    let world = World::new();
    let server = world.eyot.up_with(&[&SHORT[..], &["registry.anonymous=all"]].concat()).unwrap();
    world.eyot.json(&["deploy", text(&fixture("iris-forest")), "--name", "iris"]).unwrap();
    let upload = server.api_send("POST", "/v2/x/blobs/uploads/", &[], b"").unwrap();
    let patch = format!("PATCH {}", upload.header("location").unwrap());
    let [api, gateway] = planes(&server);
    for (address, path) in [
        (&api, "POST /api/v1/pipeline-runs"),
        (&api, "PUT /api/v1/deployments/x"),
        (&api, "PUT /v2/x/manifests/latest"),
        (&api, patch.as_str()),
        (&gateway, "POST /v2/models/iris/infer"),
        (&gateway, "POST /v2/repository/index"),
    ] {
        let head = format!("{path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{{");
        let heard = until_ended(says(address, head.as_bytes()));
        let heard = heard.unwrap_or_else(|| panic!("{path} waits for ever"));
        assert!(heard.starts_with(b"HTTP/1.1 408 "), "{path}: {}", String::from_utf8_lossy(&heard));
    }
    let grpc = [("content-type", "application/grpc"), ("te", "trailers")];
    for call in ["ModelInfer", "ModelStreamInfer"] {
        let path = format!("/inference.GRPCInferenceService/{call}");
        let half = frame(DATA, 0, 1, &[0, 0, 0, 0, 100, 1]);
        let mut stream = says(&gateway, &[PREFACE, &head("POST", &path, &grpc, 0), &half].concat());
        let told =
            std::iter::from_fn(|| next_of(&mut stream, HEADERS)).find(|head| head.flags & END_STREAM != 0);
        let told = told.unwrap_or_else(|| panic!("{call} waits for ever")).payload;
        // A value that is "4", which is DEADLINE_EXCEEDED, in Huffman's code.
        assert!(told.windows(2).any(|part| part == [0x81, 0x6b]), "{call}: {told:?}");
    }
    server.stop().unwrap();
}

#[test]
fn who_is_slow_and_alive_is_not_disturbed() {
    let world = World::new();
    let server = world.eyot.up_with(&SHORT).unwrap();
    let [api, gateway] = planes(&server);
    // A stream on which nobody says anything for much longer than anything else may take.
    let grpc = [("content-type", "application/grpc"), ("te", "trailers")];
    let path = "/inference.GRPCInferenceService/ModelStreamInfer";
    let mut silent = says(&gateway, &[PREFACE, &head("POST", path, &grpc, 0)].concat());
    let started = Instant::now();

    let upload = server.api_send("POST", "/v2/x/blobs/uploads/", &[], b"").unwrap();
    let to = upload.header("location").unwrap();
    let head = format!(
        "PATCH {to} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 1000\r\n\r\n"
    );
    let mut slow = says(&api, head.as_bytes());
    slow.set_read_timeout(Some(PAUSE)).unwrap();
    for _ in 0..10 {
        // Nothing is answered meanwhile.
        assert_eq!(slow.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
        slow.write_all(&[7; 100]).unwrap();
    }
    slow.set_read_timeout(Some(LONGEST)).unwrap();
    let heard = String::from_utf8(until_ended(slow).unwrap()).unwrap();
    assert!(heard.starts_with("HTTP/1.1 202 ") && heard.contains("range: 0-999"), "{heard}");

    assert!(started.elapsed() > 3 * Duration::from_millis(250));
    silent.write_all(&frame(PING, 0, 0, &[7; 8])).unwrap();
    assert!(next_of(&mut silent, PING).is_some(), "the stream was ended");
    silent.write_all(&frame(DATA, END_STREAM, 1, b"")).unwrap();
    let end = std::iter::from_fn(|| next_of(&mut silent, HEADERS)).find(|head| head.flags & END_STREAM != 0);
    assert!(end.is_some(), "the stream did not end with its client's last word");
    server.stop().unwrap();
}

#[test]
fn what_came_before_a_silence_is_stored_and_told() {
    let world = World::new();
    let server = world.eyot.up_with(&["api.body-timeout=5s"]).unwrap();
    let [api, _] = planes(&server);
    let upload = server.api_send("POST", "/v2/x/blobs/uploads/", &[], b"").unwrap();
    let to = upload.header("location").unwrap().to_owned();
    let head =
        format!("PATCH {to} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n");
    let mut silent = says(&api, head.as_bytes());
    let received = || server.api_send("GET", &to, &[], b"").unwrap().header("range").unwrap().to_owned();
    wait_until("what came is told", || received() == "0-4");
    // Nobody else may write meanwhile, and what is acknowledged in the end is what is stored.
    assert_eq!(server.api_send("PATCH", &to, &[], b" world").unwrap().status, 409);
    let answer = next_answer(&mut silent);
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert_eq!(received(), "0-4");
    let digest = eyot_core::Digest::of("hello world");
    let ended = server.api_send("PUT", &format!("{to}?digest={digest}"), &[], b" world").unwrap();
    assert_eq!(ended.status, 201, "{}", ended.text());
    server.stop().unwrap();
}

#[test]
fn a_refusal_reaches_who_still_sends_and_a_short_one_keeps_the_connection() {
    let world = World::new();
    let server = world.up();
    let [api, gateway] = planes(&server);
    for address in [&api, &gateway] {
        let mut stream = says(address, b"");
        for _ in 0..3 {
            stream
                .write_all(b"POST /v2/no/such HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\n\r\nhello")
                .unwrap();
            let answer = next_answer(&mut stream);
            assert!(answer.starts_with("HTTP/1.1 4") && !answer.contains("connection: close"), "{answer}");
        }
    }
    // As Go's clients do: one thread sends a chunk of an upload out of order, another waits for the answer.
    let upload = server.api_send("POST", "/v2/x/blobs/uploads/", &[], b"").unwrap();
    let to = upload.header("location").unwrap();
    let head = format!(
        "PATCH {to} HTTP/1.1\r\nhost: localhost\r\ncontent-range: 5-9\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    let mut reads = says(&api, head.as_bytes());
    let mut writes = reads.try_clone().unwrap();
    let sending = std::thread::spawn(move || {
        let chunk = [format!("{:x}\r\n", 1 << 20).as_bytes(), &vec![7; 1 << 20], b"\r\n"].concat();
        (0..32).try_for_each(|_| writes.write_all(&chunk))
    });
    let answer = next_answer(&mut reads);
    assert!(answer.starts_with("HTTP/1.1 416 ") && answer.contains("connection: close"), "{answer}");
    sending.join().unwrap().unwrap();
    server.stop().unwrap();
}
