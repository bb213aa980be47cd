#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use eyot_core::config::{BackendChoice, Config, Setting};
use eyot_store::MemoryStore;

use crate::graphs::Graph;
use crate::suite::{back_ends, installed};
use crate::{
    BackendSet, BatchingPolicy, DataType, InferOptions, InferenceBackend, InputOverride, LoadedModel,
    LoadedModels, ModelSettings, NamedTensor, RunControl, Tensor, independence, onnx,
};

fn all_back_ends() -> Vec<Arc<dyn InferenceBackend>> {
    back_ends().into_iter().chain(installed(BackendChoice::Openvino)).collect()
}

fn floats(shape: &[usize], values: &[f32]) -> Tensor {
    Tensor::of(shape.to_vec(), values).unwrap()
}

/// `y = x * scale + shift`, of which the last two are 2 and [10, 20] where nobody says otherwise.
fn scaled() -> Graph {
    Graph::new()
        .input("shift", DataType::F32, "2")
        .input("x", DataType::F32, "n 2")
        .input("scale", DataType::F32, "")
        .weight("shift", &floats(&[2], &[10., 20.]))
        .weight("scale", &floats(&[], &[2.]))
        .node("Mul", "x scale", "m")
        .node("Add", "m shift", "y")
        .output("y", DataType::F32, "n 2")
}

fn over(place: usize, tensor: Tensor) -> InputOverride {
    InputOverride { place, tensor }
}

#[test]
fn defaults_stand_until_a_call_overrides_them() {
    for backend in all_back_ends() {
        let model = backend.load(&scaled().bytes(), ModelSettings::default()).unwrap();
        let (name, signature) = (backend.name(), model.signature());
        assert_eq!(signature.inputs.len(), 1, "{name}");
        let optional: Vec<_> =
            signature.optional_inputs.iter().map(|spec| (spec.name.as_str(), spec.default_value())).collect();
        assert_eq!(optional, [("shift", Some("[10, 20]")), ("scale", Some("2"))], "{name}");
        assert!(signature.optional_inputs.iter().all(|spec| spec.is_optional()));
        let x = [floats(&[1, 2], &[1., 3.])];
        let run = |overrides: &[InputOverride]| {
            let outputs = model.run_overriding(&RunControl::default(), &x, overrides).unwrap();
            outputs[0].to_vec::<f32>().unwrap()
        };
        let (shift, scale) = (over(0, floats(&[2], &[-1., 0.5])), over(1, floats(&[], &[3.])));
        for _ in 0..3 {
            assert_eq!(run(&[]), [12., 26.], "{name}");
            assert_eq!(run(std::slice::from_ref(&scale)), [13., 29.], "{name}");
            assert_eq!(run(std::slice::from_ref(&shift)), [1., 6.5], "{name}");
            assert_eq!(run(&[shift.clone(), scale.clone()]), [2., 9.5], "{name}");
            assert_eq!(run(&[scale.clone(), shift.clone()]), [2., 9.5], "{name}");
        }
    }
}

/// Before version 4 every weight had to be an input: none of them may be asked for, or stand in the way of joining.
#[test]
fn weights_of_old_files_are_weights() {
    let mut old = scaled().model();
    old.ir_version = 3;
    let bytes = prost::Message::encode_to_vec(&old).into();
    assert_eq!(independence::prove(&onnx::parse(&bytes).unwrap()), Ok(()));
    for backend in all_back_ends() {
        let model = backend.load(&bytes, ModelSettings::default()).unwrap();
        let signature = model.signature();
        assert_eq!((signature.inputs.len(), signature.optional_inputs.len()), (1, 0), "{}", backend.name());
        let x = NamedTensor { name: "x".into(), tensor: floats(&[1, 2], &[1., 3.]) };
        let scale = NamedTensor { name: "scale".into(), tensor: floats(&[], &[3.]) };
        let refused = signature.check_inputs(vec![x.clone(), scale]).unwrap_err();
        assert!(refused.chain().contains("'scale' is fixed") && refused.hint_text().is_some(), "{refused:?}");
        assert_eq!(model.run(&[x.tensor]).unwrap()[0].to_vec::<f32>().unwrap(), [12., 26.]);
    }
}

/// What a back end cannot compute with is refused, never computed with its default all the same.
#[test]
fn a_default_that_stands_here_is_named_when_it_is_overridden() {
    let graph = Graph::new()
        .input("x", DataType::F32, "n 4")
        .input("shape", DataType::I64, "2")
        .weight("shape", &Tensor::of(vec![2], &[-1_i64, 2]).unwrap())
        .node("Reshape", "x shape", "y")
        .output("y", DataType::F32, "? ?");
    for backend in all_back_ends() {
        let loaded = backend.load(&graph.bytes(), ModelSettings::default());
        // OpenVINO refuses outputs that are inputs as they are.
        let Ok(model) = loaded else { continue };
        let x = floats(&[1, 4], &[1., 2., 3., 4.]);
        assert_eq!(model.run(std::slice::from_ref(&x)).unwrap()[0].shape(), [2, 2], "{}", backend.name());
        let shape = Tensor::of(vec![2], &[4_i64, 1]).unwrap();
        let given = |name: &str, tensor: &Tensor| NamedTensor { name: name.into(), tensor: tensor.clone() };
        match model.signature().check_inputs(vec![given("x", &x), given("shape", &shape)]) {
            Ok(_) => {
                let ran = model.run_overriding(&RunControl::default(), &[x], &[over(0, shape)]).unwrap();
                assert_eq!(ran[0].shape(), [4, 1], "{}", backend.name());
            }
            Err(refused) => {
                assert_ne!(backend.name(), "onnxruntime", "{refused:?}");
                assert_eq!(
                    refused.to_string(),
                    "input 'shape' is fixed: its default cannot be overridden here"
                );
                assert!(refused.hint_text().unwrap().contains("eyot backend install onnxruntime"));
            }
        }
    }
}

/// The models of a process that has only that back end.
fn models(choice: BackendChoice) -> Arc<LoadedModels> {
    let config = Config::load(None, &Setting::from_environment(std::env::vars())).unwrap();
    let backends = BackendSet::open(&config.data.backends, choice).unwrap();
    LoadedModels::new(Arc::new(MemoryStore::default()), backends, 2)
}

async fn ask(model: &LoadedModel, row: f32, scale: Option<f32>) -> Vec<f32> {
    let mut inputs = vec![NamedTensor { name: "x".into(), tensor: floats(&[1, 2], &[row, -row]) }];
    let scale = scale.map(|scale| NamedTensor { name: "scale".into(), tensor: floats(&[], &[scale]) });
    inputs.splice(0..0, scale);
    model.infer(inputs, InferOptions::default()).await.unwrap().outputs[0].tensor.to_vec().unwrap()
}

/// Many callers at once, of whom every other overrides, each with a number of its own: joined or not, each gets
/// what it would get alone.
#[tokio::test(flavor = "multi_thread")]
async fn who_overrides_is_joined_with_nobody() {
    for choice in [BackendChoice::Tract, BackendChoice::Onnxruntime, BackendChoice::Openvino] {
        if choice != BackendChoice::Tract && installed(choice).is_none() {
            continue;
        }
        let models = models(choice);
        let model = models.load_bytes(scaled().bytes(), ModelSettings::default()).await.unwrap();
        assert_eq!(model.stats().batching, "joins", "{choice:?}");
        // Long runs wait for a thread, where they are joined.
        let delay = std::time::Duration::from_millis(2);
        let model = model.with_batching(BatchingPolicy { max_rows: 64, max_delay: delay });
        let callers = (0..64_u8).map(|caller| {
            let model = model.clone();
            tokio::spawn(async move {
                for round in 0..20_u8 {
                    let row = f32::from(caller) + f32::from(round);
                    let scale = (caller % 2 == 0).then(|| f32::from(caller));
                    let by = scale.unwrap_or(2.0);
                    let expected = vec![row * by + 10.0, -row * by + 20.0];
                    assert_eq!(ask(&model, row, scale).await, expected, "{choice:?} {caller} {round}");
                }
            })
        });
        for caller in callers.collect::<Vec<_>>() {
            caller.await.unwrap();
        }
    }
}

/// A second form takes memory, which is counted.
#[tokio::test]
async fn what_is_loaded_twice_is_counted_twice() {
    let bytes = scaled().bytes();
    let length = bytes.len() as u64;
    let models = models(BackendChoice::Tract);
    let model = models.load_bytes(bytes, ModelSettings::default()).await.unwrap();
    assert_eq!(model.stats().resident_bytes, 2 * length);
}
