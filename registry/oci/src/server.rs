//! The server of the OCI distribution API, which `skopeo`, `oras` and Eyot's own client push to and pull from.

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
use eyot_access::{Caller, RegistryAction};
use eyot_core::Error;
use eyot_store::ContentDigest;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use serde_json::json;

use crate::registry::Registry;
use crate::response::{CONTENT_DIGEST, RegistryError};
use crate::route::RegistryRoute;

pub(crate) type HandlerResult = Result<Response, RegistryError>;

/// The routes under `/v2`, and the document by which wasm package tools find them.
pub fn router(registry: Registry) -> Router {
    Router::new()
        .route("/.well-known/wasm-pkg/registry.json", get(wasm_packages))
        .route("/v2", any(base))
        .route("/v2/", any(base))
        .route("/v2/token", any(auth::token))
        .route("/v2/{*path}", any(route))
        .with_state(registry)
}

/// A request and its caller.
pub(crate) struct RequestContext<'a> {
    pub(crate) registry: &'a Registry,
    pub(crate) caller: Caller,
    pub(crate) parts: Parts,
    pub(crate) body: Body,
}

/// Tells wkg that packages are here, and under which names.
async fn wasm_packages(State(registry): State<Registry>, request: Request) -> Response {
    let (parts, _) = split_request(request);
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
fn split_request(request: Request) -> (Parts, Body) {
    let (mut parts, body) = request.into_parts();
    if let Some(authority) = parts.uri.authority().filter(|_| !parts.headers.contains_key(header::HOST)) {
        let host = header_value(authority.as_str());
        parts.headers.insert(header::HOST, host);
    }
    (parts, body)
}

async fn base(State(registry): State<Registry>, request: Request) -> Response {
    let (parts, _) = split_request(request);
    let answer = async {
        if !matches!(parts.method, Method::GET | Method::HEAD) {
            return Err(not_allowed(&parts.uri, &parts.method));
        }
        let caller = auth::caller(&registry, &parts).await?;
        if auth::wants_tokens(&caller) {
            let error = Error::denied("this registry wants a token");
            return Err(auth::challenge(&registry, &parts.headers, error, None, None));
        }
        Ok(axum::Json(json!({})).into_response())
    };
    without_body(&parts.method, versioned(answer.await.into_response()))
}

pub(crate) async fn route(State(registry): State<Registry>, request: Request) -> Response {
    let (parts, body) = split_request(request);
    let method = parts.method.clone();
    let answer = async {
        let path = parts.uri.path();
        let route = RegistryRoute::parse(path.strip_prefix("/v2/").unwrap_or(path))?;
        let action = action(&route, &method).ok_or_else(|| not_allowed(&parts.uri, &method))?;
        let caller = auth::admit(&registry, &parts, action, route.repository()).await?;
        if action == RegistryAction::Push
            && route.repository().is_some_and(|name| registry.upstream(name).is_some())
        {
            let error = Error::denied("what is mirrored from another registry is not pushed here")
                .hint("push to a repository outside of the mirror's prefix");
            return Err(RegistryError::new("DENIED", error));
        }
        if action == RegistryAction::Delete && !registry.0.settings.config.delete {
            let error = Error::unsupported("nothing is deleted from this registry")
                .hint("registry.delete switches that");
            return Err(RegistryError::new("UNSUPPORTED", error).status(StatusCode::METHOD_NOT_ALLOWED));
        }
        dispatch(RequestContext { registry: &registry, caller, parts, body }, route, &method).await
    };
    without_body(&method, versioned(answer.await.into_response()))
}

/// Old clients recognize a registry by this header.
fn versioned(mut response: Response) -> Response {
    response
        .headers_mut()
        .insert("docker-distribution-api-version", HeaderValue::from_static("registry/2.0"));
    response
}

/// What is asked for most often is answered in the future of the request itself. All else lies on the heap: the future is
/// moved whole before it begins, and the largest handler would make it tens of kilobytes for everybody.
async fn dispatch(context: RequestContext<'_>, route: RegistryRoute, method: &Method) -> HandlerResult {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    match route {
        RegistryRoute::Blob(repository, digest) if reads => blobs::get(context, &repository, &digest).await,
        RegistryRoute::Manifest(repository, target) if reads => {
            manifests::get(context, &repository, &target).await
        }
        rarer => Box::pin(dispatch_rarer(context, rarer, method)).await,
    }
}

async fn dispatch_rarer(context: RequestContext<'_>, route: RegistryRoute, method: &Method) -> HandlerResult {
    let is_post = *method == Method::POST;
    match route {
        RegistryRoute::Catalog => lists::catalog(context).await,
        RegistryRoute::Tags(repository) => lists::tags(context, &repository).await,
        RegistryRoute::Referrers(repository, subject) => {
            lists::referrers(context, &repository, &subject).await
        }
        RegistryRoute::Blob(repository, digest) => blobs::delete(context, &repository, &digest).await,
        RegistryRoute::Uploads(repository) if is_post => uploads::start(context, &repository).await,
        RegistryRoute::Uploads(_) => Err(not_allowed(&context.parts.uri, method)),
        RegistryRoute::Upload(repository, id) => match *method {
            Method::PATCH => uploads::append(context, &repository, id).await,
            Method::PUT => uploads::complete(context, &repository, id).await,
            Method::DELETE => uploads::cancel(context, &repository, id).await,
            _ => uploads::progress(context, &repository, id).await,
        },
        RegistryRoute::Manifest(repository, target) => match *method {
            Method::PUT => manifests::put(context, &repository, target).await,
            _ => manifests::delete(context, &repository, &target).await,
        },
    }
}

/// The action of a request; none for a method that the route does not have.
fn action(route: &RegistryRoute, method: &Method) -> Option<RegistryAction> {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    match route {
        RegistryRoute::Catalog => reads.then_some(RegistryAction::List),
        RegistryRoute::Tags(_) | RegistryRoute::Referrers(..) => reads.then_some(RegistryAction::Pull),
        RegistryRoute::Uploads(_) => (*method == Method::POST).then_some(RegistryAction::Push),
        RegistryRoute::Upload(..) => (reads
            || matches!(*method, Method::PATCH | Method::PUT | Method::DELETE))
        .then_some(RegistryAction::Push),
        RegistryRoute::Blob(..) | RegistryRoute::Manifest(..) if reads => Some(RegistryAction::Pull),
        RegistryRoute::Blob(..) | RegistryRoute::Manifest(..) if *method == Method::DELETE => {
            Some(RegistryAction::Delete)
        }
        RegistryRoute::Manifest(..) if *method == Method::PUT => Some(RegistryAction::Push),
        RegistryRoute::Blob(..) | RegistryRoute::Manifest(..) => None,
    }
}

fn not_allowed(uri: &Uri, method: &Method) -> RegistryError {
    let error = Error::unsupported(format!("{} takes no {method}", uri.path()));
    RegistryError::new("UNSUPPORTED", error).status(StatusCode::METHOD_NOT_ALLOWED)
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

pub(crate) fn header_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// The headers of a blob or manifest.
pub(crate) fn content_headers(digest: &ContentDigest, media_type: &str, length: u64) -> HeaderMap {
    let digest = digest.to_string();
    let mut headers = HeaderMap::with_capacity(6);
    headers.insert(header::ETAG, header_value(&format!("\"{digest}\"")));
    headers.insert(CONTENT_DIGEST, header_value(&digest));
    headers.insert(header::CONTENT_TYPE, header_value(media_type));
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
pub(crate) fn digest_query(uri: &Uri, name: &str) -> Result<Option<ContentDigest>, RegistryError> {
    let digest = query(uri, name).map(|text| text.parse()).transpose();
    digest.map_err(|error| RegistryError::new("DIGEST_INVALID", error))
}
