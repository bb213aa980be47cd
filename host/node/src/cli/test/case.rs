//! One case: what is asked, and what must come back.

use std::collections::BTreeMap;
use std::path::Path;

use axum::body::Body;
use eyot_core::{Error, Result, ResultExt};
use eyot_http::ServerTrust;
use eyot_oci::Transport;
use http::{Method, Request, header};
use http_body_util::BodyExt as _;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::TestBench;
use super::difference::difference;

/// A case as its file says it.
#[derive(Debug)]
pub(super) enum TestCase {
    Function(FunctionCase),
    Command(CommandCase),
    Http(HttpCase),
    Handler(HandlerCase),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FunctionCase {
    call: String,
    #[serde(default)]
    arguments: Map<String, Value>,
    result: Option<Value>,
    error: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CommandCase {
    /// Its files under `/in`, and its parameters.
    #[serde(default)]
    inputs: Map<String, Value>,
    /// Its files under `/out`, by path.
    #[serde(default)]
    outputs: Map<String, Value>,
    #[serde(default)]
    stdout: Option<String>,
    error: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HandlerCase {
    request: Value,
    #[serde(default = "ok")]
    status: u16,
    response: Value,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HttpCase {
    request: HttpRequest,
    response: Value,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HttpRequest {
    #[serde(default = "get")]
    method: String,
    path: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Option<String>,
    json: Option<Value>,
}

fn ok() -> u16 {
    200
}

fn get() -> String {
    "GET".to_owned()
}

/// What came over HTTP.
struct HttpAnswer {
    status: u16,
    headers: Map<String, Value>,
    body: String,
}

impl TestCase {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).context(|| format!("cannot read {}", path.display()))?;
        let wrong = |error: serde_json::Error| {
            Error::invalid(format!("{} is no case: {error}", path.display()))
                .hint("eyot test --help says what is in a case")
        };
        let value: Value = serde_json::from_str(&text).map_err(wrong)?;
        // Read as what it is meant to be, so that what is wrong is named.
        if value.get("call").is_some() {
            return serde_json::from_value(value).map(Self::Function).map_err(wrong);
        }
        if value.pointer("/request/path").is_some() {
            return serde_json::from_value(value).map(Self::Http).map_err(wrong);
        }
        if value.get("request").is_some() {
            return serde_json::from_value(value).map(Self::Handler).map_err(wrong);
        }
        serde_json::from_value(value).map(Self::Command).map_err(wrong)
    }

    /// Runs it; answers how what came differs from what was expected.
    pub(super) async fn run(&self, bench: &mut TestBench<'_>) -> Result<Option<String>> {
        match self {
            Self::Function(case) => case.run(bench).await,
            Self::Command(case) => case.run(bench).await,
            Self::Handler(case) => case.run(bench).await,
            Self::Http(case) => case.run(bench).await,
        }
    }
}

impl FunctionCase {
    async fn run(&self, bench: &mut TestBench<'_>) -> Result<Option<String>> {
        let dir = bench.dir.to_owned();
        let callable = bench.callable().await?;
        callable.function(&self.call)?;
        let called = match callable.call(&self.call, &self.arguments, &dir).await {
            Ok(called) => called,
            Err(error) => {
                let said = error.chain();
                return Ok(match &self.error {
                    Some(expected) if said.contains(expected) => None,
                    Some(expected) => Some(format!("expected the error '{expected}', found '{said}'")),
                    None => Some(said),
                });
            }
        };
        if let Some(expected) = &self.error {
            return Ok(Some(format!("expected the error '{expected}', found {}", called.value)));
        }
        let mut value = called.value;
        for artifact in &called.artifacts {
            if let Some(place) = value.pointer_mut(&artifact.at) {
                *place = callable.shown(artifact).await?;
            }
        }
        Ok(self.result.as_ref().and_then(|expected| difference(expected, &value, "result")))
    }
}

impl CommandCase {
    async fn run(&self, bench: &mut TestBench<'_>) -> Result<Option<String>> {
        let dir = bench.dir.to_owned();
        let outputs: Vec<_> = self.outputs.keys().cloned().collect();
        let callable = bench.callable().await?;
        let (called, said) = callable.run(&self.inputs, &outputs, &dir).await;
        let called = match (called, &self.error) {
            (Ok(called), None) => called,
            (Ok(_), Some(expected)) => {
                return Ok(Some(format!("expected the error '{expected}', and it went well")));
            }
            (Err(error), Some(expected)) if error.chain().contains(expected) => return Ok(None),
            (Err(error), Some(expected)) => {
                return Ok(Some(format!("expected the error '{expected}', found '{}'", error.chain())));
            }
            (Err(error), None) => return Ok(Some(error.chain())),
        };
        if let Some(expected) = self.stdout.as_ref().filter(|expected| **expected != said) {
            return Ok(Some(format!("stdout: expected {expected:?}, found {said:?}")));
        }
        let mut value = called.value;
        for artifact in &called.artifacts {
            if let Some(place) = value.pointer_mut(&artifact.at) {
                *place = callable.shown(artifact).await?;
            }
        }
        Ok(difference(&Value::Object(self.outputs.clone()), &value, "outputs"))
    }
}

impl HandlerCase {
    async fn run(&self, bench: &mut TestBench<'_>) -> Result<Option<String>> {
        let path = format!("/v2/models/{}/infer", bench.name);
        let request = HttpRequest {
            method: "POST".to_owned(),
            path,
            headers: BTreeMap::new(),
            body: None,
            json: Some(self.request.clone()),
        };
        let answer = ask(&request, "", bench).await?;
        let said = answer.body.trim().to_owned();
        if answer.status != self.status {
            return Ok(Some(format!("expected status {}, found {}: {said}", self.status, answer.status)));
        }
        let body = serde_json::from_str(&said).unwrap_or(Value::String(said));
        Ok(difference(&self.response, &body, "response"))
    }
}

impl HttpCase {
    async fn run(&self, bench: &mut TestBench<'_>) -> Result<Option<String>> {
        // A component that answers HTTP has everything below its deployment's name.
        let below = format!("/{}", bench.name);
        let answer = ask(&self.request, &below, bench).await?;
        let json = serde_json::from_str(&answer.body).unwrap_or(Value::Null);
        let found =
            json!({ "status": answer.status, "headers": answer.headers, "body": answer.body, "json": json });
        Ok(difference(&self.response, &found, "response"))
    }
}

/// Sends a request to the server under test.
async fn ask(request: &HttpRequest, below: &str, bench: &mut TestBench<'_>) -> Result<HttpAnswer> {
    let invalid = |error: http::Error| Error::invalid("the case's request cannot be sent").because(error);
    let method = Method::from_bytes(request.method.as_bytes()).map_err(|error| invalid(error.into()))?;
    let mut built = Request::builder().method(method).uri(format!("{below}{}", request.path));
    if request.json.is_some() {
        built = built.header(header::CONTENT_TYPE, "application/json");
    }
    for (name, value) in &request.headers {
        built = built.header(name, value);
    }
    let body = match (&request.json, &request.body) {
        (Some(json), _) => json.to_string(),
        (None, body) => body.clone().unwrap_or_default(),
    };
    let transport = Transport::connect(bench.server().await?.gateway(), &ServerTrust::System)?;
    let response = transport.send(built.body(Body::from(body)).map_err(invalid)?).await?;
    let status = response.status().as_u16();
    let text =
        |value: &http::HeaderValue| Value::String(String::from_utf8_lossy(value.as_bytes()).into_owned());
    let headers = response.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    let bytes = response.into_body().collect().await;
    let bytes =
        bytes.map_err(|error| Error::unavailable("the answer ended early").because(error))?.to_bytes();
    Ok(HttpAnswer { status, headers, body: String::from_utf8_lossy(&bytes).into_owned() })
}
