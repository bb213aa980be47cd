#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::time::Duration;

use eyot_core::Digest;
use tokio::sync::oneshot;

use super::*;
use crate::batch_probe::{self, ProbeResult};
use crate::cost::CostModel;
use crate::example::{ExampleGenerator, ExampleKind};
use crate::fake::not_evicted;
use crate::memory::MemoryBudget;
use crate::model_state::FreshModel;
use crate::request::ModelCall;
use crate::suite::{back_ends, fixture};
use crate::{BatchingPolicy, InferOptions, InferenceBackend, ModelSettings, RanOn, independence, onnx};

/// Every fixture that a back end can load, and whether its calls can be joined.
const FIXTURES: &[(&str, ProbeResult)] = &[
    ("add-fp32", ProbeResult::Batchable),
    ("add-fp64", ProbeResult::Batchable),
    ("add-int32", ProbeResult::Batchable),
    ("add-int64", ProbeResult::Batchable),
    ("dense", ProbeResult::Batchable),
    ("iris-forest", ProbeResult::Batchable),
    ("pick", ProbeResult::Batchable),
    ("rows", ProbeResult::Batchable),
    ("center", ProbeResult::Unproved),
    ("two", ProbeResult::FixedShape),
    ("same-fp32", ProbeResult::FixedShape),
    ("same-string", ProbeResult::FixedShape),
    ("fails", ProbeResult::Unprobed),
];

fn load(backend: &dyn InferenceBackend, name: &str) -> Arc<ModelState> {
    let model = backend.load(&fixture(name), ModelSettings::default()).unwrap();
    let cost = CostModel::default();
    let unproved = independence::prove(&onnx::parse(&fixture(name)).unwrap()).err();
    let probe_result = batch_probe::warm_up(&*model, &cost, Duration::from_secs(600), unproved.is_none());
    let ran_on = RanOn::plain(backend.name(), "");
    let fresh = FreshModel { model, ran_on, cost, probe_result, unproved };
    let reservation = MemoryBudget::new(1).take(1).unwrap();
    ModelState::new(Digest::of(name), ModelSettings::default(), fresh, reservation, not_evicted(), true)
}

/// Runs the calls as one job. What each caller got.
fn together(model: &Arc<ModelState>, calls: &[Vec<Tensor>]) -> Vec<Result<CompletedRun>> {
    let mut answers = Vec::new();
    let requests = calls.iter().map(|inputs| {
        let (answer, receiver) = oneshot::channel();
        answers.push(receiver);
        QueuedCall {
            resident: model.resident().unwrap(),
            call: ModelCall { inputs: inputs.clone(), overrides: Vec::new() },
            size: batch::size(inputs),
            batching: BatchingPolicy::default(),
            options: InferOptions::default(),
            since: Instant::now(),
            caller: Arc::default(),
            answer,
        }
    });
    InferenceJob::new(model.clone(), requests.collect(), 1).run();
    answers.into_iter().map(|mut answer| answer.try_recv().unwrap()).collect()
}

#[test]
fn whether_calls_can_be_joined_is_found_out() {
    for backend in back_ends() {
        for (name, expected) in FIXTURES {
            let stats = load(&*backend, name).stats(0);
            let said = stats.batching.split(':').next();
            assert_eq!(said, Some(expected.as_str()), "{} {name}", backend.name());
            assert_eq!(stats.cost.is_some(), *expected != ProbeResult::Unprobed, "{} {name}", backend.name());
        }
        let center = load(&*backend, "center").stats(0).batching;
        assert!(center.ends_with("(ReduceMean): it computes across rows"), "{center}");
    }
}

#[test]
fn a_batch_gives_what_each_of_its_calls_would_have_got_alone() {
    for backend in back_ends() {
        for (name, _) in FIXTURES.iter().filter(|(_, probe_result)| *probe_result == ProbeResult::Batchable) {
            let model = load(&*backend, name);
            let resident = model.resident().unwrap();
            for seed in 0..20 {
                let mut examples = ExampleGenerator::new(seed);
                let rows = (0..2 + seed as usize % 7).map(|call| 1 + (call * 5 + seed as usize) % 4);
                let calls: Vec<_> = rows
                    .map(|rows| {
                        examples.inputs(resident.model.signature(), rows, 3, ExampleKind::Plain).unwrap()
                    })
                    .collect();
                for (call, ran) in calls.iter().zip(together(&model, &calls)) {
                    let (alone, ran) = (resident.model.run(call).unwrap(), ran.unwrap());
                    assert!(batch::same(&ran.outputs, &alone), "{} {name} {call:?}", backend.name());
                    assert_eq!(ran.batch_size, calls.len(), "{} {name}", backend.name());
                }
            }
            assert_eq!((model.stats(0).batches, model.stats(0).failures), (20, 0), "{name}");
        }
    }
}

#[test]
fn a_bad_call_fails_alone() {
    let row = |row: i64| vec![Tensor::of(vec![1], &[row]).unwrap()];
    for backend in back_ends() {
        let model = load(&*backend, "pick");
        let answers = together(&model, &[row(1), row(99), row(3)]);
        let values =
            |ran: &Result<CompletedRun>| ran.as_ref().ok().map(|ran| ran.outputs[0].to_vec::<f32>().unwrap());
        let got: Vec<_> = answers.iter().map(values).collect();
        assert_eq!(got, [Some(vec![3., 4., 5.]), None, Some(vec![9., 10., 11.])], "{}", backend.name());
        assert_eq!(model.stats(0).batching, "joins", "one bad call is not the model's fault");
    }
}

#[test]
fn who_is_late_or_gone_is_not_run() {
    let backend = &back_ends()[0];
    let model = load(&**backend, "add-fp32");
    let before = model.stats(0).inferences;
    let request = |deadline| {
        let (answer, receiver) = oneshot::channel();
        let inputs = vec![Tensor::of(vec![1, 2], &[1_f32; 2]).unwrap()];
        let call = ModelCall { inputs, overrides: Vec::new() };
        let resident = model.resident().unwrap();
        let (batching, since) = (BatchingPolicy::OFF, Instant::now());
        let options = InferOptions { deadline, ..InferOptions::default() };
        let caller = Arc::default();
        (QueuedCall { resident, call, size: 2, batching, options, since, caller, answer }, receiver)
    };
    let (late, mut late_answer) = request(Some(Instant::now() - Duration::from_secs(1)));
    let (gone, _) = request(None);
    InferenceJob::new(model.clone(), vec![late, gone], 1).run();
    assert_eq!(late_answer.try_recv().unwrap().err().unwrap().kind(), eyot_core::ErrorKind::Timeout);
    assert_eq!((model.stats(0).inferences - before, model.stats(0).abandoned), (0, 1));
}
