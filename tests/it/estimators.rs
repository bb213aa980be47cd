//! Models as people export them, on the built-in back end beside ONNX Runtime: the same, or refused with the name
//! of what it has not. tests/python/estimators.py trains and writes them.

#![allow(clippy::print_stderr)]

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use eyot_core::ErrorKind;
use eyot_core::config::{BackendChoice, Config, Setting};
use eyot_nn::{BackendModel, BackendSet, DataType, InferenceBackend, ModelSettings, Tensor};
use eyot_tests::{path, python};
use serde_json::Value;

/// How far a score may be off, as a part of it or of one. Libraries add in other orders.
const ROUNDING: f64 = 2e-4;

fn tensor(told: &Value) -> Tensor {
    let shape: Vec<usize> =
        told["shape"].as_array().unwrap().iter().map(|size| size.as_u64().unwrap() as usize).collect();
    let data = told["data"].as_array().unwrap();
    let numbers = || data.iter().map(|number| number.as_f64().unwrap_or(f64::NAN));
    match told["datatype"].as_str().unwrap() {
        "FP32" => Tensor::of(shape, &numbers().map(|number| number as f32).collect::<Vec<_>>()).unwrap(),
        "FP64" => Tensor::of(shape, &numbers().collect::<Vec<_>>()).unwrap(),
        "BYTES" => {
            let texts: Vec<&str> = data.iter().map(|text| text.as_str().unwrap()).collect();
            Tensor::of_strings(shape, &texts).unwrap()
        }
        other => panic!("{other}"),
    }
}

/// In the order of the model's own inputs.
fn question(folder: &Path, name: &str, model: &dyn BackendModel) -> Vec<Tensor> {
    let told: Value =
        serde_json::from_slice(&std::fs::read(folder.join(format!("{name}.json"))).unwrap()).unwrap();
    let inputs: BTreeMap<&str, &Value> =
        told.as_array().unwrap().iter().map(|one| (one["name"].as_str().unwrap(), one)).collect();
    model.signature().inputs.iter().map(|spec| tensor(inputs[spec.name.as_str()])).collect()
}

fn numbers(tensor: &Tensor) -> Option<Vec<f64>> {
    match tensor.dtype() {
        DataType::F32 => tensor.to_vec::<f32>().map(|all| all.into_iter().map(f64::from).collect()),
        DataType::F64 => tensor.to_vec::<f64>(),
        _ => None,
    }
}

/// What is not the same, if anything is.
fn difference(found: &[Tensor], expected: &[Tensor]) -> Option<String> {
    for (output, (found, expected)) in found.iter().zip(expected).enumerate() {
        if (found.dtype(), found.shape()) != (expected.dtype(), expected.shape()) {
            return Some(format!(
                "output {output} is {} {:?}, not {} {:?}",
                found.dtype(),
                found.shape(),
                expected.dtype(),
                expected.shape()
            ));
        }
        let Some((numbers, right)) = numbers(found).zip(numbers(expected)) else {
            if found.bytes() != expected.bytes() {
                return Some(format!("output {output} has other labels"));
            }
            continue;
        };
        let off = |(found, right): (&f64, &f64)| {
            (found - right).abs() > ROUNDING * right.abs().max(1.0) || found.is_nan() != right.is_nan()
        };
        if let Some(at) = numbers.iter().zip(&right).position(off) {
            return Some(format!("output {output} has {} at {at}, not {}", numbers[at], right[at]));
        }
    }
    (found.len() != expected.len()).then(|| "another number of outputs".to_owned())
}

/// Trees and what is simplest must run without anything being installed.
const ON_TRACT: &[&str] = &[
    "two-forest",
    "two-forest-of-votes",
    "two-extra-trees",
    "two-tree",
    "two-boosted",
    "three-forest",
    "three-boosted",
    "named-forest",
    "double-forest",
    "holes-histograms",
    "number-forest",
    "number-boosted",
    "two-targets",
    "two-lightgbm",
    "three-lightgbm",
    "two-xgboost",
    "three-xgboost",
    "number-lightgbm",
    "mapped-forest",
    "mapped-logistic",
    "mapped-names",
    "number-xgboost",
];

#[test]
fn models_of_others_give_on_the_built_in_back_end_what_they_give_elsewhere() {
    let Some(mut python) = python() else { return };
    let config = Config::load(None, &Setting::from_environment(std::env::vars())).unwrap();
    let Ok(backends) = BackendSet::open(&config.data.backends, BackendChoice::Onnxruntime) else {
        assert!(std::env::var_os("CI").is_none(), "onnxruntime is not installed");
        return;
    };
    let runtime = backends.list()[0].clone();
    let tract = BackendSet::open(Path::new("/nowhere"), BackendChoice::Tract).unwrap().list()[0].clone();
    let folder = tempfile::tempdir().unwrap();
    let written = python.arg(path("tests/python/estimators.py")).arg(folder.path()).output().unwrap();
    assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
    let mut names: Vec<String> = std::fs::read_dir(folder.path())
        .unwrap()
        .filter_map(|entry| Some(entry.unwrap().file_name().to_str()?.strip_suffix(".onnx")?.to_owned()))
        .collect();
    names.sort();
    let left_out = String::from_utf8_lossy(&written.stdout).into_owned();
    assert!(names.len() >= 60, "only {} models were written: {left_out}", names.len());
    let (mut same, mut refused, mut wrong) = (Vec::new(), 0, Vec::new());
    for name in &names {
        match compared(&*tract, &*runtime, folder.path(), name) {
            Ok(Some(true)) => same.push(name.as_str()),
            Ok(Some(false)) => refused += 1,
            Ok(None) => {}
            Err(why) => wrong.push(format!("{name}: {why}")),
        }
    }
    println!("{} models run on tract, {refused} do not: {}", same.len(), same.join(", "));
    assert!(same.len() + refused >= 60, "only {} models were compared", same.len() + refused);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let missing: Vec<_> = ON_TRACT.iter().filter(|name| !same.contains(name)).collect();
    assert!(missing.is_empty(), "{missing:?} do not run on tract; {left_out}");
}

/// Whether the built-in back end takes a model; `None` for one that is no good anywhere. Fails where it gives
/// something else, or does not say what it lacks.
fn compared(
    tract: &dyn InferenceBackend,
    runtime: &dyn InferenceBackend,
    folder: &Path,
    name: &str,
) -> Result<Option<bool>, String> {
    let onnx = Bytes::from(std::fs::read(folder.join(format!("{name}.onnx"))).unwrap());
    let model = match runtime.load(&onnx, ModelSettings::default()) {
        Ok(model) => model,
        Err(error) => {
            eprintln!("{name}, elsewhere: {}", error.chain());
            return Ok(None);
        }
    };
    let question = question(folder, name, &*model);
    let expected = model.run(&question).map_err(|error| error.chain())?;
    let built_in = match tract.load(&onnx, ModelSettings::default()) {
        Ok(built_in) => built_in,
        Err(error) => {
            let says = error.kind() == ErrorKind::Unsupported
                && error.hint_text() == Some("eyot backend install onnxruntime");
            eprintln!("{name}: {}", error.chain());
            return if says { Ok(Some(false)) } else { Err(format!("{error:?}")) };
        }
    };
    let found = built_in.run(&question).map_err(|error| format!("fails when it runs: {}", error.chain()))?;
    difference(&found, &expected).map_or(Ok(Some(true)), Err)
}
