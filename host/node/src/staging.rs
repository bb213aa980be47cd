//! Serving revisions: loads what a revision pins and hands it to the gateway.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use eyot_core::config::Config;
use eyot_core::{Name, Result};
use eyot_deploy::{Host, Inference, Pinned, Spec, Staged, Traffic};
use eyot_engine::{Engine, Grants, Handler, Instances, Limits, Mode, Sink, Stream};
use eyot_gateway::{ComponentPredictor, Gateway, ModelPredictor, Predictor, Revision};
use eyot_nn::{Batching, LoadedModel, Models, Pin, Settings};
use eyot_store::BlobStore;

/// Loads revisions for the gateway.
pub(crate) struct Stage {
    engine: Engine,
    models: Arc<Models>,
    store: Arc<dyn BlobStore>,
    gateway: Gateway,
    limits: Limits,
    instances: Instances,
    concurrency: usize,
    queue: usize,
    batching: Batching,
}

impl Stage {
    pub(crate) fn new(
        config: &Config,
        engine: Engine,
        models: Arc<Models>,
        store: Arc<dyn BlobStore>,
        gateway: Gateway,
    ) -> Self {
        let limits = Limits::from(&config.handlers);
        let instances = Instances { reuse: config.handlers.reuse, idle: config.gateway.concurrency };
        let (concurrency, queue) = (config.gateway.concurrency, config.gateway.queue);
        let batching = Batching::from(&config.inference);
        Self { engine, models, store, gateway, limits, instances, concurrency, queue, batching }
    }

    /// A model as a revision wants it.
    async fn load(&self, model: &Pinned, wanted: &Inference) -> Result<Arc<LoadedModel>> {
        let load = async {
            let loaded = self.models.load(model.content, settings(wanted)).await?;
            loaded.check_within(wanted.tolerance.unwrap_or_default())?;
            Ok(loaded.with_batching(Batching {
                max_rows: wanted.max_batch.unwrap_or(self.batching.max_rows),
                max_delay: wanted.max_delay.map_or(self.batching.max_delay, |delay| delay.0),
            }))
        };
        load.await.map_err(|error: eyot_core::Error| error.context(format!("model {}", model.reference)))
    }

    async fn predictor(&self, name: &Name, spec: &Spec, pins: &mut Vec<Pin>) -> Result<Arc<dyn Predictor>> {
        let mut models = HashMap::new();
        for (granted, model) in &spec.models {
            let loaded = self.load(model, &spec.inference).await?;
            if spec.inference.pin.unwrap_or_default() {
                pins.push(loaded.pin());
            }
            models.insert(granted.clone(), loaded);
        }
        let Some(component) = &spec.component else {
            let model = models.into_values().next();
            let model = model.ok_or_else(|| eyot_core::Error::invalid("neither a component nor a model"))?;
            return Ok(Arc::new(ModelPredictor::new(model)));
        };
        let wasm = self.engine.load(&*self.store, component.content, Mode::Serving).await;
        let wasm = wasm.map_err(|error| error.context(format!("component {}", component.reference)))?;
        let sink = Arc::new(ToLog { deployment: name.to_string() });
        let ran_on = models.iter().map(|(name, model)| (name.clone(), model.ran_on())).collect();
        let grants = Grants { models: Arc::new(models), loader: self.models.clone(), sink };
        let (mut limits, mut instances) = (self.limits, self.instances);
        limits.timeout = spec.limits.timeout.map_or(limits.timeout, |timeout| timeout.0);
        // As many instances wait for work as there may be requests for them.
        instances.idle = spec.limits.concurrency.unwrap_or(instances.idle);
        instances.reuse = spec.inference.reuse.unwrap_or(instances.reuse);
        let handler = Handler::new(wasm, grants, limits, instances).await?;
        Ok(Arc::new(ComponentPredictor::new(handler, ran_on)))
    }
}

#[async_trait]
impl Host for Stage {
    async fn stage(&self, name: &Name, revision: u64, spec: &Spec) -> Result<Box<dyn Staged>> {
        let mut pins = Vec::new();
        let predictor = self.predictor(name, spec, &mut pins).await?;
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
            pins,
        };
        Ok(Box::new(Ready { gateway: self.gateway.clone(), revision }))
    }

    fn route(&self, name: &Name, traffic: &Traffic, live: &BTreeSet<u64>) {
        self.gateway.route(name, traffic, live);
    }

    fn deactivate(&self, name: &Name) {
        self.gateway.deactivate(name);
    }

    fn runs_on(&self, name: &Name, revision: u64) -> BTreeMap<String, String> {
        let ran_on = self.gateway.ran_on(name, revision).into_iter();
        ran_on.map(|(model, ran_on)| (model, ran_on.to_string())).collect()
    }
}

/// How a revision's models are loaded; what it leaves open is the server's.
fn settings(wanted: &Inference) -> Settings {
    Settings {
        target: wanted.target.unwrap_or_default(),
        precision: wanted.precision.unwrap_or_default(),
        backend: wanted.backend.unwrap_or_default(),
        intra_threads: wanted.intra_threads,
        spinning: wanted.spinning,
        arena: wanted.arena,
        optimization: wanted.optimization,
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

/// What a handler prints goes to the server's log, under the deployment's name.
struct ToLog {
    deployment: String,
}

impl Sink for ToLog {
    fn line(&self, stream: Stream, line: &str) {
        tracing::info!(target: "eyot::guest", deployment = %self.deployment, ?stream, "{line}");
    }
}
