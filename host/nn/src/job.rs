//! One run of a model, for one caller or for several joined.

use std::sync::Arc;
use std::time::Instant;

use eyot_core::{Error, Result};

use crate::control::RunCaller;
use crate::model_state::ModelState;
use crate::request::{CompletedRun, QueuedCall, late};
use crate::{Tensor, batch};

/// Requests for one model that run together.
pub(crate) struct InferenceJob {
    model: Arc<ModelState>,
    requests: Vec<QueuedCall>,
    width: usize,
}

impl InferenceJob {
    pub(crate) fn new(model: Arc<ModelState>, requests: Vec<QueuedCall>, width: usize) -> Self {
        Self { model, requests, width }
    }

    /// How many threads it keeps busy.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// The requests in it.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.requests.len()
    }

    /// The rows in it.
    #[cfg(test)]
    pub(crate) fn rows(&self) -> usize {
        self.requests.iter().filter_map(|request| batch::rows(&request.call.inputs)).sum()
    }

    /// The model it runs.
    #[cfg(test)]
    pub(crate) fn model(&self) -> &Arc<ModelState> {
        &self.model
    }

    /// Runs and answers. Every caller gets what it would have got alone.
    pub(crate) fn run(self) {
        let Self { model, requests, .. } = self;
        let now = Instant::now();
        let mut waiting = Vec::with_capacity(requests.len());
        for request in requests {
            if request.is_abandoned() {
                model.count_abandoned();
            } else if request.options.deadline.is_some_and(|deadline| deadline <= now) {
                drop(request.answer.send(Err(late())));
            } else {
                waiting.push(request);
            }
        }
        let together = waiting.len() > 1;
        let waiting = if together { joined(&model, waiting) } else { waiting };
        let count = waiting.len();
        let good = waiting.into_iter().filter_map(|request| alone(&model, request).then_some(())).count();
        if together && count > 0 && good == count {
            model.count_failed_batch();
        }
    }
}

/// Runs one by itself. Whether it went well.
fn alone(model: &ModelState, request: QueuedCall) -> bool {
    let started = Instant::now();
    let outputs = model.run(
        &request.resident,
        (&request.call.inputs, &request.call.overrides),
        model.limits(),
        request.options.deadline,
        &[&request.caller],
    );
    let ran = outputs.map(|outputs| CompletedRun {
        outputs,
        queue_time: started.saturating_duration_since(request.since),
        compute_time: started.elapsed(),
        batch_size: 1,
    });
    let good = ran.is_ok();
    drop(request.answer.send(ran));
    good
}

/// Runs them as one. Those come back that must run alone, since together they did not.
fn joined(model: &ModelState, requests: Vec<QueuedCall>) -> Vec<QueuedCall> {
    let started = Instant::now();
    match together(model, &requests) {
        Ok(Some(parts)) => {
            let (compute_time, batch_size) = (started.elapsed(), requests.len());
            model.count_batch(batch_size);
            for (request, outputs) in requests.into_iter().zip(parts) {
                let queue_time = started.saturating_duration_since(request.since);
                drop(request.answer.send(Ok(CompletedRun { outputs, queue_time, compute_time, batch_size })));
            }
            Vec::new()
        }
        Ok(None) => {
            model.disable_batching();
            requests
        }
        // Which of them it was shows when each runs alone.
        Err(error) => {
            tracing::debug!(%error, "a batch failed; its requests run alone");
            requests
        }
    }
}

/// `None` when the outputs have not the rows of the inputs.
fn together(model: &ModelState, requests: &[QueuedCall]) -> Result<Option<Vec<Vec<Tensor>>>> {
    let first = requests.first().ok_or_else(|| Error::internal("a batch of nothing"))?;
    let calls: Vec<&[Tensor]> = requests.iter().map(|request| request.call.inputs.as_slice()).collect();
    let rows: Vec<usize> = calls.iter().filter_map(|call| batch::rows(call)).collect();
    let callers: Vec<&RunCaller> = requests.iter().map(|request| &*request.caller).collect();
    // As long as any of them may wait.
    let deadlines: Option<Vec<Instant>> = requests.iter().map(|request| request.options.deadline).collect();
    let deadline = deadlines.and_then(|deadlines| deadlines.into_iter().max());
    let joined = batch::join(&calls)?;
    let outputs = model.run(&first.resident, (&joined, &[]), model.limits(), deadline, &callers)?;
    Ok(batch::split(&outputs, &rows).filter(|parts| parts.len() == requests.len()))
}

#[cfg(test)]
mod tests;
