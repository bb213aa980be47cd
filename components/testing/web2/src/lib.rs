//! HTTP of WASI 0.2, each path another way to answer or not to.

use std::io::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};

use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    Fields, IncomingRequest, OutgoingBody, OutgoingRequest, OutgoingResponse, ResponseOutparam, Scheme,
};
use wasip2::io::streams::StreamError;

struct Component;

static COUNT: AtomicU32 = AtomicU32::new(0);

wasip2::http::proxy::export!(Component);

impl wasip2::exports::http::incoming_handler::Guest for Component {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        let last = path.split('?').next().unwrap_or_default().rsplit('/').next().unwrap_or_default();
        match last {
            "echo" => echo(&request, out),
            "headers" => {
                let mut lines: Vec<String> = request
                    .headers()
                    .entries()
                    .into_iter()
                    .map(|(name, value)| format!("{name}: {}\n", String::from_utf8_lossy(&value)))
                    .collect();
                lines.sort();
                text(out, &lines.concat());
            }
            "count" => text(out, &(COUNT.fetch_add(1, Ordering::Relaxed) + 1).to_string()),
            "trap" => panic!("asked to"),
            // What it is sent comes back, and then it fails.
            "half" => {
                let _body = pour(&request, out);
                panic!("halfway");
            }
            "open" => {
                let body = begin(out, 200);
                let mut stream = body.write().expect("a stream");
                stream.write_all(b"the first half").expect("written");
                stream.flush().expect("flushed");
                wasip2::clocks::monotonic_clock::subscribe_duration(u64::MAX / 2).block();
            }
            "spin" => loop {
                std::hint::black_box(COUNT.load(Ordering::Relaxed));
            },
            "events" => {
                let body = begin(out, 200);
                let mut stream = body.write().expect("a stream");
                for number in 0..3 {
                    stream.write_all(format!("data: {number}\n\n").as_bytes()).expect("written");
                    stream.flush().expect("flushed");
                }
                drop(stream);
                OutgoingBody::finish(body, None).expect("finished");
            }
            "never" => drop(out),
            "trailers" => {
                let body = begin_with(out, 200, &[("trailer", "x-sum")]);
                body.write().expect("a stream").write_all(b"Hello!").expect("written");
                let trailers = Fields::new();
                trailers.append("x-sum", b"6").expect("a trailer");
                OutgoingBody::finish(body, Some(trailers)).expect("finished");
            }
            "short" => {
                let body = begin_with(out, 200, &[("content-length", "100")]);
                body.write().expect("a stream").write_all(b"less than that").expect("written");
                // It is refused, as the body is too short.
                let _ = OutgoingBody::finish(body, None);
            }
            // A program that ends itself, once it has answered and before.
            "exit" => {
                text(out, "done");
                std::process::exit(0);
            }
            "exit-early" => std::process::exit(0),
            "exit-amid" => {
                let body = begin(out, 200);
                body.write().expect("a stream").write_all(b"half").expect("written");
                std::process::exit(0);
            }
            // A body that is begun and dropped.
            "unfinished" => {
                let body = begin(out, 200);
                body.write().expect("a stream").write_all(b"half").expect("written");
                drop(body);
            }
            // One that is begun and neither ended nor dropped, as a program with a collector leaves it.
            "left" => {
                let body = begin(out, 200);
                body.write().expect("a stream").write_all(b"half").expect("written");
                std::mem::forget(body);
            }
            "status" => {
                let status = path.split_once('?').and_then(|(_, status)| status.parse().ok()).unwrap_or(200);
                OutgoingBody::finish(begin(out, status), None).expect("finished");
            }
            "print" => {
                println!("\x1b]0;owned\x07 and \x1b[2Jgone");
                text(out, "printed");
            }
            "fetch" => fetch(path.split_once('?').map_or("", |(_, url)| url), out),
            "grow" => {
                let mut blocks = Vec::new();
                loop {
                    blocks.push(std::hint::black_box(vec![1_u8; 1 << 20]));
                }
            }
            _ => text(out, "Hello!"),
        }
    }
}

fn begin(out: ResponseOutparam, status: u16) -> OutgoingBody {
    begin_with(out, status, &[])
}

fn begin_with(out: ResponseOutparam, status: u16, headers: &[(&str, &str)]) -> OutgoingBody {
    let fields = Fields::new();
    for (name, value) in headers {
        fields.append(name, value.as_bytes()).expect("a header");
    }
    let response = OutgoingResponse::new(fields);
    response.set_status_code(status).expect("a status");
    let body = response.body().expect("a body");
    ResponseOutparam::set(out, Ok(response));
    body
}

fn text(out: ResponseOutparam, text: &str) {
    let body = begin(out, 200);
    let mut stream = body.write().expect("a stream");
    stream.write_all(text.as_bytes()).expect("written");
    drop(stream);
    OutgoingBody::finish(body, None).expect("finished");
}

/// Streams the request's body back.
fn echo(request: &IncomingRequest, out: ResponseOutparam) {
    OutgoingBody::finish(pour(request, out), None).expect("finished");
}

/// Pours it into the answer, whose end it leaves open.
fn pour(request: &IncomingRequest, out: ResponseOutparam) -> OutgoingBody {
    let incoming = request.consume().expect("a body");
    let from = incoming.stream().expect("a stream");
    let body = begin(out, 200);
    let mut into = body.write().expect("a stream");
    loop {
        match from.blocking_read(64 << 10) {
            Ok(piece) => into.write_all(&piece).expect("written"),
            Err(StreamError::Closed) => break,
            Err(error) => panic!("the request's body broke: {error}"),
        }
    }
    into.flush().expect("flushed");
    drop(into);
    body
}

/// Asks another server and says what it answered.
fn fetch(url: &str, out: ResponseOutparam) {
    let (authority, path) = url.trim_start_matches("http://").split_once('/').unwrap_or((url, ""));
    let request = OutgoingRequest::new(Fields::new());
    request.set_scheme(Some(&Scheme::Http)).expect("a scheme");
    request.set_authority(Some(authority)).expect("an authority");
    request.set_path_with_query(Some(&format!("/{path}"))).expect("a path");
    let answer = outgoing_handler::handle(request, None);
    let answer = answer.and_then(|answer| {
        answer.subscribe().block();
        answer.get().expect("an answer").expect("taken once")
    });
    match answer {
        Ok(answer) => text(out, &format!("{} from {authority}", answer.status())),
        Err(error) => text(out, &format!("{error:?}")),
    }
}
