//! Whole bodies of requests: received within their time and size, and decompressed.

use bytes::Bytes;
use eyot_core::{Error, ErrorKind, Result};
use http::{HeaderMap, StatusCode, header};

use crate::http::answers::ErrorResponse;
use crate::http::body::{self, RequestBody};
use crate::protocol::compress::ContentCoding;
use crate::serving::exchange::Exchange;
use crate::serving::state::GatewayState;

/// Work on more bytes than this leaves the async threads: it takes longer than handing it over.
pub(super) const OFFLOAD_THRESHOLD_BYTES: usize = 128 << 10;

/// The body of `exchange` as it was before it was compressed.
pub(super) async fn read_body(
    gateway: &GatewayState,
    exchange: &mut Exchange,
    headers: &HeaderMap,
    body: RequestBody,
    header: Option<usize>,
) -> Result<Bytes, ErrorResponse> {
    let limit = gateway.config.max_body.0;
    let coding = match headers.get(header::CONTENT_ENCODING) {
        None => None,
        Some(value) => ContentCoding::of_request(value.to_str().unwrap_or("?")).map_err(|error| {
            ErrorResponse { error, status: Some(StatusCode::UNSUPPORTED_MEDIA_TYPE), allow: None }
        })?,
    };
    let body = read_bounded(gateway, body, limit, header.unwrap_or_default()).await?;
    exchange.sizes.request_bytes = Some(body.len() as u64);
    Ok(match coding {
        None => body,
        Some(coding) => gateway.offload(move || coding.decompress(&body, limit)).await?,
    })
}

/// A whole body of at most `limit` bytes, as [`body::read`] reads it, if it comes in time.
pub(super) async fn read_bounded(
    gateway: &GatewayState,
    body: RequestBody,
    limit: u64,
    aligned: usize,
) -> Result<Bytes, ErrorResponse> {
    let reading = body::read(body, limit, aligned);
    let body = tokio::time::timeout(gateway.config.body_timeout.0, reading).await.unwrap_or_else(|_| {
        Err(Error::timeout(format!("the request's body did not come within {}", gateway.config.body_timeout)))
    });
    body.map_err(|error| match error.kind() {
        // The client is late, not this server: a kind of error has only one status.
        ErrorKind::Timeout => ErrorResponse { error, status: Some(StatusCode::REQUEST_TIMEOUT), allow: None },
        _ => ErrorResponse::from(error),
    })
}
