//! What a call by reflection costs over one through generated bindings: `cargo xtask bench functions`.
//!
//! Both call the same export of the same component with a record of ten fields, on a warm instance in this
//! process. The bindings take a value of Rust; reflection takes JSON text and gives JSON text, as a request
//! over HTTP has it.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use eyot_core::config::BackendChoice;
use eyot_engine::{
    CallArguments, Engine, EngineOptions, ExecutionMode, FunctionReply, GuestGrants, InstanceLimits,
    InstancePolicy, JsonFunctions, NullSink,
};
use eyot_nn::{BackendSet, LoadedModels};
use eyot_store::{BlobStore as _, MemoryStore};
use wasmtime::Store;
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

mod bindings {
    wasmtime::component::bindgen!({
        path: "../../components/testing/functions/wit",
        world: "functions",
        exports: { default: async },
    });
}

use bindings::exports::testing::functions::calls::{Colour, Ten};

const ROUNDS: usize = 20_000;

const TEN: &str = r#"{"value":{"truth":true,"small":255,"large":9007199254740993,"negative":-5,"single":0.1,"double":1e300,"letter":"é","text":"some text","colour":"green","maybe":null}}"#;

struct Host {
    wasi: WasiCtx,
    table: ResourceTable,
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

fn ten() -> Ten {
    Ten {
        truth: true,
        small: 255,
        large: 9_007_199_254_740_993,
        negative: -5,
        single: 0.1,
        double: 1e300,
        letter: 'é',
        text: "some text".to_owned(),
        colour: Colour::Green,
        maybe: None,
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let path =
        PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/components/testing-functions.wasm"));
    let wasm = std::fs::read(&path).expect("cargo xtask components");
    let (mut store, bound) = bound(&wasm).await;
    let calls = bound.testing_functions_calls();
    let (functions, cold) = reflected(&wasm).await;
    println!(
        "a record of ten fields there and back on a warm instance, {ROUNDS} rounds, µs{:>8} {:>8}",
        "p50", "p99"
    );
    let generated = measure(async || calls.call_whole(&mut store, &ten()).await.unwrap()).await;
    show("generated bindings, values of Rust", generated);
    let reflection = measure(async || {
        let serde_json::Value::Object(values) = serde_json::from_str(TEN).unwrap() else { unreachable!() };
        match functions.call("whole", CallArguments::Values(values), None).await.unwrap().reply {
            FunctionReply::Value(value) => value.to_string(),
            other => panic!("{other:?}"),
        }
    })
    .await;
    show("reflection, JSON in and out", reflection);
    println!("{:<60}{:>22.2}", "reflection over bindings, p50", reflection.0 - generated.0);
    println!("{:<60}{:>22.2}", "compiled code on disk to the first answer, ms", cold.as_secs_f64() * 1e3);
}

fn show(what: &str, (p50, p99): (f64, f64)) {
    println!("{what:<60}{p50:>22.2} {p99:>8.2}");
}

async fn bound(wasm: &[u8]) -> (Store<Host>, bindings::Functions) {
    let engine = wasmtime::Engine::default();
    let component = Component::from_binary(&engine, wasm).unwrap();
    let mut linker = Linker::new(&engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker).unwrap();
    let host = Host { wasi: WasiCtxBuilder::new().build(), table: ResourceTable::new() };
    let mut store = Store::new(&engine, host);
    let bound = bindings::Functions::instantiate_async(&mut store, &component, &linker).await.unwrap();
    (store, bound)
}

/// The functions, compiled before, and how long it took from their code on disk to a first answer.
async fn reflected(wasm: &[u8]) -> (Arc<JsonFunctions>, Duration) {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(MemoryStore::default());
    let digest = store.put(wasm.to_vec().into()).await.unwrap().digest;
    let engine = || Engine::new(&EngineOptions { cache: dir.path().join("compiled") }).unwrap();
    engine().load(&*store, digest, ExecutionMode::Serving).await.unwrap();
    let backends = BackendSet::open("/nowhere".as_ref(), BackendChoice::Tract).unwrap();
    let grants =
        GuestGrants::new(Arc::default(), LoadedModels::new(store.clone(), backends, 1), Arc::new(NullSink));
    let limits = InstanceLimits { memory: 64 << 20, timeout: Duration::from_secs(10), handles: 100 };
    let instances = InstancePolicy { max_calls: u64::MAX, max_idle: 1 };
    let engine = engine();
    let started = Instant::now();
    let component = engine.load(&*store, digest, ExecutionMode::Serving).await.unwrap();
    let functions = JsonFunctions::new(component, &BTreeMap::new(), grants, limits, instances).unwrap();
    let greeting = [("name".to_owned(), "Ann".into())].into_iter().collect();
    functions.call("greet", CallArguments::Values(greeting), None).await.unwrap();
    (functions, started.elapsed())
}

/// p50 and p99 in microseconds.
async fn measure<T>(mut round: impl AsyncFnMut() -> T) -> (f64, f64) {
    let mut times = Vec::with_capacity(ROUNDS);
    for number in 0..ROUNDS + ROUNDS / 10 {
        let started = Instant::now();
        let result = round().await;
        let took = started.elapsed();
        drop(result);
        if number >= ROUNDS / 10 {
            times.push(took);
        }
    }
    times.sort_unstable();
    let at = |part: usize| times[times.len() * part / 100].as_secs_f64() * 1e6;
    (at(50), at(99))
}
