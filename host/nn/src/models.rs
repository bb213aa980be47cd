use std::collections::HashMap;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Instant;

use bytes::Bytes;
use eyot_core::config::{self, BackendChoice};
use eyot_core::{ByteCount, Digest, Error, ErrorKind, Result};
use eyot_store::{BlobStore, KeyedLocks};
use parking_lot::Mutex;

use crate::cost::CostModel;
use crate::memory::{MemoryBudget, MemoryReservation, model_memory};
use crate::model_state::{FreshModel, ModelState, ReloadModel, ResidentModel};
use crate::onnx::ExternalData;
use crate::probe_cache::{CachedProbe, ProbeCache, ProbeKey};
use crate::stats::CacheStats;
use crate::threads::InferenceThreads;
use crate::{
    BackendModel, BackendSet, BatchingPolicy, LoadedModel, ModelFiles, ModelSettings, Precision, RanOn,
    RunLimits, StoredModel, batch_probe, difference, independence, onnx,
};

/// The loaded models of a process: one per digest and settings, shared by all who ask for it.
///
/// Those that are not in use stay in memory while there is room. Where there is none, weights are
/// evicted: first of models that nobody holds, then of those used longest ago; never while they run, nor
/// while they are pinned.
pub struct LoadedModels {
    inner: Arc<ModelCache>,
}

/// How models are kept and run.
#[derive(Clone, Copy, Debug)]
pub struct ModelCacheOptions {
    /// Threads that run inferences.
    pub threads: usize,
    /// Bytes that models may take together.
    pub memory: u64,
    /// Inferences that may wait for one model.
    pub queue: usize,
    /// What any run may take.
    pub limits: RunLimits,
    /// How models are loaded by default.
    pub settings: ModelSettings,
    /// How calls are batched by default.
    pub batching: BatchingPolicy,
}

impl From<&config::InferenceSettings> for ModelCacheOptions {
    fn from(config: &config::InferenceSettings) -> Self {
        let threads = match config.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        Self {
            threads,
            memory: model_memory(config),
            queue: config.queue,
            limits: config.into(),
            settings: config.into(),
            batching: config.into(),
        }
    }
}

type ModelKey = (Digest, ModelSettings);

pub(crate) struct ModelCache {
    store: Arc<dyn BlobStore>,
    backends: BackendSet,
    threads: Arc<InferenceThreads>,
    limits: RunLimits,
    settings: ModelSettings,
    batching: BatchingPolicy,
    budget: MemoryBudget,
    began: Instant,
    models: Mutex<HashMap<ModelKey, Arc<ModelState>>>,
    /// Many who ask for a model at once wait for one load.
    loading: KeyedLocks<ModelKey>,
    /// Loads at once: each has a thread, and memory for a model twice.
    loading_slots: tokio::sync::Semaphore,
    loads: AtomicU64,
    evictions: AtomicU64,
    probe_cache: ProbeCache,
}

impl LoadedModels {
    /// Models out of `store`, run on `threads` threads, everything else as by default.
    pub fn new(store: Arc<dyn BlobStore>, backends: BackendSet, threads: usize) -> Arc<Self> {
        let defaults = ModelCacheOptions::from(&config::InferenceSettings::default());
        Self::with(store, backends, ModelCacheOptions { threads, ..defaults })
    }

    /// Models out of `store`.
    pub fn with(store: Arc<dyn BlobStore>, backends: BackendSet, options: ModelCacheOptions) -> Arc<Self> {
        Self::over(store, backends, options, ProbeCache::default())
    }

    /// Models out of `store`, which are not probed again by a process that has the folder
    /// `probe_cache` from an earlier one.
    pub fn with_probe_cache(
        store: Arc<dyn BlobStore>,
        backends: BackendSet,
        options: ModelCacheOptions,
        probe_cache: &Path,
    ) -> Arc<Self> {
        Self::over(store, backends, options, ProbeCache::new(probe_cache))
    }

    fn over(
        store: Arc<dyn BlobStore>,
        backends: BackendSet,
        options: ModelCacheOptions,
        probe_cache: ProbeCache,
    ) -> Arc<Self> {
        let inner = ModelCache {
            store,
            backends,
            threads: Arc::new(InferenceThreads::new(options.threads, options.queue)),
            limits: options.limits,
            settings: options.settings,
            batching: options.batching,
            budget: MemoryBudget::new(options.memory),
            began: Instant::now(),
            models: Mutex::default(),
            loading: KeyedLocks::default(),
            loading_slots: tokio::sync::Semaphore::new(options.threads.max(MIN_LOADING_SLOTS)),
            loads: AtomicU64::new(0),
            evictions: AtomicU64::new(0),
            probe_cache,
        };
        Arc::new(Self { inner: Arc::new(inner) })
    }

    /// What models run on here.
    pub fn backends(&self) -> &BackendSet {
        &self.inner.backends
    }

    /// The model of that digest, warmed up.
    ///
    /// Fails as [`crate::InferenceBackend::load`] does, with what each back end said, as the store does, and
    /// with `Exhausted` or `TooLarge` when there is no room for it.
    pub async fn load(&self, digest: Digest, settings: ModelSettings) -> Result<Arc<LoadedModel>> {
        self.load_stored(digest.into(), settings).await
    }

    /// The same of a model whose weights may lie beside its file.
    pub async fn load_stored(&self, model: StoredModel, settings: ModelSettings) -> Result<Arc<LoadedModel>> {
        self.inner.shared(model.digest(), settings, ModelSource::Store(model)).await
    }

    /// The model of those bytes, shared with everyone who has the same bytes.
    pub async fn load_bytes(&self, bytes: Bytes, settings: ModelSettings) -> Result<Arc<LoadedModel>> {
        self.load_files(bytes.into(), settings).await
    }

    /// The same of a model whose weights may lie beside its file.
    pub async fn load_files(&self, files: ModelFiles, settings: ModelSettings) -> Result<Arc<LoadedModel>> {
        self.inner.shared(files.digest(), settings, ModelSource::Files(files)).await
    }

    /// Evicts a model's weights now, whatever its settings. The next inference loads it again.
    ///
    /// Fails with `NotFound` when it is not loaded, `Conflict` when it is pinned or runs now.
    pub fn unload(&self, digest: &Digest) -> Result<()> {
        let models: Vec<_> = self.inner.all().into_iter().filter(|model| model.digest() == *digest).collect();
        if models.is_empty() {
            return Err(Error::not_found(format!("model {digest} is not loaded")));
        }
        if models.iter().any(|model| model.is_pinned()) {
            return Err(Error::conflict(format!("model {digest} is pinned")));
        }
        // Two are this list's and the store's own.
        if models.iter().any(|model| !model.is_stored() && Arc::strong_count(model) > 2) {
            return Err(Error::conflict(format!("model {digest} is held by the component that brought it")));
        }
        for model in &models {
            if model.is_resident() && model.evict().is_none() {
                return Err(Error::conflict(format!("model {digest} runs now")).hint("try again in a moment"));
            }
        }
        drop(models);
        self.inner.forget();
        Ok(())
    }

    /// Why calls of a model that is loaded are not batched, if they are not.
    pub fn unbatched_reason(&self, digest: &Digest) -> Option<String> {
        let models = self.inner.models.lock();
        let found = models.iter().find(|((loaded, _), _)| loaded == digest);
        found.filter(|(_, model)| !model.is_batchable()).map(|(_, model)| model.batching())
    }

    /// What is loaded, and what has happened so far.
    pub fn stats(&self) -> CacheStats {
        let inner = &self.inner;
        let mut models: Vec<_> =
            inner.all().iter().map(|model| model.stats(inner.threads.waiting(model))).collect();
        models.sort_by_key(|model| model.digest);
        CacheStats {
            budget_bytes: inner.budget.limit(),
            resident_bytes: inner.budget.taken(),
            loads: inner.loads.load(Ordering::Relaxed),
            evictions: inner.evictions.load(Ordering::Relaxed),
            models,
        }
    }
}

/// Where a model's files are.
enum ModelSource {
    Store(StoredModel),
    /// A component loaded them: once evicted they cannot come back.
    Files(ModelFiles),
}

/// One part in this many of the budget is for models that guests load themselves: while they are in use they cannot be
/// evicted, and must not evict everybody else's.
const GUEST_MEMORY_FRACTION: u64 = 4;

/// However few threads there are: one model that is probed for long must not block all other loads.
const MIN_LOADING_SLOTS: usize = 4;

impl ModelCache {
    async fn shared(
        self: &Arc<Self>,
        digest: Digest,
        settings: ModelSettings,
        source: ModelSource,
    ) -> Result<Arc<LoadedModel>> {
        let key = (digest, settings.or(self.settings));
        let _one_at_a_time = self.loading.lock(key).await;
        let found = self.models.lock().get(&key).cloned();
        let shared = match found {
            Some(shared) if shared.is_resident() => {
                if !shared.is_stored() && self.store.size(&digest).await?.is_some() {
                    shared.is_stored_now();
                }
                shared
            }
            Some(shared) if shared.is_stored() => {
                shared.reload().await?;
                shared
            }
            _ => self.load(key, source).await?,
        };
        shared.resident();
        Ok(Arc::new(LoadedModel::new(shared, self.threads.clone(), self.batching)))
    }

    async fn load(self: &Arc<Self>, key: ModelKey, source: ModelSource) -> Result<Arc<ModelState>> {
        let (digest, settings) = key;
        let stored = matches!(source, ModelSource::Store(_));
        let (model, files) = match source {
            ModelSource::Store(model) => {
                let files = model.read(&*self.store).await?;
                (model, files)
            }
            // Should it be stored one day, then as one file.
            ModelSource::Files(files) => (digest.into(), files),
        };
        let mut reservation = self.reserve(files.bytes(), stored)?;
        let fresh = self.fresh(digest, files, settings, None).await?;
        self.reserve_further(&mut reservation, &fresh, stored)?;
        let cache: Weak<dyn ReloadModel> = Arc::<Self>::downgrade(self);
        let shared = ModelState::new(model, settings, fresh, reservation, (cache, self.limits), stored);
        self.models.lock().insert(key, shared.clone());
        Ok(shared)
    }

    /// The weights of a model that was evicted, on the back end it was on.
    async fn read_again(&self, model: &ModelState) -> Result<ResidentModel> {
        let gone = |error: Error| {
            let missing = error.kind() == ErrorKind::NotFound;
            let error = error.context(format!("model {} cannot be loaded again", model.digest()));
            // The caller asked for an inference, and cannot help that the store lost something.
            if missing { error.with_kind(ErrorKind::Unavailable) } else { error }
        };
        let files = model.source().read(&*self.store).await.map_err(gone)?;
        let mut reservation = self.reserve(files.bytes(), true)?;
        let backend = model.ran_on().library().to_owned();
        let fresh = self.fresh(model.digest(), files, model.settings(), Some(backend)).await.map_err(gone)?;
        self.reserve_further(&mut reservation, &fresh, true)?;
        Ok(ResidentModel { model: fresh.model, reservation })
    }

    /// Loads and warms up, away from the async threads.
    async fn fresh(
        &self,
        digest: Digest,
        files: ModelFiles,
        settings: ModelSettings,
        backend: Option<String>,
    ) -> Result<FreshModel> {
        let place = self.loading_slots.acquire().await;
        let _place = place.map_err(|error| Error::internal("no model is loaded any more").because(error))?;
        let (backends, probe_cache) = (self.backends.clone(), self.probe_cache.clone());
        let loading = tokio::task::spawn_blocking(move || {
            let (model, mut ran_on) = prefer(&backends, &files, settings, backend.as_deref())?;
            if settings.precision != Precision::F32 {
                let exact = ModelSettings { precision: Precision::F32, ..settings };
                let (exact, _) = prefer(&backends, &files, exact, Some(ran_on.library()))?;
                ran_on.difference = Some(difference::measure(&*model, &*exact)?);
            }
            let unproved = independence::prove(&onnx::parse_files(&files, ExternalData::Kept)?.proto).err();
            drop(files);
            let key = ProbeKey::new(&digest, &settings, &ran_on);
            let (probe_result, cost) = match probe_cache.recall(&key) {
                // What is proved or not is of this process, whatever another was of the opinion.
                Some(CachedProbe { probe_result, cost }) if probe_result.may_be_of(unproved.is_none()) => {
                    batch_probe::first_run(&*model);
                    (probe_result, cost)
                }
                _ => {
                    let cost = CostModel::default();
                    let probe_result =
                        batch_probe::warm_up(&*model, &cost, batch_probe::PROBE_BUDGET, unproved.is_none());
                    // There was no time, or nothing ran: perhaps there is next time.
                    if probe_result != batch_probe::ProbeResult::Unprobed {
                        probe_cache.keep(&key, probe_result, &cost);
                    }
                    (probe_result, cost)
                }
            };
            Ok::<_, Error>(FreshModel { model, ran_on, cost, probe_result, unproved })
        });
        let fresh =
            loading.await.map_err(|error| Error::internal("a model's load ended early").because(error))??;
        self.loads.fetch_add(1, Ordering::Relaxed);
        Ok(fresh)
    }

    /// Reserves that many bytes, and evicts others where that must be.
    fn reserve(&self, bytes: u64, stored: bool) -> Result<MemoryReservation> {
        let limit = self.budget.limit();
        let size = |bytes| ByteCount(bytes).to_string();
        if bytes > limit {
            let message = format!("a model of {} is larger than the memory for models", size(bytes));
            return Err(
                Error::too_large(message).hint(format!("inference.memory is {}; raise it", size(limit)))
            );
        }
        while !stored && self.guest_loaded_bytes() + bytes > limit / GUEST_MEMORY_FRACTION {
            if !self.evict_one(|model| !model.is_stored()) {
                let message = "the memory for models that components bring themselves is taken";
                return Err(Error::exhausted(message).hint(format!(
                    "it is a quarter of inference.memory, which is {}; push the model and deploy with it",
                    size(limit)
                )));
            }
        }
        loop {
            if let Some(reservation) = self.budget.take(bytes) {
                return Ok(reservation);
            }
            if !self.evict_one(|_| true) {
                let message =
                    format!("there is no room for a model of {}: all others run or are pinned", size(bytes));
                return Err(Error::exhausted(message).hint(format!(
                    "inference.memory is {}; raise it, or try again in a moment",
                    size(limit)
                )));
            }
        }
    }

    /// Reserves more, for what a model takes beside its file, which is known once it is loaded.
    fn reserve_further(
        &self,
        reservation: &mut MemoryReservation,
        fresh: &FreshModel,
        stored: bool,
    ) -> Result<()> {
        match fresh.model.further_bytes() {
            0 => {}
            bytes => reservation.absorb(self.reserve(bytes, stored)?),
        }
        Ok(())
    }

    /// Bytes of models that cannot be loaded again.
    fn guest_loaded_bytes(&self) -> u64 {
        self.all().iter().filter(|model| !model.is_stored()).map(|model| model.bytes()).sum()
    }

    /// Evicts one model: one that is not in use before one that is, then the least recently used. Whether there
    /// was any.
    fn evict_one(&self, choose: impl Fn(&ModelState) -> bool) -> bool {
        let mut models = self.models.lock();
        let mut candidates: Vec<(bool, u64, ModelKey)> = models
            .iter()
            .filter(|(_, model)| choose(model) && model.is_resident() && !model.is_pinned())
            .map(|(key, model)| (Arc::strong_count(model) > 1, model.used(), *key))
            // Weights that somebody holds and that are nowhere else cannot be put away.
            .filter(|(held, _, key)| !held || models.get(key).is_some_and(|model| model.is_stored()))
            .collect();
        candidates.sort_by_key(|(held, used, _)| (*held, *used));
        for (held, _, key) in candidates {
            let Some(weights) = models.get(&key).and_then(|model| model.evict()) else { continue };
            let forgotten = if held { None } else { models.remove(&key) };
            // Freeing them takes a while, in which others may ask for models.
            drop(models);
            drop((weights, forgotten));
            self.evictions.fetch_add(1, Ordering::Relaxed);
            tracing::info!(model = %key.0, "its weights are put away to make room");
            return true;
        }
        false
    }

    /// Forgets models that are not in use and whose weights are evicted.
    fn forget(&self) {
        self.models.lock().retain(|_, model| Arc::strong_count(model) > 1 || model.is_resident());
    }

    fn all(&self) -> Vec<Arc<ModelState>> {
        self.models.lock().values().cloned().collect()
    }
}

impl ReloadModel for ModelCache {
    fn elapsed_milliseconds(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn reload<'a>(
        &'a self,
        model: &'a ModelState,
    ) -> Pin<Box<dyn Future<Output = Result<ResidentModel>> + Send + 'a>> {
        Box::pin(self.read_again(model))
    }
}

/// The first back end that takes the model, of all or of those that are asked for. What is wrong with
/// the model itself is said once.
fn prefer(
    backends: &BackendSet,
    files: &ModelFiles,
    settings: ModelSettings,
    name: Option<&str>,
) -> Result<(Box<dyn BackendModel>, RanOn)> {
    let wanted = name.or(match settings.backend {
        BackendChoice::Auto => None,
        named => Some(named.as_str()),
    });
    let mut refusals: Vec<Error> = Vec::new();
    for backend in backends.list().iter().filter(|backend| wanted.is_none_or(|name| name == backend.name())) {
        match backend.load_files(files, settings) {
            Ok(model) => {
                let ran_on = RanOn::new(&**backend, &*model, settings);
                return Ok((model, ran_on));
            }
            Err(error) if error.kind() == ErrorKind::Invalid => return Err(error),
            Err(error) => refusals.push(error),
        }
    }
    let first = refusals.into_iter().next();
    Err(first.unwrap_or_else(|| {
        let name = wanted.unwrap_or("any");
        Error::unavailable(format!("back end '{name}' is not here")).hint("eyot backend list")
    }))
}

#[cfg(test)]
mod tests;
