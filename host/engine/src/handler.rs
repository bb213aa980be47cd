use std::sync::Arc;
use std::time::{Duration, Instant};

use eyot_core::{Error, Result};
use eyot_nn::{Ask, NamedTensor, Signature, TensorSpec};
use eyot_world::handler::{ModelHandler, ModelHandlerPre};
use parking_lot::Mutex;
use wasmtime::Store;

use crate::guest::Guest;
use crate::host::from_guest;
use crate::host::models::{data_type, from_wit, to_wit};
use crate::instances::Counts;
use crate::{Census, Component, Grants, Instances, Limits, Mode, Spent, fault};

/// A component that answers predictions, with what it was granted.
pub struct Handler {
    component: Component,
    pre: ModelHandlerPre<Guest>,
    grants: Grants,
    limits: Limits,
    instances: Instances,
    signature: Signature,
    idle: Mutex<Vec<Warm>>,
    counts: Counts,
}

/// What a handler answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// All outputs, in the signature's order.
    pub outputs: Vec<NamedTensor>,
    /// What the call spent on inference.
    pub spent: Spent,
}

struct Warm {
    store: Store<Guest>,
    bindings: ModelHandler,
    calls: u64,
}

impl Handler {
    /// Checks that the component is a handler, instantiates it once and asks it for its signature.
    ///
    /// Fails with `Invalid` when it exports no `eyot:ml/handler` or its signature makes no sense.
    pub async fn new(
        component: Component,
        grants: Grants,
        limits: Limits,
        instances: Instances,
    ) -> Result<Arc<Self>> {
        if component.mode() != Mode::Serving {
            return Err(Error::internal("a handler was compiled for steps"));
        }
        let pre = ModelHandlerPre::new(component.instance().clone()).map_err(|error| {
            let exports = component.interface().exports.join(", ");
            let exports = if exports.is_empty() { "no interface".to_owned() } else { exports };
            Error::invalid(format!("component {} is no handler: {error:#}", component.digest()))
                .hint(format!("a handler exports eyot:ml/handler@0.1.0; this one exports {exports}"))
        })?;
        let signature = Signature { inputs: Vec::new(), outputs: Vec::new() };
        let idle = Mutex::new(Vec::new());
        let counts = Counts::default();
        let mut handler = Self { component, pre, grants, limits, instances, signature, idle, counts };
        let mut warm = handler.start().await?;
        handler.signature = handler.describe(&mut warm).await?;
        handler.keep(warm);
        Ok(Arc::new(handler))
    }

    /// The tensors it takes and gives, as it says itself.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// The component.
    pub fn component(&self) -> &Component {
        &self.component
    }

    /// Instances started so far.
    pub fn started(&self) -> u64 {
        self.counts.started()
    }

    /// Its instances now, and why some ended.
    pub fn census(&self) -> Census {
        self.counts.census(self.idle.lock().len())
    }

    /// Answers one request. An instance that fails in any way is never used again.
    ///
    /// Fails with what the component answered, `Failed` when it trapped or its answer does not fit
    /// its signature, `Timeout` at its deadline or `deadline`, whichever is first.
    pub async fn predict(
        &self,
        inputs: Vec<NamedTensor>,
        deadline: Option<Instant>,
    ) -> Result<Vec<NamedTensor>> {
        self.answer(inputs, deadline).await.map(|answer| answer.outputs)
    }

    /// As [`Handler::predict`], and says what it took.
    pub async fn answer(&self, inputs: Vec<NamedTensor>, deadline: Option<Instant>) -> Result<Answer> {
        self.answer_as(inputs, Ask { deadline, ..Ask::default() }).await
    }

    /// As [`Handler::answer`], with inferences of that priority.
    pub async fn answer_as(&self, inputs: Vec<NamedTensor>, ask: Ask) -> Result<Answer> {
        let reused = self.idle.lock().pop();
        let mut warm = match reused {
            Some(warm) => warm,
            None => self.start().await?,
        };
        let busy = self.counts.enter();
        let limit = Instant::now() + self.limits.timeout;
        let deadline = ask.deadline.map_or(limit, |asked| asked.min(limit));
        let guest = warm.store.data_mut();
        (guest.deadline, guest.priority, guest.spent) = (deadline, ask.priority, Spent::default());
        let inputs: Vec<_> = inputs.into_iter().map(to_wit).collect();
        let call = warm.bindings.eyot_ml_handler().call_predict(&mut warm.store, &inputs);
        let called = tokio::time::timeout_at(deadline.into(), call).await;
        let answer = called.unwrap_or_else(|_| Err(wasmtime::Trap::Interrupt.into()));
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                busy.ended(fault::cause(&error, warm.store.data()));
                return Err(self.explain(&error, &warm, "predict"));
            }
        };
        busy.answered();
        warm.calls += 1;
        let spent = warm.store.data().spent;
        self.keep(warm);
        let outputs = answer.map_err(from_guest)?;
        let outputs = self.check(outputs.into_iter().map(from_wit).collect::<Result<_>>())?;
        Ok(Answer { outputs, spent })
    }

    /// Starts an instance ahead of the first request that needs it; with none kept idle, only shows
    /// that one starts.
    ///
    /// Fails as a request would that needed a fresh instance.
    pub async fn prepare(&self) -> Result<()> {
        let warm = self.start().await?;
        self.keep(warm);
        Ok(())
    }

    /// Starts an instance, ends it, and answers how long the start took: what a request pays that
    /// finds no warm instance.
    pub async fn instantiate(&self) -> Result<Duration> {
        let started = Instant::now();
        let warm = self.start().await?;
        let took = started.elapsed();
        drop(warm);
        Ok(took)
    }

    /// A fresh instance.
    async fn start(&self) -> Result<Warm> {
        let guest = Guest::new(self.grants.clone(), &self.limits, None);
        let mut store = guest.into_store(self.component.wasmtime());
        match self.pre.instantiate_async(&mut store).await {
            Ok(bindings) => {
                self.counts.start();
                Ok(Warm { store, bindings, calls: 0 })
            }
            Err(error) if error.is::<wasmtime::PoolConcurrencyLimitError>() => {
                Err(Error::exhausted("every instance of this process is busy").hint("try again in a moment"))
            }
            Err(error) => {
                Err(fault::explain(&error, store.data(), &self.component.digest(), "instantiation"))
            }
        }
    }

    fn keep(&self, warm: Warm) {
        warm.store.data().stdout.finish();
        warm.store.data().stderr.finish();
        if warm.calls >= self.instances.reuse {
            return;
        }
        let mut idle = self.idle.lock();
        if idle.len() < self.instances.idle {
            idle.push(warm);
        }
    }

    async fn describe(&self, warm: &mut Warm) -> Result<Signature> {
        let call = warm.bindings.eyot_ml_handler().call_describe(&mut warm.store);
        let called = tokio::time::timeout(self.limits.timeout, call).await;
        let described = called.unwrap_or_else(|_| Err(wasmtime::Trap::Interrupt.into()));
        let described = described.map_err(|error| self.explain(&error, warm, "describe"))?;
        let specs = |specs: Vec<eyot_world::types::TensorSpec>| {
            let spec = |spec: eyot_world::types::TensorSpec| TensorSpec {
                name: spec.name,
                dtype: data_type(spec.dtype),
                shape: spec.shape,
            };
            specs.into_iter().map(spec).collect::<Vec<_>>()
        };
        let signature = Signature { inputs: specs(described.inputs), outputs: specs(described.outputs) };
        sensible(&signature)
            .map_err(|error| error.context(format!("component {}", self.component.digest())))?;
        Ok(signature)
    }

    fn explain(&self, error: &wasmtime::Error, warm: &Warm, export: &str) -> Error {
        warm.store.data().stdout.finish();
        warm.store.data().stderr.finish();
        fault::explain(error, warm.store.data(), &self.component.digest(), export)
    }

    /// An answer that does not fit the signature is the component's fault, not the caller's.
    fn check(&self, outputs: Result<Vec<NamedTensor>>) -> Result<Vec<NamedTensor>> {
        let fault = |error: Error| {
            let message =
                format!("component {} answered with tensors that do not fit", self.component.digest());
            error.context(message).with_kind(eyot_core::Kind::Failed)
        };
        self.signature.check_outputs(outputs.map_err(fault)?).map_err(fault)
    }
}

fn sensible(signature: &Signature) -> Result<()> {
    for (what, specs) in [("input", &signature.inputs), ("output", &signature.outputs)] {
        for (index, spec) in specs.iter().enumerate() {
            if spec.name.is_empty() || specs[..index].iter().any(|earlier| earlier.name == spec.name) {
                return Err(Error::invalid(format!(
                    "its {what} number {index} has no name of its own: '{}'",
                    spec.name
                )));
            }
            if let Some(dim) = spec.shape.iter().find(|dim| **dim < -1) {
                return Err(Error::invalid(format!("its {what} '{}' has a dimension of {dim}", spec.name)));
            }
        }
    }
    if signature.outputs.is_empty() { Err(Error::invalid("it has no output")) } else { Ok(()) }
}
