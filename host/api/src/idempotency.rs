//! Requests with an `Idempotency-Key`: whoever does not know whether a request was done sends it again with the same key,
//! and it is done once.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use eyot_access::Caller;
use eyot_core::{Digest, Error, ProjectName, Result};
use eyot_meta::{IdempotencyState, IdempotentRequest, KeptAnswer};

use crate::ApiServices;
use crate::answer::{ErrorResponse, MAX_REQUEST_BYTES, collect};

pub(crate) const IDEMPOTENCY_KEY_HEADER: HeaderName = HeaderName::from_static("idempotency-key");
/// Says that an answer is one that was given before.
const REPLAYED_HEADER: HeaderName = HeaderName::from_static("idempotency-replayed");
const MAX_KEY_BYTES: usize = 255;
/// Answers are streams where they are larger, and those change nothing.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// Whose request it is, and in which project.
pub(crate) struct RequestSender<'a> {
    pub(crate) caller: &'a Caller,
    pub(crate) project: &'a ProjectName,
}

/// Does a request, or answers what it was answered before.
pub(crate) async fn once(
    services: &ApiServices,
    sender: RequestSender<'_>,
    request: Request,
    next: Next,
) -> Response {
    let key = match key(request.headers()) {
        Ok(None) => return next.run(request).await,
        Ok(Some(key)) => key,
        Err(error) => return ErrorResponse(error).into_response(),
    };
    let done = do_once(services, sender, key, request, next).await;
    done.unwrap_or_else(|error| ErrorResponse(error).into_response())
}

/// The key of a request that may change something.
fn key(headers: &HeaderMap) -> Result<Option<String>> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY_HEADER) else { return Ok(None) };
    let key = value.to_str().ok().filter(|key| (1..=MAX_KEY_BYTES).contains(&key.len()));
    key.map(|key| Some(key.to_owned())).ok_or_else(|| {
        Error::invalid(format!("the Idempotency-Key is not of 1 to {MAX_KEY_BYTES} letters"))
            .hint("send a new random one, a UUID for one, with each request, and the same one when it is sent again")
    })
}

async fn do_once(
    services: &ApiServices,
    sender: RequestSender<'_>,
    key: String,
    request: Request,
    next: Next,
) -> Result<Response> {
    let (parts, body) = request.into_parts();
    let body = collect(body, MAX_REQUEST_BYTES).await?;
    let whole =
        serde_json::json!([parts.method.as_str(), parts.uri.to_string(), sender.project, Digest::of(&body),]);
    let hash = Digest::of(whole.to_string()).hex();
    let named = IdempotentRequest { caller: sender.caller.actor().into_owned(), key, hash };
    let claimed = match services.idempotency.begin(named).await? {
        IdempotencyState::New(claimed) => claimed,
        IdempotencyState::Answered(kept) => return replayed(kept),
        IdempotencyState::Unanswered => return Err(unanswered()),
        IdempotencyState::UnderWay => {
            return Err(Error::conflict("the request with this Idempotency-Key is being done")
                .hint("send it again in a moment; it is done once"));
        }
        IdempotencyState::Other => {
            let error = Error::invalid("this Idempotency-Key was sent with another request")
                .hint("send a new random key with each new request");
            return Ok((StatusCode::UNPROCESSABLE_ENTITY, ErrorResponse(error)).into_response());
        }
    };
    claimed.enter();
    let answer = next.run(Request::from_parts(parts, Body::from(body))).await;
    let content_type = answer.headers().get(header::CONTENT_TYPE);
    if content_type.is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream")) {
        // It has no end that could be waited for.
        return Ok(answer);
    }
    let (parts, body) = answer.into_parts();
    let body = collect(body, MAX_ANSWER_BYTES).await?;
    let is_kept = parts.headers.get(header::CACHE_CONTROL).is_none_or(|value| value != "no-store");
    let content_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kept = KeptAnswer {
        status: parts.status.as_u16(),
        content_type: content_type.unwrap_or_default().to_owned(),
        body: is_kept.then(|| body.to_vec()),
    };
    if let Err(error) = claimed.answered(&kept).await {
        // It was done, and is answered: only a second one would not know how.
        tracing::warn!(%error, "an answer could not be kept for its Idempotency-Key");
    }
    Ok(Response::from_parts(parts, Body::from(body)))
}

fn unanswered() -> Error {
    Error::conflict("the request with this Idempotency-Key was done, and its answer is not kept")
        .hint("look at what it made; a secret that it showed is not shown again")
}

fn replayed(kept: KeptAnswer) -> Result<Response> {
    let KeptAnswer { status, content_type, body: Some(body) } = kept else { return Err(unanswered()) };
    let status = StatusCode::from_u16(status)
        .map_err(|error| Error::corrupt("a kept answer has no status").because(error))?;
    let content_type = HeaderValue::from_str(&content_type)
        .map_err(|error| Error::corrupt("a kept answer has no content type").because(error))?;
    let headers = [(header::CONTENT_TYPE, content_type), (REPLAYED_HEADER, HeaderValue::from_static("true"))];
    Ok((status, headers, body).into_response())
}
