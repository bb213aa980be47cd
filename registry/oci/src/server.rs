//! The distribution API: what `skopeo`, `oras` and Eyot's own client push to and pull from.

use std::str::FromStr as _;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use eyot_core::{Digest, Error, Kind, Reference, Result, Selector};
use eyot_store::BlobWriter;
use futures::StreamExt as _;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use serde_json::json;
use tokio_util::io::ReaderStream;

use crate::answer::{Refusal, collect};
use crate::registry::Registry;

type Answer = Result<Response, Refusal>;

/// A manifest must be accepted up to 4 MiB; a larger one is no manifest.
const MANIFEST: usize = 4 << 20;

/// The routes under `/v2`.
pub fn router(registry: Registry) -> Router {
    Router::new()
        .route("/v2", any(base))
        .route("/v2/", any(base))
        .route("/v2/{*path}", any(route))
        .with_state(registry)
}

async fn base() -> Response {
    ([("docker-distribution-api-version", "registry/2.0")], axum::Json(json!({}))).into_response()
}

/// What a path asks for. Names contain slashes, so the end of the path decides.
enum Place {
    Blob(Digest),
    Uploads,
    Upload(String),
    Manifest(Reference),
    Tags,
}

async fn route(State(registry): State<Registry>, request: Request) -> Response {
    let path = request.uri().path().trim_start_matches("/v2/").to_owned();
    match parse(&path) {
        Ok((repository, place)) => dispatch(&registry, &repository, place, request).await.into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

fn parse(path: &str) -> Result<(String, Place), Refusal> {
    let unknown = || Refusal::new("UNSUPPORTED", Error::not_found(format!("there is no route /v2/{path}")));
    let found = |repository: &str, place| {
        Reference::check_repository(repository).map_err(|error| Refusal::new("NAME_INVALID", error))?;
        Ok((repository.to_owned(), place))
    };
    if let Some(repository) = path.strip_suffix("/tags/list") {
        return found(repository, Place::Tags);
    }
    if let Some((repository, upload)) = path.rsplit_once("/blobs/uploads") {
        let upload = upload.trim_start_matches('/');
        let place = if upload.is_empty() { Place::Uploads } else { Place::Upload(upload.to_owned()) };
        return found(repository, place);
    }
    if let Some((repository, digest)) = path.rsplit_once("/blobs/") {
        let digest = digest.parse().map_err(|error| Refusal::new("DIGEST_INVALID", error))?;
        return found(repository, Place::Blob(digest));
    }
    let (repository, reference) = path.rsplit_once("/manifests/").ok_or_else(unknown)?;
    let selector = if reference.contains(':') {
        Selector::Digest(reference.parse().map_err(|error| Refusal::new("DIGEST_INVALID", error))?)
    } else {
        Reference::check_tag(reference).map_err(|error| Refusal::new("MANIFEST_INVALID", error))?;
        Selector::Tag(reference.to_owned())
    };
    let target = Reference { repository: repository.to_owned(), selector };
    found(repository, Place::Manifest(target))
}

async fn dispatch(registry: &Registry, repository: &str, place: Place, request: Request) -> Answer {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    match (place, method) {
        (Place::Blob(digest), Method::GET) => blob(registry, &digest, true).await,
        (Place::Blob(digest), Method::HEAD) => blob(registry, &digest, false).await,
        (Place::Uploads, Method::POST) => start(registry, repository, request).await,
        (Place::Upload(id), Method::GET) => progress(registry, repository, &id),
        (Place::Upload(id), Method::PATCH) => append(registry, repository, &id, request).await,
        (Place::Upload(id), Method::PUT) => complete(registry, repository, &id, request).await,
        (Place::Upload(id), Method::DELETE) => {
            registry.0.uploads.take(&id).map_err(|error| Refusal::new("BLOB_UPLOAD_UNKNOWN", error))?;
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        (Place::Manifest(reference), Method::GET) => manifest(registry, &reference, true).await,
        (Place::Manifest(reference), Method::HEAD) => manifest(registry, &reference, false).await,
        (Place::Manifest(reference), Method::PUT) => put_manifest(registry, &reference, request).await,
        (Place::Tags, Method::GET) => tags(registry, repository, &uri).await,
        (_, method) => {
            let error = Error::unsupported(format!("{} takes no {method}", uri.path()));
            let mut response = Refusal::new("UNSUPPORTED", error).into_response();
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            Ok(response)
        }
    }
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

fn content_headers(digest: &Digest, media_type: &str, length: u64) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("docker-content-digest", value(&digest.to_string()));
    headers.insert(header::CONTENT_TYPE, value(media_type));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(header::ETAG, value(&format!("\"{digest}\"")));
    headers
}

async fn blob(registry: &Registry, digest: &Digest, with_body: bool) -> Answer {
    let store = &registry.0.store;
    let unknown = |error: Error| Refusal::new("BLOB_UNKNOWN", error);
    let size = store.size(digest).await?;
    let size = size.ok_or_else(|| unknown(Error::not_found(format!("there is no blob {digest}"))))?;
    let headers = content_headers(digest, "application/octet-stream", size);
    let body = match with_body {
        true => Body::from_stream(ReaderStream::with_capacity(
            store.open(digest).await.map_err(unknown)?,
            64 << 10,
        )),
        false => Body::empty(),
    };
    Ok((headers, body).into_response())
}

fn query(uri: &Uri, name: &str) -> Option<String> {
    let pairs = uri.query()?.split('&').filter_map(|pair| pair.split_once('='));
    // Digests and names need no escape but for the colon, which some clients write as %3A.
    pairs
        .into_iter()
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.replace("%3A", ":").replace("%2F", "/"))
}

fn wanted(request: &Request) -> Result<Option<Digest>, Refusal> {
    let digest = query(request.uri(), "digest").map(|text| Digest::from_str(&text)).transpose();
    digest.map_err(|error| Refusal::new("DIGEST_INVALID", error))
}

async fn start(registry: &Registry, repository: &str, request: Request) -> Answer {
    if let Some(mount) = query(request.uri(), "mount").and_then(|text| Digest::from_str(&text).ok())
        && registry.0.store.size(&mount).await?.is_some()
    {
        // One store holds the blobs of all repositories: mounting is having.
        return Ok(created(repository, &mount));
    }
    let mut writer = registry.0.store.writer().await?;
    match wanted(&request)? {
        Some(digest) => {
            receive(&mut writer, request.into_body()).await?;
            keep(repository, writer, &digest).await
        }
        None => {
            let id = registry.0.uploads.start(writer)?;
            Ok((StatusCode::ACCEPTED, upload_headers(repository, &id, 0)).into_response())
        }
    }
}

async fn receive(writer: &mut Box<dyn BlobWriter>, body: Body) -> Result<()> {
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| Error::unavailable("the upload ended early").because(error))?;
        writer.write(chunk).await?;
    }
    Ok(())
}

async fn keep(repository: &str, writer: Box<dyn BlobWriter>, digest: &Digest) -> Answer {
    writer.finish_as(digest).await.map_err(|error| match error.kind() {
        Kind::Invalid => Refusal::new("DIGEST_INVALID", error),
        _ => error.into(),
    })?;
    Ok(created(repository, digest))
}

fn created(repository: &str, digest: &Digest) -> Response {
    let location = format!("/v2/{repository}/blobs/{digest}");
    let headers = [
        (header::LOCATION, location),
        (http::HeaderName::from_static("docker-content-digest"), digest.to_string()),
    ];
    (StatusCode::CREATED, headers).into_response()
}

fn upload_headers(repository: &str, id: &str, received: u64) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::LOCATION, value(&format!("/v2/{repository}/blobs/uploads/{id}")));
    headers.insert(header::RANGE, value(&format!("0-{}", received.saturating_sub(1))));
    headers.insert("docker-upload-uuid", value(id));
    headers
}

fn progress(registry: &Registry, repository: &str, id: &str) -> Answer {
    let received = registry.0.uploads.received(id).ok_or_else(|| {
        Refusal::new("BLOB_UPLOAD_UNKNOWN", Error::not_found(format!("there is no upload '{id}'")))
    })?;
    Ok((StatusCode::NO_CONTENT, upload_headers(repository, id, received)).into_response())
}

/// A chunk out of order: the client asks where it stands and goes on from there.
#[allow(clippy::result_large_err)] // Made once for an upload, and only when it goes wrong.
fn in_order(request: &Request, received: u64) -> Result<(), Response> {
    let range = request.headers().get(header::CONTENT_RANGE).and_then(|range| range.to_str().ok());
    let first = range.and_then(|range| range.split_once('-')).map(|(first, _)| first.parse::<u64>());
    match first {
        Some(first) if first != Ok(received) => Err(StatusCode::RANGE_NOT_SATISFIABLE.into_response()),
        _ => Ok(()),
    }
}

async fn append(registry: &Registry, repository: &str, id: &str, request: Request) -> Answer {
    let uploads = &registry.0.uploads;
    let mut writer = uploads.take(id).map_err(|error| Refusal::new("BLOB_UPLOAD_UNKNOWN", error))?;
    if let Err(response) = in_order(&request, writer.written()) {
        uploads.put_back(id, writer);
        return Ok(response);
    }
    let received = receive(&mut writer, request.into_body()).await;
    let length = writer.written();
    uploads.put_back(id, writer);
    received?;
    Ok((StatusCode::ACCEPTED, upload_headers(repository, id, length)).into_response())
}

async fn complete(registry: &Registry, repository: &str, id: &str, request: Request) -> Answer {
    let missing =
        || Refusal::new("DIGEST_INVALID", Error::invalid("the query parameter 'digest' is missing"));
    let digest = wanted(&request)?.ok_or_else(missing)?;
    let mut writer =
        registry.0.uploads.take(id).map_err(|error| Refusal::new("BLOB_UPLOAD_UNKNOWN", error))?;
    if let Err(response) = in_order(&request, writer.written()) {
        registry.0.uploads.put_back(id, writer);
        return Ok(response);
    }
    receive(&mut writer, request.into_body()).await?;
    keep(repository, writer, &digest).await
}

async fn manifest(registry: &Registry, reference: &Reference, with_body: bool) -> Answer {
    let stored = registry.manifest(reference).await.map_err(|error| match error.kind() {
        Kind::NotFound => Refusal::new("MANIFEST_UNKNOWN", error),
        _ => error.into(),
    })?;
    let headers = content_headers(&stored.digest, &stored.media_type, stored.bytes.len() as u64);
    let body = if with_body { Body::from(stored.bytes) } else { Body::empty() };
    Ok((headers, body).into_response())
}

async fn put_manifest(registry: &Registry, reference: &Reference, request: Request) -> Answer {
    let media_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = media_type.map(|text| text.split(';').next().unwrap_or_default().trim().to_owned());
    let bytes =
        collect(request.into_body(), MANIFEST).await.map_err(|error| Refusal::new("SIZE_INVALID", error))?;
    let media_type = media_type.unwrap_or_else(|| crate::manifest::IMAGE_MANIFEST.to_owned());
    let put = registry.put(reference, &media_type, bytes).await.map_err(|error| match error.kind() {
        Kind::NotFound => Refusal::new("MANIFEST_BLOB_UNKNOWN", error),
        Kind::Invalid => Refusal::new("MANIFEST_INVALID", error),
        _ => error.into(),
    })?;
    let location = format!("/v2/{}/manifests/{}", put.repository, put.manifest);
    let digest = (http::HeaderName::from_static("docker-content-digest"), put.manifest.to_string());
    Ok((StatusCode::CREATED, [(header::LOCATION, location), digest]).into_response())
}

async fn tags(registry: &Registry, repository: &str, uri: &Uri) -> Answer {
    let mut tags = registry.tags(repository).await?;
    if tags.is_empty() {
        let error = Error::not_found(format!("there is no repository '{repository}'"));
        return Err(Refusal::new("NAME_UNKNOWN", error));
    }
    let last = query(uri, "last").unwrap_or_default();
    tags.retain(|tag| *tag > last);
    let most = query(uri, "n").and_then(|text| text.parse::<usize>().ok()).unwrap_or(usize::MAX);
    let more = tags.len() > most;
    tags.truncate(most);
    let mut response = axum::Json(json!({ "name": repository, "tags": tags })).into_response();
    if let Some(last) = tags.last().filter(|_| more) {
        let link = format!("</v2/{repository}/tags/list?n={most}&last={last}>; rel=\"next\"");
        response.headers_mut().insert(header::LINK, value(&link));
    }
    Ok(response)
}
