use axum::body::Body;
use axum::response::IntoResponse as _;
use eyot_core::{Error, ErrorKind, Reference};
use http::{HeaderName, StatusCode, header};

use super::{HandlerResult, RequestContext, content_headers, header_value, is_known, queries};
use crate::registry::{BlobSource, ManifestPush};
use crate::response::{CONTENT_DIGEST, RegistryError, read_body};
use crate::route::ManifestRef;

/// The specification wants manifests of up to 4 MiB accepted; larger ones are refused.
const MAX_MANIFEST_BYTES: usize = 4 << 20;
/// Tags that one request may set.
const MAX_TAG_COUNT: usize = 64;

pub(super) async fn get(
    context: RequestContext<'_>,
    repository: &str,
    target: &ManifestRef,
) -> HandlerResult {
    let (stored, warning) = match context.registry.upstream(repository) {
        None => (context.registry.manifest(repository, target).await.map_err(unknown)?, None),
        Some(upstream) => {
            let found = upstream.manifest(context.registry, repository, target).await.map_err(unknown)?;
            (found.manifest, found.warning)
        }
    };
    let mut headers = content_headers(&stored.digest, &stored.media_type, stored.bytes.len() as u64);
    if let Some(warning) = warning {
        headers.insert(header::WARNING, header_value(&warning));
    }
    if is_known(&context.parts.headers, &stored.digest) {
        headers.remove(header::CONTENT_LENGTH);
        return Ok((StatusCode::NOT_MODIFIED, headers).into_response());
    }
    Ok((headers, Body::from(stored.bytes.clone())).into_response())
}

fn unknown(error: Error) -> RegistryError {
    match error.kind() {
        ErrorKind::NotFound => RegistryError::new("MANIFEST_UNKNOWN", error),
        _ => error.into(),
    }
}

pub(super) async fn put(context: RequestContext<'_>, repository: &str, target: ManifestRef) -> HandlerResult {
    let RequestContext { registry, parts, body, .. } = context;
    let mut tags: Vec<String> = queries(&parts.uri, "tag").collect();
    if tags.len() > MAX_TAG_COUNT {
        let error = Error::invalid(format!("{} tags in one request, of {MAX_TAG_COUNT} at most", tags.len()));
        return Err(RegistryError::new("UNSUPPORTED", error).status(StatusCode::URI_TOO_LONG));
    }
    for tag in &tags {
        Reference::check_tag(tag).map_err(|error| RegistryError::new("MANIFEST_INVALID", error))?;
    }
    let set: Vec<_> =
        tags.iter().map(|tag| (HeaderName::from_static("oci-tag"), header_value(tag))).collect();
    let digest = match target {
        ManifestRef::Digest(digest) => Some(digest),
        ManifestRef::Tag(tag) => {
            tags.push(tag);
            None
        }
    };
    let media_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = media_type.map(|text| text.split(';').next().unwrap_or_default().trim().to_owned());
    let bytes = read_body(body, MAX_MANIFEST_BYTES)
        .await
        .map_err(|error| RegistryError::new("SIZE_INVALID", error))?;
    if let Some(expected) = digest.filter(|expected| expected.of_same_algorithm(&bytes) != *expected) {
        let found = expected.of_same_algorithm(&bytes);
        return Err(RegistryError::new(
            "DIGEST_INVALID",
            Error::invalid(format!("the manifest's digest is {found}, not {expected}")),
        ));
    }
    let push = ManifestPush { repository, digest, tags, media_type: media_type.as_deref(), bytes };
    let pushed = registry.push(push, BlobSource::Repository).await.map_err(|error| match error.kind() {
        ErrorKind::NotFound => RegistryError::new("MANIFEST_BLOB_UNKNOWN", error),
        ErrorKind::Invalid => RegistryError::new("MANIFEST_INVALID", error),
        _ => error.into(),
    })?;
    let location = format!("/v2/{repository}/manifests/{}", pushed.digest);
    let mut response =
        (StatusCode::CREATED, [(header::LOCATION, location), (CONTENT_DIGEST, pushed.digest.to_string())])
            .into_response();
    if let Some(subject) = pushed.subject {
        response.headers_mut().insert("oci-subject", header_value(&subject.to_string()));
    }
    for (name, tag) in set {
        response.headers_mut().append(name, tag);
    }
    Ok(response)
}

pub(super) async fn delete(
    context: RequestContext<'_>,
    repository: &str,
    target: &ManifestRef,
) -> HandlerResult {
    let deleted = context.registry.delete(repository, target).await;
    deleted.map_err(|error| match error.kind() {
        ErrorKind::Conflict => RegistryError::new("DENIED", error).status(StatusCode::METHOD_NOT_ALLOWED),
        _ => unknown(error),
    })?;
    Ok(StatusCode::ACCEPTED.into_response())
}
