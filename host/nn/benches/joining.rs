//! What joining calls does for 16 callers at once: `cargo bench -p eyot-nn -- model.onnx`, a model with
//! one FP32 input whose first dimension is variable.
//!
//! One thread computes, whoever asks: what is gained over one caller is gained by joining.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use eyot_core::config::{BackendChoice, InferenceSettings};
use eyot_nn::{
    BackendSet, BatchingPolicy, InferOptions, LoadedModel, LoadedModels, ModelCacheOptions, ModelSettings,
    NamedTensor, Tensor,
};
use eyot_store::MemoryStore;

const CALLERS: usize = 16;
const TIME: Duration = Duration::from_secs(2);

async fn calls(model: Arc<LoadedModel>, input: NamedTensor, until: Instant) -> usize {
    let mut count = 0;
    while Instant::now() < until {
        model.infer(vec![input.clone()], InferOptions::default()).await.unwrap();
        count += 1;
        // Short runs stay on this thread and never wait: the others must get their turn.
        tokio::task::yield_now().await;
    }
    count
}

async fn per_second(model: &Arc<LoadedModel>, input: &NamedTensor, callers: usize) -> f64 {
    let until = Instant::now() + TIME;
    let tasks: Vec<_> =
        (0..callers).map(|_| tokio::spawn(calls(model.clone(), input.clone(), until))).collect();
    let mut count = 0;
    for task in tasks {
        count += task.await.unwrap();
    }
    count as f64 / TIME.as_secs_f64()
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let given = std::env::args().nth(1).filter(|argument| !argument.starts_with("--"));
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/onnx/dense.onnx");
    let bytes = std::fs::read(given.as_deref().unwrap_or(fixture)).unwrap();
    let backends = std::env::var_os("EYOT_DATA__BACKENDS").unwrap_or_else(|| "/nowhere".into());
    let backends = BackendSet::open(backends.as_ref(), BackendChoice::Auto).unwrap();
    let options = ModelCacheOptions { threads: 1, ..ModelCacheOptions::from(&InferenceSettings::default()) };
    let models = LoadedModels::with(Arc::new(MemoryStore::default()), backends, options);
    let joined = models.load_bytes(bytes.into(), ModelSettings::default()).await.unwrap();
    let alone = joined.with_batching(BatchingPolicy::OFF);
    let spec = &joined.signature().inputs[0];
    let shape: Vec<usize> = spec.shape.iter().map(|size| usize::try_from(*size).unwrap_or(1)).collect();
    let tensor = Tensor::of(shape.clone(), &vec![0.5_f32; shape.iter().product()]).unwrap();
    let input = NamedTensor { name: spec.name.clone(), tensor };
    println!("{}, calls a second", joined.ran_on());
    println!("one caller            {:>10.0}", per_second(&alone, &input, 1).await);
    println!("{CALLERS} callers, alone     {:>10.0}", per_second(&alone, &input, CALLERS).await);
    println!("{CALLERS} callers, joined    {:>10.0}", per_second(&joined, &input, CALLERS).await);
    let stats = joined.stats();
    let size = stats.batched as f64 / (stats.batches as f64).max(1.0);
    println!("{} batches of {size:.1} calls; {}; {:?}", stats.batches, stats.batching, stats.cost);
}
