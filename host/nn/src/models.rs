use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use eyot_core::{Digest, Error, Kind, Result};
use eyot_store::BlobStore;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::{Backends, Model, NamedTensor, RanOn, Settings, Signature, Tensor};

/// The loaded models of a process: one per digest and settings, for as long as somebody holds it.
pub struct Models {
    store: Arc<dyn BlobStore>,
    backends: Backends,
    /// As many inferences at once as there are threads for them.
    running: Arc<Semaphore>,
    loaded: Mutex<HashMap<(Digest, Settings), Arc<Slot>>>,
}

/// Many who ask for a model at once wait for one load.
type Slot = tokio::sync::Mutex<Weak<LoadedModel>>;

impl Models {
    /// Models out of `store`, run on `threads` threads.
    pub fn new(store: Arc<dyn BlobStore>, backends: Backends, threads: usize) -> Arc<Self> {
        let running = Arc::new(Semaphore::new(threads.max(1)));
        Arc::new(Self { store, backends, running, loaded: Mutex::default() })
    }

    /// What models run on here.
    pub fn backends(&self) -> &Backends {
        &self.backends
    }

    /// The model of that digest.
    ///
    /// Fails as [`crate::Backend::load`] does, with what each back end said, and as the store does.
    pub async fn load(&self, digest: Digest, settings: Settings) -> Result<Arc<LoadedModel>> {
        self.shared(digest, settings, async { self.store.get(&digest).await }).await
    }

    /// The model of those bytes, shared with everyone who has the same bytes.
    pub async fn load_bytes(&self, bytes: Bytes, settings: Settings) -> Result<Arc<LoadedModel>> {
        self.shared(Digest::of(&bytes), settings, async { Ok(bytes) }).await
    }

    async fn shared(
        &self,
        digest: Digest,
        settings: Settings,
        bytes: impl Future<Output = Result<Bytes>>,
    ) -> Result<Arc<LoadedModel>> {
        let key = (digest, settings);
        let slot = self.loaded.lock().entry(key).or_default().clone();
        let mut slot = slot.lock().await;
        if let Some(model) = slot.upgrade() {
            return Ok(model);
        }
        let (backends, bytes) = (self.backends.clone(), bytes.await?);
        let loaded = tokio::task::spawn_blocking(move || prefer(&backends, &bytes, settings)).await;
        let (model, ran_on) =
            loaded.map_err(|error| Error::internal("a model's load ended early").because(error))??;
        let (running, nanoseconds) = (self.running.clone(), AtomicU64::new(u64::MAX));
        let model = Arc::new(LoadedModel { digest, model: model.into(), ran_on, running, nanoseconds });
        *slot = Arc::downgrade(&model);
        self.loaded.lock().retain(|other, slot| {
            *other == key || slot.try_lock().map_or(true, |model| model.strong_count() > 0)
        });
        Ok(model)
    }
}

/// The first back end that takes the model. What is wrong with the model itself is said once.
fn prefer(backends: &Backends, bytes: &Bytes, settings: Settings) -> Result<(Box<dyn Model>, RanOn)> {
    let mut refusals: Vec<Error> = Vec::new();
    for backend in backends.list() {
        match backend.load(bytes, settings) {
            Ok(model) => {
                let (name, version) = (backend.name().to_owned(), backend.version().to_owned());
                return Ok((model, RanOn { backend: name, version, target: settings.target }));
            }
            Err(error) if error.kind() == Kind::Invalid => return Err(error),
            Err(error) => refusals.push(error),
        }
    }
    let first = refusals.drain(..).next();
    Err(first.unwrap_or_else(|| Error::unavailable("there is no back end")))
}

/// A model that is ready to run.
pub struct LoadedModel {
    digest: Digest,
    model: Arc<dyn Model>,
    ran_on: RanOn,
    running: Arc<Semaphore>,
    /// What a run took lately; `u64::MAX` until the first.
    nanoseconds: AtomicU64,
}

/// A run shorter than this stays on the thread that asked: handing it to another costs more.
const SHORT: Duration = Duration::from_micros(100);

impl LoadedModel {
    /// The digest of the model's bytes.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Inputs and outputs as the file declares them.
    pub fn signature(&self) -> &Signature {
        self.model.signature()
    }

    /// What it runs on.
    pub fn ran_on(&self) -> RanOn {
        self.ran_on.clone()
    }

    /// Runs once: inputs by name in any order, all outputs in the signature's.
    ///
    /// Fails with `Invalid` for inputs that do not fit, `Failed` when the model itself fails.
    pub async fn infer(&self, inputs: Vec<NamedTensor>) -> Result<Vec<NamedTensor>> {
        let inputs = self.signature().check_inputs(inputs)?;
        let inputs: Vec<Tensor> = inputs.into_iter().map(|input| input.tensor).collect();
        let outputs = if self.nanoseconds.load(Ordering::Relaxed) < SHORT.as_nanos() as u64 {
            self.timed(&inputs)?
        } else {
            self.elsewhere(inputs).await?
        };
        let named = self.signature().outputs.iter().zip(outputs);
        Ok(named.map(|(spec, tensor)| NamedTensor { name: spec.name.clone(), tensor }).collect())
    }

    fn timed(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let started = Instant::now();
        let outputs = self.model.run(inputs);
        self.note(started.elapsed());
        outputs
    }

    /// Runs on a thread that may compute for long, when one is free.
    async fn elsewhere(&self, inputs: Vec<Tensor>) -> Result<Vec<Tensor>> {
        let permit = self.running.clone().acquire_owned().await;
        let permit = permit.map_err(|error| Error::internal("inference has stopped").because(error))?;
        let model = self.model.clone();
        let task = tokio::task::spawn_blocking(move || {
            let started = Instant::now();
            let outputs = model.run(&inputs);
            drop(permit);
            (outputs, started.elapsed())
        });
        let (outputs, took) =
            task.await.map_err(|error| Error::internal("an inference ended early").because(error))?;
        self.note(took);
        outputs
    }

    /// A moving average over about eight runs.
    fn note(&self, took: Duration) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX - 1);
        let before = self.nanoseconds.load(Ordering::Relaxed);
        let now = if before == u64::MAX { took } else { before - before / 8 + took / 8 };
        self.nanoseconds.store(now, Ordering::Relaxed);
    }
}
