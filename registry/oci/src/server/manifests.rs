use axum::body::Body;
use axum::response::IntoResponse as _;
use eyot_core::{Error, Kind, Reference};
use http::{HeaderName, StatusCode, header};

use super::{Answer, Ask, content_headers, is_known, queries, value};
use crate::answer::{CONTENT_DIGEST, Refusal, collect};
use crate::place::Target;
use crate::registry::{Push, Source};

/// A manifest must be accepted up to 4 MiB; a larger one is no manifest.
const LARGEST: usize = 4 << 20;
/// Tags that one request may set.
const TAGS: usize = 64;

pub(super) async fn get(ask: Ask<'_>, repository: &str, target: &Target) -> Answer {
    let (stored, warning) = match ask.registry.upstream(repository) {
        None => (ask.registry.manifest(repository, target).await.map_err(unknown)?, None),
        Some(upstream) => {
            let found = upstream.manifest(ask.registry, repository, target).await.map_err(unknown)?;
            (found.manifest, found.warning)
        }
    };
    let mut headers = content_headers(&stored.digest, &stored.media_type, stored.bytes.len() as u64);
    if let Some(warning) = warning {
        headers.insert(header::WARNING, value(&warning));
    }
    if is_known(&ask.parts.headers, &stored.digest) {
        headers.remove(header::CONTENT_LENGTH);
        return Ok((StatusCode::NOT_MODIFIED, headers).into_response());
    }
    Ok((headers, Body::from(stored.bytes.clone())).into_response())
}

fn unknown(error: Error) -> Refusal {
    match error.kind() {
        Kind::NotFound => Refusal::new("MANIFEST_UNKNOWN", error),
        _ => error.into(),
    }
}

pub(super) async fn put(ask: Ask<'_>, repository: &str, target: Target) -> Answer {
    let Ask { registry, caller, parts, body } = ask;
    let mut tags: Vec<String> = queries(&parts.uri, "tag").collect();
    if tags.len() > TAGS {
        let error = Error::invalid(format!("{} tags in one request, of {TAGS} at most", tags.len()));
        return Err(Refusal::new("UNSUPPORTED", error).status(StatusCode::URI_TOO_LONG));
    }
    for tag in &tags {
        Reference::check_tag(tag).map_err(|error| Refusal::new("MANIFEST_INVALID", error))?;
    }
    let set: Vec<_> = tags.iter().map(|tag| (HeaderName::from_static("oci-tag"), value(tag))).collect();
    let digest = match target {
        Target::Digest(digest) => Some(digest),
        Target::Tag(tag) => {
            tags.push(tag);
            None
        }
    };
    let media_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = media_type.map(|text| text.split(';').next().unwrap_or_default().trim().to_owned());
    let bytes = collect(body, LARGEST).await.map_err(|error| Refusal::new("SIZE_INVALID", error))?;
    if let Some(expected) = digest.filter(|expected| expected.of_same_algorithm(&bytes) != *expected) {
        let found = expected.of_same_algorithm(&bytes);
        return Err(Refusal::new(
            "DIGEST_INVALID",
            Error::invalid(format!("the manifest's digest is {found}, not {expected}")),
        ));
    }
    let actor = caller.actor();
    let push = Push { repository, digest, tags, media_type: media_type.as_deref(), bytes, actor: &actor };
    let pushed = registry.push(push, Source::Repository).await.map_err(|error| match error.kind() {
        Kind::NotFound => Refusal::new("MANIFEST_BLOB_UNKNOWN", error),
        Kind::Invalid => Refusal::new("MANIFEST_INVALID", error),
        _ => error.into(),
    })?;
    let location = format!("/v2/{repository}/manifests/{}", pushed.digest);
    let mut response =
        (StatusCode::CREATED, [(header::LOCATION, location), (CONTENT_DIGEST, pushed.digest.to_string())])
            .into_response();
    if let Some(subject) = pushed.subject {
        response.headers_mut().insert("oci-subject", value(&subject.to_string()));
    }
    for (name, tag) in set {
        response.headers_mut().append(name, tag);
    }
    Ok(response)
}

pub(super) async fn delete(ask: Ask<'_>, repository: &str, target: &Target) -> Answer {
    let deleted = ask.registry.delete(repository, target, &ask.caller.actor()).await;
    deleted.map_err(|error| match error.kind() {
        Kind::Conflict => Refusal::new("DENIED", error).status(StatusCode::METHOD_NOT_ALLOWED),
        _ => unknown(error),
    })?;
    Ok(StatusCode::ACCEPTED.into_response())
}
