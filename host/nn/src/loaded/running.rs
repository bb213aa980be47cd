//! Where a call runs: inline on the thread of its caller, or on an inference thread when its turn comes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use eyot_core::{Error, ErrorKind, Result};
use tokio::sync::oneshot;

use super::LoadedModel;
use crate::control::RunCaller;
use crate::model_state::ResidentModel;
use crate::request::{CompletedRun, ModelCall, QueuedCall, late};
use crate::{InferOptions, RunLimits, Tensor};

/// A run shorter than this stays on the thread of its caller: handing it to another costs more.
pub(super) const MAX_INLINE_TIME: Duration = Duration::from_micros(100);
/// An inline run that turns out to be long is stopped after this, and begins again on an inference thread.
const INLINE_TIMEOUT: Duration = Duration::from_millis(5);

impl LoadedModel {
    /// Runs on the thread of the caller: `None` when it takes longer than was estimated. What it takes
    /// may depend on what the inputs say, and not on their size alone.
    pub(super) fn run_inline(
        &self,
        resident: &ResidentModel,
        inputs: &[Tensor],
        size: u64,
        deadline: Option<Instant>,
    ) -> Result<Option<CompletedRun>> {
        let (shared, started) = (&self.shared, Instant::now());
        let limits = shared.limits();
        let short = RunLimits { timeout: limits.timeout.min(INLINE_TIMEOUT), ..limits };
        let compute_time = |outputs| {
            let compute_time = started.elapsed();
            Some(CompletedRun { outputs, queue_time: Duration::ZERO, compute_time, batch_size: 1 })
        };
        match shared.run(resident, (inputs, &[]), short, deadline, &[]) {
            Ok(outputs) => Ok(compute_time(outputs)),
            Err(error)
                if error.kind() == ErrorKind::Timeout && deadline.is_none_or(|at| Instant::now() < at) =>
            {
                shared.cost().note(size, started.elapsed());
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Runs on one of the threads for inference, when its turn comes.
    pub(super) async fn run_queued(
        &self,
        resident: Arc<ResidentModel>,
        call: ModelCall,
        size: u64,
        options: InferOptions,
    ) -> Result<CompletedRun> {
        let (answer, answered) = oneshot::channel();
        let (batching, since) = (self.batching, Instant::now());
        let caller = Arc::<RunCaller>::default();
        let _waits = caller.waits();
        let request = QueuedCall { resident, call, size, batching, options, since, caller, answer };
        self.threads.submit(&self.shared, request)?;
        within(options.deadline, async {
            answered.await.unwrap_or_else(|_| Err(Error::internal("inference has stopped")))
        })
        .await
    }
}

pub(super) async fn within<T>(deadline: Option<Instant>, work: impl Future<Output = Result<T>>) -> Result<T> {
    match deadline {
        Some(deadline) => {
            tokio::time::timeout_at(deadline.into(), work).await.unwrap_or_else(|_| Err(late()))
        }
        None => work.await,
    }
}
