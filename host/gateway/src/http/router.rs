//! From a path to an answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use eyot_core::config::EndpointAccess;
use eyot_core::{Error, Result};
use eyot_http::{GuardRejection, RequestGuard};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use serde_json::{Value, json};

use crate::http::answers::{
    ErrorResponse, HttpResponse, ResponseBody, html_answer, json_answer, text_answer,
};
use crate::http::body::{RequestBody, SegmentedBody};
use crate::http::docs;
use crate::http::functions;
use crate::http::grpc;
use crate::http::receiving;
use crate::http::repository;
use crate::http::rest;
use crate::http::routes::{ApiRoute, ModelRef, ModelRoute, ProjectPath};
use crate::http::web;
use crate::protocol::identity;
use crate::protocol::metadata;
use crate::protocol::openapi;
use crate::serving::route_table::project_of;
use crate::serving::state::GatewayState;
use crate::telemetry::{GatewayTelemetry, prometheus};

/// What every request passes.
pub(super) struct RouterContext {
    pub(super) gateway: Arc<GatewayState>,
    pub(super) guard: RequestGuard,
    pub(super) telemetry: Arc<GatewayTelemetry>,
}

/// Answers what the guard lets in. A component that answers HTTP itself decides for itself which pages of other
/// origins may ask it: it sees their origin, and the question that browsers ask first.
pub(super) async fn answer(
    doors: &RouterContext,
    mut request: Request<RequestBody>,
    peer: SocketAddr,
) -> Response<ResponseBody> {
    let RouterContext { gateway, guard, .. } = doors;
    let draining = gateway.draining.load(Ordering::Relaxed);
    if let Some(found) = gateway.revisions.web(request.uri(), request.headers()) {
        // A route that names its host is a host by which this server is known.
        if found.mounted.route.host().is_none()
            && let Err(rejection) = guard.check_host(request.uri(), request.headers())
        {
            return rejected(rejection);
        }
        let project = found.mounted.endpoint.name.project();
        if let Err(rejection) = gateway.check_caller(request.headers(), project).await {
            return ErrorResponse::from(rejection).answer().map(ResponseBody::Http);
        }
        if gateway.config.access == EndpointAccess::Project {
            // It was shown to this server: what a component sees of it would be a component's to use.
            request.headers_mut().remove(header::AUTHORIZATION);
        }
        let mut answer = web::answer(gateway, found, request, peer).await;
        if draining {
            answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        return answer;
    }
    let (parts, body) = request.into_parts();
    if let Err(rejection) = guard.check(&parts) {
        return rejected(rejection);
    }
    if let Some(answer) = guard.cors().preflight(&parts) {
        return answer.map(ResponseBody::Http);
    }
    let cors = guard.cors().headers(&parts.headers);
    let mut answer = of_protocol(doors, Request::from_parts(parts, body), peer).await;
    answer.headers_mut().extend(cors.into_iter().flatten());
    answer
}

/// What a request is answered that is not looked at.
fn rejected(GuardRejection { status, error }: GuardRejection) -> Response<ResponseBody> {
    ErrorResponse { error, status: Some(status), allow: None }.answer().map(ResponseBody::Http)
}

/// Answers by gRPC or REST, whichever is spoken.
async fn of_protocol(
    doors: &RouterContext,
    request: Request<RequestBody>,
    peer: SocketAddr,
) -> Response<ResponseBody> {
    let gateway = &doors.gateway;
    if grpc::is_grpc(request.headers()) {
        return grpc::answer(gateway, request, peer).await.map(ResponseBody::Grpc);
    }
    let head = request.method() == Method::HEAD;
    let mut answer = match route(doors, request, peer).await {
        Ok(answer) => answer,
        Err(refusal) => refusal.answer(),
    };
    if gateway.draining.load(Ordering::Relaxed) {
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if head {
        let length = answer.body().len();
        answer.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        *answer.body_mut() = SegmentedBody::default();
    }
    answer.map(ResponseBody::Http)
}

async fn route(
    doors: &RouterContext,
    request: Request<RequestBody>,
    peer: SocketAddr,
) -> Result<HttpResponse, ErrorResponse> {
    let gateway = &doors.gateway;
    let (parts, body) = request.into_parts();
    let below = ProjectPath::of(parts.uri.path());
    let path = below.path;
    if let Some(path) = path.strip_prefix("/fn/") {
        return functions::answer(gateway, &below, path, &parts, peer, body).await;
    }
    let place = match ApiRoute::of(path)? {
        ApiRoute::Model(ModelRef { model, version }, page) => {
            ApiRoute::Model(ModelRef { model: below.scoped(model)?, version }, page)
        }
        ApiRoute::Load(model) => ApiRoute::Load(below.scoped(model)?),
        ApiRoute::Unload(model) => ApiRoute::Unload(below.scoped(model)?),
        place => place,
    };
    if let Some(project) = called_project(&place, &below) {
        gateway.check_caller(&parts.headers, project).await?;
    }
    if let Err(allow) = place.takes(&parts.method) {
        let error =
            Error::invalid(format!("{path} takes no {}", parts.method)).hint(format!("it takes {allow}"));
        return Err(ErrorResponse {
            error,
            status: Some(StatusCode::METHOD_NOT_ALLOWED),
            allow: Some(allow),
        });
    }
    let ok = |value: &Value| Ok(json_answer(StatusCode::OK, value));
    match place {
        ApiRoute::Model(target, ModelRoute::Infer) => {
            Ok(rest::infer(gateway, &target, &parts.headers, peer, body).await)
        }
        ApiRoute::Model(target, page) => model(gateway, &target, page, &parts.headers),
        ApiRoute::Server => ok(
            &json!({ "name": identity::SERVER_NAME, "version": identity::SERVER_VERSION, "extensions": metadata::EXTENSIONS }),
        ),
        ApiRoute::Live => ok(&json!({ "live": true })),
        ApiRoute::Ready if gateway.draining.load(Ordering::Relaxed) => {
            Ok(json_answer(StatusCode::SERVICE_UNAVAILABLE, &json!({ "ready": false })))
        }
        ApiRoute::Ready => ok(&json!({ "ready": true })),
        ApiRoute::Models => ok(&json!({ "models": gateway.revisions.names(below.listed()) })),
        ApiRoute::Statistics => {
            ok(&json!({ "model_stats": metadata::project_statistics(gateway, below.listed()) }))
        }
        ApiRoute::Metrics => {
            Ok(text_answer(prometheus::PROMETHEUS_TEXT_TYPE, prometheus::text(gateway, &doors.telemetry)?))
        }
        ApiRoute::Style => Ok(text_answer("text/css; charset=utf-8", docs::STYLE_SHEET.to_owned())),
        ApiRoute::Index => {
            let ready = repository_request(gateway, body).await?["ready"] == json!(true);
            ok(&json!(repository::index(gateway, below.listed(), ready).await?))
        }
        ApiRoute::Load(model) => {
            let request = repository_request(gateway, body).await?;
            let parameters = request["parameters"].as_object();
            let names = parameters.iter().flat_map(|parameters| parameters.keys().map(String::as_str));
            repository::load(gateway, &model, names).await?;
            ok(&json!({}))
        }
        ApiRoute::Unload(model) => {
            repository_request(gateway, body).await?;
            repository::unload(gateway, &model).await?;
            ok(&json!({}))
        }
    }
}

/// The project whose deployments a request calls or looks at; none where it asks for the server itself.
fn called_project<'a>(place: &'a ApiRoute<'_>, below: &ProjectPath<'a>) -> Option<&'a str> {
    match place {
        ApiRoute::Model(target, _) => Some(project_of(&target.model)),
        ApiRoute::Load(model) | ApiRoute::Unload(model) => Some(project_of(model)),
        ApiRoute::Models | ApiRoute::Statistics | ApiRoute::Index => Some(below.listed()),
        ApiRoute::Server | ApiRoute::Live | ApiRoute::Ready | ApiRoute::Metrics | ApiRoute::Style => None,
    }
}

fn model(
    gateway: &Arc<GatewayState>,
    target: &ModelRef<'_>,
    page: ModelRoute,
    headers: &HeaderMap,
) -> Result<HttpResponse, ErrorResponse> {
    let endpoint = gateway.endpoint(&target.model)?;
    let version = target.version.as_deref();
    let ok = |value: &Value| Ok(json_answer(StatusCode::OK, value));
    match page {
        ModelRoute::Metadata | ModelRoute::Infer => ok(&metadata::metadata(&endpoint, version)?),
        ModelRoute::Ready => {
            endpoint.route(version, None)?;
            ok(&json!({ "name": endpoint.name, "ready": true }))
        }
        ModelRoute::Configuration => ok(&metadata::configuration(&endpoint, version)?),
        ModelRoute::Statistics => {
            ok(&json!({ "model_stats": metadata::model_statistics(gateway, &target.model, version)? }))
        }
        ModelRoute::OpenApi => ok(&openapi::document(&endpoint, version, &gateway.origin(headers))?),
        ModelRoute::Docs => Ok(html_answer(docs::page(&endpoint, version, &gateway.origin(headers))?)),
    }
}

/// No request to the repository is larger.
const MAX_REPOSITORY_REQUEST_BYTES: u64 = 64 << 10;

/// The body of a request to the repository: an object, or nothing.
async fn repository_request(gateway: &GatewayState, body: RequestBody) -> Result<Value, ErrorResponse> {
    let body = receiving::read_bounded(gateway, body, MAX_REPOSITORY_REQUEST_BYTES, 0).await?;
    if body.is_empty() {
        return Ok(json!({}));
    }
    let value: Value = serde_json::from_slice(&body)
        .map_err(|error| Error::invalid(format!("the request cannot be read: {error}")))?;
    if value.is_object() { Ok(value) } else { Err(Error::invalid("the request is no object").into()) }
}
