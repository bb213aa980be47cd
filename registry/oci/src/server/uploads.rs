use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::response::{IntoResponse as _, Response};
use eyot_core::{Error, ErrorKind, Result};
use eyot_store::{BlobUpload, ContentDigest, DigestAlgorithm, UploadId};
use futures::StreamExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::{HandlerResult, RequestContext, digest_query, header_value, query};
use crate::registry::{PendingUpload, Registry};
use crate::response::{CONTENT_DIGEST, RegistryError};

/// Bytes that are received before they are hashed and written: the hop to a thread must not cost more
/// than the work, and a hundred uploads at once must not hold more than tens of megabytes.
const WRITE_BATCH_BYTES: usize = 128 << 10;
/// Bytes of a refused body that are still read.
const MAX_DRAIN_BYTES: usize = 256 << 20;
/// How long they may take.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(60);
/// A client that sends nothing for this long may be gone for good: what it has sent is stored, and stays when it is.
/// How long it is waited for is for whoever listens to say.
const FLUSH_DELAY: Duration = Duration::from_secs(1);

pub(super) async fn start(context: RequestContext<'_>, repository: &str) -> HandlerResult {
    let RequestContext { registry, caller, parts, body } = context;
    let uri = &parts.uri;
    if let Some(mount) = digest_query(uri, "mount")? {
        let from = query(uri, "from");
        if registry.mount(repository, &mount, from.as_deref(), |from| caller.may_pull(from)).await? {
            return Ok(created(repository, &mount));
        }
        // What is not there, or not for them, is uploaded: the answer must not tell which.
    } else if let Some(digest) = digest_query(uri, "digest")? {
        return upload_whole(registry, repository, &digest, &parts.headers, body).await;
    }
    let algorithm = query(uri, "digest-algorithm").map_or(Ok(DigestAlgorithm::Sha256), |text| text.parse());
    let algorithm = algorithm.map_err(|error| RegistryError::new("DIGEST_INVALID", error))?;
    let id = registry.start_upload(repository, algorithm).await?;
    Ok((StatusCode::ACCEPTED, upload_headers(repository, id, 0)).into_response())
}

/// A blob in one request.
async fn upload_whole(
    registry: &Registry,
    repository: &str,
    digest: &ContentDigest,
    headers: &HeaderMap,
    body: Body,
) -> HandlerResult {
    registry.extend_lease(digest).await?;
    let id = UploadId::random();
    let mut pending = registry.track_upload(repository, id, 0).await?;
    let mut upload = registry.0.store.start_upload(id, digest.algorithm()).await?;
    let received = receive(&mut *upload, headers, body, &mut pending).await;
    if let Err(refusal) = received {
        upload.discard().await?;
        return Err(refusal);
    }
    let kept = commit(registry, repository, upload, digest).await;
    if kept.is_err() {
        // Nobody knows this upload's name, so nobody can go on with it.
        registry.0.store.drop_upload(id).await?;
    }
    kept
}

/// Drains a refused body up to a limit: most clients read the response only when they have sent everything, and never
/// see that of a connection that was closed before.
async fn drain_body(frames: &mut BodyDataStream) {
    let read = async {
        let mut left = MAX_DRAIN_BYTES;
        while let Some(Ok(frame)) = frames.next().await {
            left = left.saturating_sub(frame.len());
            if left == 0 {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(DRAIN_TIMEOUT, read).await;
}

/// Receives a body into an upload.
async fn receive(
    upload: &mut dyn BlobUpload,
    headers: &HeaderMap,
    body: Body,
    pending: &mut PendingUpload,
) -> Result<(), RegistryError> {
    let expected = body_length(headers);
    let before = upload.received();
    let mut frames = body.into_data_stream();
    let taken = append_body(upload, &mut frames, pending, expected.is_none()).await;
    if taken.as_ref().is_err_and(|error| error.kind() == ErrorKind::Full) {
        drain_body(&mut frames).await;
    }
    taken.map_err(|error| match error.kind() {
        ErrorKind::Full => error.into(),
        _ => RegistryError::new("BLOB_UPLOAD_INVALID", error),
    })?;
    let received = upload.received() - before;
    match expected {
        Some(expected) if expected != received => {
            let error = Error::invalid(format!("the body has {received} bytes, its range says {expected}"));
            Err(RegistryError::new("SIZE_INVALID", error))
        }
        _ => Ok(()),
    }
}

/// Appends what comes, in batches. With `saves`, what has come counts as soon as nothing comes for a moment; without,
/// it may turn out to be a chunk of another length than it said.
async fn append_body(
    upload: &mut dyn BlobUpload,
    frames: &mut BodyDataStream,
    pending: &mut PendingUpload,
    saves: bool,
) -> Result<()> {
    let (mut batch, mut length, mut is_saved) = (Vec::new(), 0, true);
    loop {
        let Ok(frame) = tokio::time::timeout(FLUSH_DELAY, frames.next()).await else {
            if !batch.is_empty() {
                upload.append(std::mem::take(&mut batch)).await?;
                length = 0;
            }
            if saves && !std::mem::replace(&mut is_saved, true) {
                upload.save().await?;
                pending.keep();
            }
            continue;
        };
        let frame =
            frame.transpose().map_err(|error| Error::unavailable("the upload ended early").because(error));
        let is_last = !matches!(frame, Ok(Some(_)));
        if let Ok(Some(frame)) = &frame {
            length += frame.len();
            batch.push(frame.clone());
            is_saved = false;
        }
        pending.grow(upload.received() + length as u64)?;
        if (length >= WRITE_BATCH_BYTES || is_last) && !batch.is_empty() {
            upload.append(std::mem::take(&mut batch)).await?;
            length = 0;
        }
        // What arrived before a client went away counts: it goes on from there.
        match frame {
            Ok(Some(_)) => {}
            Ok(None) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

async fn commit(
    registry: &Registry,
    repository: &str,
    upload: Box<dyn BlobUpload>,
    digest: &ContentDigest,
) -> HandlerResult {
    registry.commit_upload(repository, upload, digest).await.map_err(|error| match error.kind() {
        ErrorKind::Invalid => RegistryError::new("DIGEST_INVALID", error),
        _ => error.into(),
    })?;
    Ok(created(repository, digest))
}

fn created(repository: &str, digest: &ContentDigest) -> Response {
    let location = format!("/v2/{repository}/blobs/{digest}");
    (StatusCode::CREATED, [(header::LOCATION, location), (CONTENT_DIGEST, digest.to_string())])
        .into_response()
}

fn upload_headers(repository: &str, id: UploadId, received: u64) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::LOCATION, header_value(&format!("/v2/{repository}/blobs/uploads/{id}")));
    headers.insert(header::RANGE, header_value(&format!("0-{}", received.saturating_sub(1))));
    headers.insert(HeaderName::from_static("docker-upload-uuid"), header_value(&id.to_string()));
    headers.insert(HeaderName::from_static("oci-chunk-min-length"), HeaderValue::from_static("1"));
    headers
}

fn unknown(error: Error) -> RegistryError {
    match error.kind() {
        ErrorKind::NotFound => RegistryError::new("BLOB_UPLOAD_UNKNOWN", error),
        ErrorKind::Conflict => RegistryError::new("BLOB_UPLOAD_INVALID", error),
        _ => error.into(),
    }
}

pub(super) async fn progress(context: RequestContext<'_>, repository: &str, id: UploadId) -> HandlerResult {
    let received = context.registry.upload_received(repository, id).await.map_err(unknown)?;
    Ok((StatusCode::NO_CONTENT, upload_headers(repository, id, received)).into_response())
}

pub(super) async fn cancel(context: RequestContext<'_>, repository: &str, id: UploadId) -> HandlerResult {
    context.registry.cancel_upload(repository, id).await.map_err(unknown)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `Content-Range: first-last`, with or without a unit.
fn content_range(headers: &HeaderMap) -> Option<Option<(u64, u64)>> {
    let text = headers.get(header::CONTENT_RANGE)?.to_str().unwrap_or_default().trim();
    let text = text.strip_prefix("bytes").map_or(text, str::trim_start);
    let text = text.split_once('/').map_or(text, |(range, _)| range);
    let parsed =
        text.split_once('-').and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
    Some(parsed.filter(|(first, last)| first <= last))
}

/// How long a body is that says which bytes it has.
fn body_length(headers: &HeaderMap) -> Option<u64> {
    let (first, last) = content_range(headers)??;
    (last - first).checked_add(1)
}

/// The length that a chunk states, for fuzzing.
#[cfg(any(test, fuzzing))]
pub(crate) fn length_of_chunk(headers: &HeaderMap) -> Option<u64> {
    body_length(headers)
}

/// Fails for a chunk out of order, with the offset from which the client can resume.
fn check_order(
    headers: &HeaderMap,
    repository: &str,
    id: UploadId,
    received: u64,
) -> Result<(), RegistryError> {
    let refusal = |message: String| {
        let refusal = RegistryError::new("BLOB_UPLOAD_INVALID", Error::invalid(message));
        let position = upload_headers(repository, id, received);
        let position =
            position.into_iter().filter_map(|(name, value)| Some((name?, value.to_str().ok()?.to_owned())));
        position.fold(refusal.status(StatusCode::RANGE_NOT_SATISFIABLE), |refusal, (name, value)| {
            refusal.header(name, &value)
        })
    };
    match content_range(headers) {
        None => Ok(()),
        Some(None) => Err(refusal("the Content-Range is no range of bytes; write it as in 0-99".to_owned())),
        Some(Some((first, _))) if first != received => {
            Err(refusal(format!("the next byte is number {received}, the chunk begins with {first}")))
        }
        Some(Some(_)) => Ok(()),
    }
}

/// A range of a blob that the repository has, which a client need not send.
async fn blob_range(
    registry: &Registry,
    repository: &str,
    source: &ContentDigest,
    uri: &http::Uri,
) -> Result<Body, RegistryError> {
    let number = |name: &str| {
        query(uri, name).and_then(|text| text.parse::<u64>().ok()).ok_or_else(|| {
            RegistryError::new(
                "BLOB_UPLOAD_INVALID",
                Error::invalid(format!("'{name}' is no number of bytes")),
            )
        })
    };
    let (offset, length) = (number("offset")?, number("length")?);
    let absent = || Error::not_found(format!("there is no blob {source} in {repository}"));
    let held = registry
        .blob(repository, source)
        .await?
        .ok_or_else(|| RegistryError::new("BLOB_UNKNOWN", absent()))?;
    if length == 0 || offset.checked_add(length).is_none_or(|end| end > held.size) {
        let error = Error::invalid(format!("the blob has {} bytes, and not all that are wanted", held.size));
        return Err(RegistryError::new("SIZE_INVALID", error).status(StatusCode::RANGE_NOT_SATISFIABLE));
    }
    Ok(Body::from_stream(registry.0.store.stream(&held.digest, offset, length).await?))
}

pub(super) async fn append(context: RequestContext<'_>, repository: &str, id: UploadId) -> HandlerResult {
    let RequestContext { registry, parts, body, .. } = context;
    let body = match digest_query(&parts.uri, "eyot-copy")? {
        Some(source) => blob_range(registry, repository, &source, &parts.uri).await?,
        None => body,
    };
    let mut upload = registry.resume_upload(repository, id).await.map_err(unknown)?;
    check_order(&parts.headers, repository, id, upload.received())?;
    let mut pending = registry.track_upload(repository, id, upload.received()).await?;
    let received = receive(&mut *upload, &parts.headers, body, &mut pending).await;
    // A chunk of another length than it said is as if it never came; one that was cut short counts.
    match received {
        Err(refusal) if refusal.is_invalid() || !refusal.is_client_fault() => return Err(refusal),
        received => {
            upload.save().await?;
            pending.keep();
            received?;
        }
    }
    Ok((StatusCode::ACCEPTED, upload_headers(repository, id, upload.received())).into_response())
}

pub(super) async fn complete(context: RequestContext<'_>, repository: &str, id: UploadId) -> HandlerResult {
    let RequestContext { registry, parts, body, .. } = context;
    let missing =
        || RegistryError::new("DIGEST_INVALID", Error::invalid("the query parameter 'digest' is missing"));
    let digest = digest_query(&parts.uri, "digest")?.ok_or_else(missing)?;
    let mut upload = registry.resume_upload(repository, id).await.map_err(unknown)?;
    check_order(&parts.headers, repository, id, upload.received())?;
    let mut pending = registry.track_upload(repository, id, upload.received()).await?;
    registry.extend_lease(&digest).await?;
    if let Err(refusal) = receive(&mut *upload, &parts.headers, body, &mut pending).await {
        if refusal.is_client_fault() && !refusal.is_invalid() {
            upload.save().await?;
            pending.keep();
        }
        return Err(refusal);
    }
    let kept = commit(registry, repository, upload, &digest).await;
    drop(pending);
    registry.upload_ended(id).await?;
    kept
}
