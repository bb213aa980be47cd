use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, Request, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::{Json, Router};
use eyot_core::{Error, ErrorKind, config};
use eyot_http::{ConnectionBuffers, GuardRejection, HttpListener, PacedBody, RequestGuard, ReturnedBody};
use eyot_meta::{Changes, RequestOrigin};
use hyper::body::Incoming;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use tower::util::MapRequest;

use crate::answer::ErrorResponse;
use crate::routes::{AccessRule, RuledRoutes, without_project};
use crate::services::{ApiServices, ServerInfo};
use crate::{
    audit, backups, deployments, events, front, logs, models, projects, registry, runs, sign_in, tokens,
    users,
};

/// Every route of the control plane.
pub fn router(services: ApiServices) -> Router {
    // Before routes are looked at.
    Router::new().fallback_service(MapRequest::new(projectless_router(services), without_project))
}

/// The same for requests of which [`without_project`] has taken the project.
fn projectless_router(services: ApiServices) -> Router {
    let registry_routes = eyot_oci::router(services.registry.clone());
    let changes = services.changes.clone();
    let routes = RuledRoutes::new(&services)
        .path("/", |path| path.get(AccessRule::Public, front::page))
        .path("/health", |path| path.get(AccessRule::Public, || async { "OK" }))
        .path("/api/v1/server", |path| path.get(AccessRule::Public, info));
    let areas = [
        audit::routes(&services),
        backups::routes(&services),
        deployments::routes(&services),
        events::routes(&services),
        logs::routes(&services),
        models::routes(&services),
        projects::routes(&services),
        registry::routes(&services),
        runs::routes(&services),
        sign_in::routes(&services),
        tokens::routes(&services),
        users::routes(&services),
    ];
    let router = areas.into_iter().fold(routes.into_router(), |all, area| all.merge(area.into_router()));
    router
        .fallback(missing)
        .method_not_allowed_fallback(wrong_method)
        .with_state(services)
        .merge(registry_routes)
        .layer(middleware::from_fn_with_state(changes, begin))
}

/// Where a request came from over a socket.
#[derive(Clone, Copy, Debug)]
struct PeerAddress(IpAddr);

/// Names a request, in its answer and in the audit log: by what the client calls it, or by a new id.
const REQUEST_ID_HEADER: HeaderName = HeaderName::from_static("x-request-id");
const MAX_REQUEST_ID_BYTES: usize = 64;

/// Where a request comes from, and what its client calls it.
fn origin_of(request: &Request<Body>) -> Arc<RequestOrigin> {
    let said = request.headers().get(REQUEST_ID_HEADER).and_then(|value| value.to_str().ok());
    let is_plain = |id: &&str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/=+".contains(&byte);
        (1..=MAX_REQUEST_ID_BYTES).contains(&id.len()) && id.bytes().all(plain)
    };
    let address = request.extensions().get::<PeerAddress>().map(|peer| peer.0);
    RequestOrigin::new(address, said.filter(is_plain).map(str::to_owned))
}

/// Stands before all routes, so none can be forgotten.
///
/// Everything that is done for a request knows where that came from. Whatever may change something is done to its end,
/// also when the client goes away in the middle: between two steps of a handler there would be a deployment that is
/// written and does not serve, or a blob that is here and is nobody's.
async fn begin(State(changes): State<Changes>, request: Request<Body>, next: Next) -> Response {
    let origin = origin_of(&request);
    let is_safe = request.method().is_safe();
    let answering = origin.clone().scope(next.run(request));
    let mut response = if is_safe {
        answering.await
    } else {
        changes.run(answering).await.unwrap_or_else(|error| ErrorResponse(error).into_response())
    };
    // A request that was only answered is not named anywhere, unless its client did.
    let id = if is_safe { origin.given_request_id() } else { Some(origin.request_id()) };
    if let Some(Ok(id)) = id.map(HeaderValue::from_str) {
        response.headers_mut().insert(REQUEST_ID_HEADER, id);
    }
    response
}

/// What is read of a connection at once, heads included. hyper's own limit is 400 KiB, which uploads fill:
/// a hundred of them at once would hold 40 MiB in buffers alone.
const READ_BYTES: usize = 64 << 10;
/// How much of a blob may be under way over HTTP/2.
const HTTP2_WINDOW_BYTES: u32 = 1 << 20;

/// The buffers of connections to the control plane.
pub const CONNECTION_BUFFERS: ConnectionBuffers = ConnectionBuffers {
    read_bytes: Some(READ_BYTES),
    http2_stream_bytes: HTTP2_WINDOW_BYTES,
    http2_connection_bytes: HTTP2_WINDOW_BYTES,
    http2_frame_bytes: 16 << 10,
};

/// Answers on `listener` what `guard` lets in, until `shutdown`; then requests in flight end and new ones are
/// refused. What the registry has to do by itself is done meanwhile.
pub async fn serve(
    listener: HttpListener,
    guard: RequestGuard,
    config: config::ApiSettings,
    services: ApiServices,
    shutdown: impl Future<Output = ()> + Send + 'static,
) {
    let (registry, stop) = (services.registry.clone(), CancellationToken::new());
    let (events, events_kept, ending) =
        (services.events.clone(), config.events_kept.0, CancellationToken::new());
    let (ends, backups) = (ending.clone(), services.backups.clone());
    // Streams of events, and leases of snapshots, have no end of their own.
    let shutdown = async move {
        shutdown.await;
        ends.cancel();
        backups.end();
    };
    let (changes, deployments) = (services.changes.clone(), services.deployments.clone());
    let requests = async {
        let door = Arc::new(GuardedRouter { guard, config, router: projectless_router(services) });
        let answer = move |mut request: Request<_>, peer: SocketAddr| {
            let door = door.clone();
            request.extensions_mut().insert(PeerAddress(peer.ip()));
            async move { door.answer(request).await }
        };
        eyot_http::serve(listener, answer, shutdown).await.finish().await;
        // Those whose clients have gone away.
        changes.ended().await;
        deployments.settled().await;
        stop.cancel();
    };
    tokio::join!(requests, registry.maintain(stop.clone()), events.run(events_kept, &ending));
}

/// What every request from a socket passes.
struct GuardedRouter {
    guard: RequestGuard,
    config: config::ApiSettings,
    router: Router,
}

impl GuardedRouter {
    /// Turns away what a web page of somebody else's may have sent, whatever it asks for, and waits for no body
    /// that does not come.
    async fn answer(&self, request: Request<ReturnedBody<Incoming>>) -> Response {
        let (parts, body) = request.into_parts();
        if let Err(GuardRejection { status, error }) = self.guard.check(&parts) {
            let mut response = ErrorResponse(error).into_response();
            *response.status_mut() = status;
            return response;
        }
        if let Some(answer) = self.guard.cors().preflight(&parts) {
            return answer;
        }
        let cors = self.guard.cors().headers(&parts.headers);
        let body = PacedBody::new(body, self.config.body_timeout.0, self.config.body_rate.0);
        let lateness = body.lateness();
        let request = without_project(Request::from_parts(parts, Body::new(body)));
        let answered = self.router.clone().oneshot(request).await;
        let mut response = answered.unwrap_or_else(|never| match never {});
        if lateness.is_late() && response.status().is_server_error() {
            // The client is late, not this server: a kind of error has only one status.
            *response.status_mut() = StatusCode::REQUEST_TIMEOUT;
        }
        response.headers_mut().extend(cors.into_iter().flatten());
        response
    }
}

async fn info(State(services): State<ApiServices>) -> Json<ServerInfo> {
    Json(services.info)
}

async fn missing(uri: axum::http::Uri) -> ErrorResponse {
    let error = Error::not_found(format!("there is no route {}", uri.path()));
    ErrorResponse(
        error.hint(
            "the API is under /api/v1, the registry under /v2; predictions are on the data plane's port",
        ),
    )
}

async fn wrong_method(method: axum::http::Method, uri: axum::http::Uri) -> Response {
    let refusal =
        ErrorResponse(Error::new(ErrorKind::Unsupported, format!("{} takes no {method}", uri.path())));
    let mut response = refusal.into_response();
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response.headers_mut().remove(header::ALLOW);
    response
}
