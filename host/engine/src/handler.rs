use std::sync::Arc;
use std::time::{Duration, Instant};

use eyot_core::{Error, Result};
use eyot_nn::{Ask, NamedTensor, Signature, TensorSpec};
use eyot_world::handler::{ModelHandler, ModelHandlerPre};

use crate::guest::Guest;
use crate::host::from_guest;
use crate::host::models::{data_type, from_wit, to_wit};
use crate::pool::{Pool, Warm};
use crate::{Census, Component, Grants, Instances, Limits, Mode, Spent};

/// A component that answers predictions, with what it was granted.
pub struct Handler {
    pool: Pool<ModelHandlerPre<Guest>>,
    signature: Signature,
}

/// What a handler answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// All outputs, in the signature's order.
    pub outputs: Vec<NamedTensor>,
    /// What the call spent on inference.
    pub spent: Spent,
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
        let pool = Pool::new(component, pre, grants, limits, instances)?;
        let mut warm = pool.fresh().await?;
        let signature = describe(&pool, &mut warm).await?;
        pool.keep(warm);
        Ok(Arc::new(Self { pool, signature }))
    }

    /// The tensors it takes and gives, as it says itself.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// The component.
    pub fn component(&self) -> &Component {
        self.pool.component()
    }

    /// Its instances now, and why some ended.
    pub fn census(&self) -> Census {
        self.pool.census()
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
        let mut warm = self.pool.take().await?;
        let (deadline, busy) = self.pool.begin(&mut warm, ask.deadline);
        warm.store.data_mut().priority = ask.priority;
        let inputs: Vec<_> = inputs.into_iter().map(to_wit).collect();
        let call = warm.exports.eyot_ml_handler().call_predict(&mut warm.store, &inputs);
        let called = tokio::time::timeout_at(deadline.into(), call).await;
        let answer = called.unwrap_or_else(|_| Err(wasmtime::Trap::Interrupt.into()));
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return Err(self.pool.failed(&error, &warm, "predict", busy)),
        };
        busy.answered();
        let spent = warm.store.data().spent;
        self.pool.keep(warm);
        let outputs = answer.map_err(from_guest)?;
        let outputs = self.check(outputs.into_iter().map(from_wit).collect::<Result<_>>())?;
        Ok(Answer { outputs, spent })
    }

    /// Starts an instance ahead of the first request that needs it; with none kept idle, only shows
    /// that one starts.
    ///
    /// Fails as a request would that needed a fresh instance.
    pub async fn prepare(&self) -> Result<()> {
        self.pool.prepare().await
    }

    /// Starts an instance, ends it, and answers how long the start took: what a request pays that
    /// finds no warm instance.
    pub async fn instantiate(&self) -> Result<Duration> {
        self.pool.instantiate().await
    }

    /// An answer that does not fit the signature is the component's fault, not the caller's.
    fn check(&self, outputs: Result<Vec<NamedTensor>>) -> Result<Vec<NamedTensor>> {
        let fault = |error: Error| {
            let message =
                format!("component {} answered with tensors that do not fit", self.component().digest());
            error.context(message).with_kind(eyot_core::Kind::Failed)
        };
        self.signature.check_outputs(outputs.map_err(fault)?).map_err(fault)
    }
}

async fn describe(pool: &Pool<ModelHandlerPre<Guest>>, warm: &mut Warm<ModelHandler>) -> Result<Signature> {
    let call = warm.exports.eyot_ml_handler().call_describe(&mut warm.store);
    let called = tokio::time::timeout(pool.limits().timeout, call).await;
    let described = called.unwrap_or_else(|_| Err(wasmtime::Trap::Interrupt.into()));
    let described = described.map_err(|error| pool.explain(&error, warm, "describe"))?;
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
        .map_err(|error| error.context(format!("component {}", pool.component().digest())))?;
    Ok(signature)
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
