//! Errors over HTTP: `{"error": {"kind", "message", "hint"}}`, with the status of the kind.

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderName, Response, StatusCode, header};
use axum::response::IntoResponse;
use bytes::Bytes;
use eyot_core::{Error, ErrorKind, Result};
use http_body_util::BodyExt as _;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The body of every answer that is an error.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ErrorBody {
    error: ErrorDetails,
}

#[derive(Debug, Serialize, Deserialize)]
struct ErrorDetails {
    kind: ErrorKind,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

/// An [`Error`] on its way out.
pub(crate) struct ErrorResponse(pub(crate) Error);

impl From<Error> for ErrorResponse {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for ErrorResponse {
    fn into_response(self) -> Response<Body> {
        let Self(error) = self;
        if matches!(error.kind(), ErrorKind::Internal | ErrorKind::Corrupt) {
            tracing::error!(error = %error.chain(), "a request failed");
        }
        let status =
            StatusCode::from_u16(error.kind().http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let hint = error.hint_text().map(str::to_owned);
        let body = ErrorBody { error: ErrorDetails { kind: error.kind(), message: error.chain(), hint } };
        (status, axum::Json(body)).into_response()
    }
}

impl ErrorBody {
    /// The error that a server answered with.
    pub(crate) fn into_error(self) -> Error {
        let error = Error::new(self.error.kind, self.error.message);
        match self.error.hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

/// Headers of bytes that a user or a guest wrote: a browser shows them as no page of this server.
pub(crate) fn user_bytes() -> [(HeaderName, &'static str); 3] {
    [
        (header::CONTENT_SECURITY_POLICY, "sandbox"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_DISPOSITION, "attachment"),
    ]
}

/// A JSON body, whatever its content type; what cannot be read is answered in our own error shape.
pub(crate) struct JsonBody<T>(pub(crate) T);

/// No request of the control plane is larger; blobs go to `/v2`, which streams them.
pub(crate) const MAX_REQUEST_BYTES: usize = 8 << 20;

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = ErrorResponse;

    async fn from_request(request: Request, _: &S) -> Result<Self, ErrorResponse> {
        let bytes = collect(request.into_body(), MAX_REQUEST_BYTES).await?;
        let value = serde_json::from_slice(&bytes);
        value.map(JsonBody).map_err(|error| {
            ErrorResponse(Error::invalid(format!("the request body cannot be read: {error}")))
        })
    }
}

/// The fields of a form as browsers send it; what cannot be read is answered in our own error shape.
pub(crate) struct FormBody<T>(pub(crate) T);

/// No form is larger.
const MAX_FORM_BYTES: usize = 64 << 10;

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for FormBody<T> {
    type Rejection = ErrorResponse;

    async fn from_request(request: Request, _: &S) -> Result<Self, ErrorResponse> {
        let bytes = collect(request.into_body(), MAX_FORM_BYTES).await?;
        let value = serde_urlencoded::from_bytes(&bytes);
        value
            .map(FormBody)
            .map_err(|error| ErrorResponse(Error::invalid(format!("the form cannot be read: {error}"))))
    }
}

/// The parameters of a query; what cannot be read is answered in our own error shape.
pub(crate) struct QueryParameters<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for QueryParameters<T> {
    type Rejection = ErrorResponse;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ErrorResponse> {
        let read = Query::try_from_uri(&parts.uri);
        read.map(|Query(value)| Self(value)).map_err(|error| {
            let said = error.body_text();
            let said = said.strip_prefix("Failed to deserialize query string: ").unwrap_or(&said);
            ErrorResponse(Error::invalid(format!("the query of the address cannot be read: {said}")))
        })
    }
}

/// A whole body of at most `limit` bytes.
pub(crate) async fn collect(body: Body, limit: usize) -> Result<Bytes> {
    match http_body_util::Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            Err(Error::too_large(format!("the body is larger than {limit} bytes")))
        }
        Err(error) if eyot_http::is_too_slow(error.as_ref()) => {
            Err(Error::new(ErrorKind::Timeout, "the body takes too long to arrive").because(error))
        }
        Err(error) => Err(Error::unavailable("the body ended early").because(error)),
    }
}

/// An answer with a secret that is shown once: nobody on its way keeps it.
pub(crate) struct Confidential<T>(pub(crate) T);

impl<T: Serialize> IntoResponse for Confidential<T> {
    fn into_response(self) -> Response<Body> {
        ([(header::CACHE_CONTROL, "no-store")], axum::Json(self.0)).into_response()
    }
}

/// What a handler answers.
pub(crate) type ApiResult<T> = Result<axum::Json<T>, ErrorResponse>;

/// What a handler answers that shows a secret.
pub(crate) type SecretResult<T> = Result<Confidential<T>, ErrorResponse>;
