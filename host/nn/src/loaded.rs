mod running;

use std::sync::Arc;

use eyot_core::{Digest, Error, Result};

use self::running::{MAX_INLINE_TIME, within};
use crate::model_state::ModelState;
use crate::request::ModelCall;
use crate::stats::ModelStats;
use crate::threads::InferenceThreads;
use crate::{
    BatchingPolicy, InferOptions, InferenceResult, ModelSettings, ModelSignature, NamedTensor, RanOn,
    Tolerance, batch,
};

/// A model that is ready to run: a handle on what the whole process shares. Cheap to clone.
///
/// While nobody runs it, its weights may be evicted to make room for another's; the next inference
/// then loads them again.
#[derive(Clone)]
pub struct LoadedModel {
    shared: Arc<ModelState>,
    threads: Arc<InferenceThreads>,
    batching: BatchingPolicy,
}

/// While it is held, the weights of a model stay in memory.
pub struct ModelPin(Arc<ModelState>);

impl LoadedModel {
    pub(crate) fn new(
        shared: Arc<ModelState>,
        threads: Arc<InferenceThreads>,
        batching: BatchingPolicy,
    ) -> Self {
        Self { shared, threads, batching }
    }

    /// The digest of the model's bytes.
    pub fn digest(&self) -> Digest {
        self.shared.digest()
    }

    /// Inputs and outputs as the file declares them.
    pub fn signature(&self) -> &ModelSignature {
        self.shared.signature()
    }

    /// What it runs on.
    pub fn ran_on(&self) -> RanOn {
        self.shared.ran_on().clone()
    }

    /// Fails with `Failed` when its outputs are further from those at f32 than that.
    pub fn check_within(&self, tolerance: Tolerance) -> Result<()> {
        let RanOn { precision, difference, .. } = self.shared.ran_on();
        match difference {
            Some(difference) if *difference > tolerance => Err(Error::failed(format!(
                "at {precision} its outputs differ from those at f32 by {difference} of the largest, and {tolerance} is allowed"
            ))
            .hint("deploy it at f32, or state how much is good enough with --tolerance")),
            _ => Ok(()),
        }
    }

    /// How it was loaded.
    pub fn settings(&self) -> ModelSettings {
        self.shared.settings()
    }

    /// The same model, whose calls are batched in another way.
    pub fn with_batching(&self, batching: BatchingPolicy) -> Arc<Self> {
        Arc::new(Self { batching, ..self.clone() })
    }

    /// Whether both are handles on the same loaded model.
    pub fn shares_with(&self, other: &LoadedModel) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Keeps the weights in memory for as long as the pin lives. Those that are evicted now come
    /// back with the next inference.
    pub fn pin(&self) -> ModelPin {
        self.shared.pin();
        ModelPin(self.shared.clone())
    }

    /// What has happened to the model so far, to all who share it.
    pub fn stats(&self) -> ModelStats {
        self.shared.stats(self.threads.waiting(&self.shared))
    }

    /// Runs once: inputs by name in any order, all outputs in the signature's. A call whose future is dropped before
    /// its turn never runs; of those that wait for the same model, the more urgent run first.
    ///
    /// Fails with `Invalid` for inputs that do not fit, `Failed` when the model itself fails,
    /// `Timeout` when there is no answer at its deadline, `Exhausted` when too many wait already or the
    /// weights were evicted and there is no room for them now.
    pub async fn infer(&self, inputs: Vec<NamedTensor>, options: InferOptions) -> Result<InferenceResult> {
        let (shared, deadline) = (&self.shared, options.deadline);
        let ModelCall { inputs, overrides } = ModelCall::new(shared.signature(), inputs)?;
        let resident = match shared.resident() {
            Some(resident) => resident,
            None => within(deadline, shared.reload()).await?,
        };
        let size = batch::size(&inputs);
        // What is known of its cost is that at its defaults.
        let is_short =
            overrides.is_empty() && shared.cost().predict(size).is_some_and(|cost| cost < MAX_INLINE_TIME);
        let here = if is_short { self.run_inline(&resident, &inputs, size, deadline)? } else { None };
        let ran = match here {
            Some(ran) => ran,
            None => self.run_queued(resident, ModelCall { inputs, overrides }, size, options).await?,
        };
        let named = shared.signature().outputs.iter().zip(ran.outputs);
        let outputs = named.map(|(spec, tensor)| NamedTensor { name: spec.name.clone(), tensor }).collect();
        Ok(InferenceResult {
            outputs,
            queue_time: ran.queue_time,
            compute_time: ran.compute_time,
            batch_size: ran.batch_size,
        })
    }
}

impl Drop for ModelPin {
    fn drop(&mut self) {
        self.0.unpin();
    }
}
