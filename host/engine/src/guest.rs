//! The state of one instance: its WASI, its handles, its limits and its grants.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use eyot_core::{Digest, Error};
use eyot_nn::{LoadedModel, LoadedModels, RequestPriority};
use eyot_store::BlobStore;
use parking_lot::Mutex;
use wasmtime::component::ResourceTable;
use wasmtime::{Store, UpdateDeadline};
use wasmtime_wasi::filesystem::WasiFilesystemCtxView;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::background_executor::TimeSlice;
use crate::capabilities::outbound_http::OutboundHttp;
use crate::files::{OutputLimits, StepFiles};
use crate::granted_capabilities::GrantedCapabilities;
use crate::limits::ResourceMeter;
use crate::logs::{LineWriter, ReportSink, StandardStream};
use crate::memory::HostMemory;
use crate::step_clock::StepClock;
use crate::{InstanceLimits, hermetic};

/// What a component was granted. Nothing that is not named here exists for it.
#[derive(Clone)]
pub struct GuestGrants {
    /// Models by the name under which the component opens them.
    pub models: Arc<HashMap<String, Arc<LoadedModel>>>,
    /// Loads the models that a component brings itself as bytes or artifacts.
    pub loader: Arc<LoadedModels>,
    /// Where lines, metrics and tags go.
    pub sink: Arc<dyn ReportSink>,
    /// What it may reach beside models.
    pub capabilities: Arc<GrantedCapabilities>,
    /// Models that it asked for and was not granted.
    pub(crate) ungranted_models: Arc<UngrantedModels>,
}

/// The names of models that a component asked for and was not granted: the first of them.
#[derive(Default)]
pub(crate) struct UngrantedModels(Mutex<BTreeSet<String>>);

/// Names that are kept; a component can make up any number of them.
const MAX_UNGRANTED_NAMES: usize = 16;
const MAX_NAME_CHARACTERS: usize = 128;

impl UngrantedModels {
    pub(crate) fn note(&self, name: &str) {
        let mut names = self.0.lock();
        if names.len() < MAX_UNGRANTED_NAMES {
            names.insert(name.chars().take(MAX_NAME_CHARACTERS).collect());
        }
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.0.lock().iter().cloned().collect()
    }
}

impl GuestGrants {
    /// Models, and nothing else of the world.
    pub fn new(
        models: Arc<HashMap<String, Arc<LoadedModel>>>,
        loader: Arc<LoadedModels>,
        sink: Arc<dyn ReportSink>,
    ) -> Self {
        let (capabilities, ungranted_models) = (Arc::default(), Arc::default());
        Self { models, loader, sink, capabilities, ungranted_models }
    }
}

/// The artifacts a step may read, and where it writes.
pub(crate) struct ArtifactAccess {
    pub(crate) store: Arc<dyn BlobStore>,
    /// Sizes of the artifacts handed in.
    pub(crate) handed_in: HashMap<Digest, u64>,
}

/// The data of a wasmtime store.
pub(crate) struct GuestState {
    wasi: WasiCtx,
    pub(crate) table: ResourceTable,
    pub(crate) meter: ResourceMeter,
    /// What the host holds for it beside its own memory.
    pub(crate) memory: HostMemory,
    pub(crate) grants: GuestGrants,
    pub(crate) artifacts: Option<ArtifactAccess>,
    pub(crate) stdout: LineWriter,
    pub(crate) stderr: LineWriter,
    /// When the call that runs now must have ended.
    pub(crate) deadline: Instant,
    /// How long a call may take.
    pub(crate) timeout: Duration,
    /// The deadlines of the requests that run now, in an instance that works on several.
    pub(crate) running: Option<RunningRequests>,
    http: WasiHttpCtx,
    outbound: OutboundHttp,
    /// Whether it is a step, whose results must be the same wherever it runs.
    pub(crate) hermetic: bool,
    /// Its time, if it is a step.
    pub(crate) step_clock: StepClock,
    /// Its files, if it is a step.
    pub(crate) files: StepFiles,
    /// How long it may compute on its thread before it is migrated.
    pub(crate) time_slice: TimeSlice,
    /// How urgent its inferences are.
    pub(crate) priority: RequestPriority,
    /// What the current call has used of inference.
    pub(crate) usage: InferenceUsage,
    /// Holds a copy for each inference in flight.
    in_flight: Arc<()>,
    /// How many there may be.
    max_in_flight: usize,
}

/// The reservation of an inference in flight; released when it is dropped.
pub(crate) struct InFlightInference(#[allow(dead_code)] Arc<()>);

/// The deadlines of the requests that an instance works on.
pub(crate) type RunningRequests = Arc<Mutex<Vec<SharedDeadline>>>;

/// A deadline that can be moved; clones share it.
#[derive(Clone)]
pub(crate) struct SharedDeadline(Arc<Mutex<Instant>>);

impl SharedDeadline {
    pub(crate) fn new(end: Instant) -> Self {
        Self(Arc::new(Mutex::new(end)))
    }

    pub(crate) fn set(&self, end: Instant) {
        *self.0.lock() = end;
    }

    pub(crate) fn get(&self) -> Instant {
        *self.0.lock()
    }

    /// Whether a caller still holds it too, waiting for the answer or for the rest of it.
    pub(crate) fn is_held(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

/// What a call has used of inference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InferenceUsage {
    /// Inferences that gave an answer.
    pub inferences: u32,
    /// Time spent waiting for a thread, over all of them.
    pub queue_time: Duration,
    /// Time spent computing, over all of them.
    pub compute_time: Duration,
    /// The largest number of calls that ran in one batch with one of them, itself included.
    pub max_batch_size: usize,
    /// The largest number of inferences in flight at the same time.
    pub max_in_flight: usize,
}

/// An inference must end a tenth of the remaining time before its call does, and no more than this: so that
/// the guest gets the error and can still answer.
const ANSWER_RESERVE: Duration = Duration::from_millis(250);

impl GuestState {
    pub(crate) fn new(grants: GuestGrants, limits: &InstanceLimits, seed: Option<&[u8; 32]>) -> Self {
        let mut builder = WasiCtxBuilder::new();
        grants.capabilities.environment.iter().for_each(|(name, value)| {
            builder.env(name, value);
        });
        Self::with(builder, grants, limits, seed)
    }

    /// As [`GuestState::new`], with what `builder` gives beside: files, arguments, environment.
    pub(crate) fn with(
        mut builder: WasiCtxBuilder,
        grants: GuestGrants,
        limits: &InstanceLimits,
        seed: Option<&[u8; 32]>,
    ) -> Self {
        let stdout = LineWriter::new(StandardStream::Stdout, grants.sink.clone());
        let stderr = LineWriter::new(StandardStream::Stderr, grants.sink.clone());
        builder.stdout(stdout.clone()).stderr(stderr.clone());
        Self::with_output(builder, grants, limits, seed, stdout, stderr)
    }

    /// As [`GuestState::with`], with the standard streams of this process.
    pub(crate) fn with_process_output(
        mut builder: WasiCtxBuilder,
        grants: GuestGrants,
        limits: &InstanceLimits,
        seed: Option<&[u8; 32]>,
    ) -> Self {
        builder.inherit_stdio();
        let lines = |stream| LineWriter::new(stream, grants.sink.clone());
        let (stdout, stderr) = (lines(StandardStream::Stdout), lines(StandardStream::Stderr));
        Self::with_output(builder, grants, limits, seed, stdout, stderr)
    }

    fn with_output(
        mut builder: WasiCtxBuilder,
        grants: GuestGrants,
        limits: &InstanceLimits,
        seed: Option<&[u8; 32]>,
        stdout: LineWriter,
        stderr: LineWriter,
    ) -> Self {
        let step_clock = StepClock::default();
        match seed {
            Some(seed) => hermetic::make_deterministic(&mut builder, seed, step_clock.clone()),
            None => {
                builder.wall_clock(hermetic::HostClock);
            }
        }
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.handles);
        let meter = ResourceMeter::new(limits);
        let deadline = Instant::now() + limits.timeout;
        let outbound = OutboundHttp::new(grants.capabilities.clone(), grants.sink.clone());
        Self {
            wasi: builder.build(),
            table,
            meter,
            memory: HostMemory::new(limits.memory),
            grants,
            artifacts: None,
            stdout,
            stderr,
            deadline,
            timeout: limits.timeout,
            running: None,
            http: WasiHttpCtx::new(),
            outbound,
            hermetic: seed.is_some(),
            step_clock,
            files: StepFiles::new(OutputLimits::NONE),
            time_slice: TimeSlice::default(),
            priority: RequestPriority::default(),
            usage: InferenceUsage::default(),
            in_flight: Arc::default(),
            max_in_flight: limits.handles,
        }
    }

    /// Its files, and what wasmtime has of them.
    pub(crate) fn files_and_wasi(&mut self) -> (&mut StepFiles, WasiFilesystemCtxView<'_>) {
        let inner = WasiFilesystemCtxView { ctx: self.wasi.filesystem(), table: &mut self.table };
        (&mut self.files, inner)
    }

    /// Reserves one more inference in flight.
    ///
    /// Fails with `Exhausted` when as many are in flight as there may be handles.
    pub(crate) fn reserve_inference(&mut self) -> eyot_core::Result<InFlightInference> {
        let before = self.in_flight();
        if before >= self.max_in_flight {
            let message = format!("this instance has {before} inferences under way already");
            return Err(Error::exhausted(message)
                .hint("wait for some of them first, or raise the limit of its handles"));
        }
        self.usage.max_in_flight = self.usage.max_in_flight.max(before + 1);
        Ok(InFlightInference(self.in_flight.clone()))
    }

    /// Inferences in flight.
    pub(crate) fn in_flight(&self) -> usize {
        Arc::strong_count(&self.in_flight) - 1
    }

    /// When all that runs now must have ended.
    pub(crate) fn end(&self) -> Instant {
        let latest = |running: &RunningRequests| running.lock().iter().map(SharedDeadline::get).max();
        self.running.as_ref().and_then(latest).unwrap_or(self.deadline)
    }

    /// When an inference that starts now must have ended.
    pub(crate) fn inference_deadline(&self) -> Instant {
        let end = self.end();
        let left = end.saturating_duration_since(Instant::now());
        end - (left / 10).min(ANSWER_RESERVE)
    }

    /// A store around this guest: limited, and interrupted at every tick of the engine's clock so
    /// that a guest which computes without end neither holds its thread nor passes its deadline. One whose time
    /// slice is not used up continues.
    pub(crate) fn into_store(self, engine: &wasmtime::Engine) -> Store<GuestState> {
        let mut store = Store::new(engine, self);
        store.limiter(|guest| &mut guest.meter);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|context| {
            if Instant::now() >= context.data().end() {
                return Err(wasmtime::Trap::Interrupt.into());
            }
            let with_output = context.data().time_slice.is_used_up();
            Ok(if with_output { UpdateDeadline::Yield(1) } else { UpdateDeadline::Continue(1) })
        });
        store
    }
}

impl WasiView for GuestState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for GuestState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.outbound, table: &mut self.table, ctx: &mut self.http }
    }
}
