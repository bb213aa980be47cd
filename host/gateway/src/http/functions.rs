//! Functions of components as endpoints: `POST /fn/NAME/FUNCTION` with JSON, checked against the types
//! that the component itself declares. No route is written by anybody.

mod openapi;
mod page;

pub(crate) use openapi::names;

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use eyot_core::{Error, Kind, Result};
use eyot_engine::{Arguments, Called, Reply, When};
use http::request;
use http::{HeaderMap, Method, StatusCode, header};
use serde_json::{Map, Value, json};

use crate::http::answers::{Answer, Refusal, html_answer, json_answer, text_answer};
use crate::http::body::Received;
use crate::http::predict::{self, Call};
use crate::http::rest::{LONG, answered, whole};
use crate::http::routes::unescape;
use crate::protocol::metadata;
use crate::serving::endpoint::{Endpoint, Live};
use crate::serving::state::GatewayState;
use crate::serving::stats::Counted;
use crate::telemetry::prediction_log;
use crate::telemetry::shadow;
use crate::telemetry::spans::Moments;

const BYTES: &str = "application/octet-stream";

/// What the path behind `/fn/` names: a deployment, one of its revisions or whichever has the turn, and
/// what is below it.
struct Target {
    name: String,
    version: Option<String>,
    rest: Vec<String>,
}

impl Target {
    fn of(path: &str) -> Result<Self> {
        let segments: Option<Vec<String>> = path
            .trim_end_matches('/')
            .split('/')
            .map(|segment| unescape(segment).map(|text| text.into_owned()))
            .collect();
        let mut segments = segments
            .ok_or_else(|| Error::not_found(format!("there is no route /fn/{path}")).hint(SHAPE))?
            .into_iter();
        let first = segments.next().unwrap_or_default();
        let (name, version) = match first.split_once('@') {
            None => (first, None),
            Some((name, version)) => (name.to_owned(), Some(version.to_owned())),
        };
        Ok(Self { name, version, rest: segments.collect() })
    }

    /// The path of the deployment, as it was asked for.
    fn base(&self) -> String {
        match &self.version {
            None => format!("/fn/{}", self.name),
            Some(version) => format!("/fn/{}@{version}", self.name),
        }
    }
}

const SHAPE: &str = "a function is POST /fn/NAME/FUNCTION; GET /fn/NAME lists a deployment's";

pub(crate) async fn answer(
    gateway: &Arc<GatewayState>,
    path: &str,
    parts: &request::Parts,
    body: Received,
) -> Result<Answer, Refusal> {
    let target = Target::of(path)?;
    let rest: Vec<&str> = target.rest.iter().map(String::as_str).collect();
    if target.name == page::OWN {
        return match rest.as_slice() {
            ["try.js"] => Ok(text_answer("text/javascript; charset=utf-8", page::SCRIPT.to_owned())),
            _ => Err(Error::not_found(format!("there is no route /fn/{path}")).hint(SHAPE).into()),
        };
    }
    match (&parts.method, rest.as_slice()) {
        (&Method::POST, [] | [_, _, _, ..]) | (_, [_, _, _, ..]) => {
            Err(Error::not_found(format!("there is no function at /fn/{path}")).hint(SHAPE).into())
        }
        (&Method::POST, names) => {
            let name = names.join("/");
            call(gateway, &target, &name, &parts.headers, body).await
        }
        (&Method::GET | &Method::HEAD, names) => about(gateway, &target, names, &parts.headers),
        (method, _) => Err(not_allowed(path, method, "GET, HEAD, POST")),
    }
}

fn not_allowed(path: &str, method: &Method, allow: &'static str) -> Refusal {
    let error = Error::invalid(format!("/fn/{path} takes no {method}")).hint(format!("it takes {allow}"));
    Refusal { error, status: Some(StatusCode::METHOD_NOT_ALLOWED), allow: Some(allow) }
}

fn about(
    gateway: &GatewayState,
    target: &Target,
    names: &[&str],
    headers: &HeaderMap,
) -> Result<Answer, Refusal> {
    let endpoint = gateway.endpoint(&target.name)?;
    let live = metadata::shown(&endpoint, target.version.as_deref())?;
    let functions = live.functions()?;
    let place = openapi::Place { name: &target.name, base: &target.base(), origin: &gateway.origin(headers) };
    match names {
        [] => Ok(json_answer(StatusCode::OK, &openapi::list(&live, functions))),
        ["openapi.json"] => Ok(json_answer(StatusCode::OK, &openapi::document(&place, functions))),
        ["docs"] => Ok(html_answer(page::page(&place, &live, functions))),
        names => {
            functions.find(&names.join("/"))?;
            Err(not_allowed(&format!("{}/{}", target.name, names.join("/")), &Method::GET, "POST"))
        }
    }
}

async fn call(
    gateway: &Arc<GatewayState>,
    target: &Target,
    function: &str,
    headers: &HeaderMap,
    body: Received,
) -> Result<Answer, Refusal> {
    let call = Call::new(gateway, headers, None);
    let attempted = attempt(gateway, &call, target, function, headers, body).await;
    Ok(call.answered(gateway, &target.name, attempted))
}

async fn attempt(
    gateway: &Arc<GatewayState>,
    call: &Call,
    target: &Target,
    function: &str,
    headers: &HeaderMap,
    body: Received,
) -> Result<Answer, Refusal> {
    gateway.refuse_when_draining()?;
    let endpoint = gateway.endpoint(&target.name)?;
    // A function that no revision has is refused before its body is read.
    metadata::shown(&endpoint, target.version.as_deref())?.functions()?.find(function)?;
    let received = whole(gateway, headers, body, None)
        .await
        .inspect_err(|refusal| predict::refused(call, &endpoint, &refusal.error))?;
    let arrived = Instant::now();
    let large = received.len() > LONG;
    let arguments = if is(headers, header::CONTENT_TYPE, BYTES) {
        Ok(Arguments::Bytes(received.into()))
    } else if large {
        gateway.aside(move || read(&received)).await
    } else {
        read(&received)
    };
    let arguments = arguments.inspect_err(|error| predict::refused(call, &endpoint, error))?;
    let live = pick(&endpoint, target.version.as_deref(), headers, &arguments)?;
    live.stats.decode.add(arrived.elapsed());
    let counted = Counted::begin(live.stats.clone(), call.started);
    let wanted = Wanted { function, bytes: is(headers, header::ACCEPT, BYTES), aside: large };
    let written = match run(gateway, call, &endpoint, &live, wanted, arguments).await {
        Ok(written) => written,
        Err(error) => {
            counted.end(Err(error.kind()));
            call.note(&live, &error);
            return Err(error.into());
        }
    };
    let Written { status, content_type, body, took } = written;
    let writing = Instant::now();
    let answer = answered(gateway, headers, status, content_type, body.into()).await;
    live.stats.encode.add(took + writing.elapsed());
    counted.end(match status {
        StatusCode::OK => Ok(()),
        _ => Err(Kind::Invalid),
    });
    Ok(answer?)
}

/// What is called, and how its answer is wished for.
struct Wanted<'a> {
    function: &'a str,
    /// Bytes as they are, not in base64.
    bytes: bool,
    /// The call is long work for the size of its arguments.
    aside: bool,
}

/// A reply on its way out.
struct Written {
    status: StatusCode,
    content_type: &'static str,
    body: Bytes,
    /// How long the writing took.
    took: Duration,
}

impl Written {
    fn of(reply: Reply, bytes: bool) -> Self {
        const JSON: &str = "application/json";
        let started = Instant::now();
        let (status, content_type, body) = match reply {
            Reply::Value(value) => (StatusCode::OK, JSON, value.to_string().into()),
            Reply::Bytes(content) if bytes => (StatusCode::OK, BYTES, content.into()),
            Reply::Bytes(content) => {
                (StatusCode::OK, JSON, Value::String(STANDARD.encode(content)).to_string().into())
            }
            Reply::Error(value) => {
                (StatusCode::UNPROCESSABLE_ENTITY, JSON, json!({ "error": value }).to_string().into())
            }
        };
        Self { status, content_type, body, took: started.elapsed() }
    }
}

/// Whether a header names this media type, alone or first of several.
fn is(headers: &HeaderMap, name: header::HeaderName, media_type: &str) -> bool {
    let first = headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.split([',', ';']).next());
    first.is_some_and(|first| first.trim().eq_ignore_ascii_case(media_type))
}

/// A body of JSON: arguments by parameter name; none at all where there is no body.
fn read(body: &[u8]) -> Result<Arguments> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Arguments::Values(Map::new()));
    }
    let value: Value = serde_json::from_slice(body).map_err(|error| {
        Error::invalid(format!("the body cannot be read as JSON: {error}")).hint(
            "send an object with one field for each parameter; bytes alone are application/octet-stream",
        )
    })?;
    match value {
        Value::Object(values) => Ok(Arguments::Values(values)),
        _ => Err(Error::invalid("the body is no JSON object")
            .hint("send an object with one field for each parameter")),
    }
}

/// The revision for a call: sticky by a header or by an argument, where that is wished for.
fn pick(
    endpoint: &Endpoint,
    version: Option<&str>,
    headers: &HeaderMap,
    arguments: &Arguments,
) -> Result<Arc<Live>> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok().map(str::to_owned));
    let argument = |name: &str| match arguments {
        Arguments::Bytes(_) => None,
        Arguments::Values(values) => values.get(name).map(|value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }),
    };
    let key = endpoint.key(header, argument);
    endpoint.route(version, key.as_deref())
}

async fn run(
    gateway: &GatewayState,
    call: &Call,
    endpoint: &Endpoint,
    live: &Arc<Live>,
    wanted: Wanted<'_>,
    arguments: Arguments,
) -> Result<Written> {
    let functions = live.functions()?;
    let deadline = call.started + live.revision.timeout;
    let arrived = Instant::now();
    let permit = live.gate.enter(deadline).await?;
    let begun = Instant::now();
    live.stats.queue.add(begun - arrived);
    let shadow = endpoint.shadow().filter(|shadow| shadow.version != live.version);
    let log = gateway.log().filter(|log| log.samples());
    let kept = (shadow.is_some() || log.is_some()).then(|| arguments.clone());
    let Wanted { function, bytes, aside } = wanted;
    let (when, keeps) = (When { deadline: Some(deadline), aside }, kept.is_some());
    let called = functions.call_then(function, arguments, when, move |Called { reply, spent }| {
        let kept = keeps.then(|| reply.clone());
        (Written::of(reply, bytes), kept, spent)
    });
    let (mut reply, mut spent) = (None, None);
    let written = called.await.map(|(written, replied, used)| {
        (reply, spent) = (replied, Some(used));
        written
    });
    let took = begun.elapsed();
    live.stats.predicted(took, spent);
    call.predicted(live, Moments { arrived, begun, took }, spent);
    drop(permit);
    let Some(arguments) = kept else { return written };
    if let (Some(shadow), Some(reply)) = (shadow, &reply) {
        let (name, arguments, reply) = (function.to_owned(), arguments.clone(), reply.clone());
        shadow::compare(shadow.clone(), shadow::Asked::Function { name, arguments, reply });
    }
    if let Some(log) = log {
        let reply = reply.ok_or_else(|| written.as_ref().err().map(Error::chain).unwrap_or_default());
        let asked = prediction_log::Asked::Function { name: function.to_owned(), arguments, reply };
        log.tell(call.told(live, took, asked));
    }
    written
}
