//! What a component costs over the model that it calls: `cargo bench -p eyot-engine`.
//!
//! Prints microseconds; run it on a machine with nothing else to do. The guest hands its inputs to the
//! model and answers with the outputs, so that all of the difference is the host's own work.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use eyot_core::config::BackendChoice;
use eyot_engine::{
    Engine, EngineOptions, ExecutionMode, GuestGrants, InstanceLimits, InstancePolicy, NullSink,
    PredictionHandler,
};
use eyot_nn::{BackendSet, InferOptions, LoadedModel, LoadedModels, ModelSettings, NamedTensor, Tensor};
use eyot_store::{BlobStore as _, MemoryStore};

const ROUNDS: usize = 2000;

struct World {
    store: Arc<MemoryStore>,
    engine: Engine,
    models: Arc<LoadedModels>,
    _dir: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::new(&EngineOptions { cache: dir.path().join("compiled") }).unwrap();
        let store: Arc<MemoryStore> = Arc::default();
        let backends = std::env::var_os("EYOT_DATA__BACKENDS").unwrap_or_else(|| "/nowhere".into());
        let backends = BackendSet::open(backends.as_ref(), BackendChoice::Auto).unwrap();
        Self { models: LoadedModels::new(store.clone(), backends, 1), engine, store, _dir: dir }
    }

    async fn handler(&self, model: &Arc<LoadedModel>, instances: InstancePolicy) -> Arc<PredictionHandler> {
        let wasm = wat::parse_str(include_str!("../src/fixtures/through.wat")).unwrap();
        let digest = self.store.put(wasm.into()).await.unwrap().digest;
        let component = self.engine.load(&*self.store, digest, ExecutionMode::Serving).await.unwrap();
        let models = Arc::new([("model".to_owned(), model.clone())].into());
        let grants = GuestGrants::new(models, self.models.clone(), Arc::new(NullSink));
        let limits = InstanceLimits { memory: 64 << 20, timeout: Duration::from_secs(10), handles: 100 };
        PredictionHandler::new(component, grants, limits, instances).await.unwrap()
    }
}

/// p50 and p99 in microseconds.
async fn measure<T>(mut round: impl AsyncFnMut() -> T) -> (f64, f64) {
    for _ in 0..ROUNDS / 10 {
        round().await;
    }
    let mut times = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let started = Instant::now();
        let result = round().await;
        times.push(started.elapsed());
        drop(result);
    }
    times.sort_unstable();
    let at = |part: usize| times[times.len() * part / 100].as_secs_f64() * 1e6;
    (at(50), at(99))
}

fn input(rows: usize) -> Vec<NamedTensor> {
    let tensor = Tensor::of(vec![rows, 2], &vec![0.5_f32; 2 * rows]).unwrap();
    vec![NamedTensor { name: "x".into(), tensor }]
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let world = World::new();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/onnx/add-fp32.onnx");
    let bytes = std::fs::read(path).unwrap();
    let model = world.models.load_bytes(bytes.into(), ModelSettings::default()).await.unwrap();
    let warm = world.handler(&model, InstancePolicy { max_calls: u64::MAX, max_idle: 1 }).await;
    let fresh = world.handler(&model, InstancePolicy { max_calls: 1, max_idle: 0 }).await;
    println!("{}, {ROUNDS} rounds, p50 and p99 in microseconds", model.ran_on());
    let show = |name: &str, (p50, p99): (f64, f64)| println!("{name:<40}{p50:>10.1}{p99:>10.1}");
    show("instantiate and drop", measure(async || fresh.prepare().await.unwrap()).await);
    for (name, rows) in [("64 floats", 32), ("150,528 floats", 75_264)] {
        let inputs = input(rows);
        let alone =
            measure(async || model.infer(inputs.clone(), InferOptions::default()).await.unwrap()).await;
        let called =
            measure(async || warm.predict(inputs.clone(), InferOptions::default()).await.unwrap()).await;
        let started =
            measure(async || fresh.predict(inputs.clone(), InferOptions::default()).await.unwrap()).await;
        show(&format!("{name}: the model alone"), alone);
        show(&format!("{name}: through a warm instance"), called);
        show(&format!("{name}: through a fresh instance"), started);
    }
}
