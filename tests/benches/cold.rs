//! Cold starts, in the process and through the binary: `cargo xtask bench cold`.

#![allow(clippy::print_stdout)]

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use eyot_core::config::BackendChoice;
use eyot_engine::{
    Engine, EngineOptions, ExecutionMode, GuestGrants, InstanceLimits, InstancePolicy, NullSink,
    PredictionHandler,
};
use eyot_nn::{BackendSet, InferOptions, LoadedModel, LoadedModels, ModelSettings, NamedTensor, Tensor};
use eyot_store::{BlobStore as _, MemoryStore};
use eyot_tests::{Eyot, fixture, path, quantile};
use serde_json::json;

const INSTANCES: usize = 5000;
const COLD: usize = 200;
const DEPLOYS: usize = 40;

#[tokio::main]
async fn main() -> Result<()> {
    let dir = Scratch::new()?;
    println!("{:<46} {:>9} {:>9} {:>9} {:>9}  n", "what (milliseconds)", "min", "p50", "p99", "max");
    engine(dir.path()).await?;
    server(&dir.path().join("data"))
}

/// A folder of our own, gone at the end.
struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new() -> Result<Self> {
        Ok(Self(tempfile::tempdir()?))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

fn print(what: &str, mut milliseconds: Vec<f64>) {
    milliseconds.sort_by(f64::total_cmp);
    let at = |fraction| quantile(&milliseconds, fraction);
    println!(
        "{what:<46} {:>9.4} {:>9.4} {:>9.4} {:>9.4}  {}",
        at(0.0),
        at(0.5),
        at(0.99),
        at(1.0),
        milliseconds.len()
    );
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// In this process: the handler digits-image over a digits model that is loaded already.
async fn engine(dir: &Path) -> Result<()> {
    let wasm =
        std::fs::read(path("target/components/digits-image.wasm")).context("cargo xtask components")?;
    let store = Arc::new(MemoryStore::default());
    let digest = store.put(wasm.into()).await?.digest;
    let backends =
        BackendSet::open(&eyot_core::config::DataSettings::default().backends, BackendChoice::Auto)?;
    let models = LoadedModels::new(store.clone(), backends, 1);
    let model = models.load_bytes(std::fs::read(fixture("digits"))?.into(), ModelSettings::default()).await?;
    println!("digits-image over a model on {}", model.ran_on());
    let cache = EngineOptions { cache: dir.join("compiled") };

    let first = Engine::new(&cache)?;
    let started = Instant::now();
    let component = first.load(&*store, digest, ExecutionMode::Serving).await?;
    print("compile, once per component", vec![milliseconds(started.elapsed())]);
    let handler = handler(component, &models, &model, 1).await?;
    let mut instantiations = Vec::with_capacity(INSTANCES);
    for _ in 0..INSTANCES {
        instantiations.push(milliseconds(handler.instantiate().await?));
    }
    print("instantiate", instantiations);
    measure("predict, a fresh instance each", &handler).await?;
    drop(handler);

    let mut cold = Vec::with_capacity(COLD);
    for _ in 0..COLD {
        let engine = Engine::new(&cache)?;
        let started = Instant::now();
        let component = engine.load(&*store, digest, ExecutionMode::Serving).await?;
        self::handler(component, &models, &model, 1)
            .await?
            .predict(picture()?, InferOptions::default())
            .await?;
        cold.push(milliseconds(started.elapsed()));
    }
    print(".cwasm on disk to first answer", cold);
    let component = first.load(&*store, digest, ExecutionMode::Serving).await?;
    let warm = self::handler(component, &models, &model, u64::MAX).await?;
    measure("predict, a warm instance", &warm).await
}

async fn measure(what: &str, handler: &PredictionHandler) -> Result<()> {
    let mut taken = Vec::with_capacity(INSTANCES);
    for _ in 0..INSTANCES {
        let inputs = picture()?;
        let started = Instant::now();
        handler.predict(inputs, InferOptions::default()).await?;
        taken.push(milliseconds(started.elapsed()));
    }
    print(what, taken);
    Ok(())
}

async fn handler(
    component: eyot_engine::Component,
    models: &Arc<LoadedModels>,
    model: &Arc<LoadedModel>,
    max_calls: u64,
) -> Result<Arc<PredictionHandler>> {
    let granted = Arc::new(HashMap::from([("digits".to_owned(), model.clone())]));
    let grants = GuestGrants::new(granted, models.clone(), Arc::new(NullSink));
    let limits = InstanceLimits::from(&eyot_core::config::LimitSettings::default());
    Ok(PredictionHandler::new(component, grants, limits, InstancePolicy { max_calls, max_idle: 8 }).await?)
}

fn picture() -> Result<Vec<NamedTensor>> {
    let tensor = Tensor::of(vec![1, 32, 32], &[0_u8; 1024])?;
    Ok(vec![NamedTensor { name: "image".to_owned(), tensor }])
}

/// Through the binary: how long the first prediction after `eyot deploy` takes, and the next.
fn server(data: &Path) -> Result<()> {
    let eyot = Eyot::new(data)?;
    let server = eyot.up()?;
    let wasm = path("target/components/digits-image.wasm");
    let onnx = fixture("digits");
    let (wasm, onnx) = (wasm.to_string_lossy().into_owned(), onnx.to_string_lossy().into_owned());
    eyot.json(&["push", &wasm, "--as", "digits-image:1"])?;
    eyot.json(&["push", &onnx, "--as", "digits:1"])?;
    let request = json!({ "inputs": [{ "name": "image", "datatype": "UINT8", "shape": [1, 32, 32], "data": vec![0; 1024] }] });
    let (mut deploys, mut firsts, mut nexts) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..DEPLOYS {
        let started = Instant::now();
        eyot.json(&["deploy", "digits-image:1", "--name", "bench", "--model", "digits=digits:1"])?;
        deploys.push(milliseconds(started.elapsed()));
        for taken in [&mut firsts, &mut nexts] {
            let body = request.to_string();
            let started = Instant::now();
            let answer = server.post("/v2/models/bench/infer", body)?;
            taken.push(milliseconds(started.elapsed()));
            ensure!(answer.status == 200, "{}", answer.text());
        }
        eyot.json(&["undeploy", "bench"])?;
    }
    print("eyot deploy, the whole command", deploys);
    print("first prediction after eyot deploy, over HTTP", firsts);
    print("the next prediction, over HTTP", nexts);
    server.stop()
}
