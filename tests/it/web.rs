//! Components that answer HTTP, of WASI 0.2 and of 0.3 as spin-sdk builds them.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use eyot_tests::{Rival, Server, held_out, prediction_request, with_python_tools};
use serde_json::{Value, json};

use crate::world::{World, text};

const GUESTS: [&str; 2] = ["testing-web2", "testing-web3"];

/// A server with a web guest deployed as `w`; `None` where it is not built.
fn served(world: &World, guest: &str, settings: &[&str], flags: &[&str]) -> Option<Server> {
    if !world.push(guest) {
        return None;
    }
    let server = world.eyot.up_with(settings).unwrap();
    let source = format!("{guest}:0.1.0");
    world.eyot.json(&[&["deploy", &source, "--name", "w"], flags].concat()).unwrap();
    Some(server)
}

#[test]
fn a_component_answers_in_its_own_words() {
    for guest in GUESTS {
        let world = World::new();
        let Some(server) = served(&world, guest, &[], &["--allow-http", "nowhere.test"]) else { return };
        let body = vec![7_u8; 300_000];
        for (path, expected) in [
            ("/w", b"Hello!".to_vec()),
            ("/w/count", b"1".to_vec()),
            // WASI 0.2 promises an instance one request; one of 0.3 answers more.
            ("/w/count", if guest == "testing-web2" { b"1".to_vec() } else { b"2".to_vec() }),
            ("/w/events", b"data: 0\n\ndata: 1\n\ndata: 2\n\n".to_vec()),
            ("/w/echo", body.clone()),
        ] {
            let answer = server.post(path, body.clone()).unwrap();
            assert_eq!(
                (answer.status, answer.body == expected),
                (200, true),
                "{guest} {path} {}",
                answer.text()
            );
        }
        // What it never calls it needs no grant for.
        let deployed = world.eyot.json(&["deploy", &format!("{guest}:0.1.0"), "--name", "v"]).unwrap();
        let warning = deployed["warnings"][0].as_str().unwrap();
        assert!(warning.contains("refused until") && warning.contains("--allow-http"), "{deployed:#}");
        assert_eq!(server.post("/v", body).unwrap().text(), "Hello!");
    }
}

/// The same requests to the same component behind `wasmtime serve`, where that is installed.
#[test]
fn wasmtime_serve_answers_the_same() {
    for guest in GUESTS {
        let world = World::new();
        let Some(server) = served(&world, guest, &[], &["--allow-http", "nowhere.test"]) else { return };
        let Some(rival) = Rival::start(guest, 128).unwrap() else {
            return eprintln!("ignored: there is no wasmtime (cargo install wasmtime-cli --version 48.0.8)");
        };
        for (path, body) in [
            ("/", String::new()),
            ("/events", String::new()),
            ("/echo", "what was sent\n".repeat(10_000)),
            ("/echo", String::new()),
            ("/length", "seventeen letters".to_owned()),
            ("/trap", String::new()),
            ("/refuse", String::new()),
        ] {
            let ours = server.post(&format!("/w{path}"), body.clone()).unwrap();
            let theirs = rival.post(path, body).unwrap();
            assert_eq!(ours.status, theirs.status, "{guest} {path} {}", ours.text());
            // What went wrong each says in its own words.
            let same = ours.body == theirs.body && ours.content_type == theirs.content_type;
            assert!(same || ours.status >= 500, "{guest} {path}: {ours:?} {theirs:?}");
        }
    }
}

#[test]
fn a_component_is_told_where_its_route_stands() {
    for guest in GUESTS {
        let world = World::new();
        let flags = ["--allow-http", "*", "--route", "/users/:id/...", "--route", "app.test/..."];
        let Some(server) = served(&world, guest, &[], &flags) else { return };
        let forged = [("spin-client-addr", "1.2.3.4:5"), ("spin-path-match-x", "forged")];
        let told = server.post_with("/users/42/headers?a=b", &forged, "").unwrap().text();
        let authority = server.gateway.trim_start_matches("http://");
        for line in [
            format!("spin-full-url: http://{authority}/users/42/headers?a=b\n"),
            "spin-path-info: /headers\n".to_owned(),
            "spin-matched-route: /users/:id/...\n".to_owned(),
            "spin-component-route: /users/:id\n".to_owned(),
            "spin-path-match-id: 42\n".to_owned(),
            "spin-client-addr: 127.0.0.1:".to_owned(),
        ] {
            assert!(told.contains(&line), "{guest}: {line} in {told}");
        }
        assert!(!told.contains("forged") && !told.contains("1.2.3.4"), "{told}");
        let host = [("host", "app.test:81")];
        assert_eq!(server.post_with("/anything", &host, "").unwrap().text(), "Hello!");
        assert_eq!(server.post("/anything", "").unwrap().status, 404);
        assert_eq!(server.post("/w", "").unwrap().status, 404);
        let source = format!("{guest}:0.1.0");
        for (route, says) in [
            ("/users/:id/...", "belongs to 'w' already"),
            ("/v2/models/...", "the gateway's own"),
            ("users", "is no route"),
        ] {
            let refused = world.eyot.refused(&[
                "deploy",
                &source,
                "--name",
                "v",
                "--allow-http",
                "*",
                "--route",
                route,
            ]);
            assert!(
                refused.as_ref().is_ok_and(|refused| refused.message.contains(says)) || refused.is_err(),
                "{route}: {refused:?}"
            );
        }
    }
}

#[test]
fn a_component_that_goes_wrong_is_ended_counted_and_explained() {
    for guest in GUESTS {
        let world = World::new();
        let settings = ["handlers.timeout=500ms", "handlers.memory=64 MiB"];
        let Some(server) = served(&world, guest, &settings, &["--allow-http", "*"]) else { return };
        for (path, status, says) in [
            ("/w/trap", 500, "its last words: asked to"),
            ("/w/spin", 504, "did not answer before its deadline"),
        ] {
            let answer = server.post(path, "").unwrap();
            assert_eq!(answer.status, status, "{guest} {path}: {}", answer.text());
            assert!(answer.text().contains(says), "{guest} {path}: {}", answer.text());
            assert_eq!(server.post("/w/count", "").unwrap().text(), "1", "{guest} {path}");
        }
        // An answer that has begun cannot become an error: it must not look whole. So much of it has to go out before
        // the rest is there.
        let half = server.post("/w/half", vec![b'a'; 2 << 20]);
        assert!(half.is_err(), "{guest}: {:?}", half.map(|answer| answer.text()));
        // Of these nothing needs to have gone out. The second gives less than its content-length says.
        for path in ["/w/half", "/w/short"] {
            let answer = server.post(path, "");
            let failed = answer.as_ref().map_or(true, |answer| answer.status == 500);
            assert!(failed, "{guest} {path}: {:?}", answer.map(|answer| answer.text()));
        }
        assert_eq!(server.post("/w", "").unwrap().text(), "Hello!");
        let metrics = server.get("/metrics").unwrap().text();
        for line in ["status=\"failed\"} 4", "status=\"timeout\"} 1", "status=\"ok\"} 3"] {
            let line = format!("eyot_requests_total{{deployment=\"w\",revision=\"1\",{line}");
            assert!(metrics.contains(&line), "{guest}: {metrics}");
        }
        let own = match guest {
            "testing-web2" => ("/w/never", "answered no response"),
            _ => ("/w/refuse", "answered no response"),
        };
        let answer = server.post(own.0, "").unwrap();
        assert_eq!((answer.status, answer.text().contains(own.1)), (500, true), "{guest}: {}", answer.text());
    }
}

/// Asks for an answer that never ends, and reads its first part.
fn begun(server: &Server) -> TcpStream {
    let mut stream = TcpStream::connect(server.gateway.trim_start_matches("http://")).unwrap();
    stream.write_all(b"POST /w/open HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n").unwrap();
    let (mut heard, mut buffer) = (Vec::new(), [0; 4096]);
    while !String::from_utf8_lossy(&heard).contains("the first half") {
        let read = stream.read(&mut buffer).unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&heard));
        heard.extend_from_slice(&buffer[..read]);
    }
    stream
}

#[test]
fn trailers_follow_an_answer() {
    let world = World::new();
    let Some(server) = served(&world, "testing-web2", &[], &["--allow-http", "*"]) else { return };
    let mut stream = TcpStream::connect(server.gateway.trim_start_matches("http://")).unwrap();
    let head = "POST /w/trailers HTTP/1.1\r\nhost: localhost\r\nte: trailers\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let mut heard = String::new();
    stream.read_to_string(&mut heard).unwrap();
    assert!(heard.contains("Hello!") && heard.ends_with("0\r\nx-sum: 6\r\n\r\n"), "{heard}");
}

#[test]
fn requests_of_wasi_03_that_wait_share_an_instance() {
    // One that has just been asked takes the next once it waits, which may be too late for it.
    for (reuse, expected) in [("64", 1..=3), ("1", 12..=12)] {
        let world = World::new();
        let flags = ["--allow-http", "*", "--reuse", reuse];
        let Some(server) = served(&world, "testing-web3", &[], &flags) else { return };
        let waiting: Vec<_> = (0..12).map(|_| begun(&server)).collect();
        let metrics = server.get("/metrics").unwrap().text();
        let name = "eyot_instances_started_total{deployment=\"w\",revision=\"1\"} ";
        let started: usize =
            metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap().parse().unwrap();
        assert!(expected.contains(&started), "{started} started for {} with {reuse}", waiting.len());
        assert_eq!(server.post("/w", "").unwrap().text(), "Hello!");
    }
}

#[test]
fn requests_go_only_where_they_were_granted() {
    for guest in GUESTS {
        let world = World::new();
        // The control plane is a server to ask; its port is known once it is up.
        let Some(server) = served(&world, guest, &[], &["--allow-http", "nowhere.test"]) else { return };
        let allowed = server.api.trim_start_matches("http://").to_owned();
        world
            .eyot
            .json(&["deploy", &format!("{guest}:0.1.0"), "--name", "w", "--allow-http", &allowed])
            .unwrap();
        let ask = |url: &str| server.post(&format!("/w/fetch?{url}"), "").unwrap().text();
        assert!(ask(&format!("{}/v2/", server.api)).starts_with("200 from"), "{guest}");
        assert!(ask(&format!("{}/metrics", server.gateway)).contains("HttpRequestDenied"), "{guest}");
        assert!(server.log().contains("it is not granted"), "{guest}: {}", server.log());
    }
}

#[test]
fn an_answer_is_whole_or_an_error_that_says_why() {
    let world = World::new();
    let Some(server) = served(&world, "testing-web2", &[], &["--allow-http", "nowhere.test"]) else { return };
    for (path, status, says) in [
        ("/w/exit", 200, "done"),
        ("/w/exit-early", 500, "it never set its response-outparam"),
        ("/w/exit-amid", 500, "exited with status 0"),
        ("/w/unfinished", 500, "began a body and dropped it without an end"),
        ("/w/left", 500, "began a body and dropped it without an end"),
        ("/w/status?204", 204, ""),
        ("/w/status?100", 500, "the status 100 announces an answer and is none"),
        ("/w/status?101", 500, "the status 101 announces"),
        ("/w/status?199", 500, "the status 199 announces"),
        ("/w/print", 200, "printed"),
    ] {
        let answer = server.post(path, "").unwrap();
        assert!(answer.status == status && answer.text().contains(says), "{path}: {answer:?}");
    }
    let logs = world.eyot.text(&["logs", "w"]).unwrap();
    assert!(logs.contains("\\x1b]0;owned\\x07 and \\x1b[2Jgone") && !logs.contains('\x1b'), "{logs:?}");
    // Who asks for JSON gets what was printed, which JSON escapes.
    assert!(world.eyot.text(&["logs", "w", "--json"]).unwrap().contains("\\u001b]0;owned"));
    assert!(!server.log().contains("\x1b]0;owned"), "{}", server.log());
}

#[test]
fn a_program_of_wasi_0_3_that_ends_itself_has_answered_whole_or_not_at_all() {
    let world = World::new();
    let Some(server) = served(&world, "testing-web3", &[], &["--allow-http", "nowhere.test"]) else { return };
    for (path, status, says) in [
        ("/w/exit", 200, "done"),
        ("/w/exit-early", 500, "exited with status 0"),
        // And is there for the next one.
        ("/w", 200, "Hello!"),
    ] {
        for _ in 0..10 {
            let answer = server.post(path, "").unwrap();
            assert!(answer.status == status && answer.text().contains(says), "{path}: {answer:?}");
        }
    }
    // Its answer may have begun by then, and breaks off.
    for _ in 0..10 {
        let answer = server.post("/w/exit-amid", "");
        assert!(
            answer.as_ref().is_err() || answer.as_ref().is_ok_and(|answer| answer.status == 500),
            "{answer:?}"
        );
    }
}

#[test]
fn everywhere_is_not_this_machine() {
    for guest in GUESTS {
        let world = World::new();
        let Some(server) = served(&world, guest, &[], &["--allow-http", "*", "--allow-http", "*.test"])
        else {
            return;
        };
        let port = server.api.rsplit(':').next().unwrap().to_owned();
        let ask = |host: &str| server.post(&format!("/w/fetch?http://{host}:{port}/v2/"), "").unwrap().text();
        for host in [
            "127.0.0.1",
            "127.1.2.3",
            "localhost",
            "0.0.0.0",
            "2130706433",
            "0x7f.1",
            "[::1]",
            "[::ffff:127.0.0.1]",
        ] {
            let answer = ask(host);
            assert!(!answer.contains("200 from"), "{guest} {host}: {answer}");
        }
        assert!(ask("127.0.0.1").contains("HttpRequestDenied"), "{guest}");
        assert!(server.log().contains("of this machine or its link"), "{guest}: {}", server.log());
    }
}

#[test]
fn a_spin_application_asks_a_model_and_keeps_what_it_was_asked() {
    let world = World::new();
    if !world.push("digits-web") || !world.push("digits-steps") {
        return;
    }
    let server = world.up();
    let run = world.digits();
    let champion = "models:/digits@champion";
    world.eyot.json(&["deploy", champion, "--name", "digits"]).unwrap();
    let model = format!("digits={champion}");
    let deploy = ["deploy", "digits-web:0.1.0", "--model", &model, "--var", "greeting=Draw a digit"];
    for (granted, missing) in [
        (&["--sqlite", "default"][..], "spin:key-value/key-value@3.0.0"),
        (&["--key-value", "default"], "spin:sqlite/sqlite@3.1.0"),
    ] {
        let deployed = world.eyot.json(&[&deploy, granted].concat()).unwrap();
        let warnings = deployed["warnings"].as_array().unwrap();
        let told = warnings.iter().any(|warning| {
            let warning = warning.as_str().unwrap();
            warning.contains(missing) && warning.contains("until they are granted")
        });
        assert!(told, "{missing}: {warnings:?}");
    }
    let granted = ["--key-value", "default", "--sqlite", "default"];
    world.eyot.json(&[&deploy[..], &granted].concat()).unwrap();
    assert_eq!(server.get("/digits-web/").unwrap().text(), "Draw a digit\n");
    let mut counts = std::collections::BTreeMap::new();
    let mut last = String::new();
    for digit in held_out(&server, &run).unwrap().iter().take(20) {
        let request = prediction_request(std::slice::from_ref(digit));
        let answer = server.post("/v2/models/digits/infer", request).unwrap().json();
        let outputs = answer["outputs"].as_array().unwrap();
        let label =
            outputs.iter().find(|output| output["name"] == "label").unwrap()["data"][0].as_i64().unwrap();
        let read = server.post("/digits-web/read", Value::from(digit.pixels.clone()).to_string()).unwrap();
        assert_eq!((read.status, read.text()), (200, format!("{label}\n")));
        *counts.entry(label).or_insert(0) += 1;
        last = format!("20 was {label}\n");
    }
    let wrong = server.post("/digits-web/read", "[1, 2]").unwrap();
    assert_eq!((wrong.status, wrong.text().contains("pixels")), (400, true), "{}", wrong.text());
    let counts: String = counts.iter().map(|(label, count)| format!("{label}: {count}\n")).collect();
    // What was answered is kept, however the server ends.
    server.kill().unwrap();
    let server = world.up();
    assert_eq!(server.get("/digits-web/counts").unwrap().text(), counts);
    assert!(server.get("/digits-web/last").unwrap().text().starts_with(&last));
    // Another deployment of the same component has stores of its own.
    world.eyot.json(&[&deploy[..], &granted, &["--name", "other"]].concat()).unwrap();
    assert_eq!(server.get("/other/counts").unwrap().text(), "");
}

const PYTHON: &str = r#"
import eyot

def twice(pieces):
    for piece in pieces:
        yield piece
        yield piece.upper()

def half(pieces):
    yield from pieces
    raise RuntimeError("halfway")

@eyot.http
def answer(request):
    kind = request.path.rsplit("/", 1)[-1]
    if kind == "twice":
        return eyot.Response(twice(request.chunks()))
    if kind == "half":
        return eyot.Response(half(request.chunks()))
    if kind == "json":
        return eyot.Response.json({request.headers["x-name"]: request.json()}, 201)
    raise KeyError(f"{request.method} {kind}")
"#;

#[test]
fn python_streams_both_ways_and_says_what_went_wrong() {
    let world = World::new();
    let dir = world.dir.path().join("page");
    world.eyot.json(&["new", "--lang", "python", "--kind", "http", "page", "--dir", text(&dir)]).unwrap();
    std::fs::write(dir.join("app.py"), PYTHON).unwrap();
    let mut build = world.eyot.command(&["build", text(&dir)]);
    let Some(build) = with_python_tools(&mut build) else { return };
    assert!(build.status().unwrap().success());
    let server = world.up();
    world.eyot.json(&["push", text(&dir)]).unwrap();
    world.eyot.json(&["deploy", "page:0.1.0"]).unwrap();
    let answer = server.post("/page/twice", vec![b'a'; 300_000]).unwrap();
    let count = |letter: u8| answer.body.iter().filter(|byte| **byte == letter).count();
    assert_eq!((answer.status, count(b'a'), count(b'A')), (200, 300_000, 300_000));
    let answer = server.post_with("/page/json", &[("X-Name", "n")], "[1]").unwrap();
    assert_eq!((answer.status, answer.json()), (201, json!({ "n": [1] })), "{}", answer.text());
    for (path, body, status, says) in [
        ("/page/json", "{", 400, "the body is no JSON: "),
        ("/page/other", "", 500, "KeyError: 'POST other'\n"),
    ] {
        let answer = server.post_with(path, &[("x-name", "n")], body).unwrap();
        assert_eq!(
            (answer.status, answer.text().contains(says)),
            (status, true),
            "{path}: {}",
            answer.text()
        );
    }
    assert!(server.post("/page/half", vec![b'a'; 2 << 20]).is_err(), "half an answer looks whole");
    assert!(server.log().contains("RuntimeError: halfway"), "{}", server.log());
}
