//! Functions of components as endpoints: `POST /fn/NAME/FUNCTION` with JSON, checked against the types
//! that the component itself declares. No route is written by anybody.

mod openapi;
mod page;

pub(crate) use openapi::names;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use eyot_core::{Error, ErrorKind, Result};
use eyot_engine::{CallArguments, CallOptions, CompletedCall, FunctionReply};
use http::request;
use http::{HeaderMap, Method, StatusCode, header};
use serde_json::{Map, Value, json};

use crate::http::answers::{self, ErrorResponse, HttpResponse, html_answer, json_answer, text_answer};
use crate::http::body::RequestBody;
use crate::http::receiving::{OFFLOAD_THRESHOLD_BYTES, read_body};
use crate::http::routes::{ProjectPath, unescape};
use crate::serving::endpoint::{DeploymentEntry, ServingRevision};
use crate::serving::exchange::{CapturedCall, Exchange, ExchangeKind, ExchangeOutcome};
use crate::serving::pipeline::{RequestWork, serve};
use crate::serving::route_table::project_of;
use crate::serving::state::GatewayState;

const BYTES_TYPE: &str = "application/octet-stream";

/// What the path behind `/fn/` names: a deployment, one of its revisions or whichever has the turn, and
/// what is below it.
struct FunctionTarget {
    /// As it is looked up: with its project, where that is not `default`.
    name: String,
    version: Option<String>,
    rest: Vec<String>,
}

impl FunctionTarget {
    /// Reads a path. Its escapes are undone before anything is decided by it.
    fn of(below: &ProjectPath<'_>, path: &str) -> Result<Self> {
        let segments: Option<Vec<String>> = path
            .trim_end_matches('/')
            .split('/')
            .map(|segment| unescape(segment).map(|text| text.into_owned()))
            .collect();
        let mut segments = segments
            .ok_or_else(|| Error::not_found(format!("there is no route /fn/{path}")).hint(ROUTE_HINT))?
            .into_iter();
        let first = segments.next().unwrap_or_default();
        let (name, version) = match first.split_once('@') {
            None => (first, None),
            Some((name, version)) => (name.to_owned(), Some(version.to_owned())),
        };
        let name = if name == page::PAGE_FOLDER { name } else { below.scoped(name.into())?.into_owned() };
        Ok(Self { name, version, rest: segments.collect() })
    }

    /// The path of the deployment, below its project's.
    fn base(&self) -> String {
        let base = match self.name.split_once('~') {
            None => format!("/fn/{}", self.name),
            Some((project, name)) => format!("/p/{project}/fn/{name}"),
        };
        match &self.version {
            None => base,
            Some(version) => format!("{base}@{version}"),
        }
    }
}

const ROUTE_HINT: &str = "a function is POST /fn/NAME/FUNCTION; GET /fn/NAME lists a deployment's";

/// Answers what is asked of `path`, which is what stands behind `/fn/`.
pub(crate) async fn answer(
    gateway: &Arc<GatewayState>,
    below: &ProjectPath<'_>,
    path: &str,
    parts: &request::Parts,
    caller: SocketAddr,
    body: RequestBody,
) -> Result<HttpResponse, ErrorResponse> {
    let target = FunctionTarget::of(below, path)?;
    let rest: Vec<&str> = target.rest.iter().map(String::as_str).collect();
    if target.name == page::PAGE_FOLDER {
        return match rest.as_slice() {
            ["try.js"] => Ok(text_answer("text/javascript; charset=utf-8", page::PAGE_SCRIPT.to_owned())),
            _ => Err(Error::not_found(format!("there is no route /fn/{path}")).hint(ROUTE_HINT).into()),
        };
    }
    gateway.check_caller(&parts.headers, project_of(&target.name)).await?;
    match (&parts.method, rest.as_slice()) {
        (&Method::POST, [] | [_, _, _, ..]) | (_, [_, _, _, ..]) => {
            Err(Error::not_found(format!("there is no function at /fn/{path}")).hint(ROUTE_HINT).into())
        }
        (&Method::POST, names) => {
            let function = &*names.join("/");
            let exchange = gateway.begin(ExchangeKind::Function, &parts.headers, caller);
            let (target, headers) = (&target, &parts.headers);
            let work = FunctionWork { gateway, target, function, headers, body: Some(body), is_long: false };
            Ok(serve(exchange, work).await)
        }
        (&Method::GET | &Method::HEAD, names) => describe(gateway, &target, names, &parts.headers),
        (method, _) => Err(not_allowed(&format!("/fn/{path}"), method, "GET, HEAD, POST")),
    }
}

fn not_allowed(path: &str, method: &Method, allow: &'static str) -> ErrorResponse {
    let error = Error::invalid(format!("{path} takes no {method}")).hint(format!("it takes {allow}"));
    ErrorResponse { error, status: Some(StatusCode::METHOD_NOT_ALLOWED), allow: Some(allow) }
}

fn describe(
    gateway: &GatewayState,
    target: &FunctionTarget,
    names: &[&str],
    headers: &HeaderMap,
) -> Result<HttpResponse, ErrorResponse> {
    let endpoint = gateway.endpoint(&target.name)?;
    let live = endpoint.shown(target.version.as_deref())?;
    let functions = live.functions()?;
    let (base, origin) = (target.base(), gateway.origin(headers));
    let place = openapi::DeploymentUrl { name: endpoint.name.name(), base: &base, origin: &origin };
    match names {
        [] => Ok(json_answer(StatusCode::OK, &openapi::list(&live, functions))),
        ["openapi.json"] => Ok(json_answer(StatusCode::OK, &openapi::document(&place, functions))),
        ["docs"] => Ok(html_answer(page::page(&place, &live, functions))),
        names => {
            functions.find(&names.join("/"))?;
            Err(not_allowed(&format!("{}/{}", target.base(), names.join("/")), &Method::GET, "POST"))
        }
    }
}

/// A call of a function.
struct FunctionWork<'a> {
    gateway: &'a Arc<GatewayState>,
    target: &'a FunctionTarget,
    function: &'a str,
    headers: &'a HeaderMap,
    /// Until it is read.
    body: Option<RequestBody>,
    /// The call is long work for the size of its arguments.
    is_long: bool,
}

impl RequestWork for FunctionWork<'_> {
    type Input = CallArguments;
    type Call = CallArguments;
    type Answer = HttpResponse;
    type Failure = ErrorResponse;
    type Response = HttpResponse;

    fn gateway(&self) -> &GatewayState {
        self.gateway
    }

    fn name(&self) -> &str {
        &self.target.name
    }

    /// A function that no revision has is refused before its body is read.
    fn check(&mut self, deployment: &DeploymentEntry) -> Result<(), ErrorResponse> {
        deployment.shown(self.target.version.as_deref())?.functions()?.find(self.function)?;
        Ok(())
    }

    async fn read(
        &mut self,
        exchange: &mut Exchange,
        _: &DeploymentEntry,
    ) -> Result<CallArguments, ErrorResponse> {
        let body = self.body.take().ok_or_else(|| Error::internal("the body was read already"))?;
        let received = read_body(self.gateway, exchange, self.headers, body, None).await?;
        exchange.timings.received = Some(Instant::now());
        self.is_long = received.len() > OFFLOAD_THRESHOLD_BYTES;
        Ok(if has_media_type(self.headers, header::CONTENT_TYPE, BYTES_TYPE) {
            CallArguments::Bytes(received.into())
        } else if self.is_long {
            self.gateway.offload(move || parse_arguments(&received)).await?
        } else {
            parse_arguments(&received)?
        })
    }

    fn select(
        &self,
        deployment: &DeploymentEntry,
        arguments: &CallArguments,
    ) -> Result<Arc<ServingRevision>> {
        select_revision(deployment, self.target.version.as_deref(), self.headers, arguments)
    }

    fn prepare(
        &mut self,
        _: &mut Exchange,
        revision: &ServingRevision,
        arguments: CallArguments,
    ) -> Result<CallArguments> {
        revision.functions()?;
        Ok(arguments)
    }

    async fn run(
        self,
        exchange: &mut Exchange,
        revision: Arc<ServingRevision>,
        arguments: CallArguments,
    ) -> Result<HttpResponse, ErrorResponse> {
        let EncodedReply { status, content_type, body, took } =
            self.call(exchange, &revision, arguments).await?;
        let writing = Instant::now();
        let answer = answers::compressed(self.gateway, self.headers, status, content_type, body.into()).await;
        exchange.timings.encode = Some(took + writing.elapsed());
        Ok(answer?)
    }

    fn respond(exchange: Exchange, attempted: Result<HttpResponse, ErrorResponse>) -> HttpResponse {
        let outcome = match &attempted {
            Ok(answer) if answer.status() != StatusCode::OK => ExchangeOutcome::Declined(ErrorKind::Invalid),
            _ => ExchangeOutcome::Answered,
        };
        answers::end(exchange, attempted, outcome)
    }
}

impl FunctionWork<'_> {
    async fn call(
        &self,
        exchange: &mut Exchange,
        revision: &ServingRevision,
        arguments: CallArguments,
    ) -> Result<EncodedReply> {
        let keeps = exchange.captures();
        if keeps {
            let (name, arguments) = (self.function.to_owned(), arguments.clone());
            exchange.capture(CapturedCall::Function { name, arguments, reply: None });
        }
        let options = CallOptions { deadline: exchange.deadline, in_background: self.is_long };
        // Bytes as they are, not in base64.
        let bytes = has_media_type(self.headers, header::ACCEPT, BYTES_TYPE);
        let then = move |CompletedCall { reply, usage }| {
            let kept = keeps.then(|| reply.clone());
            (EncodedReply::of(reply, bytes), kept, usage)
        };
        let called = revision.functions()?.call_then(self.function, arguments, options, then).await;
        exchange.record_work(called.as_ref().ok().map(|(_, _, usage)| *usage));
        let (written, reply, _) = called?;
        exchange.capture_reply(reply);
        Ok(written)
    }
}

/// A reply on its way out.
struct EncodedReply {
    status: StatusCode,
    content_type: &'static str,
    body: Bytes,
    /// How long the writing took.
    took: Duration,
}

impl EncodedReply {
    fn of(reply: FunctionReply, bytes: bool) -> Self {
        const JSON_TYPE: &str = "application/json";
        let started = Instant::now();
        let (status, content_type, body) = match reply {
            FunctionReply::Value(value) => (StatusCode::OK, JSON_TYPE, value.to_string().into()),
            FunctionReply::Bytes(content) if bytes => (StatusCode::OK, BYTES_TYPE, content.into()),
            FunctionReply::Bytes(content) => {
                (StatusCode::OK, JSON_TYPE, Value::String(STANDARD.encode(content)).to_string().into())
            }
            FunctionReply::Error(value) => {
                (StatusCode::UNPROCESSABLE_ENTITY, JSON_TYPE, json!({ "error": value }).to_string().into())
            }
        };
        Self { status, content_type, body, took: started.elapsed() }
    }
}

/// Whether a header names this media type, alone or first of several.
fn has_media_type(headers: &HeaderMap, name: header::HeaderName, media_type: &str) -> bool {
    let first = headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.split([',', ';']).next());
    first.is_some_and(|first| first.trim().eq_ignore_ascii_case(media_type))
}

/// A body of JSON: arguments by parameter name; none at all where there is no body.
fn parse_arguments(body: &[u8]) -> Result<CallArguments> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(CallArguments::Values(Map::new()));
    }
    let value: Value = serde_json::from_slice(body).map_err(|error| {
        Error::invalid(format!("the body cannot be read as JSON: {error}")).hint(
            "send an object with one field for each parameter; bytes alone are application/octet-stream",
        )
    })?;
    match value {
        Value::Object(values) => Ok(CallArguments::Values(values)),
        _ => Err(Error::invalid("the body is no JSON object")
            .hint("send an object with one field for each parameter")),
    }
}

/// The revision for a call: sticky by a header or by an argument, where that is wished for.
fn select_revision(
    endpoint: &DeploymentEntry,
    version: Option<&str>,
    headers: &HeaderMap,
    arguments: &CallArguments,
) -> Result<Arc<ServingRevision>> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok().map(str::to_owned));
    let argument = |name: &str| match arguments {
        CallArguments::Bytes(_) => None,
        CallArguments::Values(values) => values.get(name).map(|value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }),
    };
    let key = endpoint.sticky_key(header, argument);
    endpoint.route(version, key.as_deref())
}
