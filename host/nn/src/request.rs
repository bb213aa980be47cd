//! A call of a model that waits for a thread, and what comes of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use eyot_core::{Error, Result};
use tokio::sync::oneshot;

use crate::control::RunCaller;
use crate::model_state::ResidentModel;
use crate::{BatchingPolicy, InferOptions, InputOverride, ModelSignature, NamedTensor, Tensor, batch};

/// What a model is called with.
pub(crate) struct ModelCall {
    /// In the order of the signature's inputs.
    pub(crate) inputs: Vec<Tensor>,
    pub(crate) overrides: Vec<InputOverride>,
}

impl ModelCall {
    /// Fails as [`ModelSignature::check_inputs`] does.
    pub(crate) fn new(signature: &ModelSignature, inputs: Vec<NamedTensor>) -> Result<Self> {
        let mut checked = signature.check_inputs(inputs)?.into_iter();
        let inputs = checked.by_ref().take(signature.inputs.len()).map(|input| input.tensor).collect();
        let overriding = checked.filter_map(|input| {
            let (place, _) = signature.optional_input(&input.name)?;
            Some(InputOverride { place, tensor: input.tensor })
        });
        Ok(Self { inputs, overrides: overriding.collect() })
    }
}

/// A run without its names.
pub(crate) struct CompletedRun {
    pub(crate) outputs: Vec<Tensor>,
    pub(crate) queue_time: Duration,
    pub(crate) compute_time: Duration,
    pub(crate) batch_size: usize,
}

/// A call that waits for a thread.
pub(crate) struct QueuedCall {
    pub(crate) resident: Arc<ResidentModel>,
    pub(crate) call: ModelCall,
    pub(crate) size: u64,
    pub(crate) batching: BatchingPolicy,
    pub(crate) options: InferOptions,
    pub(crate) since: Instant,
    pub(crate) caller: Arc<RunCaller>,
    pub(crate) answer: oneshot::Sender<Result<CompletedRun>>,
}

impl QueuedCall {
    /// Whether nobody waits for the answer any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.answer.is_closed()
    }

    /// `None` where it runs alone: also where it overrides a default, which stands for all rows of a run.
    pub(crate) fn rows(&self) -> Option<usize> {
        let alone = self.batching.max_rows <= 1 || !self.call.overrides.is_empty();
        if alone { None } else { batch::rows(&self.call.inputs) }
    }
}

/// What a caller hears whose deadline passed before a thread was free.
pub(crate) fn late() -> Error {
    Error::timeout("the model did not answer before the deadline")
        .hint("raise the timeout, or add threads with inference.threads")
}
