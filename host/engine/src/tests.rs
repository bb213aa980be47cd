//! Small components written by hand, each with one way to go wrong. What real guests do is tested
//! with the components of `components/testing`.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use eyot_core::config::BackendChoice;
use eyot_core::{Digest, Error, ErrorKind, Result};
use eyot_nn::{BackendSet, InferOptions, LoadedModels, ModelSettings, NamedTensor, Tensor};
use eyot_store::{BlobStore as _, MemoryStore};
use indexmap::IndexMap;
use serde_json::{Value, json};

use crate::{
    Component, Engine, EngineOptions, ExecutionMode, GrantedCapabilities, GuestGrants, InstanceLimits,
    InstancePolicy, NullSink, OutputLimits, PredictionHandler, StepCall, StepResult,
};

/// Hands its inputs to a model of the host.
const THROUGH: &str = include_str!("fixtures/through.wat");

/// Functions that add, compute without end, trap, take memory, and answer with a record or an error.
const STEPS: &str = r#"(component
  (core module $m
    (memory (export "memory") 1)
    (data (i32.const 64) "too few rows")
    (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
    (func (export "spin") (loop $l (br $l)))
    (func $inner unreachable)
    (func (export "crash") (call $inner))
    (func (export "grow") (result i32)
      (if (i32.eq (memory.grow (i32.const 1000)) (i32.const -1)) (then unreachable))
      (i32.const 7))
    (func (export "recover") (result i32)
      (drop (memory.grow (i32.const 1000)))
      (i32.div_u (i32.const 1) (i32.const 0)))
    (func (export "pair") (param i64) (result i32)
      (i32.store (i32.const 16) (i32.wrap_i64 (local.get 0)))
      (i32.store8 (i32.const 20) (i32.const 1))
      (i32.const 16))
    (func (export "refuse") (result i32)
      (i32.store8 (i32.const 32) (i32.const 1))
      (i32.store (i32.const 36) (i32.const 64))
      (i32.store (i32.const 40) (i32.const 12))
      (i32.const 32)))
  (core instance $i (instantiate $m))
  (func (export "add") (param "a" u32) (param "b" u32) (result u32) (canon lift (core func $i "add")))
  (func (export "spin") (canon lift (core func $i "spin")))
  (func (export "crash") (canon lift (core func $i "crash")))
  (func (export "grow") (result u32) (canon lift (core func $i "grow")))
  (func (export "recover") (result u32) (canon lift (core func $i "recover")))
  (type $pair (record (field "count" u32) (field "good" bool)))
  (export $exported "pair-of" (type $pair))
  (func (export "pair") (param "n" u64) (result $exported) (canon lift (core func $i "pair") (memory (core memory $i "memory"))))
  (func (export "refuse") (result (result u32 (error string))) (canon lift (core func $i "refuse") (memory (core memory $i "memory")))))"#;

const UNGRANTED: &str = r#"(component
  (import "acme:secrets/vault@1.0.0" (instance $v (export "open" (func (result u32)))))
  (core func $open (canon lower (func $v "open")))
  (core module $m (import "" "open" (func (result i32))) (func (export "run") (result i32) (call 0)))
  (core instance $i (instantiate $m (with "" (instance (export "open" (func $open))))))
  (func (export "run") (result u32) (canon lift (core func $i "run"))))"#;

struct EngineFixture {
    store: Arc<MemoryStore>,
    engine: Engine,
    dir: tempfile::TempDir,
}

impl EngineFixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::new(&EngineOptions { cache: dir.path().join("compiled") }).unwrap();
        Self { store: Arc::default(), engine, dir }
    }

    async fn put(&self, wat: &str) -> Digest {
        self.store.put(wat::parse_str(wat).unwrap().into()).await.unwrap().digest
    }

    async fn steps(&self) -> Component {
        let digest = self.put(STEPS).await;
        self.engine.load(&*self.store, digest, ExecutionMode::Hermetic).await.unwrap()
    }

    fn call(&self, function: &str, arguments: Value) -> StepCall {
        let backends = BackendSet::open(std::path::Path::new("/nowhere"), BackendChoice::Tract).unwrap();
        let loader = LoadedModels::new(self.store.clone(), backends, 1);
        let arguments: IndexMap<String, Value> = arguments
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        StepCall {
            function: function.to_owned(),
            arguments,
            media_types: BTreeMap::new(),
            seed: [0; 32],
            limits: InstanceLimits { memory: 16 << 20, timeout: Duration::from_millis(300), handles: 100 },
            output: OutputLimits::NONE,
            grants: GuestGrants::new(Arc::default(), loader, Arc::new(NullSink)),
            store: self.store.clone(),
        }
    }

    async fn run(&self, function: &str, arguments: Value) -> Result<StepResult> {
        self.steps().await.run_step(self.call(function, arguments)).await
    }
}

fn outputs(outcome: Result<StepResult>) -> Value {
    serde_json::to_value(outcome.unwrap().outputs).unwrap()
}

#[tokio::test]
async fn values_go_in_by_name_and_come_out_by_name() {
    let world = EngineFixture::new();
    assert_eq!(outputs(world.run("add", json!({"b": 40, "a": 2})).await), json!({"output": 42}));
    assert_eq!(outputs(world.run("pair", json!({"n": 9})).await), json!({"count": 9, "good": true}));
    for (function, arguments, says) in [
        ("add", json!({"a": 1}), "parameter 'b' of add: expected u32, found null"),
        ("add", json!({"a": 1, "b": -1}), "parameter 'b' of add: expected u32, found -1"),
        ("add", json!({"a": 1, "b": 1, "c": 1}), "function add has no parameter 'c'"),
        ("sub", json!({}), "the component exports no function 'sub'"),
    ] {
        let error = world.run(function, arguments).await.unwrap_err();
        assert_eq!(error.chain(), says);
    }
}

#[tokio::test]
async fn what_a_guest_does_wrong_names_component_export_and_cause() {
    let world = EngineFixture::new();
    let digest = world.steps().await.digest();
    for (function, kind, says) in [
        ("crash", ErrorKind::Failed, "trapped: wasm trap: wasm `unreachable` instruction executed"),
        ("spin", ErrorKind::Timeout, "did not answer before its deadline"),
        (
            "grow",
            ErrorKind::Failed,
            "ran out of memory: it wanted 65601536 bytes, more than its limit of 16 MiB",
        ),
        ("recover", ErrorKind::Failed, "trapped: wasm trap: integer divide by zero"),
    ] {
        let error: Error = world.run(function, json!({})).await.unwrap_err();
        let text = error.chain();
        assert_eq!(error.kind(), kind, "{text}");
        assert!(text.contains(&format!("component {digest}, export {function} {says}")), "{text}");
        assert!(text.contains("wasm backtrace:\n  0:"), "{text}");
    }
    let refused = world.run("refuse", json!({})).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Failed);
    assert_eq!(refused.chain(), format!("component {digest}, export refuse: too few rows"));
}

#[tokio::test]
async fn one_guest_in_trouble_is_nobody_elses() {
    let world = EngineFixture::new();
    let spinning = world.run("spin", json!({}));
    let adding = world.run("add", json!({"a": 1, "b": 1}));
    let (spun, added) = tokio::join!(spinning, adding);
    assert_eq!(spun.unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(outputs(added), json!({"output": 2}));
}

#[tokio::test]
async fn what_is_not_offered_is_named_and_fails_when_it_is_called() {
    let world = EngineFixture::new();
    let digest = world.put(UNGRANTED).await;
    for mode in [ExecutionMode::Serving, ExecutionMode::Hermetic] {
        let component = world.engine.load(&*world.store, digest, mode).await.unwrap();
        assert_eq!(
            component.warnings(&GrantedCapabilities::default()),
            ["acme:secrets/vault@1.0.0 is not offered here: a call of it fails"]
        );
    }
    let component = world.engine.load(&*world.store, digest, ExecutionMode::Hermetic).await.unwrap();
    let error = component.run_step(world.call("run", json!({}))).await.unwrap_err();
    let says = "failed: it called acme:secrets/vault@1.0.0#open, which a step of this host does not offer";
    assert!(error.chain().contains(says), "{error:?}");
}

#[tokio::test]
async fn all_that_is_not_offered_is_named_and_what_is_not_called_does_no_harm() {
    let world = EngineFixture::new();
    let text = r#"(component
        (import "acme:one/thing@1.0.0" (instance (export "r" (type (sub resource)))))
        (import "wasi:random/random@0.2.0" (instance $random (export "get-random-u64" (func (result u64)))))
        (import "acme:two/thing@1.0.0" (instance (export "f" (func (param "x" string) (result string)))))
        (import "loose" (func))
        (core func $get (canon lower (func $random "get-random-u64")))
        (core module $m (import "" "get" (func (result i64))) (func (export "run") (result i64) (call 0)))
        (core instance $i (instantiate $m (with "" (instance (export "get" (func $get))))))
        (func (export "run") (result u64) (canon lift (core func $i "run"))))"#;
    let digest = world.put(text).await;
    let component = world.engine.load(&*world.store, digest, ExecutionMode::Hermetic).await.unwrap();
    let warnings = component.warnings(&GrantedCapabilities::default());
    let named: Vec<_> =
        warnings.iter().filter_map(|warning| warning.split_once(' ')).map(|(name, _)| name).collect();
    assert_eq!(named, ["acme:one/thing@1.0.0", "acme:two/thing@1.0.0", "loose"]);
    component.run_step(world.call("run", json!({}))).await.unwrap();
}

#[tokio::test]
async fn a_release_candidate_of_wasi_is_what_came_of_it_where_its_shape_is() {
    let world = EngineFixture::new();
    let text = |result: &str| {
        format!(
            r#"(component
                (import "wasi:random/random@0.3.0-rc-2026-01-06" (instance $random (export "get-random-u64" (func (result {result})))))
                (core func $get (canon lower (func $random "get-random-u64")))
                (core module $m (import "" "get" (func (result {core}))) (func (export "run") (result {core}) (call 0)))
                (core instance $i (instantiate $m (with "" (instance (export "get" (func $get))))))
                (func (export "run") (result {result}) (canon lift (core func $i "run"))))"#,
            core = if result == "u64" { "i64" } else { "i32" }
        )
    };
    for (result, offered) in [("u64", true), ("u32", false)] {
        let digest = world.put(&text(result)).await;
        let component = world.engine.load(&*world.store, digest, ExecutionMode::Hermetic).await.unwrap();
        assert_eq!(component.warnings(&GrantedCapabilities::default()).is_empty(), offered, "{result}");
        assert_eq!(component.run_step(world.call("run", json!({}))).await.is_ok(), offered, "{result}");
    }
}

#[tokio::test]
async fn what_is_no_component_is_refused_in_words() {
    let world = EngineFixture::new();
    let component = wat::parse_str(STEPS).unwrap();
    for (bytes, says) in [
        (b"".to_vec(), "is empty"),
        (b"#!/bin/sh".to_vec(), "does not start with \\0asm"),
        (wat::parse_str("(module)").unwrap(), "is a core wasm module"),
        (component[..component.len() / 2].to_vec(), "is no valid component"),
    ] {
        let digest = world.store.put(bytes.into()).await.unwrap().digest;
        let error = world.engine.load(&*world.store, digest, ExecutionMode::Serving).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.chain().contains(says) && error.chain().contains(&digest.to_string()), "{error:?}");
    }
    let absent =
        world.engine.load(&*world.store, Digest::of("absent"), ExecutionMode::Serving).await.err().unwrap();
    assert_eq!(absent.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn compiled_code_is_kept_and_a_damaged_entry_is_compiled_again() {
    let world = EngineFixture::new();
    let digest = world.put(STEPS).await;
    let cached = || {
        let entries = std::fs::read_dir(world.dir.path().join("compiled")).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect::<Vec<_>>()
    };
    drop(world.engine.load(&*world.store, digest, ExecutionMode::Hermetic).await.unwrap());
    drop(world.engine.load(&*world.store, digest, ExecutionMode::Serving).await.unwrap());
    assert_eq!(cached().len(), 2, "one entry a configuration");

    let again = Engine::new(&EngineOptions { cache: world.dir.path().join("compiled") }).unwrap();
    assert!(again.load(&*world.store, digest, ExecutionMode::Hermetic).await.is_ok());
    for path in cached() {
        std::fs::write(path, b"\x7fELF damaged").unwrap();
    }
    let damaged = Engine::new(&EngineOptions { cache: world.dir.path().join("compiled") }).unwrap();
    let component = damaged.load(&*world.store, digest, ExecutionMode::Hermetic).await.unwrap();
    let outcome = component.run_step(world.call("add", json!({"a": 1, "b": 2}))).await;
    assert_eq!(outputs(outcome), json!({"output": 3}));
}

#[tokio::test]
async fn an_interface_can_be_read_off_a_file() {
    let world = EngineFixture::new();
    let interface = world.engine.inspect(&wat::parse_str(STEPS).unwrap()).unwrap();
    let functions: Vec<_> = interface.functions.iter().map(ToString::to_string).collect();
    assert_eq!(
        functions,
        [
            "add(a: u32, b: u32) -> u32",
            "spin()",
            "crash()",
            "grow() -> u32",
            "recover() -> u32",
            "pair(n: u64) -> record { count: u32, good: bool }",
            "refuse() -> result<u32, string>",
        ]
    );
}

async fn through(world: &EngineFixture, model: &str, instances: InstancePolicy) -> Arc<PredictionHandler> {
    let digest = world.put(THROUGH).await;
    let component = world.engine.load(&*world.store, digest, ExecutionMode::Serving).await.unwrap();
    let call = world.call("predict", json!({}));
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/onnx").join(model);
    let bytes = std::fs::read(path.with_extension("onnx")).unwrap();
    let model = call.grants.loader.load_bytes(bytes.into(), ModelSettings::default()).await.unwrap();
    let grants = GuestGrants { models: Arc::new([("model".to_owned(), model)].into()), ..call.grants };
    PredictionHandler::new(component, grants, call.limits, instances).await.unwrap()
}

fn x(rows: usize, value: f32) -> Vec<NamedTensor> {
    vec![NamedTensor { name: "x".into(), tensor: Tensor::of(vec![rows, 2], &vec![value; 2 * rows]).unwrap() }]
}

#[tokio::test]
async fn a_handler_answers_through_a_model_of_the_host() {
    let world = EngineFixture::new();
    for instances in
        [InstancePolicy { max_calls: 100, max_idle: 1 }, InstancePolicy { max_calls: 1, max_idle: 1 }]
    {
        let handler = through(&world, "add-fp32", instances).await;
        assert_eq!(handler.signature().inputs[0].name, "x");
        for rows in [1, 7, 100_000] {
            let answer = handler.predict(x(rows, 1.0), InferOptions::default()).await.unwrap();
            assert_eq!(answer.outputs[0].tensor, x(rows, 2.0)[0].tensor);
            assert_eq!(answer.usage.inferences, 1);
        }
        let wrong = vec![NamedTensor { name: "z".into(), ..x(1, 1.0).remove(0) }];
        let error = handler.predict(wrong, InferOptions::default()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.chain().contains("there is no input 'z'"), "{error:?}");
        handler.prepare().await.unwrap();
        let fresh = if instances.max_calls == 1 { 5 } else { 2 };
        assert_eq!(handler.stats().started, fresh, "{instances:?}");
    }
}
