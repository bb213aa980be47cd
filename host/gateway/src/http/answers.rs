//! Answers over HTTP, and errors as `{"error": "…"}`.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use eyot_core::{Error, ErrorKind};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use hyper::body::{Body, Frame, SizeHint};
use serde_json::{Value, json};

use crate::http::body::SegmentedBody;
use crate::protocol::compress::{ContentCoding, MIN_COMPRESSED_BYTES};
use crate::serving::endpoint_access::CallerRejection;
use crate::serving::exchange::{Exchange, ExchangeOutcome};
use crate::serving::state::GatewayState;
use crate::serving::trace::TRACEPARENT_HEADER;

pub(crate) type HttpResponse = Response<SegmentedBody>;

/// An error, and the status where its kind does not say it.
pub(crate) struct ErrorResponse {
    pub(crate) error: Error,
    pub(crate) status: Option<StatusCode>,
    pub(crate) allow: Option<&'static str>,
}

impl From<Error> for ErrorResponse {
    fn from(error: Error) -> Self {
        Self { error, status: None, allow: None }
    }
}

impl ErrorResponse {
    /// The answer that tells it.
    pub(crate) fn answer(&self) -> HttpResponse {
        let Self { error, status, allow } = self;
        let by_kind =
            StatusCode::from_u16(error.kind().http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut answer = json_answer(status.unwrap_or(by_kind), &json!({ "error": client_message(error) }));
        if matches!(error.kind(), ErrorKind::Exhausted | ErrorKind::Unavailable) {
            answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if answer.status() == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer realm=\"eyot\"");
            answer.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        if answer.status() == StatusCode::REQUEST_TIMEOUT {
            // What is left of the body must not be taken for another request.
            answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(allow) = allow {
            answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        answer
    }
}

/// Tells the client what was attempted for its request, under the headers that name it, and ends the exchange: as
/// `outcome` has it where there is an answer.
pub(super) fn end(
    mut exchange: Exchange,
    attempted: Result<HttpResponse, ErrorResponse>,
    outcome: ExchangeOutcome,
) -> HttpResponse {
    let (mut answer, outcome) = match attempted {
        Ok(answer) => (answer, outcome),
        Err(refusal) => (refusal.answer(), ExchangeOutcome::Failed(refusal.error)),
    };
    exchange.sizes.response_bytes = Some(answer.body().len() as u64);
    let traceparent = traceparent(&exchange);
    let id = exchange.finish(outcome);
    name(answer.headers_mut(), traceparent, HeaderValue::try_from(id).ok());
    answer
}

/// What an answer says of the trace, where its request is a part of one that is recorded.
pub(super) fn traceparent(exchange: &Exchange) -> Option<HeaderValue> {
    exchange.span.as_ref().and_then(|span| HeaderValue::try_from(span.trace.as_str()).ok())
}

/// Adds the headers that name a request.
pub(super) fn name(headers: &mut HeaderMap, traceparent: Option<HeaderValue>, id: Option<HeaderValue>) {
    let named = |name: &'static str| move |value| (HeaderName::from_static(name), value);
    headers.extend(
        traceparent.map(named(TRACEPARENT_HEADER)).into_iter().chain(id.map(named(PREDICTION_ID_HEADER))),
    );
}

/// An answer, compressed where the client takes that and it is worth it.
pub(super) async fn compressed(
    gateway: &GatewayState,
    headers: &HeaderMap,
    status: StatusCode,
    content_type: &'static str,
    mut body: SegmentedBody,
) -> eyot_core::Result<HttpResponse> {
    let accepted = headers
        .get(header::ACCEPT_ENCODING)
        .and_then(|value| value.to_str().ok())
        .and_then(ContentCoding::accepted);
    let coding = accepted.filter(|_| body.len() >= MIN_COMPRESSED_BYTES);
    if let Some(coding) = coding {
        let plain = body.whole();
        let compress = move || coding.compress(&plain);
        body = gateway.offload(compress).await?.into();
    }
    let mut answer = answer(status, HeaderValue::from_static(content_type), body);
    if let Some(coding) = coding {
        answer.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding.as_str()));
        answer.headers_mut().insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    }
    Ok(answer)
}

impl From<CallerRejection> for ErrorResponse {
    fn from(CallerRejection { error, is_unknown }: CallerRejection) -> Self {
        let status = is_unknown.then_some(StatusCode::UNAUTHORIZED);
        Self { error, status, allow: None }
    }
}

/// What a client reads of an error: what is wrong, and what to do.
pub(crate) fn client_message(error: &Error) -> String {
    match error.hint_text() {
        Some(hint) => format!("{}; {hint}", error.chain()),
        None => error.chain(),
    }
}

pub(crate) fn json_answer(status: StatusCode, value: &Value) -> HttpResponse {
    answer(status, HeaderValue::from_static("application/json"), Bytes::from(value.to_string()).into())
}

pub(crate) fn answer(status: StatusCode, content_type: HeaderValue, body: SegmentedBody) -> HttpResponse {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, content_type);
    answer
}

/// The header that names a prediction; it is on every answer to one.
pub(crate) const PREDICTION_ID_HEADER: &str = "eyot-prediction-id";

pub(crate) fn text_answer(content_type: &'static str, text: String) -> HttpResponse {
    answer(StatusCode::OK, HeaderValue::from_static(content_type), Bytes::from(text).into())
}

pub(crate) fn html_answer(page: String) -> HttpResponse {
    let mut answer = answer(
        StatusCode::OK,
        HeaderValue::from_static("text/html; charset=utf-8"),
        Bytes::from(page).into(),
    );
    // What runs on a page and what it asks is this server's own, and nothing comes from elsewhere.
    let policy = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
        frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
    answer.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    answer.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

/// The body of an answer of either protocol.
pub(crate) enum ResponseBody {
    Http(SegmentedBody),
    Grpc(tonic::body::Body),
    Guest(GuestBody),
}

impl ResponseBody {
    /// What a component says itself, piece by piece.
    pub(crate) fn of_guest(body: impl Body<Data = Bytes, Error = BodyError> + Send + 'static) -> Self {
        Self::Guest(Box::pin(body))
    }
}

/// The body of an answer that a component makes.
pub(crate) type GuestBody = Pin<Box<dyn Body<Data = Bytes, Error = BodyError> + Send>>;

/// What ends an answer early.
pub(crate) type BodyError = Box<dyn std::error::Error + Send + Sync>;

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            ResponseBody::Http(parts) => Pin::new(parts)
                .poll_frame(context)
                .map(|frame| frame.map(|frame| frame.map_err(|never| match never {}))),
            ResponseBody::Grpc(body) => {
                Pin::new(body).poll_frame(context).map(|frame| frame.map(|frame| frame.map_err(Into::into)))
            }
            ResponseBody::Guest(body) => body.as_mut().poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            ResponseBody::Http(parts) => parts.is_end_stream(),
            ResponseBody::Grpc(body) => body.is_end_stream(),
            ResponseBody::Guest(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            ResponseBody::Http(parts) => parts.size_hint(),
            ResponseBody::Grpc(body) => body.size_hint(),
            ResponseBody::Guest(body) => body.size_hint(),
        }
    }
}
