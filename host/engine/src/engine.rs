use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use eyot_core::{Digest, Error, Result, ResultExt};
use eyot_store::BlobStore;
use parking_lot::Mutex;
use wasmtime::{Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::cache::Cache;
use crate::capabilities::needs_event_loop;
use crate::component::{Component, Parts};
use crate::fault;
use crate::lane::Lane;
use crate::plan::{Mode, Setup, asks_for_concurrency};
use crate::profile::EngineProfile;
use crate::unoffered::released;

/// Where compiled code is kept.
#[derive(Clone, Debug)]
pub struct Options {
    /// A folder of this user's own.
    pub cache: PathBuf,
}

/// The engine of a process. Cheap to clone.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    plain: EngineProfile,
    concurrent: EngineProfile,
    hermetic: EngineProfile,
    cache: Cache,
    /// One compiled component a digest and mode, for as long as somebody holds it.
    loaded: Mutex<HashMap<(Digest, Mode), Arc<Slot>>>,
    pooling: bool,
}

/// Many who ask for a component at once wait for one compilation.
type Slot = tokio::sync::Mutex<Weak<Parts>>;

/// How often a running guest looks at its deadline, and gives its thread to others.
const TICK: Duration = Duration::from_millis(10);
/// How often one that serves does while calls come.
const QUICK_TICK: Duration = Duration::from_millis(1);
/// Address space that the pool reserves for memories; a machine that refuses it gets no pool.
const SLOTS: u32 = 1000;
const SLOT_BYTES: usize = 4 << 30;

impl Engine {
    /// Starts all configurations and the clock that interrupts guests.
    ///
    /// Fails when the cache folder cannot be made or the processor lacks what wasmtime needs.
    pub fn new(options: &Options) -> Result<Self> {
        let cache = Cache::open(&options.cache)?;
        let lane = Arc::<Lane>::default();
        let (plain, pooling) = serving(Setup::Plain, &lane).map_err(|error| start(&error))?;
        let (concurrent, _) = serving(Setup::Concurrent, &lane).map_err(|error| start(&error))?;
        let hermetic =
            EngineProfile::new(&hermetic(), Setup::Hermetic, &lane).map_err(|error| start(&error))?;
        let loaded = Mutex::new(HashMap::new());
        let inner = Inner { plain, concurrent, hermetic, cache, loaded, pooling };
        let [plain, concurrent, hermetic] = Setup::ALL.map(|setup| inner.profile(setup).engine.weak());
        let inner = Arc::new(inner);
        let ticker = std::thread::Builder::new().name("eyot-epochs".to_owned());
        ticker
            .spawn(move || tick(&[plain, concurrent], &hermetic, &lane))
            .context(|| "cannot start the clock of the engine".to_owned())?;
        Ok(Self(inner))
    }

    /// Where work goes that takes long.
    pub fn lane(&self) -> Arc<Lane> {
        self.0.plain.lane.clone()
    }

    /// Whether instances come out of a pool; if not, the machine's address space is too small.
    pub fn pooling(&self) -> bool {
        self.0.pooling
    }

    /// The component of that digest, compiled for `mode`: from memory, from disk, or now. Many who
    /// ask at once wait for one compilation.
    ///
    /// Fails when the blob is missing or damaged, is no component, or imports what is not offered.
    pub async fn load(&self, store: &dyn BlobStore, digest: Digest, mode: Mode) -> Result<Component> {
        let slot = self.0.loaded.lock().entry((digest, mode)).or_default().clone();
        let mut slot = slot.lock().await;
        if let Some(parts) = slot.upgrade() {
            return Ok(Component::from_parts(parts));
        }
        let parts = Arc::new(self.prepare(store, digest, mode).await?);
        *slot = Arc::downgrade(&parts);
        self.0.loaded.lock().retain(|key, slot| {
            *key == (digest, mode) || slot.try_lock().map_or(true, |parts| parts.strong_count() > 0)
        });
        Ok(Component::from_parts(parts))
    }

    async fn prepare(&self, store: &dyn BlobStore, digest: Digest, mode: Mode) -> Result<Parts> {
        let inner = self.0.clone();
        if let Some((component, setup)) = blocking(move || inner.cached(mode, &digest)).await? {
            // The code is here, but what was pushed must still be what it was compiled from.
            if store.size(&digest).await?.is_some() {
                return Parts::new(self.0.profile(setup), mode, digest, component);
            }
        }
        let bytes = store.get(&digest).await?;
        let inner = self.0.clone();
        blocking(move || {
            let (component, setup) = inner.compile(mode, &digest, &bytes)?;
            Parts::new(inner.profile(setup), mode, digest, component)
        })
        .await?
    }

    /// Reads the interface of a component that is not stored, such as a file just built. Compiles
    /// nothing to keep.
    pub fn inspect(&self, wasm: &[u8]) -> Result<eyot_core::interface::Interface> {
        fault::check_header(wasm, "the file")?;
        let component = wasmtime::component::Component::from_binary(&self.0.hermetic.engine, wasm)
            .map_err(|error| fault::invalid_component(&error, "the file"))?;
        crate::reflect::interface(&self.0.hermetic, &component)
    }
}

impl Inner {
    fn profile(&self, setup: Setup) -> &EngineProfile {
        match setup {
            Setup::Plain => &self.plain,
            Setup::Concurrent => &self.concurrent,
            Setup::Hermetic => &self.hermetic,
        }
    }

    /// The component as it was compiled before.
    fn cached(&self, mode: Mode, digest: &Digest) -> Option<(wasmtime::component::Component, Setup)> {
        let setups: &[Setup] = match mode {
            Mode::Serving => &[Setup::Plain, Setup::Concurrent],
            Mode::Hermetic => &[Setup::Hermetic],
        };
        let of = |setup| self.cache.load(&self.profile(setup).engine, digest).map(|found| (found, setup));
        setups.iter().find_map(|setup| of(*setup))
    }

    /// Compiles a component, and keeps the code.
    fn compile(
        &self,
        mode: Mode,
        digest: &Digest,
        wasm: &[u8],
    ) -> Result<(wasmtime::component::Component, Setup)> {
        fault::check_header(wasm, &digest.to_string())?;
        let wasm = &*released(wasm);
        let of = |setup| {
            let engine = &self.profile(setup).engine;
            let component = wasmtime::component::Component::from_binary(engine, wasm)?;
            self.cache.store(engine, digest, &component);
            Ok((component, setup))
        };
        let compiled = match mode {
            Mode::Hermetic => of(Setup::Hermetic),
            Mode::Serving if asks_for_concurrency(wasm, needs_event_loop) => of(Setup::Concurrent),
            // Refused before anything is compiled, if it is.
            Mode::Serving => of(Setup::Plain).or_else(|_| of(Setup::Concurrent)),
        };
        compiled.map_err(|error| fault::invalid_component(&error, &digest.to_string()))
    }
}

/// Runs work that computes for milliseconds away from the async threads.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::internal("a compilation ended early").because(error))
}

fn start(error: &wasmtime::Error) -> Error {
    Error::internal(format!("the wasm engine does not start: {error:#}"))
}

fn common() -> Config {
    let mut config = Config::new();
    config.epoch_interruption(true).wasm_component_model(true);
    config
}

/// The pooled configuration where the address space allows it, else the same without a pool.
fn serving(setup: Setup, lane: &Arc<Lane>) -> wasmtime::Result<(EngineProfile, bool)> {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(SLOTS)
        .total_core_instances(4 * SLOTS)
        .total_memories(SLOTS)
        .total_tables(2 * SLOTS)
        .total_stacks(SLOTS)
        .max_core_instances_per_component(200)
        .max_memories_per_component(32)
        .max_tables_per_component(64)
        .table_elements(100_000)
        .max_component_instance_size(10 << 20)
        .max_core_instance_size(10 << 20)
        .max_memory_size(SLOT_BYTES)
        .linear_memory_keep_resident(1 << 20)
        .table_keep_resident(64 << 10)
        .pagemap_scan(Enabled::Auto);
    let mut config = common();
    let concurrent = setup == Setup::Concurrent;
    config.concurrency_support(concurrent).wasm_component_model_async(concurrent);
    let mut pooled = config.clone();
    pooled.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    match EngineProfile::new(&pooled, setup, lane) {
        Ok(profile) => Ok((profile, true)),
        Err(error) => {
            tracing::warn!(error = %format!("{error:#}"), "instances are not pooled: the address space is limited");
            EngineProfile::new(&config, setup, lane).map(|profile| (profile, false))
        }
    }
}

fn hermetic() -> Config {
    let mut config = common();
    config.wasm_component_model_async(true);
    config.cranelift_nan_canonicalization(true).relaxed_simd_deterministic(true);
    // Threads of a guest would race, and a race is an input that no digest names.
    config.wasm_threads(false);
    config
}

/// The one place that waits for time to pass: it is what makes the time of guests.
#[allow(clippy::disallowed_methods)]
fn tick(serving: &[wasmtime::EngineWeak], hermetic: &wasmtime::EngineWeak, lane: &Lane) {
    let advance = |engine: &wasmtime::EngineWeak| engine.upgrade().map(|engine| engine.increment_epoch());
    let mut last = Instant::now();
    loop {
        std::thread::sleep(if lane.was_stirred() { QUICK_TICK } else { TICK });
        let serves = serving.iter().filter_map(advance).count() > 0;
        if last.elapsed() >= TICK {
            last = Instant::now();
            advance(hermetic);
        }
        // Whoever holds a component of one of them may have let go of the others.
        if !serves && hermetic.upgrade().is_none() {
            return;
        }
    }
}
