mod running;

use std::sync::Arc;
use std::time::Instant;

use eyot_core::{Digest, Error, Result};

use self::running::{MAX_INLINE_TIME, within};
use crate::model_state::ModelState;
use crate::request::ModelCall;
use crate::stats::ModelStats;
use crate::threads::InferenceThreads;
use crate::{Ask, Batching, Inferred, NamedTensor, RanOn, Settings, Signature, Tolerance, batch};

/// A model that is ready to run: a handle on what the whole process shares. Cheap to clone.
///
/// While nobody runs it, its weights may be evicted to make room for another's; the next inference
/// then loads them again.
#[derive(Clone)]
pub struct LoadedModel {
    shared: Arc<ModelState>,
    threads: Arc<InferenceThreads>,
    batching: Batching,
}

/// While it is held, the weights of a model stay in memory.
pub struct Pin(Arc<ModelState>);

impl LoadedModel {
    pub(crate) fn new(shared: Arc<ModelState>, threads: Arc<InferenceThreads>, batching: Batching) -> Self {
        Self { shared, threads, batching }
    }

    /// The digest of the model's bytes.
    pub fn digest(&self) -> Digest {
        self.shared.digest()
    }

    /// Inputs and outputs as the file declares them.
    pub fn signature(&self) -> &Signature {
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
    pub fn settings(&self) -> Settings {
        self.shared.settings()
    }

    /// The same model, whose calls are joined with others' in another way.
    pub fn with_batching(&self, batching: Batching) -> Arc<Self> {
        Arc::new(Self { batching, ..self.clone() })
    }

    /// Whether both are handles on the same loaded model.
    pub fn shares_with(&self, other: &LoadedModel) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Keeps the weights in memory for as long as the pin lives. Those that are evicted now come
    /// back with the next inference.
    pub fn pin(&self) -> Pin {
        self.shared.pin();
        Pin(self.shared.clone())
    }

    /// What has happened to the model so far, to all who share it.
    pub fn stats(&self) -> ModelStats {
        self.shared.stats(self.threads.waiting(&self.shared))
    }

    /// Runs once: inputs by name in any order, all outputs in the signature's.
    ///
    /// Fails as [`LoadedModel::infer_by`] does, without a deadline.
    pub async fn infer(&self, inputs: Vec<NamedTensor>) -> Result<Vec<NamedTensor>> {
        self.infer_by(inputs, None).await.map(|inferred| inferred.outputs)
    }

    /// Runs once, and says what it took. A call whose future is dropped before its turn never runs.
    ///
    /// Fails with `Invalid` for inputs that do not fit, `Failed` when the model itself fails,
    /// `Timeout` when there is no answer at `deadline`, `Exhausted` when too many wait already or the
    /// weights were evicted and there is no room for them now.
    pub async fn infer_by(&self, inputs: Vec<NamedTensor>, deadline: Option<Instant>) -> Result<Inferred> {
        self.infer_as(inputs, Ask { deadline, ..Ask::default() }).await
    }

    /// As [`LoadedModel::infer_by`], before others that wait for the same model and are less urgent.
    pub async fn infer_as(&self, inputs: Vec<NamedTensor>, ask: Ask) -> Result<Inferred> {
        let (shared, deadline) = (&self.shared, ask.deadline);
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
            None => self.run_queued(resident, ModelCall { inputs, overrides }, size, ask).await?,
        };
        let named = shared.signature().outputs.iter().zip(ran.outputs);
        let outputs = named.map(|(spec, tensor)| NamedTensor { name: spec.name.clone(), tensor }).collect();
        Ok(Inferred { outputs, queued: ran.queued, computed: ran.computed, batch: ran.batch })
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.0.unpin();
    }
}
