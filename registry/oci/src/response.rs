//! Responses of the distribution API: errors as `{"errors": [{"code", "message", "detail"}]}`, bodies, links.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use eyot_core::{Error, ErrorKind};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};

/// The header with the digest of the content that is sent or was received.
pub(crate) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

#[derive(Debug, Serialize, Deserialize)]
struct ErrorDocument {
    errors: Vec<ErrorEntry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ErrorEntry {
    code: String,
    message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    detail: Option<ErrorDetail>,
}

/// Read by Eyot's own client; others show it.
#[derive(Debug, Serialize, Deserialize)]
struct ErrorDetail {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kind: Option<ErrorKind>,
}

/// An error that is sent, with its code of the specification.
pub(crate) struct RegistryError {
    code: &'static str,
    status: Option<StatusCode>,
    headers: Vec<(HeaderName, HeaderValue)>,
    error: Error,
}

impl RegistryError {
    /// With the status of the error's kind.
    pub(crate) fn new(code: &'static str, error: Error) -> Self {
        Self { code, status: None, headers: Vec::new(), error }
    }

    /// With the status that the specification wants, whatever the kind says.
    pub(crate) fn status(mut self, status: StatusCode) -> Self {
        self.status = Some(status);
        self
    }

    /// Whether nothing that the client could show would let it in.
    pub(crate) fn is_denial(&self) -> bool {
        self.code == "DENIED"
    }

    /// What the client is told.
    pub(crate) fn message(&self) -> String {
        self.error.to_string()
    }

    /// Whether the client sent something wrong, rather than that something went wrong.
    pub(crate) fn is_invalid(&self) -> bool {
        self.error.kind() == ErrorKind::Invalid
    }

    /// Whether the client, or the connection to it, is at fault: what it sent before is valid.
    pub(crate) fn is_client_fault(&self) -> bool {
        matches!(self.error.kind(), ErrorKind::Invalid | ErrorKind::Unavailable | ErrorKind::Timeout)
    }

    pub(crate) fn header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((name, value));
        }
        self
    }
}

/// With the code of the error's kind.
impl From<Error> for RegistryError {
    fn from(error: Error) -> Self {
        let code = match error.kind() {
            ErrorKind::Denied | ErrorKind::Conflict | ErrorKind::Full => "DENIED",
            ErrorKind::Exhausted => "TOOMANYREQUESTS",
            ErrorKind::TooLarge => "SIZE_INVALID",
            // Of no code of the specification; docker's registry writes these.
            ErrorKind::Unavailable | ErrorKind::Timeout => "UNAVAILABLE",
            ErrorKind::Internal | ErrorKind::Corrupt => "UNKNOWN",
            _ => "UNSUPPORTED",
        };
        Self::new(code, error)
    }
}

impl IntoResponse for RegistryError {
    fn into_response(self) -> Response {
        let Self { code, status, headers, error } = self;
        let mut headers = HeaderMap::from_iter(headers);
        if matches!(error.kind(), ErrorKind::Internal | ErrorKind::Corrupt) {
            tracing::error!(error = %error.chain(), "a registry request failed");
        }
        let of_kind =
            StatusCode::from_u16(error.kind().http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if error.kind() == ErrorKind::Exhausted {
            headers.entry(header::RETRY_AFTER).or_insert(HeaderValue::from_static("1"));
        }
        let detail = ErrorDetail { hint: error.hint_text().map(str::to_owned), kind: Some(error.kind()) };
        let problem = ErrorEntry { code: code.to_owned(), message: error.chain(), detail: Some(detail) };
        (status.unwrap_or(of_kind), headers, axum::Json(ErrorDocument { errors: vec![problem] }))
            .into_response()
    }
}

/// Parses the error response of a registry.
pub(crate) fn read_error(status: StatusCode, body: &Bytes) -> Error {
    let kind_of_status = match status.as_u16() {
        401 | 403 => ErrorKind::Denied,
        404 => ErrorKind::NotFound,
        413 => ErrorKind::TooLarge,
        429 => ErrorKind::Exhausted,
        400..500 => ErrorKind::Invalid,
        _ => ErrorKind::Unavailable,
    };
    let problem = serde_json::from_slice::<ErrorDocument>(body)
        .ok()
        .and_then(|problems| problems.errors.into_iter().next());
    let Some(problem) = problem else {
        return Error::new(kind_of_status, format!("the registry answered {status}"));
    };
    let detail = problem.detail.unwrap_or(ErrorDetail { hint: None, kind: None });
    let error = Error::new(detail.kind.unwrap_or(kind_of_status), problem.message);
    match detail.hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// Reads a whole body of at most `limit` bytes.
pub(crate) async fn read_body(body: Body, limit: usize) -> Result<Bytes, Error> {
    use http_body_util::BodyExt as _;
    match http_body_util::Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            Err(Error::too_large(format!("the body is larger than {limit} bytes")))
        }
        Err(error) => Err(Error::unavailable("the body ended early").because(error)),
    }
}

/// The `Warning` of a response that may not be what an upstream has now, and why.
pub(crate) fn stale_warning(error: &Error) -> String {
    let is_plain = |letter: &char| (letter.is_ascii_graphic() || *letter == ' ') && *letter != '"';
    let reason: String = error.message().chars().filter(is_plain).take(200).collect();
    format!("110 - \"as it was last seen: {reason}\"")
}

/// The path of the next page; only the path, whatever host a registry writes before it.
pub(crate) fn next_page_path(headers: &HeaderMap) -> Option<String> {
    let link = headers.get(header::LINK)?.to_str().ok()?;
    let (target, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
    let uri: http::Uri = target.parse().ok().filter(|_| rest.contains("next"))?;
    uri.path_and_query().map(ToString::to_string)
}
