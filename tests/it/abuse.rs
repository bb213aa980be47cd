//! Clients and guests that never end: each is ended in its time, counted, and the server goes on.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use eyot_tests::{Server, fixture};

use crate::world::{World, text};

const GUESTS: [&str; 2] = ["testing-web2", "testing-web3"];
/// How long a guest may take, and a client for its body.
const SHORT: &str = "300ms";
/// What is ended at all is ended within this, also where the machine is busy.
const LONG: Duration = Duration::from_secs(30);
/// How long a slow client waits for an answer before it sends its next byte.
const PACE: Duration = Duration::from_millis(20);

const INFER: &str = "/v2/models/iris/infer";

/// A server on which iris answers predictions and a guest HTTP as `w`; `None` where that is not built.
fn served(world: &World, guest: &str) -> Option<Server> {
    if !world.push(guest) {
        return None;
    }
    let settings = [&format!("gateway.body-timeout={SHORT}"), "handlers.memory=64 MiB"];
    let server = world.eyot.up_with(&settings).unwrap();
    world.eyot.json(&["deploy", text(&fixture("iris-forest")), "--name", "iris"]).unwrap();
    let source = format!("{guest}:0.1.0");
    world.eyot.json(&["deploy", &source, "--name", "w", "--allow-http", "*", "--timeout", SHORT]).unwrap();
    Some(server)
}

/// What a client sends of a body whose end it never sends.
#[derive(Clone, Copy, Debug)]
enum Sends {
    /// All of it, and waits for the answer.
    Whole,
    /// The head alone.
    Nothing,
    /// A byte now and then.
    Drops,
}

/// Asks as a client that takes its time; what it has received when the server ends the connection, or when
/// `until` says that it is enough.
fn ask(server: &Server, path: &str, sends: Sends, until: impl Fn(&[u8]) -> bool) -> String {
    let mut stream = TcpStream::connect(server.gateway.trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(PACE)).unwrap();
    let length = if matches!(sends, Sends::Whole) { 0 } else { 10_000 };
    let head = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let (started, mut heard, mut buffer) = (Instant::now(), Vec::new(), [0; 4096]);
    while started.elapsed() < LONG && !until(&heard) {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => heard.extend_from_slice(&buffer[..read]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                // A server that has had enough need not read on; what it answered is still to come.
                if matches!(sends, Sends::Drops) && stream.write_all(b"x").is_err() {
                    continue;
                }
            }
            // An end that is no clean one is an end.
            Err(_) => break,
        }
    }
    assert!(started.elapsed() < LONG, "{path} {sends:?} never ended: {}", String::from_utf8_lossy(&heard));
    String::from_utf8_lossy(&heard).into_owned()
}

/// The last chunk of an answer that is whole.
fn is_whole(heard: &[u8]) -> bool {
    heard.ends_with(b"0\r\n\r\n")
}

#[test]
fn who_goes_away_takes_nobody_with_them() {
    for guest in GUESTS {
        let world = World::new();
        let Some(server) = served(&world, guest) else { return };
        for path in ["/w", "/w/echo", "/metrics", INFER] {
            let request = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\n\r\nx");
            for _ in 0..20 {
                let mut streams: Vec<_> = (0..16)
                    .map(|_| TcpStream::connect(server.gateway.trim_start_matches("http://")).unwrap())
                    .collect();
                // They close once they have asked. What is written then is refused, and what is written after that
                // fails.
                streams.iter_mut().for_each(|stream| stream.write_all(request.as_bytes()).unwrap());
            }
            assert_eq!(server.post("/w", "").unwrap().text(), "Hello!", "{guest} after {path}");
        }
    }
}

#[test]
fn who_never_comes_to_an_end_is_ended() {
    for guest in GUESTS {
        let world = World::new();
        let Some(server) = served(&world, guest) else { return };
        let third = guest == "testing-web3";
        let mut cases = vec![
            // Slow bodies, where a whole one is wanted before anything is done.
            (INFER, Sends::Nothing, "HTTP/1.1 408 ", "did not come within"),
            (INFER, Sends::Drops, "HTTP/1.1 408 ", "did not come within"),
            // A component whose client sends nothing more, or which itself does not.
            ("/w/echo", Sends::Nothing, "", ""),
            // One that sends just enough to be never silent.
            ("/w/echo", Sends::Drops, "", ""),
            ("/w/open", Sends::Whole, "HTTP/1.1 200 ", "the first half"),
            ("/w/half", Sends::Whole, "", ""),
        ];
        if third {
            cases.push(("/w/length", Sends::Drops, "HTTP/1.1 504 ", "did not answer before its deadline"));
        }
        let greeted = cases.len() as f64;
        for (path, sends, begins, says) in cases {
            let heard = ask(&server, path, sends, |heard| {
                // Answers that are errors are whole, and their connection may be used again.
                heard.starts_with(b"HTTP/1.1 5") && heard.ends_with(b"}")
            });
            assert!(heard.starts_with(begins) && heard.contains(says), "{guest} {path} {sends:?}: {heard}");
            let half = heard.starts_with("HTTP/1.1 200 ");
            assert!(!(half && is_whole(heard.as_bytes())), "{guest} {path} looks whole: {heard}");
            assert_eq!(server.post("/w", "").unwrap().text(), "Hello!", "{guest} after {path}");
        }
        let metrics = server.get("/metrics").unwrap().text();
        let count = |name: &str, status: &str| -> f64 {
            let wanted =
                format!("eyot_requests_total{{deployment=\"{name}\",revision=\"1\",status=\"{status}\"}} ");
            metrics.lines().find_map(|line| line.strip_prefix(&wanted)?.parse().ok()).unwrap_or_default()
        };
        assert_eq!(count("w", "ok"), greeted, "{guest}: {metrics}");
        assert!(count("w", "failed") + count("w", "timeout") >= 4.0, "{guest}: {metrics}");
    }
}
