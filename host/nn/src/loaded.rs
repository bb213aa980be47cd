mod running;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use eyot_core::{Digest, Error, Kind, Result};
use parking_lot::Mutex;

pub(crate) use self::running::{ModelCall, Ran};
use self::running::{SHORT, within};
use crate::control::{Caller, Company, bounded};
use crate::cost::{Cost, thread_time};
use crate::job::of_the_caller;
use crate::memory::Room;
use crate::models::Inner;
use crate::stats::{LearnedCost, ModelStats};
use crate::threads::Threads;
use crate::trial::Verdict;
use crate::{
    Ask, Batching, Inferred, InputOverride, Model, NamedTensor, RanOn, RunLimits, Settings, Signature,
    StoredModel, Target, Tensor, Tolerance, batch,
};

/// A model that is ready to run: a handle on what the whole process shares. Cheap to clone.
///
/// While nobody runs it, its weights may be put away to make room for another's; the next inference
/// then loads them again.
#[derive(Clone)]
pub struct LoadedModel {
    shared: Arc<Shared>,
    batching: Batching,
}

/// While it is held, the weights of a model stay in memory.
pub struct Pin(Arc<Shared>);

impl LoadedModel {
    pub(crate) fn new(shared: Arc<Shared>, batching: Batching) -> Self {
        Self { shared, batching }
    }

    /// The digest of the model's bytes.
    pub fn digest(&self) -> Digest {
        self.shared.digest
    }

    /// Inputs and outputs as the file declares them.
    pub fn signature(&self) -> &Signature {
        &self.shared.signature
    }

    /// What it runs on.
    pub fn ran_on(&self) -> RanOn {
        self.shared.ran_on.clone()
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
        self.shared.settings
    }

    /// The same model, whose calls are joined with others' in another way.
    pub fn with_batching(&self, batching: Batching) -> Arc<Self> {
        Arc::new(Self { shared: self.shared.clone(), batching })
    }

    /// Whether both are handles on the same loaded model.
    pub fn shares_with(&self, other: &LoadedModel) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Keeps the weights in memory for as long as the pin lives. Those that are put away now come
    /// back with the next inference.
    pub fn pin(&self) -> Pin {
        self.shared.pins.fetch_add(1, Ordering::AcqRel);
        Pin(self.shared.clone())
    }

    /// What has happened to the model so far, to all who share it.
    pub fn stats(&self) -> ModelStats {
        self.shared.stats()
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
    /// weights were put away and there is no room for them now.
    pub async fn infer_by(&self, inputs: Vec<NamedTensor>, deadline: Option<Instant>) -> Result<Inferred> {
        self.infer_as(inputs, Ask { deadline, ..Ask::default() }).await
    }

    /// As [`LoadedModel::infer_by`], before others that wait for the same model and are less urgent.
    pub async fn infer_as(&self, inputs: Vec<NamedTensor>, ask: Ask) -> Result<Inferred> {
        let (shared, deadline) = (&self.shared, ask.deadline);
        let ModelCall { inputs, overrides } = ModelCall::new(&shared.signature, inputs)?;
        let resident = match shared.resident() {
            Some(resident) => resident,
            None => within(deadline, shared.revive()).await?,
        };
        let size = batch::size(&inputs);
        // What is known of its cost is that at its defaults.
        let is_short = overrides.is_empty() && shared.cost.predict(size).is_some_and(|cost| cost < SHORT);
        let here = if is_short { self.here(&resident, &inputs, size, deadline)? } else { None };
        let ran = match here {
            Some(ran) => ran,
            None => self.elsewhere(resident, ModelCall { inputs, overrides }, size, ask).await?,
        };
        let named = shared.signature.outputs.iter().zip(ran.outputs);
        let outputs = named.map(|(spec, tensor)| NamedTensor { name: spec.name.clone(), tensor }).collect();
        Ok(Inferred { outputs, queued: ran.queued, computed: ran.computed, batch: ran.batch })
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.0.pins.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Weights in memory, and the room they take: given back when the last run with them has ended.
pub(crate) struct Resident {
    pub(crate) model: Box<dyn Model>,
    pub(crate) room: Room,
}

/// What a process knows of a model under one digest and settings.
pub(crate) struct Shared {
    digest: Digest,
    source: StoredModel,
    settings: Settings,
    signature: Signature,
    ran_on: RanOn,
    threads: Arc<Threads>,
    home: Weak<Inner>,
    resident: Mutex<Option<Arc<Resident>>>,
    /// Many who find the weights put away wait for one load.
    reviving: tokio::sync::Mutex<()>,
    /// Whether the store has the bytes, so that weights that are put away can come back.
    stored: AtomicBool,
    pins: AtomicUsize,
    /// Milliseconds since the home began, at the last use.
    used: AtomicU64,
    cost: Cost,
    verdict: AtomicU8,
    /// Why nothing proves that its rows are independent of each other.
    unproved: Option<String>,
    failed_batches: AtomicU32,
    served: AtomicU64,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    inferences: AtomicU64,
    failures: AtomicU64,
    abandoned: AtomicU64,
    batches: AtomicU64,
    batched: AtomicU64,
    choices: AtomicU64,
}

/// Batches in a row that fail although each of their requests is no fault of its own.
const MAX_FAILED_BATCHES: u32 = 8;

/// What loading a model gives.
pub(crate) struct Fresh {
    pub(crate) model: Box<dyn Model>,
    pub(crate) ran_on: RanOn,
    pub(crate) cost: Cost,
    pub(crate) verdict: Verdict,
    pub(crate) unproved: Option<String>,
}

impl Shared {
    pub(crate) fn new(
        source: impl Into<StoredModel>,
        settings: Settings,
        fresh: Fresh,
        room: Room,
        home: (Weak<Inner>, Arc<Threads>),
        stored: bool,
    ) -> Arc<Self> {
        let Fresh { model, ran_on, cost, verdict, unproved } = fresh;
        let signature = model.signature().clone();
        let (home, threads) = home;
        let source = source.into();
        Arc::new(Self {
            digest: source.digest(),
            source,
            settings,
            signature,
            ran_on,
            threads,
            home,
            resident: Mutex::new(Some(Arc::new(Resident { model, room }))),
            reviving: tokio::sync::Mutex::default(),
            stored: AtomicBool::new(stored),
            pins: AtomicUsize::new(0),
            used: AtomicU64::new(0),
            cost,
            verdict: AtomicU8::new(verdict as u8),
            unproved,
            failed_batches: AtomicU32::new(0),
            served: AtomicU64::new(0),
            counts: Counts::default(),
        })
    }

    pub(crate) fn digest(&self) -> Digest {
        self.digest
    }

    /// Where its files lie in the store, if it has them.
    pub(crate) fn source(&self) -> &StoredModel {
        &self.source
    }

    pub(crate) fn settings(&self) -> Settings {
        self.settings
    }

    pub(crate) fn ran_on(&self) -> &RanOn {
        &self.ran_on
    }

    pub(crate) fn cost(&self) -> &Cost {
        &self.cost
    }

    /// What a run may take.
    pub(crate) fn limits(&self) -> RunLimits {
        self.threads.limits()
    }

    /// Threads that one run keeps busy.
    pub(crate) fn width(&self) -> usize {
        if self.ran_on.library() == "tract" { 1 } else { self.settings.threads() }
    }

    /// Runs on this thread, until the deadline or until none of the callers waits any more, where there are
    /// any. Never panics, whatever the back end does.
    pub(crate) fn run(
        &self,
        resident: &Resident,
        (inputs, overrides): (&[Tensor], &[InputOverride]),
        limits: RunLimits,
        deadline: Option<Instant>,
        callers: &[&Caller],
    ) -> Result<Vec<Tensor>> {
        let (started, computed) = (Instant::now(), thread_time());
        let outputs = bounded(limits, deadline, |control| {
            if !callers.is_empty() {
                let company = Company::new(callers.len(), control.clone());
                callers.iter().for_each(|caller| caller.joins(&company));
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
            Err(error) if error.kind() == Kind::Cancelled => self.count_abandoned(),
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
    pub(crate) fn resident(&self) -> Option<Arc<Resident>> {
        if let Some(home) = self.home.upgrade() {
            self.used.store(home.milliseconds(), Ordering::Relaxed);
        }
        self.resident.lock().clone()
    }

    /// Loads the weights again.
    pub(crate) async fn revive(self: &Arc<Self>) -> Result<Arc<Resident>> {
        let _one_at_a_time = self.reviving.lock().await;
        if let Some(resident) = self.resident() {
            return Ok(resident);
        }
        let home = self.home.upgrade();
        let home = home.ok_or_else(|| Error::unavailable("the store of models is closed"))?;
        let resident = Arc::new(home.reload(self).await?);
        *self.resident.lock() = Some(resident.clone());
        Ok(resident)
    }

    /// Hands the weights over to be dropped, unless somebody runs them now.
    pub(crate) fn put_away(&self) -> Option<Arc<Resident>> {
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
        self.resident.lock().as_ref().map_or(0, |resident| resident.room.bytes())
    }

    pub(crate) fn joins(&self) -> bool {
        self.verdict() == Verdict::Joins
    }

    fn verdict(&self) -> Verdict {
        let number = self.verdict.load(Ordering::Relaxed);
        Verdict::ALL.into_iter().find(|verdict| *verdict as u8 == number).unwrap_or(Verdict::Untried)
    }

    /// `joins`, or why its calls are not joined.
    pub(crate) fn batching(&self) -> String {
        self.verdict().explained(self.unproved.as_ref())
    }

    /// The model does not give a row for a row after all.
    pub(crate) fn stop_joining(&self) {
        tracing::warn!(model = %self.digest, "calls of this model are not joined any more: batches fail");
        self.verdict.store(Verdict::RowsDiffer as u8, Ordering::Relaxed);
    }

    /// Whether another call of that size would be cheaper joined than alone.
    pub(crate) fn gains_by_company(&self, size: u64) -> bool {
        let both = self.cost.predict(2 * size).zip(self.cost.predict(size));
        self.joins() && both.is_some_and(|(both, one)| both.as_secs_f64() <= 0.9 * 2.0 * one.as_secs_f64())
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
        if self.failed_batches.fetch_add(1, Ordering::Relaxed) + 1 >= MAX_FAILED_BATCHES {
            self.stop_joining();
        }
    }

    /// How often it was chosen before whether to join.
    pub(crate) fn count_choice(&self) -> u64 {
        self.counts.choices.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn stats(self: &Arc<Self>) -> ModelStats {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let line = self.cost.line();
        ModelStats {
            digest: self.digest,
            ran_on: self.ran_on.clone(),
            settings: self.settings,
            resident_bytes: self.bytes(),
            pinned: self.is_pinned(),
            waiting: self.threads.waiting(self),
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
