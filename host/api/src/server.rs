use std::future::Future;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::{Json, Router};
use eyot_core::{Error, Kind};
use eyot_deploy::Deployments;
use eyot_http::{Guard, Rejection};
use eyot_meta::Changes;
use eyot_oci::Registry;
use eyot_pipelines::Executor;
use eyot_tracking::Tracking;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::answer::Refusal;
use crate::logs::{self, Logs};
use crate::routes::{Routes, Rule};
use crate::{deployments, listen, models, registry, runs};

/// What answers requests.
#[derive(Clone)]
pub struct Services {
    pub info: ServerInfo,
    pub registry: Registry,
    pub tracking: Tracking,
    pub pipelines: Executor,
    pub deployments: Deployments,
    pub logs: Logs,
    /// What requests change, until that is done.
    pub changes: Changes,
}

/// What a server says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerInfo {
    pub version: String,
    /// The data plane's URL; none while it does not listen.
    pub gateway: Option<String>,
}

/// Every route of the control plane.
pub fn router(services: Services) -> Router {
    let registry_routes = eyot_oci::router(services.registry.clone());
    let changes = services.changes.clone();
    let routes = Routes::new(&services)
        .path("/health", |path| path.get(Rule::Public, || async { "OK" }))
        .path("/api/v1/server", |path| path.get(Rule::Public, info));
    let areas = [
        deployments::routes(&services),
        logs::routes(&services),
        models::routes(&services),
        registry::routes(&services),
        runs::routes(&services),
    ];
    let router = areas.into_iter().fold(routes.into_router(), |all, area| all.merge(area.into_router()));
    router
        .fallback(missing)
        .method_not_allowed_fallback(wrong_method)
        .with_state(services)
        .merge(registry_routes)
        .layer(middleware::from_fn_with_state(changes, to_its_end))
}

/// Whatever may change something is done to its end, also when the client goes away in the middle: between
/// two steps of a handler there would be a deployment that is written and does not serve, or a blob that is
/// here and is nobody's. It stands before all routes, so none can be forgotten.
async fn to_its_end(State(changes): State<Changes>, request: Request, next: Next) -> Response {
    if request.method().is_safe() {
        return next.run(request).await;
    }
    let done = changes.run(next.run(request)).await;
    done.unwrap_or_else(|error| Refusal(error).into_response())
}

/// Answers on `listener`, over TLS if `tls` is given, what `guard` lets in, until `shutdown`; then requests in flight end and new ones are refused. What
/// the registry has to do by itself is done meanwhile.
pub async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    guard: Guard,
    services: Services,
    shutdown: impl Future<Output = ()> + Send + 'static,
) {
    let (registry, stop) = (services.registry.clone(), CancellationToken::new());
    let (changes, deployments) = (services.changes.clone(), services.deployments.clone());
    let requests = async {
        let router = router(services).layer(middleware::from_fn_with_state(Arc::new(guard), admit));
        listen::answer(listener, tls, router, shutdown).await;
        // Those whose clients have gone away.
        changes.ended().await;
        deployments.settled().await;
        stop.cancel();
    };
    tokio::join!(requests, registry.maintain(stop.clone()));
}

/// The outermost layer: sees to what an answer left of its request's body.
async fn admit(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    eyot_http::with_rest_of_body(request, |request| guarded(guard, request.map(Body::new), next)).await
}

/// Turns away what a web page of somebody else's may have sent, whatever it asks for.
async fn guarded(guard: Arc<Guard>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    if let Err(Rejection { status, error }) = guard.check(&parts) {
        let mut response = Refusal(error).into_response();
        *response.status_mut() = status;
        return response;
    }
    if let Some(answer) = guard.cors().preflight(&parts) {
        return answer;
    }
    let cors = guard.cors().headers(&parts.headers);
    let mut response = next.run(Request::from_parts(parts, body)).await;
    response.headers_mut().extend(cors.into_iter().flatten());
    response
}

async fn info(State(services): State<Services>) -> Json<ServerInfo> {
    Json(services.info)
}

async fn missing(uri: axum::http::Uri) -> Refusal {
    let error = Error::not_found(format!("there is no route {}", uri.path()));
    Refusal(
        error.hint(
            "the API is under /api/v1, the registry under /v2; predictions are on the data plane's port",
        ),
    )
}

async fn wrong_method(method: axum::http::Method, uri: axum::http::Uri) -> Response {
    let refusal = Refusal(Error::new(Kind::Unsupported, format!("{} takes no {method}", uri.path())));
    let mut response = refusal.into_response();
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response.headers_mut().remove(header::ALLOW);
    response
}
