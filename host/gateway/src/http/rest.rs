//! Predictions over HTTP: JSON and the binary extension, both compressed or not.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use eyot_core::{Error, Kind, Result};
use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::http::answers::{Answer, Refusal, answer};
use crate::http::body::{self, Parts, Received};
use crate::http::predict::{self, Call};
use crate::http::routes::Target;
use crate::protocol::compress::{Coding, WORTHWHILE};
use crate::protocol::metadata;
use crate::protocol::{encode, raw, request};
use crate::serving::state::GatewayState;

/// Work on more bytes than this leaves the async threads: it takes longer than handing it over.
pub(crate) const LONG: usize = 128 << 10;

/// The header that says how much of a body is JSON.
const JSON_LENGTH: &str = "inference-header-content-length";

pub(crate) async fn infer(
    gateway: &Arc<GatewayState>,
    target: &Target<'_>,
    headers: &HeaderMap,
    body: Received,
) -> Result<Answer, Refusal> {
    let call = Call::new(gateway, headers, None);
    let attempted = attempt(gateway, &call, target, headers, body).await;
    Ok(call.answered(gateway, &target.model, attempted))
}

async fn attempt(
    gateway: &Arc<GatewayState>,
    call: &Call,
    target: &Target<'_>,
    headers: &HeaderMap,
    body: Received,
) -> Result<Answer, Refusal> {
    gateway.refuse_when_draining()?;
    let endpoint = gateway.endpoint(&target.model)?;
    let version = target.version.as_deref();
    let header = json_length(headers)?;
    let received = whole(gateway, headers, body, header)
        .await
        .inspect_err(|refusal| predict::refused(call, &endpoint, &refusal.error))?;
    let arrived = Instant::now();
    let asked = match header {
        Some(0) => metadata::shown(&endpoint, version)
            .and_then(|live| raw::read(&received, live.predictor()?.signature())),
        // Binary tensors are only sliced; JSON is read byte by byte.
        header if header.unwrap_or(received.len()) > LONG => {
            gateway.aside(move || request::read(&received, header)).await
        }
        header => request::read(&received, header),
    };
    let asked = asked.inspect_err(|error| predict::refused(call, &endpoint, error))?;
    let told = |name: &str| headers.get(name).and_then(|value| value.to_str().ok().map(str::to_owned));
    let key = endpoint.key(told, |name| asked.parameters.text(name));
    let live = endpoint.route(version, key.as_deref())?;
    live.stats.decode.add(arrived.elapsed());
    let answered = call.run(gateway, &endpoint, live, asked).await?;
    let writing = Instant::now();
    let size: usize = answered.outputs.iter().map(|output| output.tensor.bytes().len()).sum();
    let write = move || {
        let (live, id) = (&answered.live, answered.id.as_deref());
        let encoded = encode::response(
            live.revision.deployment.as_str(),
            &live.version,
            id,
            &answered.outputs,
            &answered.chosen,
            answered.non_finite,
        );
        answered.end(writing, encoded)
    };
    let encoded = if size > LONG { gateway.aside(write).await? } else { write()? };
    packed(gateway, headers, encoded).await
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
pub(crate) async fn whole(
    gateway: &GatewayState,
    headers: &HeaderMap,
    body: Received,
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
    let body = received(gateway, body, limit, header.unwrap_or_default()).await?;
    Ok(match coding {
        None => body,
        Some(coding) => gateway.aside(move || coding.unpack(&body, limit)).await?,
    })
}

/// A whole body of at most `limit` bytes, as [`body::read`] reads it, if it comes in time.
pub(crate) async fn received(
    gateway: &GatewayState,
    body: Received,
    limit: u64,
    aligned: usize,
) -> Result<Bytes, Refusal> {
    let reading = body::read(body, limit, aligned);
    let body = tokio::time::timeout(gateway.config.body_timeout.0, reading).await.unwrap_or_else(|_| {
        Err(Error::timeout(format!("the request's body did not come within {}", gateway.config.body_timeout)))
    });
    body.map_err(|error| match error.kind() {
        // The client is late, not this server: a kind of error has only one status.
        Kind::Timeout => Refusal { error, status: Some(StatusCode::REQUEST_TIMEOUT), allow: None },
        _ => Refusal::from(error),
    })
}

async fn packed(
    gateway: &GatewayState,
    headers: &HeaderMap,
    encoded: encode::Encoded,
) -> Result<Answer, Refusal> {
    let encode::Encoded { json, tensors, binary } = encoded;
    let length = json.len();
    let content_type = if binary { "application/octet-stream" } else { "application/json" };
    let mut answer =
        answered(gateway, headers, StatusCode::OK, content_type, Parts::new(json, tensors)).await?;
    if binary {
        answer.headers_mut().insert(JSON_LENGTH, HeaderValue::from(length));
    }
    Ok(answer)
}

/// An answer, packed where the client takes that and it is worth it.
pub(crate) async fn answered(
    gateway: &GatewayState,
    headers: &HeaderMap,
    status: StatusCode,
    content_type: &'static str,
    mut body: Parts,
) -> Result<Answer> {
    let accepted =
        headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).and_then(Coding::accepted);
    let coding = accepted.filter(|_| body.len() >= WORTHWHILE);
    if let Some(coding) = coding {
        let plain = body.whole();
        let pack = move || coding.pack(&plain);
        body = gateway.aside(pack).await?.into();
    }
    let mut answer = answer(status, HeaderValue::from_static(content_type), body);
    if let Some(coding) = coding {
        answer.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding.as_str()));
        answer.headers_mut().insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    }
    Ok(answer)
}
