//! The threads that run inferences: as many as were asked for, never one of the async runtime's.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use eyot_core::{Result, ResultExt as _};
use parking_lot::{Condvar, Mutex};

use crate::model_state::ModelState;
use crate::request::QueuedCall;
use crate::schedule::{InferenceSchedule, NextAction};

/// The threads of a process. They start with the first request and end when this is dropped.
pub(crate) struct InferenceThreads {
    state: Arc<ThreadsState>,
    count: usize,
    started: Mutex<bool>,
}

struct ThreadsState {
    schedule: Mutex<InferenceSchedule>,
    wake: Condvar,
}

impl InferenceThreads {
    /// `queue` is how many requests may wait for one model.
    pub(crate) fn new(count: usize, queue: usize) -> Self {
        let count = count.max(1);
        let schedule = Mutex::new(InferenceSchedule::new(count, queue));
        let state = Arc::new(ThreadsState { schedule, wake: Condvar::new() });
        Self { state, count, started: Mutex::new(false) }
    }

    /// Hands a request over.
    ///
    /// Fails with `Exhausted` when too many wait for this model already.
    pub(crate) fn submit(&self, model: &Arc<ModelState>, request: QueuedCall) -> Result<()> {
        self.start()?;
        self.state.schedule.lock().add(model, request, Instant::now())?;
        self.state.wake.notify_one();
        Ok(())
    }

    /// Requests that wait for a model.
    pub(crate) fn waiting(&self, model: &Arc<ModelState>) -> usize {
        self.state.schedule.lock().waiting(model)
    }

    fn start(&self) -> Result<()> {
        let mut started = self.started.lock();
        if *started {
            return Ok(());
        }
        for number in 0..self.count {
            let state = self.state.clone();
            let thread = std::thread::Builder::new().name(format!("eyot-infer-{number}"));
            let spawned = thread.spawn(move || work(&state));
            if number == 0 {
                spawned.context(|| "cannot start a thread for inference".to_owned())?;
            } else if let Err(error) = spawned {
                // Fewer threads serve as well, only slower.
                tracing::warn!(%error, started = number, "not all threads for inference could be started");
                break;
            }
        }
        *started = true;
        Ok(())
    }
}

impl Drop for InferenceThreads {
    fn drop(&mut self) {
        // Not joined: this may be one of them, and nobody should wait for an inference here.
        self.state.schedule.lock().close();
        self.state.wake.notify_all();
    }
}

fn work(state: &ThreadsState) {
    let mut schedule = state.schedule.lock();
    loop {
        match schedule.next(Instant::now()) {
            NextAction::Job(job) => {
                // Whoever watched over a delay may be this thread: another takes that over.
                if schedule.has_waiting() {
                    state.wake.notify_one();
                }
                drop(schedule);
                let width = job.width();
                // What a job can panic in is caught where it is; this is for the thread's own sake.
                let ended = catch_unwind(AssertUnwindSafe(|| job.run()));
                if ended.is_err() {
                    tracing::error!("an inference ended in a panic");
                }
                schedule = state.schedule.lock();
                schedule.end(width);
                if width > 1 {
                    state.wake.notify_all();
                }
            }
            NextAction::At(instant) => drop(state.wake.wait_until(&mut schedule, instant)),
            NextAction::Wait => state.wake.wait(&mut schedule),
            NextAction::Stop => return,
        }
    }
}
