use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use eyot_core::{Digest, Error, Result, ResultExt};
use eyot_store::{BlobStore, KeyedLocks};
use parking_lot::Mutex;
use wasmtime::{Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::background_executor::BackgroundExecutor;
use crate::cache::CodeCache;
use crate::capabilities::needs_event_loop;
use crate::component::{CompiledComponent, Component};
use crate::execution_mode::{ExecutionMode, ProfileKind, asks_for_concurrency};
use crate::fault;
use crate::profile::EngineProfile;
use crate::unoffered::with_released_names;

/// Where compiled code is kept.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// A folder of this user's own.
    pub cache: PathBuf,
}

/// The engine of a process. Cheap to clone.
#[derive(Clone)]
pub struct Engine(Arc<EngineState>);

struct EngineState {
    plain: EngineProfile,
    concurrent: EngineProfile,
    hermetic: EngineProfile,
    cache: CodeCache,
    /// One compiled component for each digest and mode, for as long as it is used.
    loaded: Mutex<HashMap<(Digest, ExecutionMode), Weak<CompiledComponent>>>,
    /// Concurrent loads of a component wait for one compilation.
    loading: KeyedLocks<(Digest, ExecutionMode)>,
    pooling: bool,
}

/// How often a running guest checks its deadline, and yields its thread.
const TICK_INTERVAL: Duration = Duration::from_millis(10);
/// How often one that serves does so while calls come.
const ACTIVE_TICK_INTERVAL: Duration = Duration::from_millis(1);
/// Address space that the pool reserves for memories; a machine that refuses it gets no pool.
const POOL_SLOTS: u32 = 1000;
const SLOT_BYTES: usize = 4 << 30;

impl Engine {
    /// Starts all configurations and the clock that interrupts guests.
    ///
    /// Fails when the cache folder cannot be made or the processor lacks what wasmtime needs.
    pub fn new(options: &EngineOptions) -> Result<Self> {
        let cache = CodeCache::open(&options.cache)?;
        let background_executor = Arc::<BackgroundExecutor>::default();
        let (plain, pooling) =
            serving(ProfileKind::Plain, &background_executor).map_err(|error| start(&error))?;
        let (concurrent, _) =
            serving(ProfileKind::Concurrent, &background_executor).map_err(|error| start(&error))?;
        let hermetic = EngineProfile::new(&hermetic(), ProfileKind::Hermetic, &background_executor)
            .map_err(|error| start(&error))?;
        let (loaded, loading) = (Mutex::default(), KeyedLocks::default());
        let inner = EngineState { plain, concurrent, hermetic, cache, loaded, loading, pooling };
        let [plain, concurrent, hermetic] =
            ProfileKind::ALL.map(|profile_kind| inner.profile(profile_kind).engine.weak());
        let inner = Arc::new(inner);
        let ticker = std::thread::Builder::new().name("eyot-epochs".to_owned());
        ticker
            .spawn(move || tick(&[plain, concurrent], &hermetic, &background_executor))
            .context(|| "cannot start the clock of the engine".to_owned())?;
        Ok(Self(inner))
    }

    /// The threads for long work.
    pub fn background_executor(&self) -> Arc<BackgroundExecutor> {
        self.0.plain.background_executor.clone()
    }

    /// Whether instances come out of a pool; if not, the machine's address space is too small.
    pub fn pooling(&self) -> bool {
        self.0.pooling
    }

    /// The component of that digest, compiled for `mode`: from memory, from disk, or now.
    /// Concurrent loads wait for one compilation.
    ///
    /// Fails when the blob is missing or damaged, is no component, or imports what is not offered.
    pub async fn load(
        &self,
        store: &dyn BlobStore,
        digest: Digest,
        mode: ExecutionMode,
    ) -> Result<Component> {
        let key = (digest, mode);
        let _one_at_a_time = self.0.loading.lock(key).await;
        let found = self.0.loaded.lock().get(&key).and_then(Weak::upgrade);
        if let Some(parts) = found {
            return Ok(Component::from_compiled(parts));
        }
        let parts = Arc::new(self.prepare(store, digest, mode).await?);
        let mut loaded = self.0.loaded.lock();
        loaded.retain(|_, parts| parts.strong_count() > 0);
        loaded.insert(key, Arc::downgrade(&parts));
        Ok(Component::from_compiled(parts))
    }

    async fn prepare(
        &self,
        store: &dyn BlobStore,
        digest: Digest,
        mode: ExecutionMode,
    ) -> Result<CompiledComponent> {
        let inner = self.0.clone();
        if let Some((component, profile_kind)) = blocking(move || inner.cached(mode, &digest)).await? {
            // The code is here, but what was pushed must still be what it was compiled from.
            if store.size(&digest).await?.is_some() {
                return CompiledComponent::new(self.0.profile(profile_kind), mode, digest, component);
            }
        }
        let bytes = store.get(&digest).await?;
        let inner = self.0.clone();
        blocking(move || {
            let (component, profile_kind) = inner.compile(mode, &digest, &bytes)?;
            CompiledComponent::new(inner.profile(profile_kind), mode, digest, component)
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

impl EngineState {
    fn profile(&self, profile_kind: ProfileKind) -> &EngineProfile {
        match profile_kind {
            ProfileKind::Plain => &self.plain,
            ProfileKind::Concurrent => &self.concurrent,
            ProfileKind::Hermetic => &self.hermetic,
        }
    }

    /// The component as it was compiled before.
    fn cached(
        &self,
        mode: ExecutionMode,
        digest: &Digest,
    ) -> Option<(wasmtime::component::Component, ProfileKind)> {
        let setups: &[ProfileKind] = match mode {
            ExecutionMode::Serving => &[ProfileKind::Plain, ProfileKind::Concurrent],
            ExecutionMode::Hermetic => &[ProfileKind::Hermetic],
        };
        let of = |profile_kind| {
            self.cache.load(&self.profile(profile_kind).engine, digest).map(|found| (found, profile_kind))
        };
        setups.iter().find_map(|profile_kind| of(*profile_kind))
    }

    /// Compiles a component, and keeps the code.
    fn compile(
        &self,
        mode: ExecutionMode,
        digest: &Digest,
        wasm: &[u8],
    ) -> Result<(wasmtime::component::Component, ProfileKind)> {
        fault::check_header(wasm, &digest.to_string())?;
        let wasm = &*with_released_names(wasm);
        let of = |profile_kind| {
            let engine = &self.profile(profile_kind).engine;
            let component = wasmtime::component::Component::from_binary(engine, wasm)?;
            self.cache.store(engine, digest, &component);
            Ok((component, profile_kind))
        };
        let compiled = match mode {
            ExecutionMode::Hermetic => of(ProfileKind::Hermetic),
            ExecutionMode::Serving if asks_for_concurrency(wasm, needs_event_loop) => {
                of(ProfileKind::Concurrent)
            }
            // Refused before anything is compiled, if it is.
            ExecutionMode::Serving => of(ProfileKind::Plain).or_else(|_| of(ProfileKind::Concurrent)),
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
fn serving(
    profile_kind: ProfileKind,
    background_executor: &Arc<BackgroundExecutor>,
) -> wasmtime::Result<(EngineProfile, bool)> {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(POOL_SLOTS)
        .total_core_instances(4 * POOL_SLOTS)
        .total_memories(POOL_SLOTS)
        .total_tables(2 * POOL_SLOTS)
        .total_stacks(POOL_SLOTS)
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
    let concurrent = profile_kind == ProfileKind::Concurrent;
    config.concurrency_support(concurrent).wasm_component_model_async(concurrent);
    let mut pooled = config.clone();
    pooled.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    match EngineProfile::new(&pooled, profile_kind, background_executor) {
        Ok(profile) => Ok((profile, true)),
        Err(error) => {
            tracing::warn!(error = %format!("{error:#}"), "instances are not pooled: the address space is limited");
            EngineProfile::new(&config, profile_kind, background_executor).map(|profile| (profile, false))
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
fn tick(
    serving: &[wasmtime::EngineWeak],
    hermetic: &wasmtime::EngineWeak,
    background_executor: &BackgroundExecutor,
) {
    let advance = |engine: &wasmtime::EngineWeak| engine.upgrade().map(|engine| engine.increment_epoch());
    let mut last = Instant::now();
    loop {
        std::thread::sleep(if background_executor.take_active() {
            ACTIVE_TICK_INTERVAL
        } else {
            TICK_INTERVAL
        });
        let serves = serving.iter().filter_map(advance).count() > 0;
        if last.elapsed() >= TICK_INTERVAL {
            last = Instant::now();
            advance(hermetic);
        }
        // A component holds the engine that compiled it, and none of the others.
        if !serves && hermetic.upgrade().is_none() {
            return;
        }
    }
}
