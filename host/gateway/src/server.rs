use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use eyot_core::{Error, Name, Result, config};
use eyot_deploy::{Route, Traffic};
use eyot_engine::Lane;
use eyot_http::{Buffers, Connections, Guard, Listener, tls_acceptor};
use eyot_nn::{Models, RanOn};
use parking_lot::RwLock;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};

use crate::log::Log;
use crate::repository::Repository;
use crate::revisions::{Endpoint, Revision, Revisions};
use crate::router;
use crate::spans::{Exporter, Spans};

/// The data plane of a process. Cheap to clone.
#[derive(Clone)]
pub struct Gateway(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) config: config::Gateway,
    pub(crate) revisions: Revisions,
    pub(crate) draining: AtomicBool,
    /// For work that takes long.
    lane: Arc<Lane>,
    /// Counts changes of what serves, for those who watch.
    changes: watch::Sender<u64>,
    /// Empty again when serving ends: the repository leads back here.
    repository: RwLock<Option<Arc<dyn Repository>>>,
    log: OnceLock<Log>,
    models: OnceLock<Arc<Models>>,
    spans: OnceLock<Spans>,
}

impl Gateway {
    /// Serves nothing yet. What is long work even to read or to write is worked on in `lane`.
    pub fn new(config: config::Gateway, lane: Arc<Lane>) -> Self {
        let (changes, _) = watch::channel(0);
        let (revisions, draining) = (Revisions::default(), AtomicBool::new(false));
        Self(Arc::new(Inner {
            config,
            revisions,
            draining,
            lane,
            changes,
            repository: RwLock::default(),
            log: OnceLock::new(),
            models: OnceLock::new(),
            spans: OnceLock::new(),
        }))
    }

    /// Tells of these models in its metrics; of the first that it is given.
    pub fn tell_of(&self, models: Arc<Models>) {
        let _ = self.0.models.set(models);
    }

    /// Lets requests that name the revision reach it; others do once they are routed to it.
    pub fn add(&self, revision: Revision) {
        self.0.revisions.add(revision);
        self.0.changed();
    }

    /// Splits the requests to a deployment among its revisions from now on, and lets go of those that
    /// are not among `live`. Requests that one of them has begun end on it.
    pub fn route(&self, name: &Name, traffic: &Traffic, live: &BTreeSet<u64>) {
        self.0.revisions.route(name, traffic, live);
        self.0.changed();
    }

    /// Where requests to a deployment go: of each kind that its main revision answers.
    pub fn endpoints(&self, name: &Name) -> Vec<String> {
        let endpoint = self.0.revisions.get(name.as_str());
        endpoint.and_then(|endpoint| endpoint.main().map(|live| live.addresses())).unwrap_or_default()
    }

    /// Stops serving under a name. Requests that were begun end.
    pub fn deactivate(&self, name: &Name) {
        self.0.revisions.remove(name);
        self.0.changed();
    }

    /// Fails with `Conflict` when another deployment than `name` has one of these routes.
    pub fn free(&self, name: &Name, routes: &[Route]) -> Result<()> {
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
    pub fn ran_on(&self, name: &Name, revision: u64) -> BTreeMap<String, RanOn> {
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
        limits: config::Http,
        connections: Connections,
        logs: &Path,
        repository: Arc<dyn Repository>,
    ) -> Result<Listening> {
        let config = &self.0.config;
        let tls = config.tls().map(|(cert, key)| tls_acceptor("gateway", cert, key)).transpose()?;
        if config.prediction_log > 0.0 {
            let log = Log::open(logs, config.prediction_log, config.prediction_log_size.0)?;
            self.0.log.set(log).map_err(|_| Error::internal("the gateway listens already"))?;
        }
        let mut exporter = None;
        if !config.otlp_endpoint.is_empty() {
            let (spans, sends) = Spans::new(&config.otlp_endpoint, config.trace_share)?;
            self.0.spans.set(spans).map_err(|_| Error::internal("the gateway listens already"))?;
            exporter = Some(sends);
        }
        *self.0.repository.write() = Some(repository);
        let guard = Arc::new(Guard::new("gateway", &config.hosts, &config.origins)?);
        let listener = Listener { socket, tls, limits, connections, buffers: BUFFERS };
        Ok(Listening { gateway: self.0.clone(), guard, listener, exporter })
    }
}

impl Inner {
    /// Does what takes long where it keeps no other request waiting.
    pub(crate) async fn aside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        self.lane.run(async { work() }).await
    }

    /// The deployment of that name; `NotFound` lists those there are.
    pub(crate) fn endpoint(&self, name: &str) -> Result<Arc<Endpoint>> {
        self.revisions.get(name).ok_or_else(|| {
            let shown: String = name.chars().take(128).collect();
            Error::not_found(format!("there is no model '{shown}'")).hint(
                match self.revisions.names().as_slice() {
                    [] => "nothing is deployed; eyot deploy makes an endpoint".to_owned(),
                    names => format!("deployed are: {}", names.join(", ")),
                },
            )
        })
    }

    pub(crate) fn refuse_when_draining(&self) -> Result<()> {
        match self.draining.load(Ordering::Relaxed) {
            true => Err(Error::unavailable("the server is stopping").hint("another server answers")),
            false => Ok(()),
        }
    }

    pub(crate) fn repository(&self) -> Option<Arc<dyn Repository>> {
        self.repository.read().clone()
    }

    pub(crate) fn log(&self) -> Option<&Log> {
        self.log.get()
    }

    pub(crate) fn spans(&self) -> Option<&Spans> {
        self.spans.get()
    }

    /// What is known of the models of this process, if anything.
    pub(crate) fn models(&self) -> Option<eyot_nn::Stats> {
        self.models.get().map(|models| models.stats())
    }

    /// Tells when what serves changes.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }
}

/// A data plane that is ready to answer.
pub struct Listening {
    gateway: Arc<Inner>,
    guard: Arc<Guard>,
    listener: Listener,
    exporter: Option<Exporter>,
}

/// How much of a body may be under way over HTTP/2. Tensors are larger than what browsers send, and a client that
/// may sends one in a single frame, not in dozens.
const HTTP2_WINDOW_BYTES: u32 = 1 << 20;

const BUFFERS: Buffers = Buffers {
    read_bytes: None,
    http2_stream_bytes: HTTP2_WINDOW_BYTES,
    http2_connection_bytes: 4 * HTTP2_WINDOW_BYTES,
    http2_frame_bytes: HTTP2_WINDOW_BYTES,
};

impl Listening {
    /// Answers until `shutdown`. Then no connection is taken any more, new requests on open ones are
    /// refused, and requests in flight end, for as long as the configured drain time.
    pub async fn serve(self, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<()> {
        let Self { gateway, guard, listener, exporter } = self;
        let (stop_exporter, stopped) = oneshot::channel();
        let exporting = exporter.map(|exporter| tokio::spawn(exporter.run(stopped)));
        let doors = (gateway.clone(), guard);
        let answer = move |request, peer| {
            let (gateway, guard) = doors.clone();
            async move { router::answer(&gateway, &guard, request, peer).await }
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
