//! Predictions over HTTP: JSON and the binary extension, both compressed or not.

use std::time::Instant;

use bytes::Bytes;
use eyot_core::{Error, Result};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use hyper::body::Incoming;

use crate::answer::{Answer, Refusal, answer};
use crate::body::{self, Parts};
use crate::compress::{Coding, WORTHWHILE};
use crate::protocol::{Asked, choose, encode, request};
use crate::revisions::Serving;
use crate::server::Inner;

/// Work on more bytes than this leaves the async threads: it takes longer than handing it over.
const LONG: usize = 128 << 10;

/// The header that says how much of a body is JSON.
const JSON_LENGTH: &str = "inference-header-content-length";

pub(crate) async fn infer(
    gateway: &Inner,
    serving: &Serving,
    headers: &HeaderMap,
    body: Incoming,
) -> Result<Answer, Refusal> {
    let revision = &serving.revision;
    let deadline = Instant::now() + revision.timeout;
    let header = json_length(headers)?;
    let body = whole(gateway, headers, body, header).await?;
    let asked = match header {
        Some(0) => request::raw(&body, revision.predictor.signature())?,
        // Binary tensors are only sliced; JSON is read byte by byte.
        header if header.unwrap_or(body.len()) > LONG => aside(move || request::read(&body, header)).await?,
        header => request::read(&body, header)?,
    };
    let Asked { id, parameters, inputs, outputs } = asked;
    let signature = revision.predictor.signature();
    let inputs = signature.check_inputs(inputs)?;
    let chosen = choose(signature, &outputs, parameters.binary)?;
    let permit = serving.gate.enter(deadline).await?;
    let outputs = revision.predictor.predict(inputs, deadline).await?;
    drop(permit);
    let revision = revision.clone();
    let size: usize = outputs.iter().map(|output| output.tensor.bytes().len()).sum();
    let write = move || {
        let version = revision.revision.to_string();
        encode::response(revision.deployment.as_str(), &version, id.as_deref(), &outputs, &chosen)
    };
    let encoded = if size > LONG { aside(write).await? } else { write()? };
    packed(headers, encoded).await
}

/// Runs what takes long where it keeps no other request waiting.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::internal("work on a request ended early").because(error))?
}

fn json_length(headers: &HeaderMap) -> Result<Option<usize>> {
    let Some(value) = headers.get(JSON_LENGTH) else { return Ok(None) };
    let length = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    length.map(Some).ok_or_else(|| {
        Error::invalid(format!(
            "Inference-Header-Content-Length is {value:?}, not a whole number of 0 or more"
        ))
    })
}

/// The body as it was before it was packed.
async fn whole(
    gateway: &Inner,
    headers: &HeaderMap,
    body: Incoming,
    header: Option<usize>,
) -> Result<Bytes, Refusal> {
    let limit = gateway.config.max_body.0;
    let coding = match headers.get(header::CONTENT_ENCODING) {
        None => None,
        Some(value) => Coding::of_request(value.to_str().unwrap_or("?")).map_err(|error| Refusal {
            error,
            status: Some(StatusCode::UNSUPPORTED_MEDIA_TYPE),
            allow: None,
        })?,
    };
    let body = body::read(body, limit, header.unwrap_or_default()).await?;
    Ok(match coding {
        None => body,
        Some(coding) => aside(move || coding.unpack(&body, limit)).await?,
    })
}

async fn packed(headers: &HeaderMap, encoded: encode::Encoded) -> Result<Answer, Refusal> {
    let encode::Encoded { json, tensors, binary } = encoded;
    let length = json.len();
    let mut body = Parts::new(json, tensors);
    let accepted =
        headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).and_then(Coding::accepted);
    let coding = accepted.filter(|_| body.len() >= WORTHWHILE);
    if let Some(coding) = coding {
        let plain = body.whole();
        let pack = move || coding.pack(&plain);
        body = aside(pack).await?.into();
    }
    let content_type = if binary { "application/octet-stream" } else { "application/json" };
    let mut answer = answer(StatusCode::OK, HeaderValue::from_static(content_type), body);
    if binary {
        answer.headers_mut().insert(JSON_LENGTH, HeaderValue::from(length));
    }
    if let Some(coding) = coding {
        answer.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding.as_str()));
        answer.headers_mut().insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    }
    Ok(answer)
}
