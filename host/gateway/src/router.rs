//! From a path to an answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;
use eyot_core::{Error, Kind, Result};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use serde_json::{Map, Value, json};

use crate::protocol::{decode, encode};
use crate::revisions::Serving;
use crate::server::Inner;

type Answer = Response<Full<Bytes>>;

/// What a path names.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Server,
    Live,
    Ready,
    Models,
    Model(Target),
    ModelReady(Target),
    Infer(Target),
}

#[derive(Debug, PartialEq, Eq)]
struct Target {
    model: String,
    version: Option<String>,
}

pub(crate) async fn answer(gateway: &Arc<Inner>, request: Request<Incoming>) -> Answer {
    let head = request.method() == Method::HEAD;
    let mut answer = match route(gateway, request).await {
        Ok(answer) => answer,
        Err(refusal) => refuse(refusal),
    };
    if gateway.draining.load(Ordering::Relaxed) {
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if head {
        let length = answer.body().size_hint().exact().unwrap_or_default();
        answer.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        *answer.body_mut() = Full::default();
    }
    answer
}

/// An error, and the status where its kind does not say it.
struct Refusal {
    error: Error,
    status: Option<StatusCode>,
    allow: Option<&'static str>,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self { error, status: None, allow: None }
    }
}

fn refuse(refusal: Refusal) -> Answer {
    let Refusal { error, status, allow } = refusal;
    if matches!(error.kind(), Kind::Internal | Kind::Corrupt | Kind::Failed) {
        tracing::warn!(error = %error.chain(), "a prediction failed");
    }
    let text = match error.hint_text() {
        Some(hint) => format!("{}; {hint}", error.chain()),
        None => error.chain(),
    };
    let by_kind =
        StatusCode::from_u16(error.kind().http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut answer = json_answer(status.unwrap_or(by_kind), &json!({ "error": text }));
    if matches!(error.kind(), Kind::Exhausted | Kind::Unavailable) {
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    if let Some(allow) = allow {
        answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    }
    answer
}

fn json_answer(status: StatusCode, value: &Value) -> Answer {
    bytes_answer(status, value.to_string().into())
}

fn bytes_answer(status: StatusCode, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

async fn route(gateway: &Arc<Inner>, request: Request<Incoming>) -> Result<Answer, Refusal> {
    let place = place(request.uri().path())?;
    let (wanted, allow) = match place {
        Place::Infer(_) => (request.method() == Method::POST, "POST"),
        _ => (request.method() == Method::GET || request.method() == Method::HEAD, "GET, HEAD"),
    };
    if !wanted {
        let error = Error::invalid(format!("{} takes no {}", request.uri().path(), request.method()))
            .hint(format!("it takes {allow}"));
        return Err(Refusal { error, status: Some(StatusCode::METHOD_NOT_ALLOWED), allow: Some(allow) });
    }
    let draining = gateway.draining.load(Ordering::Relaxed);
    let ok = |value: &Value| Ok(json_answer(StatusCode::OK, value));
    match place {
        Place::Server => {
            ok(&json!({ "name": "eyot", "version": env!("CARGO_PKG_VERSION"), "extensions": [] }))
        }
        Place::Live => ok(&json!({ "live": true })),
        Place::Ready if draining => {
            Ok(json_answer(StatusCode::SERVICE_UNAVAILABLE, &json!({ "ready": false })))
        }
        Place::Ready => ok(&json!({ "ready": true })),
        Place::Models => ok(&json!({ "models": gateway.revisions.names() })),
        Place::Model(target) => ok(&metadata(&find(gateway, &target)?)),
        Place::ModelReady(target) => {
            find(gateway, &target)?;
            ok(&json!({ "name": target.model, "ready": true }))
        }
        Place::Infer(_) if draining => {
            Err(Error::unavailable("the server is stopping").hint("another server answers").into())
        }
        Place::Infer(target) => infer(gateway, &find(gateway, &target)?, request).await,
    }
}

fn place(path: &str) -> Result<Place> {
    let unknown = || {
        Error::not_found(format!("there is no route {path}"))
            .hint("the protocol is under /v2; predictions are POST /v2/models/NAME/infer")
    };
    let trimmed = path.trim_start_matches('/').trim_end_matches('/');
    let segments = trimmed.split('/').map(unescape).collect::<Option<Vec<String>>>().ok_or_else(unknown)?;
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let (model, rest) = match segments.as_slice() {
        ["v2"] => return Ok(Place::Server),
        ["v2", "health", "live"] => return Ok(Place::Live),
        ["v2", "health", "ready"] => return Ok(Place::Ready),
        ["v2", "models"] => return Ok(Place::Models),
        ["v2", "models", model, rest @ ..] => (*model, rest),
        _ => return Err(unknown()),
    };
    let (version, rest) = match rest {
        ["versions", version, rest @ ..] => (Some((*version).to_owned()), rest),
        rest => (None, rest),
    };
    let target = Target { model: model.to_owned(), version };
    match rest {
        [] => Ok(Place::Model(target)),
        ["ready"] => Ok(Place::ModelReady(target)),
        ["infer"] => Ok(Place::Infer(target)),
        _ => Err(unknown()),
    }
}

/// Undoes percent-encoding; `None` where it is wrong.
fn unescape(segment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first == b'%' {
            let (digits, tail) = rest.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = tail;
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).ok()
}

fn find(gateway: &Inner, target: &Target) -> Result<Serving> {
    let shown: String = target.model.chars().take(128).collect();
    let serving = gateway.revisions.get(&target.model).ok_or_else(|| {
        let names = gateway.revisions.names();
        Error::not_found(format!("there is no model '{shown}'")).hint(match names.as_slice() {
            [] => "nothing is deployed; eyot deploy makes an endpoint".to_owned(),
            names => format!("deployed are: {}", names.join(", ")),
        })
    })?;
    let serves = serving.revision.revision.to_string();
    match &target.version {
        Some(version) if *version != serves => {
            Err(Error::not_found(format!("model '{shown}' has no version '{version}'"))
                .hint(format!("version {serves} serves")))
        }
        _ => Ok(serving),
    }
}

fn metadata(serving: &Serving) -> Value {
    let revision = &serving.revision;
    let signature = revision.predictor.signature();
    let mut properties = Map::new();
    if let Some(component) = &revision.component {
        properties.insert("component".to_owned(), Value::String(component.to_string()));
    }
    for (name, digest) in &revision.models {
        properties.insert(format!("model.{name}"), Value::String(digest.to_string()));
    }
    for (name, ran_on) in revision.predictor.ran_on() {
        properties.insert(format!("ran_on.{name}"), Value::String(ran_on.to_string()));
    }
    json!({
        "name": revision.deployment,
        "versions": [revision.revision.to_string()],
        "platform": revision.platform,
        "inputs": signature.inputs,
        "outputs": signature.outputs,
        "properties": properties,
    })
}

async fn infer(gateway: &Inner, serving: &Serving, request: Request<Incoming>) -> Result<Answer, Refusal> {
    if let Some(encoding) =
        request.headers().get(header::CONTENT_ENCODING).filter(|value| *value != "identity")
    {
        let error = Error::unsupported(format!("request bodies in {encoding:?} are not read"))
            .hint("send the body as it is");
        return Err(Refusal { error, status: Some(StatusCode::UNSUPPORTED_MEDIA_TYPE), allow: None });
    }
    let revision = &serving.revision;
    let deadline = Instant::now() + revision.timeout;
    let body = read(request.into_body(), gateway.config.max_body.0).await?;
    let asked = decode::request(&body)?;
    let signature = revision.predictor.signature();
    let inputs = signature.check_inputs(asked.inputs)?;
    let wanted = encode::choose(signature, &asked.outputs)?;
    let permit = serving.gate.enter(deadline).await?;
    let outputs = revision.predictor.predict(inputs, deadline).await?;
    drop(permit);
    let version = revision.revision.to_string();
    let answer =
        encode::response(revision.deployment.as_str(), &version, asked.id.as_deref(), &outputs, &wanted)?;
    Ok(bytes_answer(StatusCode::OK, answer.into()))
}

/// Reads a body of at most `limit` bytes. A larger one is read to its end and dropped, within reason:
/// a client that is still sending would see a broken connection instead of the answer.
async fn read(mut body: Incoming, limit: u64) -> Result<Bytes> {
    let mut whole =
        Vec::with_capacity(usize::try_from(body.size_hint().lower().min(limit)).unwrap_or_default());
    let mut length = 0_u64;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Error::invalid("the request's body ended early").because(error))?;
        let Ok(data) = frame.into_data() else { continue };
        length += data.len() as u64;
        if length <= limit {
            whole.extend_from_slice(&data);
        } else {
            whole = Vec::new();
        }
        if length > limit.saturating_mul(4) {
            break;
        }
    }
    if length > limit {
        let limit = eyot_core::ByteCount(limit);
        return Err(Error::too_large(format!("the request's body is larger than {limit}"))
            .hint("send fewer rows in one request, or raise gateway.max-body"));
    }
    Ok(whole.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn paths_name_places() {
        let target = |model: &str, version: Option<&str>| Target {
            model: model.into(),
            version: version.map(str::to_owned),
        };
        for (path, expected) in [
            ("/v2", Place::Server),
            ("/v2/", Place::Server),
            ("/v2/models/a", Place::Model(target("a", None))),
            ("/v2/models/a%2Db/versions/3/infer", Place::Infer(target("a-b", Some("3")))),
            ("/v2/models/a/ready", Place::ModelReady(target("a", None))),
        ] {
            assert_eq!(place(path).unwrap(), expected, "{path}");
        }
        for path in [
            "/",
            "/v1/models/a",
            "/v2/models/a/generate",
            "/v2/models/%zz",
            "/v2/models/%ff",
            "/v2/models/a/versions",
        ] {
            assert_eq!(place(path).unwrap_err().kind(), Kind::NotFound, "{path}");
        }
    }
}
