//! The threads that run inferences: as many as were asked for, never one of the async runtime's.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use eyot_core::{Result, ResultExt as _};
use parking_lot::{Condvar, Mutex};

use crate::RunLimits;
use crate::loaded::Shared;
use crate::schedule::{Next, Request, Schedule};

/// The threads of a process. They start with the first request and end when this is dropped.
pub(crate) struct Threads {
    state: Arc<State>,
    count: usize,
    limits: RunLimits,
    started: Mutex<bool>,
}

struct State {
    schedule: Mutex<Schedule>,
    wake: Condvar,
}

impl Threads {
    /// `queue` is how many requests may wait for one model, `limits` what each run may take.
    pub(crate) fn new(count: usize, queue: usize, limits: RunLimits) -> Self {
        let count = count.max(1);
        let schedule = Mutex::new(Schedule::new(count, queue));
        let state = Arc::new(State { schedule, wake: Condvar::new() });
        Self { state, count, limits, started: Mutex::new(false) }
    }

    pub(crate) fn limits(&self) -> RunLimits {
        self.limits
    }

    /// Hands a request over.
    ///
    /// Fails with `Exhausted` when too many wait for this model already.
    pub(crate) fn submit(&self, model: &Arc<Shared>, request: Request) -> Result<()> {
        self.start()?;
        self.state.schedule.lock().add(model, request, Instant::now())?;
        self.state.wake.notify_one();
        Ok(())
    }

    /// Requests that wait for a model.
    pub(crate) fn waiting(&self, model: &Arc<Shared>) -> usize {
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

impl Drop for Threads {
    fn drop(&mut self) {
        // Not joined: this may be one of them, and nobody should wait for an inference here.
        self.state.schedule.lock().close();
        self.state.wake.notify_all();
    }
}

fn work(state: &State) {
    let mut schedule = state.schedule.lock();
    loop {
        match schedule.next(Instant::now()) {
            Next::Job(job) => {
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
            Next::At(instant) => drop(state.wake.wait_until(&mut schedule, instant)),
            Next::Wait => state.wake.wait(&mut schedule),
            Next::Stop => return,
        }
    }
}
