//! Serving revisions: loads what a revision pins and hands it to the gateway.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use eyot_api::{LogLine, Logs};
use eyot_core::config::Config;
use eyot_core::{Clock as _, Name, Result, SystemClock};
use eyot_deploy::{Host, Pinned, Spec, Staged, Traffic};
use eyot_engine::{Engine, Grants, Handler, Instances, Limits, Mode, Sink, Stream};
use eyot_gateway::{ComponentPredictor, Gateway, ModelPredictor, Predictor, Revision};
use eyot_nn::{LoadedModel, Models, Settings};
use eyot_store::BlobStore;

/// Loads revisions for the gateway.
pub(crate) struct Stage {
    engine: Engine,
    models: Arc<Models>,
    store: Arc<dyn BlobStore>,
    gateway: Gateway,
    logs: Logs,
    limits: Limits,
    instances: Instances,
    concurrency: usize,
    queue: usize,
}

impl Stage {
    pub(crate) fn new(
        config: &Config,
        engine: Engine,
        models: Arc<Models>,
        store: Arc<dyn BlobStore>,
        gateway: Gateway,
        logs: Logs,
    ) -> Self {
        let limits = Limits::from(&config.handlers);
        let instances = Instances { reuse: config.handlers.reuse, idle: config.gateway.concurrency };
        let (concurrency, queue) = (config.gateway.concurrency, config.gateway.queue);
        Self { engine, models, store, gateway, logs, limits, instances, concurrency, queue }
    }

    async fn load(&self, model: &Pinned) -> Result<Arc<LoadedModel>> {
        let loaded = self.models.load(model.content, Settings::default()).await;
        loaded.map_err(|error| error.context(format!("model {}", model.reference)))
    }

    async fn predictor(&self, name: &Name, revision: u64, spec: &Spec) -> Result<Arc<dyn Predictor>> {
        let mut models = HashMap::new();
        for (granted, model) in &spec.models {
            models.insert(granted.clone(), self.load(model).await?);
        }
        let Some(component) = &spec.component else {
            let model = models.into_values().next();
            let model = model.ok_or_else(|| eyot_core::Error::invalid("neither a component nor a model"))?;
            return Ok(Arc::new(ModelPredictor::new(model)));
        };
        let wasm = self.engine.load(&*self.store, component.content, Mode::Serving).await;
        let wasm = wasm.map_err(|error| error.context(format!("component {}", component.reference)))?;
        let sink = Arc::new(ToLog { deployment: name.to_string(), revision, logs: self.logs.clone() });
        let ran_on = models.iter().map(|(name, model)| (name.clone(), model.ran_on())).collect();
        let grants = Grants { models: Arc::new(models), loader: self.models.clone(), sink };
        let (mut limits, mut instances) = (self.limits, self.instances);
        limits.timeout = spec.limits.timeout.map_or(limits.timeout, |timeout| timeout.0);
        // As many instances wait for work as there may be requests for them.
        instances.idle = spec.limits.concurrency.unwrap_or(instances.idle);
        let handler = Handler::new(wasm, grants, limits, instances).await?;
        Ok(Arc::new(ComponentPredictor::new(handler, ran_on)))
    }
}

#[async_trait]
impl Host for Stage {
    async fn stage(&self, name: &Name, revision: u64, spec: &Spec) -> Result<Box<dyn Staged>> {
        let predictor = self.predictor(name, revision, spec).await?;
        let platform = match spec.component {
            Some(_) => "eyot_component",
            None => "onnx",
        };
        let revision = Revision {
            deployment: name.clone(),
            revision,
            platform: platform.to_owned(),
            component: spec.component.as_ref().map(|component| component.content),
            models: spec.models.iter().map(|(name, model)| (name.clone(), model.content)).collect(),
            predictor,
            timeout: spec.limits.timeout.map_or(self.limits.timeout, |timeout| timeout.0),
            concurrency: spec.limits.concurrency.unwrap_or(self.concurrency),
            queue: spec.limits.queue.unwrap_or(self.queue),
        };
        Ok(Box::new(Ready { gateway: self.gateway.clone(), revision }))
    }

    fn route(&self, name: &Name, traffic: &Traffic, live: &BTreeSet<u64>) {
        self.gateway.route(name, traffic, live);
    }

    fn deactivate(&self, name: &Name) {
        self.gateway.deactivate(name);
    }
}

struct Ready {
    gateway: Gateway,
    revision: Revision,
}

impl Staged for Ready {
    fn activate(self: Box<Self>) {
        self.gateway.add(self.revision);
    }
}

/// What a component prints goes to the server's log, and to the lines that `eyot logs` shows.
struct ToLog {
    deployment: String,
    revision: u64,
    logs: Logs,
}

impl Sink for ToLog {
    fn line(&self, stream: Stream, line: &str) {
        tracing::info!(target: "eyot::guest", deployment = %self.deployment, ?stream, "{line}");
        let name = match stream {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        };
        let (time, revision) = (SystemClock.now(), self.revision);
        let line = LogLine { time, revision, stream: name.to_owned(), line: line.to_owned() };
        self.logs.push(&self.deployment, line);
    }
}
