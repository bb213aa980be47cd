//! Serving revisions: loads what a revision pins and hands it to the gateway.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use eyot_api::{DeploymentLogs, LogLine};
use eyot_core::config::Config;
use eyot_core::{Clock as _, Error, Result, ScopedName, SystemClock};
use eyot_deploy::{
    DataPlane, InferenceOverrides, PinnedArtifact, RevisionSpec, Route, StagedRevision, Traffic,
};
use eyot_engine::{
    Engine, ExecutionMode, GrantedCapabilities, GuestGrants, HttpComponent, InstanceLimits, InstancePolicy,
    JsonFunctions, PredictionHandler, ReportSink, StandardStream, ThrottledSink,
};
use eyot_gateway::{ComponentPredictor, Gateway, LoadedRevision, ModelPredictor, Predictor};
use eyot_nn::{BatchingPolicy, LoadedModel, LoadedModels, ModelPin, ModelSettings, StoredData, StoredModel};
use eyot_store::BlobStore;
use parking_lot::Mutex;

use crate::stores;
use crate::visible::visible;

/// Loads revisions for the gateway.
pub(crate) struct RevisionLoader {
    engine: Engine,
    models: Arc<LoadedModels>,
    store: Arc<dyn BlobStore>,
    gateway: Gateway,
    logs: DeploymentLogs,
    limits: InstanceLimits,
    instances: InstancePolicy,
    concurrency: usize,
    queue: usize,
    stores: stores::GuestStores,
    batching: BatchingPolicy,
    closings: stores::StoreClosings,
    /// What components may find missing, by deployment and revision.
    warned: Mutex<HashMap<(ScopedName, u64), Vec<String>>>,
}

impl RevisionLoader {
    pub(crate) fn new(
        config: &Config,
        engine: Engine,
        models: Arc<LoadedModels>,
        store: Arc<dyn BlobStore>,
        gateway: Gateway,
        stores: stores::GuestStores,
        logs: DeploymentLogs,
    ) -> Self {
        let limits = InstanceLimits::from(&config.handlers);
        let instances =
            InstancePolicy { max_calls: config.handlers.reuse, max_idle: config.gateway.concurrency };
        let (concurrency, queue) = (config.gateway.concurrency, config.gateway.queue);
        let batching = BatchingPolicy::from(&config.inference);
        Self {
            engine,
            models,
            store,
            gateway,
            limits,
            instances,
            concurrency,
            queue,
            stores,
            batching,
            logs,
            closings: stores::StoreClosings::default(),
            warned: Mutex::default(),
        }
    }

    /// A model as a revision wants it.
    async fn load(&self, model: &PinnedArtifact, wanted: &InferenceOverrides) -> Result<Arc<LoadedModel>> {
        let load = async {
            let loaded = self.models.load_stored(stored(model), settings(wanted)).await?;
            loaded.check_within(wanted.tolerance.unwrap_or_default())?;
            Ok(loaded.with_batching(BatchingPolicy {
                max_rows: wanted.max_batch.unwrap_or(self.batching.max_rows),
                max_delay: wanted.max_delay.map_or(self.batching.max_delay, |delay| delay.0),
            }))
        };
        load.await.map_err(|error: Error| error.context(format!("model {}", model.reference)))
    }

    /// Loads what a spec names and starts it.
    async fn parts(&self, name: &ScopedName, revision: u64, spec: &RevisionSpec) -> Result<LoadedParts> {
        let mut parts = LoadedParts::default();
        let mut models = HashMap::new();
        for (granted, model) in &spec.models {
            let loaded = self.load(model, &spec.inference).await?;
            if spec.inference.pin.unwrap_or_default() {
                parts.pins.push(loaded.pin());
            }
            models.insert(granted.clone(), loaded);
        }
        let Some(component) = &spec.component else {
            let model = models.into_values().next();
            let model = model.ok_or_else(|| Error::invalid("neither a component nor a model"))?;
            let predictor: Arc<dyn Predictor> = Arc::new(ModelPredictor::new(model));
            parts.predictor = Some(predictor);
            return Ok(parts);
        };
        // Before anything is compiled: what is wrong with them is no matter of the component.
        let capabilities = Arc::new(self.capabilities(name, spec).await?);
        let wasm = self.engine.load(&*self.store, component.content, ExecutionMode::Serving).await;
        let wasm = wasm.map_err(|error| error.context(format!("component {}", component.reference)))?;
        let to_log = ToLog { deployment: name.to_string(), revision, logs: self.logs.clone() };
        let sink = Arc::new(ThrottledSink::new(to_log));
        let ran_on = models.iter().map(|(name, model)| (name.clone(), model.ran_on())).collect();
        let mut grants = GuestGrants::new(Arc::new(models), self.models.clone(), sink);
        self.warned.lock().insert((name.clone(), revision), wasm.warnings(&capabilities));
        grants.capabilities = capabilities;
        let (mut limits, mut instances) = (self.limits, self.instances);
        limits.timeout = spec.limits.timeout.map_or(limits.timeout, |timeout| timeout.0);
        // As many instances wait for work as there may be requests for them.
        instances.max_idle = spec.limits.concurrency.unwrap_or(instances.max_idle);
        instances.max_calls = spec.inference.reuse.unwrap_or(instances.max_calls);
        // A component may be of several kinds.
        if wasm.interface().callable().next().is_some() {
            let docs = eyot_component::function_docs(&self.store.get(&component.content).await?);
            let functions = JsonFunctions::new(wasm.clone(), &docs, grants.clone(), limits, instances)?;
            functions.prepare().await?;
            parts.functions = Some(functions);
        }
        if HttpComponent::is_one(&wasm) {
            let mut instances = instances;
            if HttpComponent::answers_once(&wasm) {
                instances.max_calls = spec.inference.reuse.unwrap_or(1);
            }
            parts.web = Some(HttpComponent::new(wasm.clone(), grants.clone(), limits, instances)?);
        }
        if parts.is_empty() || PredictionHandler::is_one(&wasm) {
            // One that is of no kind is refused as no handler.
            let handler = PredictionHandler::new(wasm, grants, limits, instances).await?;
            parts.handler = Some(handler.clone());
            parts.predictor = Some(Arc::new(ComponentPredictor::new(handler, ran_on)));
        }
        Ok(parts)
    }

    /// What a spec grants beside models.
    async fn capabilities(&self, name: &ScopedName, spec: &RevisionSpec) -> Result<GrantedCapabilities> {
        let granted = &spec.grants;
        let closing = self.closings.of(name);
        let http = granted.http.iter().map(|destination| destination.parse()).collect::<Result<_>>()?;
        let project = name.project_name();
        let mut stores = BTreeMap::new();
        for (label, name) in granted.stores.clone() {
            stores.insert(label, self.stores.key_value(&project, &name).await?);
        }
        let databases = granted
            .databases
            .iter()
            .map(|(label, name)| (label.clone(), self.stores.database(&project, name, closing.clone())))
            .collect();
        let (variables, environment) = (granted.variables.clone(), granted.environment.clone());
        Ok(GrantedCapabilities { http, variables, environment, stores, databases })
    }

    /// The routes of a revision that answers HTTP, which no other deployment may have.
    fn routes(&self, name: &ScopedName, spec: &RevisionSpec, parts: &LoadedParts) -> Result<Vec<Route>> {
        let routes = match (&parts.web, spec.routes.as_slice()) {
            (None, []) => return Ok(Vec::new()),
            (None, [route, ..]) => {
                return Err(Error::invalid(format!("'{name}' has the route {route} and answers no HTTP"))
                    .hint("routes are for components that export wasi:http/handler or incoming-handler"));
            }
            (Some(_), []) => vec![Route::below(name.name())],
            (Some(_), routes) => routes.to_vec(),
        };
        let project = name.project_name();
        let routes: Vec<_> = routes.into_iter().map(|route| route.in_project(&project)).collect();
        self.gateway.free(name, &routes)?;
        Ok(routes)
    }
}

/// What a revision answers with.
#[derive(Default)]
struct LoadedParts {
    predictor: Option<Arc<dyn Predictor>>,
    /// The same, where it is a component.
    handler: Option<Arc<PredictionHandler>>,
    functions: Option<Arc<JsonFunctions>>,
    web: Option<Arc<HttpComponent>>,
    /// What keeps its models loaded, where that is wished for.
    pins: Vec<ModelPin>,
}

impl LoadedParts {
    fn is_empty(&self) -> bool {
        self.predictor.is_none() && self.functions.is_none() && self.web.is_none()
    }
}

#[async_trait]
impl DataPlane for RevisionLoader {
    async fn stage(
        &self,
        name: &ScopedName,
        revision: u64,
        spec: &RevisionSpec,
    ) -> Result<Box<dyn StagedRevision>> {
        let parts = self.parts(name, revision, spec).await?;
        let routes = self.routes(name, spec, &parts)?;
        let LoadedParts { predictor, handler, functions, web, pins } = parts;
        let platform = match spec.component {
            Some(_) => "eyot_component",
            None => "onnx",
        };
        let revision = LoadedRevision {
            deployment: name.clone(),
            revision,
            platform: platform.to_owned(),
            component: spec.component.as_ref().map(|component| component.content),
            models: spec.models.iter().map(|(name, model)| (name.clone(), model.digest())).collect(),
            predictor,
            functions,
            web,
            routes,
            timeout: spec.limits.timeout.map_or(self.limits.timeout, |timeout| timeout.0),
            concurrency: spec.limits.concurrency.unwrap_or(self.concurrency),
            queue: spec.limits.queue.unwrap_or(self.queue),
            pins,
        };
        Ok(Box::new(ReadyRevision { gateway: self.gateway.clone(), revision, handler }))
    }

    fn route(&self, name: &ScopedName, traffic: &Traffic, live: &BTreeSet<u64>) {
        self.gateway.route(name, traffic, live);
    }

    fn endpoints(&self, name: &ScopedName) -> Vec<String> {
        self.gateway.endpoints(name)
    }

    fn deactivate(&self, name: &ScopedName) {
        self.gateway.deactivate(name);
        self.closings.close(name);
        self.warned.lock().retain(|(warned, _), _| warned != name);
    }

    fn warnings(&self, name: &ScopedName, revision: u64) -> Vec<String> {
        self.warned.lock().get(&(name.clone(), revision)).cloned().unwrap_or_default()
    }

    fn runs_on(&self, name: &ScopedName, revision: u64) -> BTreeMap<String, String> {
        let ran_on = self.gateway.ran_on(name, revision).into_iter();
        ran_on.map(|(model, ran_on)| (model, ran_on.to_string())).collect()
    }

    fn not_joined(&self, spec: &RevisionSpec) -> BTreeMap<String, String> {
        let why = |(name, model): (&String, &PinnedArtifact)| {
            Some((name.clone(), self.models.unbatched_reason(&stored(model).digest())?))
        };
        spec.models.iter().filter_map(why).collect()
    }
}

/// Where the files of a revision's model lie.
fn stored(model: &PinnedArtifact) -> StoredModel {
    let data = model.data.iter();
    let data = data.map(|file| StoredData { name: file.name.clone(), digest: file.digest });
    StoredModel { onnx: model.content, data: data.collect() }
}

/// How a revision's models are loaded; what it leaves open is the server's.
fn settings(wanted: &InferenceOverrides) -> ModelSettings {
    ModelSettings {
        target: wanted.target.unwrap_or_default(),
        precision: wanted.precision.unwrap_or_default(),
        backend: wanted.backend.unwrap_or_default(),
        intra_threads: wanted.intra_threads,
        spinning: wanted.spinning,
        arena: wanted.arena,
        optimization: wanted.optimization,
    }
}

struct ReadyRevision {
    gateway: Gateway,
    revision: LoadedRevision,
    handler: Option<Arc<PredictionHandler>>,
}

#[async_trait]
impl StagedRevision for ReadyRevision {
    async fn check(&self) -> Result<()> {
        match &self.handler {
            Some(handler) => handler.check_models().await,
            None => Ok(()),
        }
    }

    fn activate(self: Box<Self>) {
        self.gateway.add(self.revision);
    }
}

/// What a component prints goes to the server's log, and to the lines that `eyot logs` shows.
struct ToLog {
    deployment: String,
    revision: u64,
    logs: DeploymentLogs,
}

impl ReportSink for ToLog {
    fn line(&self, stream: StandardStream, line: &str) {
        tracing::info!(target: "eyot::guest", deployment = %self.deployment, ?stream, "{}", visible(line));
        let name = match stream {
            StandardStream::Stdout => "stdout",
            StandardStream::Stderr => "stderr",
        };
        let (time, revision) = (SystemClock.now(), self.revision);
        let line = LogLine { time, revision, stream: name.to_owned(), line: line.to_owned() };
        self.logs.push(&self.deployment, line);
    }
}
