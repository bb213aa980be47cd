//! What a process knows of one model: how it is loaded, whether its weights are in memory, what its runs cost.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use eyot_core::{Digest, Error, ErrorKind, Result};
use parking_lot::Mutex;

use crate::batch_probe::ProbeResult;
use crate::control::{RunCaller, RunCallers, bounded};
use crate::cost::{CostModel, thread_time};
use crate::memory::MemoryReservation;
use crate::stats::{LearnedCost, ModelStats};
use crate::{
    BackendModel, InputOverride, ModelSettings, ModelSignature, RanOn, RunLimits, StoredModel, Target,
    Tensor, batch,
};

/// What gives a model its weights back after they were evicted, and the clock by which uses are compared.
pub(crate) trait ReloadModel: Send + Sync {
    fn elapsed_milliseconds(&self) -> u64;

    fn reload<'a>(
        &'a self,
        model: &'a ModelState,
    ) -> Pin<Box<dyn Future<Output = Result<ResidentModel>> + Send + 'a>>;
}

/// Weights in memory, and the room they take: given back when the last run with them has ended.
pub(crate) struct ResidentModel {
    pub(crate) model: Box<dyn BackendModel>,
    pub(crate) reservation: MemoryReservation,
}

/// What a process knows of a model under one digest and settings.
pub(crate) struct ModelState {
    digest: Digest,
    source: StoredModel,
    settings: ModelSettings,
    signature: ModelSignature,
    ran_on: RanOn,
    limits: RunLimits,
    cache: Weak<dyn ReloadModel>,
    resident: Mutex<Option<Arc<ResidentModel>>>,
    /// Many who find the weights evicted wait for one load.
    reloading: tokio::sync::Mutex<()>,
    /// Whether the store has the bytes, so that evicted weights can come back.
    stored: AtomicBool,
    pins: AtomicUsize,
    /// Milliseconds since the cache began, at the last use.
    used: AtomicU64,
    cost: CostModel,
    probe_result: AtomicU8,
    /// Why nothing proves that its rows are independent of each other.
    unproved: Option<String>,
    failed_batches: AtomicU32,
    served: AtomicU64,
    counts: ModelCounters,
}

#[derive(Default)]
struct ModelCounters {
    inferences: AtomicU64,
    failures: AtomicU64,
    abandoned: AtomicU64,
    batches: AtomicU64,
    batched: AtomicU64,
    choices: AtomicU64,
}

/// Batches in a row that fail although each of their requests is no fault of its own.
const MAX_FAILED_BATCH_COUNT: u32 = 8;

/// What loading a model gives.
pub(crate) struct FreshModel {
    pub(crate) model: Box<dyn BackendModel>,
    pub(crate) ran_on: RanOn,
    pub(crate) cost: CostModel,
    pub(crate) probe_result: ProbeResult,
    pub(crate) unproved: Option<String>,
}

impl ModelState {
    pub(crate) fn new(
        source: impl Into<StoredModel>,
        settings: ModelSettings,
        fresh: FreshModel,
        reservation: MemoryReservation,
        (cache, limits): (Weak<dyn ReloadModel>, RunLimits),
        stored: bool,
    ) -> Arc<Self> {
        let FreshModel { model, ran_on, cost, probe_result, unproved } = fresh;
        let signature = model.signature().clone();
        let source = source.into();
        Arc::new(Self {
            digest: source.digest(),
            source,
            settings,
            signature,
            ran_on,
            limits,
            cache,
            resident: Mutex::new(Some(Arc::new(ResidentModel { model, reservation }))),
            reloading: tokio::sync::Mutex::default(),
            stored: AtomicBool::new(stored),
            pins: AtomicUsize::new(0),
            used: AtomicU64::new(0),
            cost,
            probe_result: AtomicU8::new(probe_result as u8),
            unproved,
            failed_batches: AtomicU32::new(0),
            served: AtomicU64::new(0),
            counts: ModelCounters::default(),
        })
    }

    pub(crate) fn signature(&self) -> &ModelSignature {
        &self.signature
    }

    /// While it is pinned, its weights stay in memory.
    pub(crate) fn pin(&self) {
        self.pins.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn unpin(&self) {
        self.pins.fetch_sub(1, Ordering::AcqRel);
    }

    pub(crate) fn digest(&self) -> Digest {
        self.digest
    }

    /// Where its files lie in the store, if it has them.
    pub(crate) fn source(&self) -> &StoredModel {
        &self.source
    }

    pub(crate) fn settings(&self) -> ModelSettings {
        self.settings
    }

    pub(crate) fn ran_on(&self) -> &RanOn {
        &self.ran_on
    }

    pub(crate) fn cost(&self) -> &CostModel {
        &self.cost
    }

    /// What a run may take.
    pub(crate) fn limits(&self) -> RunLimits {
        self.limits
    }

    /// Threads that one run keeps busy.
    pub(crate) fn width(&self) -> usize {
        if self.ran_on.library() == "tract" { 1 } else { self.settings.threads() }
    }

    /// Runs on this thread, until the deadline or until none of the callers waits any more, where there are
    /// any. Never panics, whatever the back end does.
    pub(crate) fn run(
        &self,
        resident: &ResidentModel,
        (inputs, overrides): (&[Tensor], &[InputOverride]),
        limits: RunLimits,
        deadline: Option<Instant>,
        callers: &[&RunCaller],
    ) -> Result<Vec<Tensor>> {
        let (started, computed) = (Instant::now(), thread_time());
        let outputs = bounded(limits, deadline, |control| {
            if !callers.is_empty() {
                let run_callers = RunCallers::new(callers.len(), control.clone());
                callers.iter().for_each(|caller| caller.join_run(&run_callers));
            }
            let run = || resident.model.run_overriding(control, inputs, overrides);
            catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
                Err(Error::failed(format!(
                    "the model failed in {}: it met a case that is not handled",
                    self.ran_on.backend
                )))
            })
        });
        // On the processor nothing else can fail.
        let has_run = self.settings.target == Target::Cpu && self.cost.line().is_some();
        let outputs = outputs.map_err(|error| if has_run { of_the_caller(error) } else { error });
        self.counts.inferences.fetch_add(1, Ordering::Relaxed);
        match &outputs {
            Ok(_) if overrides.is_empty() => {
                self.cost.note(batch::size(inputs), self.took(started, computed));
            }
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Cancelled => self.count_abandoned(),
            Err(_) => drop(self.counts.failures.fetch_add(1, Ordering::Relaxed)),
        }
        outputs
    }

    /// What a run that began then has taken: where one thread computes it, the time that this thread was given,
    /// or a busy machine would be taken for a slow model.
    fn took(&self, started: Instant, computed: Duration) -> Duration {
        let wall = started.elapsed();
        if self.width() > 1 || self.ran_on.library() == "openvino" || self.ran_on.target != Target::Cpu {
            return wall;
        }
        wall.min(thread_time().saturating_sub(computed))
    }

    /// The weights, if they are in memory, which also counts as a use.
    pub(crate) fn resident(&self) -> Option<Arc<ResidentModel>> {
        if let Some(cache) = self.cache.upgrade() {
            self.used.store(cache.elapsed_milliseconds(), Ordering::Relaxed);
        }
        self.resident.lock().clone()
    }

    /// Loads the weights again.
    pub(crate) async fn reload(self: &Arc<Self>) -> Result<Arc<ResidentModel>> {
        let _one_at_a_time = self.reloading.lock().await;
        if let Some(resident) = self.resident() {
            return Ok(resident);
        }
        let cache = self.cache.upgrade();
        let cache = cache.ok_or_else(|| Error::unavailable("the store of models is closed"))?;
        let resident = Arc::new(cache.reload(self).await?);
        *self.resident.lock() = Some(resident.clone());
        Ok(resident)
    }

    /// Hands the weights over to be dropped, unless somebody runs them now.
    pub(crate) fn evict(&self) -> Option<Arc<ResidentModel>> {
        let mut resident = self.resident.lock();
        // Copies are only made under this lock, so that one is all there is.
        let idle = resident.as_ref().is_some_and(|resident| Arc::strong_count(resident) == 1);
        if idle { resident.take() } else { None }
    }

    pub(crate) fn is_resident(&self) -> bool {
        self.resident.lock().is_some()
    }

    pub(crate) fn is_pinned(&self) -> bool {
        self.pins.load(Ordering::Acquire) > 0
    }

    pub(crate) fn is_stored(&self) -> bool {
        self.stored.load(Ordering::Relaxed)
    }

    pub(crate) fn is_stored_now(&self) {
        self.stored.store(true, Ordering::Relaxed);
    }

    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Bytes in memory.
    pub(crate) fn bytes(&self) -> u64 {
        self.resident.lock().as_ref().map_or(0, |resident| resident.reservation.bytes())
    }

    pub(crate) fn is_batchable(&self) -> bool {
        self.probe_result() == ProbeResult::Batchable
    }

    fn probe_result(&self) -> ProbeResult {
        let number = self.probe_result.load(Ordering::Relaxed);
        ProbeResult::ALL
            .into_iter()
            .find(|probe_result| *probe_result as u8 == number)
            .unwrap_or(ProbeResult::Unprobed)
    }

    /// `joins`, or why its calls are not batched.
    pub(crate) fn batching(&self) -> String {
        self.probe_result().explained(self.unproved.as_ref())
    }

    /// The model does not give a row for a row after all.
    pub(crate) fn disable_batching(&self) {
        tracing::warn!(model = %self.digest, "calls of this model are not joined any more: batches fail");
        self.probe_result.store(ProbeResult::RowsDependent as u8, Ordering::Relaxed);
    }

    /// Whether another call of that size would be cheaper in a batch than alone.
    pub(crate) fn gains_from_batching(&self, size: u64) -> bool {
        let both = self.cost.predict(2 * size).zip(self.cost.predict(size));
        self.is_batchable()
            && both.is_some_and(|(both, one)| both.as_secs_f64() <= 0.9 * 2.0 * one.as_secs_f64())
    }

    pub(crate) fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    pub(crate) fn set_served(&self, served: u64) {
        self.served.store(served, Ordering::Relaxed);
    }

    pub(crate) fn count_abandoned(&self) {
        self.counts.abandoned.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_batch(&self, calls: usize) {
        self.failed_batches.store(0, Ordering::Relaxed);
        self.counts.batches.fetch_add(1, Ordering::Relaxed);
        self.counts.batched.fetch_add(calls as u64, Ordering::Relaxed);
    }

    /// A batch failed of which every request ran alone.
    pub(crate) fn count_failed_batch(&self) {
        if self.failed_batches.fetch_add(1, Ordering::Relaxed) + 1 >= MAX_FAILED_BATCH_COUNT {
            self.disable_batching();
        }
    }

    /// How often it was chosen before whether to join.
    pub(crate) fn count_choice(&self) -> u64 {
        self.counts.choices.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// `waiting` calls wait for it now.
    pub(crate) fn stats(&self, waiting: usize) -> ModelStats {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let line = self.cost.line();
        ModelStats {
            digest: self.digest,
            ran_on: self.ran_on.clone(),
            settings: self.settings,
            resident_bytes: self.bytes(),
            pinned: self.is_pinned(),
            waiting,
            inferences: count(&self.counts.inferences),
            failures: count(&self.counts.failures),
            abandoned: count(&self.counts.abandoned),
            batches: count(&self.counts.batches),
            batched: count(&self.counts.batched),
            batching: self.batching(),
            cost: line
                .map(|(element, run)| LearnedCost { nanoseconds_element: element, nanoseconds_run: run }),
        }
    }
}

/// A failure of a model that has run before is that of what it was given: sizes that its graph makes of numbers,
/// places that are in no table.
fn of_the_caller(error: Error) -> Error {
    if error.kind() != ErrorKind::Failed {
        return error;
    }
    let error = error.with_kind(ErrorKind::Invalid);
    match error.hint_text() {
        Some(_) => error,
        None => {
            error.hint("the model runs on other inputs; look at those of which it makes sizes and places")
        }
    }
}
