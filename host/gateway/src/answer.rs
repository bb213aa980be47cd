//! Answers over HTTP, and errors as `{"error": "…"}`.

use bytes::Bytes;
use eyot_core::{Error, Kind};
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

use crate::body::Parts;

pub(crate) type Answer = Response<Parts>;

/// An error, and the status where its kind does not say it.
pub(crate) struct Refusal {
    pub(crate) error: Error,
    pub(crate) status: Option<StatusCode>,
    pub(crate) allow: Option<&'static str>,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self { error, status: None, allow: None }
    }
}

impl Refusal {
    /// The answer that tells it.
    pub(crate) fn answer(self) -> Answer {
        let Self { error, status, allow } = self;
        let by_kind =
            StatusCode::from_u16(error.kind().http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut answer = json_answer(status.unwrap_or(by_kind), &json!({ "error": told(&error) }));
        if matches!(error.kind(), Kind::Exhausted | Kind::Unavailable) {
            answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if let Some(allow) = allow {
            answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        answer
    }
}

/// What a client reads of an error: what is wrong, and what to do.
pub(crate) fn told(error: &Error) -> String {
    match error.hint_text() {
        Some(hint) => format!("{}; {hint}", error.chain()),
        None => error.chain(),
    }
}

pub(crate) fn json_answer(status: StatusCode, value: &Value) -> Answer {
    answer(status, HeaderValue::from_static("application/json"), Bytes::from(value.to_string()).into())
}

pub(crate) fn answer(status: StatusCode, content_type: HeaderValue, body: Parts) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, content_type);
    answer
}
