//! What one instance has: its WASI, its handles, its limits and what it was granted.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use eyot_core::{Digest, Error};
use eyot_nn::{LoadedModel, Models, Priority};
use eyot_store::BlobStore;
use parking_lot::Mutex;
use wasmtime::component::ResourceTable;
use wasmtime::{Store, UpdateDeadline};
use wasmtime_wasi::filesystem::WasiFilesystemCtxView;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::capabilities::outbound_http::Outbound;
use crate::files::{OutputLimits, StepFiles};
use crate::lane::Pace;
use crate::limits::Meter;
use crate::logs::{Lines, Sink, Stream};
use crate::memory::HostMemory;
use crate::reach::Reach;
use crate::step_clock::StepClock;
use crate::{Limits, hermetic};

/// What a component may reach. Nothing that is not named here exists for it.
#[derive(Clone)]
pub struct Grants {
    /// Models by the name under which the component opens them.
    pub models: Arc<HashMap<String, Arc<LoadedModel>>>,
    /// Loads the models that a component brings itself as bytes or artifacts.
    pub loader: Arc<Models>,
    /// Where lines, metrics and tags go.
    pub sink: Arc<dyn Sink>,
    /// What it may reach beside models.
    pub reach: Arc<Reach>,
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

impl Grants {
    /// Models, and nothing else of the world.
    pub fn new(
        models: Arc<HashMap<String, Arc<LoadedModel>>>,
        loader: Arc<Models>,
        sink: Arc<dyn Sink>,
    ) -> Self {
        let (reach, ungranted_models) = (Arc::default(), Arc::default());
        Self { models, loader, sink, reach, ungranted_models }
    }
}

/// The artifacts a step may read, and where it writes.
pub(crate) struct Artifacts {
    pub(crate) store: Arc<dyn BlobStore>,
    /// Sizes of the artifacts handed in.
    pub(crate) handed_in: HashMap<Digest, u64>,
}

/// The data of a wasmtime store.
pub(crate) struct Guest {
    wasi: WasiCtx,
    pub(crate) table: ResourceTable,
    pub(crate) meter: Meter,
    /// What the host holds for it beside its own memory.
    pub(crate) memory: HostMemory,
    pub(crate) grants: Grants,
    pub(crate) artifacts: Option<Artifacts>,
    pub(crate) stdout: Lines,
    pub(crate) stderr: Lines,
    /// When the call that runs now must have ended.
    pub(crate) deadline: Instant,
    /// How long a call may take.
    pub(crate) timeout: Duration,
    /// Where the requests that run now stand, in an instance that works on several.
    pub(crate) running: Option<Running>,
    http: WasiHttpCtx,
    outbound: Outbound,
    /// Whether it is a step, whose results must be the same wherever it runs.
    pub(crate) hermetic: bool,
    /// Its time, if it is a step.
    pub(crate) step_clock: StepClock,
    /// Its files, if it is a step.
    pub(crate) files: StepFiles,
    /// How long it has held the thread that it computes on.
    pub(crate) pace: Pace,
    /// How urgent its inferences are.
    pub(crate) priority: Priority,
    /// What the call that runs now has spent on inference.
    pub(crate) spent: Spent,
    /// Holds a copy for each inference under way.
    under_way: Arc<()>,
    /// How many there may be.
    places: usize,
}

/// The place of an inference among those under way; free again when it is dropped.
pub(crate) struct UnderWay(#[allow(dead_code)] Arc<()>);

/// The ends of the requests that an instance works on.
pub(crate) type Running = Arc<Mutex<Vec<Deadline>>>;

/// When something must have ended; all clones are moved together.
#[derive(Clone)]
pub(crate) struct Deadline(Arc<Mutex<Instant>>);

impl Deadline {
    pub(crate) fn new(end: Instant) -> Self {
        Self(Arc::new(Mutex::new(end)))
    }

    pub(crate) fn set(&self, end: Instant) {
        *self.0.lock() = end;
    }

    pub(crate) fn get(&self) -> Instant {
        *self.0.lock()
    }

    /// Whether another holds it too: who waits for the answer, or for the rest of it.
    pub(crate) fn is_held(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

/// What a call has spent on inference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Inferences that gave an answer.
    pub inferences: u32,
    /// Waiting for a thread, in all of them together.
    pub queued: Duration,
    /// Computing, in all of them together.
    pub computed: Duration,
    /// Calls that ran together with one of them at most, itself included.
    pub batch: usize,
    /// Inferences that were under way at once at most.
    pub at_once: usize,
}

/// An inference must end a tenth of what is left before the call does, and no more than this: so that
/// the guest hears of it and can still answer.
const GRACE: Duration = Duration::from_millis(250);

impl Guest {
    pub(crate) fn new(grants: Grants, limits: &Limits, seed: Option<&[u8; 32]>) -> Self {
        let mut builder = WasiCtxBuilder::new();
        grants.reach.environment.iter().for_each(|(name, value)| {
            builder.env(name, value);
        });
        Self::with(builder, grants, limits, seed)
    }

    /// As [`Guest::new`], with what `builder` gives beside: files, arguments, environment.
    pub(crate) fn with(
        mut builder: WasiCtxBuilder,
        grants: Grants,
        limits: &Limits,
        seed: Option<&[u8; 32]>,
    ) -> Self {
        let stdout = Lines::new(Stream::Stdout, grants.sink.clone());
        let stderr = Lines::new(Stream::Stderr, grants.sink.clone());
        builder.stdout(stdout.clone()).stderr(stderr.clone());
        Self::over(builder, grants, limits, seed, stdout, stderr)
    }

    /// As [`Guest::with`], with the standard streams of this process.
    pub(crate) fn attached(
        mut builder: WasiCtxBuilder,
        grants: Grants,
        limits: &Limits,
        seed: Option<&[u8; 32]>,
    ) -> Self {
        builder.inherit_stdio();
        let lines = |stream| Lines::new(stream, grants.sink.clone());
        let (stdout, stderr) = (lines(Stream::Stdout), lines(Stream::Stderr));
        Self::over(builder, grants, limits, seed, stdout, stderr)
    }

    fn over(
        mut builder: WasiCtxBuilder,
        grants: Grants,
        limits: &Limits,
        seed: Option<&[u8; 32]>,
        stdout: Lines,
        stderr: Lines,
    ) -> Self {
        let step_clock = StepClock::default();
        match seed {
            Some(seed) => hermetic::seal(&mut builder, seed, step_clock.clone()),
            None => {
                builder.wall_clock(hermetic::Present);
            }
        }
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.handles);
        let meter = Meter::new(limits);
        let deadline = Instant::now() + limits.timeout;
        let outbound = Outbound::new(grants.reach.clone(), grants.sink.clone());
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
            pace: Pace::default(),
            priority: Priority::default(),
            spent: Spent::default(),
            under_way: Arc::default(),
            places: limits.handles,
        }
    }

    /// Its files, and what wasmtime has of them.
    pub(crate) fn files_and_wasi(&mut self) -> (&mut StepFiles, WasiFilesystemCtxView<'_>) {
        let inner = WasiFilesystemCtxView { ctx: self.wasi.filesystem(), table: &mut self.table };
        (&mut self.files, inner)
    }

    /// A place for one more inference.
    ///
    /// Fails with `Exhausted` when as many are under way as there may be handles.
    pub(crate) fn enter(&mut self) -> eyot_core::Result<UnderWay> {
        let before = self.under_way();
        if before >= self.places {
            let message = format!("this instance has {before} inferences under way already");
            return Err(Error::exhausted(message)
                .hint("wait for some of them first, or raise the limit of its handles"));
        }
        self.spent.at_once = self.spent.at_once.max(before + 1);
        Ok(UnderWay(self.under_way.clone()))
    }

    /// Inferences under way.
    pub(crate) fn under_way(&self) -> usize {
        Arc::strong_count(&self.under_way) - 1
    }

    /// When all that runs now must have ended.
    pub(crate) fn end(&self) -> Instant {
        let latest = |running: &Running| running.lock().iter().map(Deadline::get).max();
        self.running.as_ref().and_then(latest).unwrap_or(self.deadline)
    }

    /// When an inference that starts now must have ended.
    pub(crate) fn inference_deadline(&self) -> Instant {
        let end = self.end();
        let left = end.saturating_duration_since(Instant::now());
        end - (left / 10).min(GRACE)
    }

    /// A store around this guest: limited, and interrupted at every tick of the engine's clock so
    /// that a guest which computes without end neither holds its thread nor passes its deadline. One that got
    /// its thread only just now goes on.
    pub(crate) fn into_store(self, engine: &wasmtime::Engine) -> Store<Guest> {
        let mut store = Store::new(engine, self);
        store.limiter(|guest| &mut guest.meter);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|context| {
            if Instant::now() >= context.data().end() {
                return Err(wasmtime::Trap::Interrupt.into());
            }
            let over = context.data().pace.is_over();
            Ok(if over { UpdateDeadline::Yield(1) } else { UpdateDeadline::Continue(1) })
        });
        store
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for Guest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.outbound, table: &mut self.table, ctx: &mut self.http }
    }
}
