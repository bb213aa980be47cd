//! What every back end must do, run on each; and what the store of loaded models adds.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use eyot_core::ErrorKind;
use eyot_core::config::{BackendChoice, Config, Setting};
use eyot_store::MemoryStore;

use crate::backends::TractBackend;
use crate::{
    BackendModel, BackendSet, DataType, InferOptions, InferenceBackend, LoadedModels, ModelSettings,
    NamedTensor, Precision, Target, Tensor, TensorSpec, Tolerance,
};

pub(crate) fn fixture(name: &str) -> Bytes {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/onnx")
        .join(name)
        .with_extension("onnx");
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).into()
}

/// A back end that has to be installed, if this machine has it. A machine of CI must.
pub(crate) fn installed(choice: BackendChoice) -> Option<Arc<dyn InferenceBackend>> {
    let config = Config::load(None, &Setting::from_environment(std::env::vars())).unwrap();
    match BackendSet::open(&config.data.backends, choice) {
        Ok(backends) => Some(backends.list()[0].clone()),
        Err(error) if std::env::var_os("CI").is_none() => {
            eprintln!("ignored: {error:?}");
            None
        }
        Err(error) => panic!("{error:?}"),
    }
}

/// Every back end of this machine that takes every type.
pub(crate) fn back_ends() -> Vec<Arc<dyn InferenceBackend>> {
    let tract: Arc<dyn InferenceBackend> = Arc::new(TractBackend);
    std::iter::once(tract).chain(installed(BackendChoice::Onnxruntime)).collect()
}

fn load(backend: &dyn InferenceBackend, name: &str) -> Box<dyn BackendModel> {
    backend
        .load(&fixture(name), ModelSettings::default())
        .unwrap_or_else(|error| panic!("{} {name}: {error:?}", backend.name()))
}

/// Some elements of a type, as bytes that every back end must give back unchanged.
fn sample(dtype: DataType) -> Tensor {
    match dtype {
        DataType::Bytes => Tensor::of_strings(vec![3], &["", "ä", "a longer text"]).unwrap(),
        DataType::Bool => Tensor::new(dtype, vec![3], vec![1, 0, 1]).unwrap(),
        DataType::F16 => Tensor::of(vec![3], &[1.5_f32, -0.0, 65504.0].map(half::f16::from_f32)).unwrap(),
        DataType::BF16 => Tensor::of(vec![3], &[1.5_f32, -0.0, 3e38].map(half::bf16::from_f32)).unwrap(),
        DataType::F32 => Tensor::of(vec![3], &[f32::MIN_POSITIVE, -0.0, f32::INFINITY]).unwrap(),
        DataType::F64 => Tensor::of(vec![3], &[f64::MIN_POSITIVE, -0.0, f64::MAX]).unwrap(),
        integer => {
            let size = integer.size().unwrap();
            let bytes: Vec<u8> = (0..3 * size).map(|index| [0xff, 0x00, 0x80, 0x7f][index % 4]).collect();
            Tensor::new(integer, vec![3], bytes).unwrap()
        }
    }
}

fn everything(backend: &Arc<dyn InferenceBackend>, without: &[DataType]) {
    every_type(&**backend, without);
    arithmetic(&**backend);
    names_and_shapes(&**backend);
    precisions(&**backend);
    what_is_no_model(&**backend);
    many_at_once(backend);
    targets(&**backend);
}

/// A precision either is what the model computes at, close to the full one, or is refused.
fn precisions(backend: &dyn InferenceBackend) {
    assert!(backend.precisions().contains(&Precision::F32));
    let inputs = [Tensor::of(vec![3, 16], &[0.5_f32; 48]).unwrap()];
    let exact = load(backend, "dense").run(&inputs).unwrap()[0].to_vec::<f32>().unwrap();
    for precision in [Precision::Bf16, Precision::Int8] {
        match backend.load(&fixture("dense"), ModelSettings { precision, ..ModelSettings::default() }) {
            Ok(model) => {
                assert!(backend.precisions().contains(&precision));
                let found = model.run(&inputs).unwrap()[0].to_vec::<f32>().unwrap();
                let apart = exact.iter().zip(&found).map(|(exact, found)| (exact - found).abs());
                assert!(apart.fold(0.0, f32::max) < 0.02, "{precision}: {exact:?} {found:?}");
                assert_ne!(exact, found, "{precision} was not computed at");
            }
            Err(refused) => {
                assert_eq!(refused.kind(), ErrorKind::Unsupported);
                assert!(refused.chain().contains(precision.as_str()), "{refused:?}");
            }
        }
    }
}

/// A target either computes the same or is refused: none falls back quietly.
fn targets(backend: &dyn InferenceBackend) {
    let inputs = [Tensor::of(vec![1, 2], &[1_f32, 2.]).unwrap()];
    let expected = [Tensor::of(vec![1, 2], &[2_f32, 3.]).unwrap()];
    assert!(backend.targets().contains(&Target::Cpu));
    for target in [Target::Cpu, Target::Gpu, Target::Tpu] {
        let loaded = backend.load(&fixture("add-fp32"), ModelSettings { target, ..ModelSettings::default() });
        if backend.targets().contains(&target) {
            assert_eq!(loaded.unwrap().run(&inputs).unwrap(), expected, "{} on {target}", backend.name());
            continue;
        }
        let refused = loaded.err().unwrap();
        assert_eq!(refused.kind(), ErrorKind::Unsupported);
        assert!(refused.chain().contains(&target.to_string()), "{refused:?}");
        eprintln!("ignored: {} on {target}: {refused:?}", backend.name());
    }
}

fn every_type(backend: &dyn InferenceBackend, without: &[DataType]) {
    for dtype in DataType::ALL.iter().copied() {
        let name = if dtype == DataType::Bytes { "string".to_owned() } else { dtype.as_str().to_lowercase() };
        let loaded = backend.load(&fixture(&format!("same-{name}")), ModelSettings::default());
        let ran = loaded.and_then(|model| model.run(&[sample(dtype)]));
        if without.contains(&dtype) {
            assert_eq!(ran.unwrap_err().kind(), ErrorKind::Unsupported, "{dtype}");
        } else {
            assert_eq!(ran.unwrap(), [sample(dtype)], "{} {dtype}", backend.name());
        }
    }
}

fn arithmetic(backend: &dyn InferenceBackend) {
    for rows in [1, 5, 1000] {
        let numbers: Vec<i64> = (0..2 * rows as i64).collect();
        let more: Vec<i64> = numbers.iter().map(|number| number + 1).collect();
        let of = |numbers: &[i64]| Tensor::of(vec![rows, 2], numbers).unwrap();
        assert_eq!(load(backend, "add-int64").run(&[of(&numbers)]).unwrap(), [of(&more)]);
        let of = |numbers: &[i64]| {
            Tensor::of(vec![rows, 2], &numbers.iter().map(|n| *n as f32).collect::<Vec<_>>()).unwrap()
        };
        assert_eq!(load(backend, "add-fp32").run(&[of(&numbers)]).unwrap(), [of(&more)]);
    }
}

fn names_and_shapes(backend: &dyn InferenceBackend) {
    let model = load(backend, "two");
    let spec = |name: &str, shape: &[i64], names: &[Option<&str>]| TensorSpec {
        dimensions: names.iter().map(|name| name.map(str::to_owned)).collect(),
        ..TensorSpec::new(name, DataType::F32, shape)
    };
    assert_eq!(
        model.signature().inputs,
        [spec("a", &[-1, 3], &[Some("n"), None]), spec("b", &[3, -1], &[None, Some("m")])]
    );
    assert_eq!(
        model.signature().outputs,
        [spec("product", &[-1, -1], &[Some("n"), Some("m")]), spec("sum", &[], &[])]
    );
    let a = Tensor::of(vec![1, 3], &[1_f32, 2., 3.]).unwrap();
    let b = Tensor::of(vec![3, 2], &[1_f32, 0., 0., 1., 1., 1.]).unwrap();
    let outputs = model.run(&[a, b]).unwrap();
    assert_eq!(outputs[0].to_vec::<f32>().unwrap(), [4., 5.]);
    assert_eq!((outputs[1].shape(), outputs[1].to_vec::<f32>().unwrap()), (&[][..], vec![9.]));
}

/// The flowers are the first of each kind in scikit-learn's iris data.
fn trees(backend: &dyn InferenceBackend) {
    let model = load(backend, "iris-forest");
    let flowers = [5.1_f32, 3.5, 1.4, 0.2, 7.0, 3.2, 4.7, 1.4, 6.3, 3.3, 6.0, 2.5];
    let outputs = model.run(&[Tensor::of(vec![3, 4], &flowers).unwrap()]).unwrap();
    assert_eq!(outputs[0].to_vec::<i64>().unwrap(), [0, 1, 2]);
    let chances = outputs[1].to_vec::<f32>().unwrap();
    assert!(chances.chunks(3).all(|row| (row.iter().sum::<f32>() - 1.0).abs() < 1e-5), "{chances:?}");
}

fn what_is_no_model(backend: &dyn InferenceBackend) {
    let refuse = |bytes: Bytes| backend.load(&bytes, ModelSettings::default()).err();
    for (bytes, says) in [
        (&b""[..], "an empty file"),
        (b"\0asm\x0d\0\x01\0", "a wasm file"),
        (b"\x80\x04\x95", "a pickle"),
        (b"PK\x03\x04", "a zip archive"),
        (b"{}", "JSON"),
        (b"hello", "no ONNX model"),
    ] {
        let error = refuse(Bytes::from_static(bytes)).unwrap();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error:?}");
        assert!(error.chain().contains(says), "{error:?}");
    }
    for (name, says) in [("external", "another file"), ("sequence", "is no tensor")] {
        let error = refuse(fixture(name)).unwrap();
        assert!(error.kind() == ErrorKind::Unsupported && error.chain().contains(says), "{error:?}");
    }
    let unknown = refuse(fixture("unknown-op")).unwrap();
    assert!(unknown.chain().contains("Teleport"), "{unknown:?}");
    // Whatever is cut off or flipped, there is an answer and no panic.
    let good = fixture("iris-forest");
    for cut in (0..good.len()).step_by(37) {
        drop(refuse(good.slice(..cut)));
    }
    for at in (0..fixture("two").len()).step_by(3) {
        let mut bytes = fixture("two").to_vec();
        bytes[at] ^= 0x55;
        drop(refuse(bytes.into()));
    }
}

fn what_fails_late(backend: &dyn InferenceBackend) {
    let loaded = backend.load(&fixture("fails"), ModelSettings::default());
    let error =
        loaded.and_then(|model| model.run(&[Tensor::of(vec![2], &[1_f32, 2.]).unwrap()])).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Failed | ErrorKind::Invalid), "{error:?}");
}

fn many_at_once(backend: &Arc<dyn InferenceBackend>) {
    let model: Arc<dyn BackendModel> = load(&**backend, "two").into();
    let workers = (0..8).map(|worker| {
        let model = model.clone();
        std::thread::spawn(move || {
            for round in 0..100 {
                let value = (worker * 100 + round) as f32;
                let a = Tensor::of(vec![1, 3], &[value, 0., 0.]).unwrap();
                let b = Tensor::of(vec![3, 1], &[2_f32, 0., 0.]).unwrap();
                assert_eq!(model.run(&[a, b]).unwrap()[1].to_vec::<f32>().unwrap(), [2. * value]);
            }
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.join().unwrap();
    }
}

#[test]
fn tract() {
    let backend: Arc<dyn InferenceBackend> = Arc::new(TractBackend);
    everything(&backend, &[DataType::BF16]);
    trees(&*backend);
    what_fails_late(&*backend);
}

#[test]
fn onnx_runtime() {
    if let Some(backend) = installed(BackendChoice::Onnxruntime) {
        everything(&backend, &[]);
        trees(&*backend);
        what_fails_late(&*backend);
    }
}

/// What it would compute in fewer bits than the file says, it refuses: at once, or when a number does not
/// fit. It has no operators for trees, and where others fail on a row that is not in a table, it reads
/// zeros, as its own standard has it.
#[test]
fn openvino() {
    let Some(backend) = installed(BackendChoice::Openvino) else { return };
    everything(&backend, &[DataType::F64, DataType::I64, DataType::U64, DataType::Bytes]);
    let trees = backend.load(&fixture("iris-forest"), ModelSettings::default()).err().unwrap();
    assert_eq!(trees.kind(), ErrorKind::Unsupported, "{trees:?}");
    let outside = load(&*backend, "fails").run(&[Tensor::of(vec![2], &[1_f32, 2.]).unwrap()]).unwrap();
    assert_eq!(outside[0].to_vec::<f32>().unwrap(), [0.0]);
}

#[tokio::test]
async fn a_lower_precision_is_taken_within_the_tolerance_that_was_stated() {
    if installed(BackendChoice::Openvino).is_none() {
        return;
    }
    let config = Config::load(None, &Setting::from_environment(std::env::vars())).unwrap();
    let backends = BackendSet::open(&config.data.backends, BackendChoice::Openvino).unwrap();
    let models = LoadedModels::new(Arc::new(MemoryStore::default()), backends, 2);
    let settings = ModelSettings { precision: Precision::Bf16, ..ModelSettings::default() };
    let model = match models.load_bytes(fixture("dense"), settings).await {
        Ok(model) => model,
        // A processor that does not compute at bf16 says so.
        Err(error) => return assert_eq!(error.kind(), ErrorKind::Unsupported, "{error:?}"),
    };
    let ran_on = model.ran_on();
    let difference = ran_on.difference.unwrap();
    assert!(difference.part() > 0.0 && difference.part() < 0.05, "{ran_on}");
    assert!(ran_on.to_string().ends_with(&format!("(cpu, bf16 within {difference} of f32)")), "{ran_on}");
    model.check_within(difference).unwrap();
    let refused = model.check_within(Tolerance::new(difference.part() / 2.0).unwrap()).unwrap_err();
    assert!(refused.chain().contains(&difference.to_string()), "{refused:?}");
    // At full precision there is nothing to compare.
    let exact = models.load_bytes(fixture("dense"), ModelSettings::default()).await.unwrap();
    assert!(exact.ran_on().difference.is_none() && !exact.shares_with(&model));
    exact.check_within(Tolerance::new(0.0).unwrap()).unwrap();
}

fn models(store: MemoryStore) -> Arc<LoadedModels> {
    let backends = BackendSet::open(std::path::Path::new("/nowhere"), BackendChoice::Auto).unwrap();
    LoadedModels::new(Arc::new(store), backends, 2)
}

#[tokio::test]
async fn inputs_are_checked_and_matched_by_name() {
    let model =
        models(MemoryStore::default()).load_bytes(fixture("two"), ModelSettings::default()).await.unwrap();
    let a = NamedTensor { name: "a".into(), tensor: Tensor::of(vec![1, 3], &[1_f32, 2., 3.]).unwrap() };
    let b = NamedTensor { name: "b".into(), tensor: Tensor::of(vec![3, 1], &[1_f32; 3]).unwrap() };
    for _ in 0..20 {
        let outputs = model.infer(vec![b.clone(), a.clone()], InferOptions::default()).await.unwrap().outputs;
        assert_eq!(outputs[0].name, "product");
        assert_eq!(outputs[1].tensor.to_vec::<f32>().unwrap(), [6.]);
    }
    assert_eq!(
        model.infer(vec![a], InferOptions::default()).await.unwrap_err().to_string(),
        "input 'b' is missing"
    );
}

#[test]
fn an_onnx_runtime_that_was_asked_for_must_be_there() {
    let error = BackendSet::open(std::path::Path::new("/nowhere"), BackendChoice::Onnxruntime).err().unwrap();
    assert_eq!(
        (error.kind(), error.hint_text()),
        (ErrorKind::Unavailable, Some("eyot backend install onnxruntime"))
    );
}

#[test]
fn a_wheel_that_is_not_the_published_one_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let wheel = dir.path().join("onnxruntime.whl");
    std::fs::write(&wheel, b"not a wheel").unwrap();
    let error = crate::install::ONNXRUNTIME.install(dir.path(), &wheel).unwrap_err();
    assert!(error.kind() == ErrorKind::Corrupt && error.chain().contains("sha256"), "{error:?}");
    assert!(crate::install::ONNXRUNTIME.installed(dir.path()).is_none());
}
