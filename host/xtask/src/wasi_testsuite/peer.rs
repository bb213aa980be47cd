//! What a test's program speaks to over HTTP: servers that answer as the test says, and one that is not there.

use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::message::HttpMessage;
use super::spec::{pairs, text};
use super::time_limit::TEST_TIMEOUT;

/// The servers of a test. Each has a thread, which ends with this process.
pub(super) struct PeerServers {
    /// By the names that the test gives them.
    addresses: Vec<(String, SocketAddr)>,
}

impl PeerServers {
    /// Starts what a test's file says: `servers`, or `endpoints` of one server, which is called main.
    pub(super) fn start(spec: &Value) -> Result<Self> {
        let alone = || serde_json::json!([{ "name": "main", "endpoints": spec["endpoints"] }]);
        let servers = match (&spec["servers"], &spec["endpoints"]) {
            (Value::Array(servers), _) => servers.clone(),
            (_, Value::Array(_)) => alone().as_array().cloned().unwrap_or_default(),
            _ => Vec::new(),
        };
        let addresses = servers.iter().map(start).collect::<Result<_>>()?;
        Ok(Self { addresses })
    }

    /// The variables in which a program finds them.
    pub(super) fn environment(&self) -> impl Iterator<Item = (String, String)> {
        let variable = |(name, address): &(String, SocketAddr)| {
            (format!("HTTP_SERVER_{}", name.to_uppercase()), address.to_string())
        };
        self.addresses.iter().map(variable)
    }

    pub(super) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.addresses.iter().map(|(_, address)| *address)
    }
}

fn start(server: &Value) -> Result<(String, SocketAddr)> {
    let name = text(server, "name", "main").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    match text(server, "kind", "http") {
        // Nobody listens there from now on.
        "closed" => drop(listener),
        "http" => {
            let endpoints = server["endpoints"].as_array().cloned().unwrap_or_default();
            std::thread::spawn(move || serve(&listener, &endpoints));
        }
        other => bail!("a server of the kind '{other}' is not known here"),
    }
    Ok((name, address))
}

/// One connection after the other, each for as long as requests come.
fn serve(listener: &TcpListener, endpoints: &[Value]) {
    for stream in listener.incoming().flatten() {
        let endpoints = endpoints.to_vec();
        std::thread::spawn(move || {
            // The client sees what went wrong: its connection ends.
            let _ = answer_all(stream, &endpoints);
        });
    }
}

fn answer_all(mut stream: TcpStream, endpoints: &[Value]) -> Result<()> {
    stream.set_read_timeout(Some(TEST_TIMEOUT))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    while let Some(request) = HttpMessage::read(&mut reader, false)? {
        stream.write_all(&answer(&request, endpoints)?)?;
    }
    Ok(())
}

/// The endpoint of a method and a path with its query answers; all others are not found.
fn answer(request: &HttpMessage, endpoints: &[Value]) -> Result<Vec<u8>> {
    let mut words = request.line.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().context("a request has a path")?);
    let found = endpoints
        .iter()
        .find(|endpoint| text(endpoint, "method", "GET") == method && text(endpoint, "path", "/") == path);
    let Some(endpoint) = found else {
        return Ok(whole(404, &[], b""));
    };
    let response = &endpoint["response"];
    let status = response["status"].as_u64().unwrap_or(200);
    Ok(match text(endpoint, "mode", "") {
        "echo-headers" => whole(status, &reflected(request, method, path), b""),
        "" if !response.is_null() => said(status, response, method == "HEAD"),
        "" | "echo-body" => whole(status, &[], &request.body),
        other => bail!("an endpoint of the mode '{other}' is not known here"),
    })
}

/// The request in fields of the answer.
fn reflected(request: &HttpMessage, method: &str, path: &str) -> Vec<(String, String)> {
    let line = [("x-request-method", method), ("x-request-path", path)];
    let line = line.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let prefixed = |prefix: &'static str| {
        move |(name, value): &(String, String)| {
            (format!("{prefix}{}", name.to_ascii_lowercase()), value.clone())
        }
    };
    let fields = request.fields.iter().map(prefixed("x-echo-"));
    let trailers = request.trailers.iter().map(prefixed("x-echo-trailer-"));
    line.into_iter().chain(fields).chain(trailers).collect()
}

/// What a test says that an endpoint answers. A HEAD has the head of it.
fn said(status: u64, response: &Value, is_head: bool) -> Vec<u8> {
    let fields = pairs(&response["headers"]);
    let Some(chunks) = response["chunks"].as_array() else {
        let body = text(response, "body", "").as_bytes();
        let mut whole = whole(status, &fields, body);
        whole.truncate(whole.len() - if is_head { body.len() } else { 0 });
        return whole;
    };
    let mut answer = head(status, &fields);
    answer.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n");
    for chunk in chunks.iter().filter_map(Value::as_str) {
        answer.extend_from_slice(format!("{:x}\r\n{chunk}\r\n", chunk.len()).as_bytes());
    }
    answer.extend_from_slice(b"0\r\n");
    for (name, value) in pairs(&response["trailers"]) {
        answer.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    answer.extend_from_slice(b"\r\n");
    answer
}

fn whole(status: u64, fields: &[(String, String)], body: &[u8]) -> Vec<u8> {
    let mut answer = head(status, fields);
    answer.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
    answer.extend_from_slice(body);
    answer
}

fn head(status: u64, fields: &[(String, String)]) -> Vec<u8> {
    let fields: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("HTTP/1.1 {status} Answer\r\n{fields}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_answers_its_method_and_path_alone() {
        let endpoints = serde_json::json!([
            { "method": "GET", "path": "/a?x=1", "response": { "status": 201, "body": "made" } },
            { "method": "HEAD", "path": "/a?x=1", "response": { "body": "made" } },
            { "method": "POST", "path": "/echo" },
            { "method": "POST", "path": "/fields", "mode": "echo-headers" },
            { "method": "GET", "path": "/parts", "response": { "chunks": ["one", "two"], "trailers": { "sum": "6" } } },
        ]);
        let asked = |request: &str| {
            let request = HttpMessage::read(&mut request.as_bytes(), false).unwrap().unwrap();
            let answer = answer(&request, endpoints.as_array().unwrap()).unwrap();
            let text = String::from_utf8(answer).unwrap();
            (text.clone(), HttpMessage::read(&mut text.as_bytes(), true))
        };
        let body = |request: &str| asked(request).1.unwrap().unwrap();
        let made = body("GET /a?x=1 HTTP/1.1\r\n\r\n");
        assert_eq!((made.line.as_str(), &made.body[..]), ("HTTP/1.1 201 Answer", &b"made"[..]));
        assert!(asked("HEAD /a?x=1 HTTP/1.1\r\n\r\n").0.ends_with("content-length: 4\r\n\r\n"));
        assert!(body("GET /a HTTP/1.1\r\n\r\n").line.contains("404"));
        assert_eq!(body("POST /echo HTTP/1.1\r\ncontent-length: 4\r\n\r\nping").body, b"ping");
        let fields = body("POST /fields HTTP/1.1\r\nX-One: 1\r\n\r\n");
        assert_eq!(fields.field("x-echo-x-one"), Some("1"));
        assert_eq!(fields.field("x-request-path"), Some("/fields"));
        let parts = body("GET /parts HTTP/1.1\r\n\r\n");
        assert_eq!((parts.body, parts.trailers), (b"onetwo".to_vec(), vec![("sum".into(), "6".into())]));
    }
}
