//! The data plane of a process from outside: what serves, and the server that answers.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use eyot_access::AccessStore;
use eyot_core::{Error, Result, ScopedName, config};
use eyot_deploy::{Route, Traffic};
use eyot_engine::BackgroundExecutor;
use eyot_http::{ConnectionBuffers, ConnectionLimiter, HttpListener, RequestGuard, tls_acceptor};
use eyot_nn::{LoadedModels, RanOn};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::http::functions;
use crate::http::router::{self, RouterContext};
use crate::serving::endpoint::{LoadedRevision, ServingRevision};
use crate::serving::model_control::ModelRepository;
use crate::serving::state::GatewayState;
use crate::telemetry::GatewayTelemetry;
use crate::telemetry::spans::SpanExporter;

/// The data plane of a process. Cheap to clone.
#[derive(Clone)]
pub struct Gateway(Arc<GatewayState>);

impl Gateway {
    /// Serves nothing yet. What is long work even to read or to write is worked on in `background_executor`.
    pub fn new(config: config::GatewaySettings, background_executor: Arc<BackgroundExecutor>) -> Self {
        Self(Arc::new(GatewayState::new(config, background_executor)))
    }

    /// Tells of these models in its metrics; of the first that it is given.
    pub fn report_models(&self, models: Arc<LoadedModels>) {
        let _ = self.0.models.set(models);
    }

    /// Asks this store who may call, where the configuration does not let everybody; the first that it is given.
    pub fn authenticate_with(&self, access: AccessStore) {
        let _ = self.0.access.set(access);
    }

    /// Lets requests that name the revision reach it; others do once they are routed to it.
    pub fn add(&self, revision: LoadedRevision) {
        self.0.revisions.add(revision);
        self.0.changed();
    }

    /// Splits the requests to a deployment among its revisions from now on, and lets go of those that
    /// are not among `live`. Requests that one of them has begun end on it.
    pub fn route(&self, name: &ScopedName, traffic: &Traffic, live: &BTreeSet<u64>) {
        self.0.revisions.route(name, traffic, live);
        self.0.changed();
    }

    /// Where requests to a deployment go: of each kind that its main revision answers.
    pub fn endpoints(&self, name: &ScopedName) -> Vec<String> {
        let endpoint = self.0.revisions.get(name.as_str());
        endpoint.and_then(|endpoint| endpoint.main().map(|live| addresses(live))).unwrap_or_default()
    }

    /// Stops serving under a name. Requests that were begun end.
    pub fn deactivate(&self, name: &ScopedName) {
        self.0.revisions.remove(name);
        self.0.changed();
    }

    /// Fails with `Conflict` when another deployment than `name` has one of these routes.
    pub fn free(&self, name: &ScopedName, routes: &[Route]) -> Result<()> {
        for route in routes {
            if let Some(other) = self.0.revisions.claimed(name, route) {
                return Err(Error::conflict(format!("the route {route} belongs to '{other}' already"))
                    .hint("choose another with --route, or undeploy that one"));
            }
        }
        Ok(())
    }

    /// What runs a revision's models, by the name under which each is granted; nothing where it does
    /// not serve.
    pub fn ran_on(&self, name: &ScopedName, revision: u64) -> BTreeMap<String, RanOn> {
        let endpoint = self.0.revisions.get(name.as_str());
        let live = endpoint.as_ref().and_then(|endpoint| endpoint.version(&revision.to_string()));
        live.map(|live| live.ran_on()).unwrap_or_default()
    }

    /// Makes the server ready to answer on `socket`: loads what TLS needs, opens the prediction log
    /// under `logs` if the configuration wants one, and lets clients see `repository` and, where the
    /// configuration lets them, load and unload what is in it.
    ///
    /// Fails with `Invalid` when certificate or key cannot be used.
    pub fn listen(
        &self,
        socket: TcpListener,
        limits: config::HttpSettings,
        connections: ConnectionLimiter,
        logs: &Path,
        repository: Arc<dyn ModelRepository>,
    ) -> Result<GatewayServer> {
        let config = &self.0.config;
        let tls = config.tls().map(|(cert, key)| tls_acceptor("gateway", cert, key)).transpose()?;
        let (telemetry, observers, exporter) = GatewayTelemetry::open(config, logs)?;
        self.0.observe(observers)?;
        *self.0.repository.write() = Some(repository);
        let guard = RequestGuard::new("gateway", &config.hosts, &config.origins)?;
        let listener = HttpListener { socket, tls, limits, connections, buffers: CONNECTION_BUFFERS };
        let doors = RouterContext { gateway: self.0.clone(), guard, telemetry: Arc::new(telemetry) };
        Ok(GatewayServer { doors: Arc::new(doors), listener, exporter })
    }
}

/// Where requests for a revision go.
fn addresses(live: &ServingRevision) -> Vec<String> {
    let deployment = &live.revision.deployment;
    let (project, name) = (deployment.project_name(), deployment.name());
    let below = if project.is_default() { String::new() } else { format!("/p/{project}") };
    let tensors = live.revision.predictor.as_ref().map(|_| format!("POST {below}/v2/models/{name}/infer"));
    let functions = live.revision.functions.as_ref().map(|functions| {
        let all = functions::names(functions).into_iter();
        all.map(|(function, _)| format!("POST {below}/fn/{name}/{function}")).collect::<Vec<_>>()
    });
    let routes = live.revision.routes.iter().map(|route| format!("HTTP {route}"));
    tensors.into_iter().chain(functions.into_iter().flatten()).chain(routes).collect()
}

/// A data plane that is ready to answer.
pub struct GatewayServer {
    doors: Arc<RouterContext>,
    listener: HttpListener,
    exporter: Option<SpanExporter>,
}

/// How much of a body may be under way over HTTP/2. Tensors are larger than what browsers send, and a client that
/// may sends one in a single frame, not in dozens.
const HTTP2_WINDOW_BYTES: u32 = 1 << 20;

const CONNECTION_BUFFERS: ConnectionBuffers = ConnectionBuffers {
    read_bytes: None,
    http2_stream_bytes: HTTP2_WINDOW_BYTES,
    http2_connection_bytes: 4 * HTTP2_WINDOW_BYTES,
    http2_frame_bytes: HTTP2_WINDOW_BYTES,
};

impl GatewayServer {
    /// Answers until `shutdown`. Then no connection is taken any more, new requests on open ones are
    /// refused, and requests in flight end, for as long as the configured drain time.
    pub async fn serve(self, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<()> {
        let Self { doors, listener, exporter } = self;
        let gateway = doors.gateway.clone();
        let (stop_exporter, stopped) = oneshot::channel();
        let exporting = exporter.map(|exporter| tokio::spawn(exporter.run(stopped)));
        let answer = move |request, peer| {
            let doors = doors.clone();
            async move { router::answer(&doors, request, peer).await }
        };
        let draining = eyot_http::serve(listener, answer, shutdown).await;
        gateway.draining.store(true, Ordering::Relaxed);
        gateway.changed();
        if tokio::time::timeout(gateway.config.drain.0, draining.finish()).await.is_err() {
            tracing::warn!("requests still ran when the drain time was over and were cut off");
        }
        gateway.repository.write().take();
        drop(stop_exporter);
        if let Some(exporting) = exporting {
            exporting
                .await
                .map_err(|error| Error::internal("the exporter of spans ended early").because(error))?;
        }
        Ok(())
    }
}
