//! Ending a run before its time: at its deadline, or when nobody waits for its answer any more.

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use eyot_core::{ByteCount, Error, ErrorKind, Result};
use parking_lot::{Condvar, Mutex};

use crate::Tensor;
use crate::memory::half_of_memory;

/// What a run may take, whoever asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunLimits {
    /// How long it may take.
    pub timeout: Duration,
    /// Bytes of any value of it, where the back end lets one look before there is one.
    pub value_bytes: u64,
    /// Bytes of all its outputs.
    pub output_bytes: u64,
}

impl RunLimits {
    /// For the probe of a model with made-up inputs: one that takes longer is not probed any further.
    pub(crate) const PROBE: RunLimits =
        RunLimits { timeout: Duration::from_secs(10), value_bytes: 1 << 30, output_bytes: 1 << 30 };
}

impl Default for RunLimits {
    fn default() -> Self {
        Self::from(&eyot_core::config::InferenceSettings::default())
    }
}

impl From<&eyot_core::config::InferenceSettings> for RunLimits {
    fn from(config: &eyot_core::config::InferenceSettings) -> Self {
        Self {
            timeout: config.run_timeout.0,
            value_bytes: run_memory(config),
            output_bytes: config.output_bytes.0,
        }
    }
}

/// What runs may take beside the weights.
pub(crate) fn run_memory(config: &eyot_core::config::InferenceSettings) -> u64 {
    if config.run_memory.0 == 0 { half_of_memory() / 2 } else { config.run_memory.0 }
}

/// Whether a run goes on. A back end looks at it between operators, or leaves here how it is interrupted.
pub struct RunControl {
    stopped: AtomicU8,
    interrupt: Mutex<Option<Arc<dyn RunInterrupt>>>,
    limits: RunLimits,
}

/// Why a run was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum StopReason {
    /// Its time was over.
    Late = 1,
    /// Nobody waits for its answer.
    Abandoned = 2,
}

/// How a back end's run is ended from another thread.
pub trait RunInterrupt: Send + Sync {
    /// Does not block, and may come while nothing runs.
    fn interrupt(&self);
}

impl Default for RunControl {
    fn default() -> Self {
        Self::new(RunLimits { timeout: YEAR, value_bytes: u64::MAX, output_bytes: u64::MAX })
    }
}

impl RunControl {
    fn new(limits: RunLimits) -> Self {
        Self { stopped: AtomicU8::new(0), interrupt: Mutex::default(), limits }
    }

    /// Why the run should end, if it should.
    pub fn stop_reason(&self) -> Option<StopReason> {
        match self.stopped.load(Ordering::Acquire) {
            1 => Some(StopReason::Late),
            2 => Some(StopReason::Abandoned),
            _ => None,
        }
    }

    /// Ends the run. What was said first stays.
    pub fn stop(&self, reason: StopReason) {
        let said = self.stopped.compare_exchange(0, reason as u8, Ordering::AcqRel, Ordering::Acquire);
        if said.is_err() {
            return;
        }
        // Under the lock: once the run has taken its interrupt back, none comes any more.
        if let Some(interrupt) = &*self.interrupt.lock() {
            interrupt.interrupt();
        }
    }

    /// While the answer is held, `interrupt` is what ends the run.
    pub fn interrupted_by(&self, interrupt: Arc<dyn RunInterrupt>) -> InterruptGuard<'_> {
        let mut place = self.interrupt.lock();
        // Said before there was anybody to tell.
        if self.stop_reason().is_some() {
            interrupt.interrupt();
        }
        *place = Some(interrupt);
        drop(place);
        InterruptGuard(self)
    }

    /// Fails with `TooLarge` for a value of more bytes than a run may make.
    pub(crate) fn check_value_bytes(&self, what: impl FnOnce() -> String, bytes: u64) -> Result<()> {
        if bytes <= self.limits.value_bytes {
            return Ok(());
        }
        let (bytes, limit) = (ByteCount(bytes), ByteCount(self.limits.value_bytes));
        Err(Error::too_large(format!("{} would be {bytes}, and {limit} is allowed", what())).hint(SEND_LESS))
    }

    /// Fails with `TooLarge` for outputs of more bytes together than a run may give.
    pub fn check_outputs(&self, outputs: &[Tensor]) -> Result<()> {
        let bytes: u64 = outputs.iter().map(|output| output.bytes().len() as u64).sum();
        if bytes <= self.limits.output_bytes {
            return Ok(());
        }
        let (bytes, limit) = (ByteCount(bytes), ByteCount(self.limits.output_bytes));
        Err(Error::too_large(format!("the outputs are {bytes}, and {limit} is allowed"))
            .hint("send less in one request, or raise inference.output-bytes"))
    }
}

/// What helps against a run that wants too much memory.
pub(crate) const SEND_LESS: &str = "send less in one request, or raise inference.run-memory";

/// Takes the interrupt back when dropped.
pub struct InterruptGuard<'a>(&'a RunControl);

impl Drop for InterruptGuard<'_> {
    fn drop(&mut self) {
        *self.0.interrupt.lock() = None;
    }
}

impl StopReason {
    fn error(self) -> Error {
        match self {
            StopReason::Late => Error::timeout("the model did not answer in its time and was stopped")
                .hint("send less in one request, or raise its timeout and inference.run-timeout"),
            StopReason::Abandoned => Error::new(ErrorKind::Cancelled, "nobody waits for the answer any more"),
        }
    }
}

/// Runs, and ends it at the deadline or when it has taken as long as any may.
pub(crate) fn bounded(
    limits: RunLimits,
    deadline: Option<Instant>,
    run: impl FnOnce(&Arc<RunControl>) -> Result<Vec<Tensor>>,
) -> Result<Vec<Tensor>> {
    let now = Instant::now();
    let latest = now.checked_add(limits.timeout).unwrap_or(now + YEAR);
    let control = Arc::new(RunControl::new(limits));
    let watched = WATCHDOG.watch(deadline.map_or(latest, |deadline| deadline.min(latest)), &control);
    let ran = run(&control);
    drop(watched);
    // What the back end says of an interrupted run is how it was done, not why.
    match control.stop_reason() {
        Some(reason) if ran.is_err() => Err(reason.error()),
        _ => ran.and_then(|outputs| control.check_outputs(&outputs).map(|()| outputs)),
    }
}

/// As good as no end.
const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// The callers that wait for one run: it is cancelled when the last of them is gone.
pub(crate) struct RunCallers {
    waiting: AtomicUsize,
    control: Arc<RunControl>,
}

impl RunCallers {
    pub(crate) fn new(callers: usize, control: Arc<RunControl>) -> Arc<Self> {
        Arc::new(Self { waiting: AtomicUsize::new(callers), control })
    }

    fn leave(&self) {
        if self.waiting.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.control.stop(StopReason::Abandoned);
        }
    }
}

/// A caller that waits for a run.
#[derive(Default)]
pub(crate) struct RunCaller(Mutex<CallerState>);

#[derive(Default)]
struct CallerState {
    gone: bool,
    run_callers: Option<Arc<RunCallers>>,
}

impl RunCaller {
    /// Its call runs now, in a batch with others'. It may have gone before.
    pub(crate) fn join_run(&self, run_callers: &Arc<RunCallers>) {
        let mut state = self.0.lock();
        if state.gone {
            run_callers.leave();
        } else {
            state.run_callers = Some(run_callers.clone());
        }
    }

    /// The caller waits until the guard is dropped.
    pub(crate) fn waits(self: &Arc<Self>) -> WaitingCaller {
        WaitingCaller(self.clone())
    }
}

pub(crate) struct WaitingCaller(Arc<RunCaller>);

impl Drop for WaitingCaller {
    fn drop(&mut self) {
        let mut state = self.0.0.lock();
        state.gone = true;
        if let Some(run_callers) = state.run_callers.take() {
            drop(state);
            run_callers.leave();
        }
    }
}

/// Ends the runs of this process whose time is over.
static WATCHDOG: LazyLock<Arc<RunWatchdog>> = LazyLock::new(Arc::default);

#[derive(Default)]
struct RunWatchdog {
    runs: Mutex<WatchedRuns>,
    wake: Condvar,
}

#[derive(Default)]
struct WatchedRuns {
    /// Places are used again, so that there are as many as ever ran at once.
    places: Vec<Option<(Instant, Arc<RunControl>)>>,
    free: Vec<usize>,
    started: bool,
    /// When the thread looks again by itself; earlier deadlines must wake it.
    looks_at: Option<Instant>,
}

/// A run that is watched while this is held.
struct WatchedRun<'a> {
    watchdog: &'a RunWatchdog,
    place: usize,
}

impl RunWatchdog {
    fn watch(self: &Arc<Self>, deadline: Instant, control: &Arc<RunControl>) -> WatchedRun<'_> {
        let mut runs = self.runs.lock();
        let entry = Some((deadline, control.clone()));
        let place = match runs.free.pop() {
            Some(place) => {
                runs.places[place] = entry;
                place
            }
            None => {
                runs.places.push(entry);
                runs.places.len() - 1
            }
        };
        if !runs.started {
            let watchdog = self.clone();
            let thread = std::thread::Builder::new().name("eyot-watchdog".to_owned());
            // Where no thread can be had the next run tries again.
            runs.started = thread.spawn(move || watchdog.look()).is_ok();
        } else if runs.looks_at.is_none_or(|looks_at| deadline < looks_at) {
            self.wake.notify_one();
        }
        WatchedRun { watchdog: self, place }
    }

    fn look(&self) {
        let mut runs = self.runs.lock();
        loop {
            let now = Instant::now();
            let due = runs.places.iter().flatten().filter(|(deadline, _)| *deadline <= now);
            let due: Vec<Arc<RunControl>> = due
                .map(|(_, control)| control)
                .filter(|control| control.stop_reason().is_none())
                .cloned()
                .collect();
            if !due.is_empty() {
                drop(runs);
                due.iter().for_each(|control| control.stop(StopReason::Late));
                runs = self.runs.lock();
                continue;
            }
            let ahead = runs.places.iter().flatten().map(|(deadline, _)| *deadline);
            runs.looks_at = ahead.filter(|deadline| *deadline > now).min();
            match runs.looks_at {
                Some(looks_at) => drop(self.wake.wait_until(&mut runs, looks_at)),
                None => self.wake.wait(&mut runs),
            }
        }
    }
}

impl Drop for WatchedRun<'_> {
    fn drop(&mut self) {
        let mut runs = self.watchdog.runs.lock();
        runs.places[self.place] = None;
        runs.free.push(self.place);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::mpsc;

    use super::*;

    struct Bell(Mutex<mpsc::Sender<()>>);

    impl RunInterrupt for Bell {
        fn interrupt(&self) {
            self.0.lock().send(()).unwrap();
        }
    }

    fn limits(timeout: Duration) -> RunLimits {
        RunLimits { timeout, value_bytes: 100, output_bytes: 8 }
    }

    #[test]
    fn a_run_is_interrupted_at_its_deadline_and_never_afterwards() {
        let day = Duration::from_secs(86_400);
        for (timeout, deadline) in
            [(Duration::from_millis(20), None), (day, Some(Instant::now() + Duration::from_millis(30)))]
        {
            let (sender, rung) = mpsc::channel();
            let bell = Arc::new(Bell(Mutex::new(sender)));
            // One without an end before it, so that the watchdog already waits for another.
            let ended = bounded(limits(day), None, |_| {
                bounded(limits(timeout), deadline, |control| {
                    let interruptible = control.interrupted_by(bell.clone());
                    rung.recv_timeout(Duration::from_secs(10)).unwrap();
                    assert_eq!(control.stop_reason(), Some(StopReason::Late));
                    drop(interruptible);
                    // Said twice, or when it is over, it is not heard.
                    control.stop(StopReason::Abandoned);
                    assert_eq!(
                        (control.stop_reason(), rung.try_recv().is_err()),
                        (Some(StopReason::Late), true)
                    );
                    // One that is stopped before it begins is interrupted at once.
                    drop(control.interrupted_by(bell.clone()));
                    rung.recv_timeout(Duration::from_secs(10)).unwrap();
                    Err(Error::failed("interrupted, says the library"))
                })
            });
            assert_eq!(ended.unwrap_err().kind(), ErrorKind::Timeout);
        }
        assert!(WATCHDOG.runs.lock().places.iter().all(Option::is_none));
    }

    #[test]
    fn what_was_done_before_the_end_counts() {
        let ran = bounded(limits(Duration::ZERO), None, |control| {
            while control.stop_reason().is_none() {
                std::thread::yield_now();
            }
            Ok(vec![Tensor::of(vec![1], &[7_i64]).unwrap()])
        });
        assert_eq!(ran.unwrap().len(), 1);
        assert_eq!(
            RunControl::new(limits(YEAR)).check_value_bytes(|| "it".to_owned(), 101).unwrap_err().kind(),
            ErrorKind::TooLarge
        );
        let large = Tensor::of(vec![2], &[7_i64, 8]).unwrap();
        let refused = bounded(limits(Duration::from_secs(60)), None, |_| Ok(vec![large]));
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::TooLarge);
    }

    #[test]
    fn a_run_ends_with_the_last_who_waits_for_it() {
        let control = Arc::<RunControl>::default();
        let callers: Vec<Arc<RunCaller>> = (0..3).map(|_| Arc::default()).collect();
        let mut waits: Vec<WaitingCaller> = callers.iter().map(RunCaller::waits).collect();
        // One is gone before it begins.
        drop(waits.pop());
        let run_callers = RunCallers::new(3, control.clone());
        callers.iter().for_each(|caller| caller.join_run(&run_callers));
        drop(waits.pop());
        assert_eq!(control.stop_reason(), None);
        drop(waits.pop());
        assert_eq!(control.stop_reason(), Some(StopReason::Abandoned));
    }
}
