use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use eyot_core::{Error, Name, Result, config};
use eyot_deploy::{Route, Traffic};
use eyot_engine::Lane;
use eyot_http::Guard;
use eyot_nn::{Models, RanOn};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use parking_lot::RwLock;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot, watch};
use tokio_rustls::TlsAcceptor;

use crate::log::Log;
use crate::repository::Repository;
use crate::revisions::{Endpoint, Revision, Revisions};
use crate::spans::{Exporter, Spans};
use crate::{router, tls};

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

    /// Makes the server ready to answer on `listener`: loads what TLS needs, opens the prediction log
    /// under `logs` if the configuration wants one, and lets clients see `repository` and, where the
    /// configuration lets them, load and unload what is in it.
    ///
    /// Fails with `Invalid` when certificate or key cannot be used.
    pub fn listen(
        &self,
        listener: TcpListener,
        logs: &Path,
        repository: Arc<dyn Repository>,
    ) -> Result<Listening> {
        let config = &self.0.config;
        let tls = config.tls().map(|(cert, key)| tls::acceptor("gateway", cert, key)).transpose()?;
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
        Ok(Listening { gateway: self.0.clone(), guard, listener, tls, exporter })
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
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    exporter: Option<Exporter>,
}

/// How long the head of a request, or a handshake, may take to arrive.
const HEAD: Duration = Duration::from_secs(60);

/// How long nobody is accepted when the process has no file descriptors left, unless one is given back.
const PAUSE: Duration = Duration::from_millis(100);

/// How much of a body may be under way over HTTP/2. Tensors are larger than what browsers send.
const WINDOW: u32 = 1 << 20;

impl Listening {
    /// Answers until `shutdown`. Then no connection is taken any more, new requests on open ones are
    /// refused, and requests in flight end, for as long as the configured drain time.
    pub async fn serve(self, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<()> {
        let Self { gateway, guard, listener, tls, exporter } = self;
        let (stop_exporter, stopped) = oneshot::channel();
        let exporting = exporter.map(|exporter| tokio::spawn(exporter.run(stopped)));
        let connections = GracefulShutdown::new();
        let closed = Arc::new(Notify::new());
        // Told once, not ten times a second.
        let mut refusing = false;
        tokio::pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = &mut shutdown => break,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => {
                    refusing = false;
                    accepted
                }
                Err(error) => {
                    if !std::mem::replace(&mut refusing, true) {
                        tracing::warn!(%error, "connections are not accepted");
                    }
                    // Out of file descriptors, mostly, and the next try would fail at once: whoever
                    // closes one makes room.
                    let _ = tokio::time::timeout(PAUSE, closed.notified()).await;
                    continue;
                }
            };
            // Answers are small and are waited for.
            let _ = stream.set_nodelay(true);
            let doors = (gateway.clone(), guard.clone());
            let (watcher, closed, tls) = (connections.watcher(), closed.clone(), tls.clone());
            tokio::spawn(async move {
                if let Err(error) = speak(doors, stream, peer, tls, watcher).await {
                    tracing::debug!(%peer, %error, "a connection ended early");
                }
                closed.notify_one();
            });
        }
        gateway.draining.store(true, Ordering::Relaxed);
        gateway.changed();
        drop(listener);
        if tokio::time::timeout(gateway.config.drain.0, connections.shutdown()).await.is_err() {
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

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The data plane, and what it lets in.
type Doors = (Arc<Inner>, Arc<Guard>);

async fn speak(
    doors: Doors,
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    watcher: Watcher,
) -> std::result::Result<(), Failure> {
    match tls {
        None => converse(doors, stream, peer, watcher).await,
        Some(tls) => {
            let stream = tokio::time::timeout(HEAD, tls.accept(stream)).await??;
            converse(doors, stream, peer, watcher).await
        }
    }
}

async fn converse(
    (gateway, guard): Doors,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: SocketAddr,
    watcher: Watcher,
) -> std::result::Result<(), Failure> {
    let service = service_fn(move |request| {
        let (gateway, guard) = (gateway.clone(), guard.clone());
        async move { Ok::<_, Infallible>(router::answer(&gateway, &guard, request, peer).await) }
    });
    let mut server = auto::Builder::new(TokioExecutor::new());
    // A client that sends half a head and nothing more must not hold a connection for ever.
    server.http1().timer(TokioTimer::new()).header_read_timeout(HEAD);
    server
        .http2()
        .timer(TokioTimer::new())
        // A client that may sends a tensor in one frame, not in dozens.
        .max_frame_size(WINDOW)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(4 * WINDOW);
    watcher.watch(server.serve_connection(TokioIo::new(stream), service).into_owned()).await
}
