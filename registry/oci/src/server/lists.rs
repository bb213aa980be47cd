//! Paginated lists.

use axum::response::{IntoResponse as _, Response};
use eyot_core::{Error, ErrorKind, Reference};
use eyot_store::ContentDigest;
use form_urlencoded::Serializer;
use http::{HeaderName, Uri, header};
use serde_json::json;

use super::{HandlerResult, RequestContext, header_value, query};
use crate::manifest::IMAGE_INDEX;
use crate::response::{RegistryError, stale_warning};

/// Entries a page, whatever a client asks for: a page is built in memory.
const MAX_PAGE_ENTRIES: u32 = 10_000;
/// Referrers a page: each is a descriptor with its annotations.
const MAX_PAGE_REFERRER_COUNT: u32 = 1000;

/// How many entries a client wants at most.
fn limit(uri: &Uri, most: u32) -> Result<u32, RegistryError> {
    let Some(text) = query(uri, "n") else { return Ok(most) };
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        let shown: String = text.chars().take(40).collect();
        return Err(RegistryError::new(
            "UNSUPPORTED",
            Error::invalid(format!("n is '{shown}', not a number of entries")),
        ));
    }
    // More than a number holds is more than a page holds.
    Ok(text.parse().unwrap_or(u32::MAX).min(most))
}

fn link_next_page(response: &mut Response, path: &str, query: &[(&str, &str)]) {
    let query = Serializer::new(String::new()).extend_pairs(query).finish();
    response.headers_mut().insert(header::LINK, header_value(&format!("<{path}?{query}>; rel=\"next\"")));
}

pub(super) async fn tags(context: RequestContext<'_>, repository: &str) -> HandlerResult {
    let uri = &context.parts.uri;
    let most = limit(uri, MAX_PAGE_ENTRIES)?;
    let last = query(uri, "last");
    let mut warning = None;
    if let Some(upstream) = context.registry.upstream(repository) {
        match upstream.tags(repository, last.as_deref(), most).await {
            Ok(found) => return Ok(tag_page(repository, &found.tags, most, found.has_more)),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(RegistryError::new("NAME_UNKNOWN", error));
            }
            Err(error) if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout) => {
                warning = Some(stale_warning(&error));
            }
            Err(error) => return Err(error.into()),
        }
    }
    let mut tags = context.registry.tags(repository, last.as_deref(), most + 1).await?;
    if tags.is_empty() && !context.registry.has_repository(repository).await? {
        let error = Error::not_found(format!("there is no repository '{repository}'"));
        return Err(RegistryError::new("NAME_UNKNOWN", error));
    }
    let more = tags.len() > most as usize;
    tags.truncate(most as usize);
    let mut response = tag_page(repository, &tags, most, more);
    warn(&mut response, warning);
    Ok(response)
}

fn tag_page(repository: &str, tags: &[String], most: u32, more: bool) -> Response {
    let mut response = axum::Json(json!({ "name": repository, "tags": tags })).into_response();
    if let Some(last) = tags.last().filter(|_| more) {
        let path = format!("/v2/{repository}/tags/list");
        link_next_page(&mut response, &path, &[("n", &most.to_string()), ("last", last)]);
    }
    response
}

fn warn(response: &mut Response, warning: Option<String>) {
    if let Some(warning) = warning {
        response.headers_mut().insert(header::WARNING, header_value(&warning));
    }
}

pub(super) async fn catalog(context: RequestContext<'_>) -> HandlerResult {
    let uri = &context.parts.uri;
    let most = limit(uri, MAX_PAGE_ENTRIES)?;
    let mut last = query(uri, "last").unwrap_or_default();
    let mut repositories = Vec::new();
    let mut more = false;
    // Repositories that a client may not pull from are hidden from it.
    while most > 0 && !more {
        let page = context.registry.repositories(&last, most + 1).await?;
        let Some(end) = page.last() else { break };
        last = end.clone();
        let visible = page.into_iter().filter(|repository| context.caller.may_pull(repository));
        repositories.extend(visible);
        more = repositories.len() > most as usize;
    }
    repositories.truncate(most as usize);
    let mut response = axum::Json(json!({ "repositories": repositories })).into_response();
    if let Some(last) = repositories.last().filter(|_| more) {
        link_next_page(&mut response, "/v2/_catalog", &[("n", &most.to_string()), ("last", last)]);
    }
    Ok(response)
}

pub(super) async fn referrers(
    context: RequestContext<'_>,
    repository: &str,
    subject: &ContentDigest,
) -> HandlerResult {
    let uri = &context.parts.uri;
    Reference::check_repository(repository).map_err(|error| RegistryError::new("NAME_INVALID", error))?;
    // A page of nothing would never end.
    let most = limit(uri, MAX_PAGE_REFERRER_COUNT)?.max(1);
    let artifact_type = query(uri, "artifactType").filter(|text| !text.is_empty());
    let last = query(uri, "last").unwrap_or_default();
    let warning = match context.registry.upstream(repository) {
        Some(upstream) => upstream.fetch_referrers(context.registry, repository, subject).await?,
        None => None,
    };
    let page = context.registry.referrers(repository, subject, artifact_type.as_deref(), &last, most).await?;
    let index = json!({ "schemaVersion": 2, "mediaType": IMAGE_INDEX, "manifests": page.descriptors });
    let mut response = ([(header::CONTENT_TYPE, IMAGE_INDEX)], index.to_string()).into_response();
    warn(&mut response, warning);
    if artifact_type.is_some() {
        response
            .headers_mut()
            .insert(HeaderName::from_static("oci-filters-applied"), header_value("artifactType"));
    }
    if let Some(last) = page.next {
        let path = format!("/v2/{repository}/referrers/{subject}");
        let most = most.to_string();
        let mut query = vec![("n", most.as_str()), ("last", last.as_str())];
        query.extend(artifact_type.as_deref().map(|kind| ("artifactType", kind)));
        link_next_page(&mut response, &path, &query);
    }
    Ok(response)
}
