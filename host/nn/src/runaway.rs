//! Models that would run for ever or take all memory, on every back end that takes them: each run ends, and
//! the next one finds everything as it was.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use eyot_core::ErrorKind;
use eyot_core::config::{BackendChoice, Config, InferenceSettings, Setting};
use eyot_core::{ByteCount, Result};
use eyot_store::MemoryStore;

use crate::control::{RunLimits, bounded};
use crate::graphs::{Graph, Is};
use crate::suite::{back_ends, installed};
use crate::{
    BackendModel, BackendSet, DataType, InferOptions, InferenceBackend, LoadedModels, ModelCacheOptions,
    ModelSettings, NamedTensor, Tensor,
};

/// Adds one to `x`, as often as `turns` says.
fn counting() -> Graph {
    let body = Graph::new()
        .input("turn", DataType::I64, "")
        .input("going", DataType::Bool, "")
        .input("before", DataType::F32, "n")
        .weight("one", &Tensor::of(vec![1], &[1_f32]).unwrap())
        .node("Identity", "going", "on")
        .node("Add", "before one", "after")
        .output("on", DataType::Bool, "")
        .output("after", DataType::F32, "n");
    Graph::new()
        .input("x", DataType::F32, "n")
        .input("turns", DataType::I64, "1")
        .weight("true", &Tensor::new(DataType::Bool, vec![], vec![1]).unwrap())
        .with("Loop", "turns true x", "y", &[("body", Is::Graph(Box::new(body)))])
        .output("y", DataType::F32, "n")
}

fn whole(value: i64) -> Tensor {
    Tensor::of(vec![1], &[value]).unwrap()
}

fn turns(count: i64) -> Vec<Tensor> {
    vec![Tensor::of(vec![1], &[0_f32]).unwrap(), whole(count)]
}

const FOR_EVER: i64 = i64::MAX;

fn limits(timeout: Duration) -> RunLimits {
    RunLimits { timeout, ..RunLimits::PROBE }
}

fn run(model: &dyn BackendModel, limits: RunLimits, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
    bounded(limits, None, |control| model.run_while(control, inputs))
}

/// Those that have loops; the others say at the load that they have not.
fn looping() -> Vec<(Arc<dyn InferenceBackend>, Box<dyn BackendModel>)> {
    let mut found = Vec::new();
    for backend in back_ends().into_iter().chain(installed(BackendChoice::Openvino)) {
        match backend.load(&counting().bytes(), ModelSettings::default()) {
            Ok(model) => found.push((backend, model)),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unsupported, "{}: {error:?}", backend.name()),
        }
    }
    found
}

#[test]
fn an_endless_loop_ends_at_its_deadline_and_the_model_serves_on() {
    for (backend, model) in looping() {
        for _ in 0..3 {
            let stopped = run(&*model, limits(Duration::from_millis(50)), &turns(FOR_EVER)).unwrap_err();
            assert_eq!(stopped.kind(), ErrorKind::Timeout, "{}: {stopped:?}", backend.name());
            let answer = run(&*model, limits(Duration::from_secs(60)), &turns(7)).unwrap();
            assert_eq!(answer[0].to_vec::<f32>().unwrap(), [7.0], "{}", backend.name());
        }
    }
}

fn models(backends: BackendSet, limits: RunLimits) -> Arc<LoadedModels> {
    let options =
        ModelCacheOptions { threads: 1, limits, ..ModelCacheOptions::from(&InferenceSettings::default()) };
    LoadedModels::with(Arc::new(MemoryStore::default()), backends, options)
}

fn named(inputs: Vec<Tensor>) -> Vec<NamedTensor> {
    let names = ["x", "turns"].into_iter().zip(inputs);
    names.map(|(name, tensor)| NamedTensor { name: name.into(), tensor }).collect()
}

/// On one thread, which the next would not get.
#[tokio::test]
async fn a_run_that_nobody_waits_for_ends() {
    let config = Config::load(None, &Setting::from_environment(std::env::vars())).unwrap();
    for (backend, _) in looping() {
        let choices = [BackendChoice::Onnxruntime, BackendChoice::Openvino, BackendChoice::Tract];
        let choice = choices.into_iter().find(|choice| choice.as_str() == backend.name()).unwrap();
        let only = InferenceSettings { backend: choice, ..InferenceSettings::default() };
        let backends = BackendSet::open_as(&config.data.backends, &only).unwrap();
        let models = models(backends, RunLimits::default());
        let model = models.load_bytes(counting().bytes(), ModelSettings::default()).await.unwrap();
        for _ in 0..3 {
            let abandoned = model.infer(named(turns(FOR_EVER)), InferOptions::default());
            tokio::time::timeout(Duration::from_millis(20), abandoned).await.unwrap_err();
            let late = Some(Instant::now() + Duration::from_millis(20));
            let late = model
                .infer(named(turns(FOR_EVER)), InferOptions { deadline: late, ..InferOptions::default() })
                .await
                .unwrap_err();
            assert_eq!(late.kind(), ErrorKind::Timeout, "{late:?}");
            let answer = model.infer(named(turns(3)), InferOptions::default()).await.unwrap().outputs;
            assert_eq!(answer[0].tensor.to_vec::<f32>().unwrap(), [3.0], "{}", backend.name());
        }
    }
}

/// Graphs whose values are as large as the inputs say, each with inputs that are good and inputs for a
/// gigabyte.
fn growing() -> Vec<(&'static str, Graph, Vec<Tensor>, Vec<Tensor>)> {
    let column = |rows: usize| Tensor::of(vec![rows, 1], &vec![1_f32; rows]).unwrap();
    let row = |columns: usize| Tensor::of(vec![1, columns], &vec![1_f32; columns]).unwrap();
    let line = || Tensor::of(vec![4], &[1_f32; 4]).unwrap();
    let (some, all) = (200, 20_000);
    let sized = |op: &str| {
        let graph = Graph::new().input("x", DataType::F32, "n").input("size", DataType::I64, "1");
        graph.node(op, "x size", "y").output("y", DataType::F32, "?")
    };
    let filled = Graph::new().input("size", DataType::I64, "1").node("ConstantOfShape", "size", "y");
    let counted = ["start", "end", "step"]
        .iter()
        .fold(Graph::new(), |graph, name| graph.input(name, DataType::I64, ""));
    let scalar = |value: i64| Tensor::of(vec![], &[value]).unwrap();
    let count = |end: i64| vec![scalar(0), scalar(end), scalar(1)];
    let pair = |op: &str| {
        let graph = Graph::new().input("a", DataType::F32, "n 1").input("b", DataType::F32, "1 m");
        graph.node(op, "a b", "c").node("ReduceSum", "c", "y").output("y", DataType::F32, "? ?")
    };
    let large = 1_i64 << 28;
    vec![
        ("tile", sized("Tile"), vec![line(), whole(100)], vec![line(), whole(large)]),
        (
            "expand",
            sized("Expand"),
            vec![Tensor::of(vec![1], &[1_f32]).unwrap(), whole(100)],
            vec![Tensor::of(vec![1], &[1_f32]).unwrap(), whole(large)],
        ),
        ("fill", filled.output("y", DataType::F32, "?"), vec![whole(100)], vec![whole(large)]),
        (
            "range",
            counted.node("Range", "start end step", "y").output("y", DataType::I64, "?"),
            count(100),
            count(large),
        ),
        ("product", pair("MatMul"), vec![column(some), row(some)], vec![column(all), row(all)]),
        (
            "sum of a row and a column",
            pair("Add"),
            vec![column(some), row(some)],
            vec![column(all), row(all)],
        ),
    ]
}

#[test]
fn a_run_that_wants_all_memory_is_refused_and_the_model_serves_on() {
    let config = Config::load(None, &Setting::from_environment(std::env::vars())).unwrap();
    let small = InferenceSettings {
        memory: ByteCount(64 << 20),
        run_memory: ByteCount(64 << 20),
        ..InferenceSettings::default()
    };
    // The first who opens the library decides how much it may take.
    drop(BackendSet::open_as(&config.data.backends, &small));
    for backend in back_ends() {
        let mut held = Vec::new();
        for (name, graph, good, bad) in growing() {
            let what = format!("{} {name}", backend.name());
            let model = match backend.load(&graph.bytes(), ModelSettings::default()) {
                Ok(model) => model,
                Err(error) if backend.name() == "tract" && error.kind() == ErrorKind::Unsupported => continue,
                Err(error) => panic!("{what}: {error:?}"),
            };
            let limits = RunLimits {
                value_bytes: 64 << 20,
                output_bytes: 64 << 20,
                ..limits(Duration::from_secs(60))
            };
            let answer = run(&*model, limits, &good).unwrap_or_else(|error| panic!("{what}: {error:?}"));
            for _ in 0..2 {
                let refused = run(&*model, limits, &bad).unwrap_err();
                assert_eq!(refused.kind(), ErrorKind::TooLarge, "{what}: {refused:?}");
                assert_eq!(run(&*model, limits, &good).unwrap(), answer, "{what}");
            }
            held.push((model, answer));
        }
        assert!(held.len() > 1, "{}", backend.name());
    }
}

/// The library itself loses sight of its limit when weights push it beyond. `installed` would open it with
/// another limit, and there is one for the process.
#[test]
fn weights_beyond_the_memory_are_refused_and_the_limit_holds() {
    let config = Config::load(None, &Setting::from_environment(std::env::vars())).unwrap();
    let small = InferenceSettings {
        backend: BackendChoice::Onnxruntime,
        memory: ByteCount(32 << 20),
        run_memory: ByteCount(16 << 20),
        ..InferenceSettings::default()
    };
    let backends = match BackendSet::open_as(&config.data.backends, &small) {
        Ok(backends) => backends,
        Err(error) if std::env::var_os("CI").is_none() => return eprintln!("ignored: {error:?}"),
        Err(error) => panic!("{error:?}"),
    };
    let backend = &backends.list()[0];
    // Which the library packs in its own way, in its arena.
    let weights = |megabytes: usize| {
        let numbers: Vec<f32> = (0..megabytes << 18).map(|at| at as f32).collect();
        let graph = Graph::new().input("x", DataType::F32, "n 512").output("y", DataType::F32, "? ?");
        let graph = graph.weight("w", &Tensor::of(vec![512, numbers.len() / 512], &numbers).unwrap());
        backend.load(&graph.node("MatMul", "x w", "y").bytes(), ModelSettings::default())
    };
    let tile = Graph::new().input("x", DataType::F32, "n").input("size", DataType::I64, "1");
    let tile = tile.node("Tile", "x size", "y").output("y", DataType::F32, "?");
    let tile = backend.load(&tile.bytes(), ModelSettings::default()).unwrap();
    let tiled = |bytes: i64| {
        let ran = tile.run(&[Tensor::of(vec![1], &[1_f32]).unwrap(), whole(bytes / 4)]);
        ran.map(|outputs| outputs[0].bytes().len() as i64).map_err(|error| error.kind())
    };
    // Runs may have all that no weights take; weights get it back once no run does.
    assert_eq!(tiled(40 << 20), Ok(40 << 20));
    assert_eq!(tiled(1 << 30), Err(ErrorKind::TooLarge));
    let held: Vec<_> = (0..4).map(|_| weights(8).unwrap()).collect();
    assert_eq!(tiled(40 << 20), Err(ErrorKind::TooLarge));
    assert_eq!(weights(24).err().unwrap().kind(), ErrorKind::Exhausted);
    assert_eq!(tiled(1 << 31), Err(ErrorKind::TooLarge), "the limit still holds");
    assert_eq!(tiled(8 << 20), Ok(8 << 20));
    drop(held);
    assert_eq!(tiled(40 << 20), Ok(40 << 20));
}
