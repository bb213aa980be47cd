use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use eyot_core::{Error, ErrorKind};
use eyot_store::ContentDigest;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use super::{HandlerResult, RequestContext, content_headers, header_value, is_known};
use crate::response::RegistryError;

/// Blobs up to this length are sent from memory.
const MAX_IN_MEMORY_BYTES: u64 = 64 << 10;

pub(super) async fn get(
    context: RequestContext<'_>,
    repository: &str,
    digest: &ContentDigest,
) -> HandlerResult {
    let RequestContext { registry, parts, .. } = context;
    let unknown = |error: Error| match error.kind() {
        ErrorKind::NotFound => RegistryError::new("BLOB_UNKNOWN", error),
        _ => error.into(),
    };
    let absent = || unknown(Error::not_found(format!("there is no blob {digest} in {repository}")));
    let held = match registry.upstream(repository) {
        None => registry.blob(repository, digest).await?,
        Some(upstream) => upstream.clone().blob(registry, repository, digest).await.map_err(unknown)?,
    };
    let held = held.ok_or_else(absent)?;
    let mut headers = content_headers(digest, "application/octet-stream", held.size);
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if is_known(&parts.headers, digest) {
        headers.remove(header::CONTENT_LENGTH);
        return Ok((StatusCode::NOT_MODIFIED, headers).into_response());
    }
    let (offset, length) = match wanted(&parts.headers, held.size) {
        RequestedRange::Whole => (0, held.size),
        RequestedRange::Part { offset, length } => (offset, length),
        RequestedRange::Nothing => return Ok(outside(headers, held.size)),
    };
    let status = if length == held.size { StatusCode::OK } else { StatusCode::PARTIAL_CONTENT };
    // A range that is the whole is still an answer to a range.
    let status = if parts.headers.contains_key(header::RANGE) && is_one(&parts.headers) {
        StatusCode::PARTIAL_CONTENT
    } else {
        status
    };
    if status == StatusCode::PARTIAL_CONTENT {
        let last = offset + length.saturating_sub(1);
        headers.insert(header::CONTENT_RANGE, header_value(&format!("bytes {offset}-{last}/{}", held.size)));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    if parts.method == Method::HEAD {
        return Ok((status, headers).into_response());
    }
    let body = if held.size <= MAX_IN_MEMORY_BYTES {
        let bytes = registry.read_small(&held.digest).await.map_err(unknown)?;
        let at = |position: u64| usize::try_from(position).unwrap_or(usize::MAX).min(bytes.len());
        Body::from(bytes.slice(at(offset)..at(offset + length)))
    } else {
        Body::from_stream(registry.0.store.stream(&held.digest, offset, length).await.map_err(unknown)?)
    };
    Ok((status, headers, body).into_response())
}

/// The bytes that a request asks for.
#[derive(Debug, PartialEq, Eq)]
enum RequestedRange {
    Whole,
    Part {
        offset: u64,
        length: u64,
    },
    /// A range that the blob does not have.
    Nothing,
}

fn range(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::RANGE)?.to_str().ok()?.trim().strip_prefix("bytes=")
}

/// Whether the request has one range that is understood.
fn is_one(headers: &HeaderMap) -> bool {
    range(headers).is_some_and(|range| !range.contains(',')) && !headers.contains_key(header::IF_RANGE)
}

/// Several ranges, other units and ranges of what the blob was before are answered with the whole, as
/// RFC 9110 allows.
fn wanted(headers: &HeaderMap, size: u64) -> RequestedRange {
    let Some(range) = range(headers).filter(|_| is_one(headers)) else { return RequestedRange::Whole };
    let Some((first, last)) = range.split_once('-') else { return RequestedRange::Nothing };
    let number = |text: &str| text.trim().parse::<u64>().ok();
    match (first.trim().is_empty(), last.trim().is_empty()) {
        (true, true) => RequestedRange::Nothing,
        (true, false) => match number(last) {
            Some(length) if length > 0 && size > 0 => {
                let length = length.min(size);
                RequestedRange::Part { offset: size - length, length }
            }
            _ => RequestedRange::Nothing,
        },
        (false, no_end) => match (number(first), if no_end { Some(u64::MAX) } else { number(last) }) {
            (Some(first), Some(last)) if first <= last && first < size => {
                RequestedRange::Part { offset: first, length: last.min(size - 1) - first + 1 }
            }
            _ => RequestedRange::Nothing,
        },
    }
}

/// Offset and length of the range that a request asks for, for fuzzing.
#[cfg(any(test, fuzzing))]
pub(crate) fn part_wanted(headers: &HeaderMap, size: u64) -> Option<(u64, u64)> {
    match wanted(headers, size) {
        RequestedRange::Part { offset, length } => Some((offset, length)),
        RequestedRange::Whole | RequestedRange::Nothing => None,
    }
}

fn outside(mut headers: HeaderMap, size: u64) -> Response {
    let error = Error::invalid(format!("the blob has {size} bytes, and none of those that were asked for"));
    let mut response =
        RegistryError::new("SIZE_INVALID", error).status(StatusCode::RANGE_NOT_SATISFIABLE).into_response();
    headers.clear();
    headers.insert(header::CONTENT_RANGE, header_value(&format!("bytes */{size}")));
    response.headers_mut().extend(headers);
    response
}

pub(super) async fn delete(
    context: RequestContext<'_>,
    repository: &str,
    digest: &ContentDigest,
) -> HandlerResult {
    let deleted = context.registry.delete_blob(repository, digest).await;
    deleted.map_err(|error| match error.kind() {
        ErrorKind::NotFound => RegistryError::new("BLOB_UNKNOWN", error),
        ErrorKind::Conflict => RegistryError::new("DENIED", error).status(StatusCode::METHOD_NOT_ALLOWED),
        _ => error.into(),
    })?;
    Ok(StatusCode::ACCEPTED.into_response())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn ranges_are_read_as_rfc_9110_says() {
        let part = |offset, length| RequestedRange::Part { offset, length };
        for (range, size, expected) in [
            ("bytes=0-4", 11, part(0, 5)),
            ("bytes=5-", 11, part(5, 6)),
            ("bytes=-3", 11, part(8, 3)),
            ("bytes=-30", 11, part(0, 11)),
            ("bytes=0-99", 11, part(0, 11)),
            ("bytes=10-10", 11, part(10, 1)),
            ("bytes=11-", 11, RequestedRange::Nothing),
            ("bytes=4-2", 11, RequestedRange::Nothing),
            ("bytes=-0", 11, RequestedRange::Nothing),
            ("bytes=-", 11, RequestedRange::Nothing),
            ("bytes=a-b", 11, RequestedRange::Nothing),
            ("bytes=0-0", 0, RequestedRange::Nothing),
            ("bytes=18446744073709551616-", 11, RequestedRange::Nothing),
            ("bytes=0-18446744073709551615", 11, part(0, 11)),
            ("bytes=0-1,3-4", 11, RequestedRange::Whole),
            ("lines=0-1", 11, RequestedRange::Whole),
        ] {
            let headers = HeaderMap::from_iter([(header::RANGE, range.parse().unwrap())]);
            assert_eq!(wanted(&headers, size), expected, "{range}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_part_lies_inside_of_its_blob(range in "bytes=[0-9]{0,21}-[0-9]{0,21}|\\PC{0,20}", size: u64, shift in 0_u32..64) {
            let size = size >> shift;
            let Ok(value) = range.parse() else { return Ok(()) };
            if let RequestedRange::Part { offset, length } = wanted(&HeaderMap::from_iter([(header::RANGE, value)]), size) {
                proptest::prop_assert!(length > 0 && offset.checked_add(length).is_some_and(|end| end <= size));
            }
        }
    }
}
