//! What every request to the data plane works with.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use eyot_access::AccessStore;
use eyot_core::{Error, Result, config};
use eyot_engine::BackgroundExecutor;
use eyot_nn::LoadedModels;
use http::{HeaderMap, header};
use parking_lot::RwLock;
use tokio::sync::watch;

use crate::serving::collector;
use crate::serving::endpoint::DeploymentEntry;
use crate::serving::exchange::observer::ObserverList;
use crate::serving::exchange::{Exchange, ExchangeKind};
use crate::serving::model_control::ModelRepository;
use crate::serving::route_table::{RouteTable, project_of};
use crate::serving::sampling::ShareSampler;
use crate::serving::trace::{RequestSpan, TraceContext};

/// The data plane of a process, as its doors see it.
pub(crate) struct GatewayState {
    pub(crate) config: config::GatewaySettings,
    pub(crate) revisions: RouteTable,
    pub(crate) draining: AtomicBool,
    /// For work that takes long.
    background_executor: Arc<BackgroundExecutor>,
    /// Counts changes of what serves, for those who watch.
    changes: watch::Sender<u64>,
    /// Empty again when serving ends: the repository leads back here.
    pub(crate) repository: RwLock<Option<Arc<dyn ModelRepository>>>,
    pub(crate) models: OnceLock<Arc<LoadedModels>>,
    /// Who says whom a request is from.
    pub(crate) access: OnceLock<AccessStore>,
    /// Nobody until the server listens.
    observers: OnceLock<Arc<ObserverList>>,
    /// Which requests begin a trace, where traces are collected.
    trace_sampler: Option<ShareSampler>,
}

impl GatewayState {
    /// Serves nothing yet.
    pub(crate) fn new(config: config::GatewaySettings, background_executor: Arc<BackgroundExecutor>) -> Self {
        let (changes, _) = watch::channel(0);
        let collects_traces = collector::is_collected(&config.otlp_endpoint, collector::environment);
        let trace_sampler = collects_traces.then(|| ShareSampler::new(config.trace_share));
        Self {
            config,
            revisions: RouteTable::default(),
            draining: AtomicBool::new(false),
            background_executor,
            changes,
            repository: RwLock::default(),
            models: OnceLock::new(),
            access: OnceLock::new(),
            observers: OnceLock::new(),
            trace_sampler,
        }
    }

    /// Does what takes long where it keeps no other request waiting.
    pub(crate) async fn offload<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        self.background_executor.run(async { work() }).await
    }

    /// The deployment of that name; `NotFound` lists those there are.
    pub(crate) fn endpoint(&self, name: &str) -> Result<Arc<DeploymentEntry>> {
        self.revisions.get(name).ok_or_else(|| {
            let shown: String = name.chars().take(128).collect();
            let project = project_of(name);
            Error::not_found(format!("there is no model '{shown}'")).hint(
                match self.revisions.names(project).as_slice() {
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

    pub(crate) fn repository(&self) -> Option<Arc<dyn ModelRepository>> {
        self.repository.read().clone()
    }

    /// Lets these watch every request from now on.
    pub(crate) fn observe(&self, observers: ObserverList) -> Result<()> {
        self.observers.set(Arc::new(observers)).map_err(|_| Error::internal("the gateway listens already"))
    }

    /// A request that has just come.
    pub(crate) fn begin(&self, kind: ExchangeKind, headers: &HeaderMap, caller: SocketAddr) -> Exchange {
        let trace = TraceContext::of(headers);
        // A client that has decided decides.
        let is_recorded = self.trace_sampler.as_ref().is_some_and(|sampler| match &trace {
            Some(trace) => trace.is_sampled(),
            None => sampler.samples(),
        });
        let span = is_recorded.then(|| RequestSpan::begin(trace.as_ref()));
        let observers = self.observers.get().cloned().unwrap_or_default();
        Exchange::begin(kind, caller, trace, span, observers)
    }

    /// What is known of the models of this process, if anything.
    pub(crate) fn models(&self) -> Option<eyot_nn::CacheStats> {
        self.models.get().map(|models| models.stats())
    }

    /// Tells when what serves changes.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    pub(crate) fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Where the client found this server, as far as it says so in a form that can be repeated.
    pub(crate) fn origin(&self, headers: &HeaderMap) -> String {
        let plain = |host: &&str| {
            !host.is_empty()
                && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte))
        };
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).filter(plain);
        let scheme = if self.config.tls().is_some() { "https" } else { "http" };
        format!("{scheme}://{}", host.map_or_else(|| self.config.listen.to_string(), str::to_owned))
    }
}
