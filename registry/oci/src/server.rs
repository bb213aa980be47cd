//! The distribution API: what `skopeo`, `oras` and Eyot's own client push to and pull from.

mod auth;
mod blobs;
mod lists;
mod manifests;
mod uploads;

#[cfg(any(test, fuzzing))]
pub(crate) use blobs::part_wanted;
#[cfg(any(test, fuzzing))]
pub(crate) use uploads::length_of_chunk;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, get};
use eyot_core::Error;
use eyot_store::ContentDigest;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use serde_json::json;

use crate::access::Caller;
use crate::answer::{CONTENT_DIGEST, Refusal};
use crate::place::Place;
use crate::registry::Registry;
use crate::scope::Action;

pub(crate) type Answer = Result<Response, Refusal>;

/// The routes under `/v2`, and where wasm package tools look for them.
pub fn router(registry: Registry) -> Router {
    Router::new()
        .route("/.well-known/wasm-pkg/registry.json", get(wasm_packages))
        .route("/v2", any(base))
        .route("/v2/", any(base))
        .route("/v2/token", any(auth::token))
        .route("/v2/{*path}", any(route))
        .with_state(registry)
}

/// Whoever sent a request.
///
/// Fails with `Denied` when they showed a token that is no good.
pub async fn authenticate(registry: &Registry, parts: &Parts) -> eyot_core::Result<Caller> {
    auth::caller(registry, parts).await.map_err(Refusal::into_error)
}

/// A request and who sent it.
pub(crate) struct Ask<'a> {
    pub(crate) registry: &'a Registry,
    pub(crate) caller: Caller,
    pub(crate) parts: Parts,
    pub(crate) body: Body,
}

/// Tells wkg that packages are here, and under which names.
async fn wasm_packages(State(registry): State<Registry>, request: Request) -> Response {
    let (parts, _) = parted(request);
    let address = auth::address(&registry, &parts.headers);
    let host = address.split_once("://").map_or(address.as_str(), |(_, host)| host);
    let mut oci = json!({ "registry": host });
    let prefix = &registry.0.settings.config.wasm_prefix;
    if !prefix.is_empty() {
        oci["namespacePrefix"] = json!(prefix);
    }
    axum::Json(json!({ "preferredProtocol": "oci", "oci": oci })).into_response()
}

/// The head of a request, with the host that was asked for where HTTP/1.1 has it.
fn parted(request: Request) -> (Parts, Body) {
    let (mut parts, body) = request.into_parts();
    if let Some(authority) = parts.uri.authority().filter(|_| !parts.headers.contains_key(header::HOST)) {
        let host = value(authority.as_str());
        parts.headers.insert(header::HOST, host);
    }
    (parts, body)
}

async fn base(State(registry): State<Registry>, request: Request) -> Response {
    let (parts, _) = parted(request);
    let answer = async {
        if !matches!(parts.method, Method::GET | Method::HEAD) {
            return Err(not_allowed(&parts.uri, &parts.method));
        }
        let caller = auth::caller(&registry, &parts).await?;
        if auth::wants_tokens(&registry, &caller) {
            let error = Error::denied("this registry wants a token");
            return Err(auth::challenge(&registry, &parts.headers, error, None, None));
        }
        Ok(axum::Json(json!({})).into_response())
    };
    without_body(&parts.method, versioned(answer.await.into_response()))
}

async fn route(State(registry): State<Registry>, request: Request) -> Response {
    let (parts, body) = parted(request);
    let method = parts.method.clone();
    let answer = async {
        let path = parts.uri.path();
        let place = Place::parse(path.strip_prefix("/v2/").unwrap_or(path))?;
        let action = action(&place, &method).ok_or_else(|| not_allowed(&parts.uri, &method))?;
        let caller = auth::caller(&registry, &parts).await?;
        auth::authorize(&registry, &parts.headers, &caller, action, place.repository())?;
        if action == Action::Push && place.repository().is_some_and(|name| registry.upstream(name).is_some())
        {
            let error = Error::denied("what is mirrored from another registry is not pushed here")
                .hint("push to a repository outside of the mirror's prefix");
            return Err(Refusal::new("DENIED", error));
        }
        if action == Action::Delete && !registry.0.settings.config.delete {
            let error = Error::unsupported("nothing is deleted from this registry")
                .hint("registry.delete switches that");
            return Err(Refusal::new("UNSUPPORTED", error).status(StatusCode::METHOD_NOT_ALLOWED));
        }
        dispatch(Ask { registry: &registry, caller, parts, body }, place, &method).await
    };
    without_body(&method, versioned(answer.await.into_response()))
}

/// By this header old clients know a registry.
fn versioned(mut response: Response) -> Response {
    response
        .headers_mut()
        .insert("docker-distribution-api-version", HeaderValue::from_static("registry/2.0"));
    response
}

async fn dispatch(ask: Ask<'_>, place: Place, method: &Method) -> Answer {
    let is_post = *method == Method::POST;
    match place {
        Place::Catalog => lists::catalog(ask).await,
        Place::Tags(repository) => lists::tags(ask, &repository).await,
        Place::Referrers(repository, subject) => lists::referrers(ask, &repository, &subject).await,
        Place::Blob(repository, digest) if *method == Method::DELETE => {
            blobs::delete(ask, &repository, &digest).await
        }
        Place::Blob(repository, digest) => blobs::get(ask, &repository, &digest).await,
        Place::Uploads(repository) if is_post => uploads::start(ask, &repository).await,
        Place::Uploads(_) => Err(not_allowed(&ask.parts.uri, method)),
        Place::Upload(repository, id) => match *method {
            Method::PATCH => uploads::append(ask, &repository, id).await,
            Method::PUT => uploads::complete(ask, &repository, id).await,
            Method::DELETE => uploads::cancel(ask, &repository, id).await,
            _ => uploads::progress(ask, &repository, id).await,
        },
        Place::Manifest(repository, target) => match *method {
            Method::PUT => manifests::put(ask, &repository, target).await,
            Method::DELETE => manifests::delete(ask, &repository, &target).await,
            _ => manifests::get(ask, &repository, &target).await,
        },
    }
}

/// What a request does; none for what cannot be done there.
fn action(place: &Place, method: &Method) -> Option<Action> {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    match place {
        Place::Catalog => reads.then_some(Action::List),
        Place::Tags(_) | Place::Referrers(..) => reads.then_some(Action::Pull),
        Place::Uploads(_) => (*method == Method::POST).then_some(Action::Push),
        Place::Upload(..) => {
            (reads || matches!(*method, Method::PATCH | Method::PUT | Method::DELETE)).then_some(Action::Push)
        }
        Place::Blob(..) | Place::Manifest(..) if reads => Some(Action::Pull),
        Place::Blob(..) | Place::Manifest(..) if *method == Method::DELETE => Some(Action::Delete),
        Place::Manifest(..) if *method == Method::PUT => Some(Action::Push),
        Place::Blob(..) | Place::Manifest(..) => None,
    }
}

fn not_allowed(uri: &Uri, method: &Method) -> Refusal {
    let error = Error::unsupported(format!("{} takes no {method}", uri.path()));
    Refusal::new("UNSUPPORTED", error).status(StatusCode::METHOD_NOT_ALLOWED)
}

/// The answer to HEAD is that to GET, length included, without the body.
fn without_body(method: &Method, mut response: Response) -> Response {
    use http_body::Body as _;
    if *method == Method::HEAD {
        if let Some(length) = response.body().size_hint().exact() {
            response.headers_mut().entry(header::CONTENT_LENGTH).or_insert(HeaderValue::from(length));
        }
        *response.body_mut() = Body::empty();
    }
    response
}

pub(crate) fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// The headers of a blob or manifest.
pub(crate) fn content_headers(digest: &ContentDigest, media_type: &str, length: u64) -> HeaderMap {
    let digest = digest.to_string();
    let mut headers = HeaderMap::with_capacity(6);
    headers.insert(header::ETAG, value(&format!("\"{digest}\"")));
    headers.insert(CONTENT_DIGEST, value(&digest));
    headers.insert(header::CONTENT_TYPE, value(media_type));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers
}

/// Whether the client has these bytes already.
pub(crate) fn is_known(headers: &HeaderMap, digest: &ContentDigest) -> bool {
    let tags = headers.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok()).unwrap_or_default();
    tags.split(',').any(|tag| tag.trim().trim_start_matches("W/").trim_matches('"') == digest.to_string())
}

/// The values of a query parameter.
pub(crate) fn queries<'a>(uri: &'a Uri, name: &'a str) -> impl Iterator<Item = String> + 'a {
    let pairs = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    pairs.filter(move |(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// The first value of a query parameter.
pub(crate) fn query(uri: &Uri, name: &str) -> Option<String> {
    queries(uri, name).next()
}

/// A query parameter that is a digest.
pub(crate) fn digest_query(uri: &Uri, name: &str) -> Result<Option<ContentDigest>, Refusal> {
    let digest = query(uri, name).map(|text| text.parse()).transpose();
    digest.map_err(|error| Refusal::new("DIGEST_INVALID", error))
}
