//! The checks. Each is a name and a function that says what does not hold.

use std::fmt;

use eyot_guest::bindings::wasi::nn::errors::{Error, ErrorCode};
use eyot_guest::bindings::wasi::nn::graph::{ExecutionTarget, Graph, GraphEncoding, load, load_by_name};
use eyot_guest::bindings::wasi::nn::inference::GraphExecutionContext;
use eyot_guest::bindings::wasi::nn::tensor::{Tensor, TensorType};

use crate::models::{self, Add, TYPES, Type};

/// What came of a check.
pub enum Outcome {
    Pass,
    /// The host says `unsupported-operation`, which is an honest answer where it is asked for a type
    /// or a device that it has not.
    Unsupported(String),
    Fail(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Pass => f.write_str("pass"),
            Outcome::Unsupported(reason) => write!(f, "unsupported ({reason})"),
            Outcome::Fail(reason) => write!(f, "FAIL ({reason})"),
        }
    }
}

impl From<Error> for Outcome {
    fn from(error: Error) -> Self {
        let text = format!("{:?}: {}", error.code(), error.data());
        if error.code() == ErrorCode::UnsupportedOperation {
            Outcome::Unsupported(text)
        } else {
            Outcome::Fail(text)
        }
    }
}

/// A check fails with what came of it.
type Checked = Result<(), Outcome>;

/// Named tensors, as `compute` takes and gives them.
type Named = Vec<(String, Tensor)>;

fn expect(what: impl Into<String>, holds: bool) -> Checked {
    if holds { Ok(()) } else { Err(Outcome::Fail(format!("does not hold: {}", what.into()))) }
}

/// Runs every check.
pub fn all() -> Vec<(String, Outcome)> {
    let mut results = Vec::new();
    let mut check = |name: String, checked: Checked| {
        results.push((name, checked.err().unwrap_or(Outcome::Pass)));
    };
    for ty in &TYPES {
        for (name, run) in OF_EACH_TYPE {
            check(format!("type/{}/{name}", ty.name), run(ty));
        }
        for shape in SHAPES {
            check(format!("tensor/{}/{shape:?}", ty.name), keeps(ty, shape));
        }
        for rows in [0, 1, 2, 7, 1000] {
            if let Some(add) = ty.add {
                check(format!("type/{}/{rows} rows", ty.name), adds(ty.ty, add, rows));
            }
        }
    }
    for (name, run) in ONCE {
        check((*name).to_owned(), run());
    }
    for (encoding, name) in ENCODINGS {
        check(format!("load/encoding/{name}"), refuses_encoding(*encoding));
    }
    for (target, name) in [(ExecutionTarget::Gpu, "gpu"), (ExecutionTarget::Tpu, "tpu")] {
        check(format!("load/target/{name}"), computes_on(target));
    }
    results
}

type OfType = fn(&Type) -> Checked;

const OF_EACH_TYPE: &[(&str, OfType)] = &[
    ("same", gives_back),
    ("other types", refuses_other_types),
    ("too few bytes", |ty| refuses_length(ty, 3 * ty.size - 1)),
    ("too many bytes", |ty| refuses_length(ty, 3 * ty.size + 1)),
    ("no bytes", |ty| refuses_length(ty, 0)),
    ("extremes", keeps_extremes),
    ("another rank", |ty| refuses_shape_of(ty, &[1, 3])),
    ("another fixed dimension", |ty| refuses_shape_of(ty, &[4])),
    ("a scalar", |ty| refuses_shape_of(ty, &[])),
    ("unknown name", |ty| refuses_named(ty, &["z"])),
    ("no name", |ty| refuses_named(ty, &[""])),
    ("twice", |ty| refuses_named(ty, &["x", "x"])),
    ("no input", |ty| refuses_named(ty, &[])),
    ("an output as an input", takes_its_outputs),
    ("after an error", works_after_an_error_of),
];

const SHAPES: &[&[u32]] = &[&[], &[0], &[1], &[5], &[2, 3], &[0, 5], &[1, 2, 3, 4], &[1; 8]];

const ENCODINGS: &[(GraphEncoding, &str)] = &[
    (GraphEncoding::Openvino, "openvino"),
    (GraphEncoding::Tensorflow, "tensorflow"),
    (GraphEncoding::Pytorch, "pytorch"),
    (GraphEncoding::Tensorflowlite, "tensorflowlite"),
    (GraphEncoding::Ggml, "ggml"),
];

type Alone = fn() -> Checked;

const ONCE: &[(&str, Alone)] = &[
    ("compute/x + 1", || adds_one(models::ADD).map_err(Outcome::Fail)),
    ("shape/another rank", || refuses_shape(&[2])),
    ("shape/another fixed dimension", || refuses_shape(&[1, 3])),
    ("shape/a scalar", || refuses_shape(&[])),
    ("shape/larger than any memory", refuses_the_impossible),
    ("name/unknown", || refuses_names(&["z"])),
    ("name/none", || refuses_names(&[])),
    ("name/twice", || refuses_names(&["x", "x"])),
    ("name/one too many", || refuses_names(&["x", "z"])),
    ("name/any order", takes_any_order),
    ("output/names, order and scalars", gives_all_outputs),
    ("output/a type without a name here", refuses_booleans),
    ("load/garbage", || refuses_bytes(b"garbage", &[ErrorCode::InvalidArgument])),
    ("load/nothing", || refuses_bytes(b"", &[ErrorCode::InvalidArgument])),
    ("load/cut off", || refuses_bytes(&models::ADD[..models::ADD.len() / 2], &[ErrorCode::InvalidArgument])),
    ("load/weights in another file", || refuses_bytes(models::EXTERNAL, CANNOT)),
    ("load/an unknown operator", || refuses_bytes(models::UNKNOWN_OPERATOR, CANNOT)),
    ("load/what is no tensor", || refuses_bytes(models::SEQUENCE, CANNOT)),
    ("load/no buffer", || refuses_builder(&[])),
    ("load/two buffers", || refuses_builder(&[models::ADD.to_vec(), models::ADD.to_vec()])),
    ("load/autodetect", autodetects),
    ("load/again", loads_again),
    ("load-by-name/not granted", refuses_a_name),
    ("context/several of a graph", contexts_are_independent),
    ("context/after its graph", outlives_its_graph),
    ("context/after an error", works_after_an_error),
    ("compute/fails when it runs", reports_what_fails_late),
    ("output/what passes through is the guest's own", keeps_what_passes_through),
    ("input/what has a default may be left out or given", overrides_defaults),
];

/// What a host may say of a model that is well formed and that it cannot run.
const CANNOT: &[ErrorCode] = &[
    ErrorCode::InvalidArgument,
    ErrorCode::UnsupportedOperation,
    ErrorCode::Security,
    ErrorCode::RuntimeError,
];

fn onnx(bytes: &[u8]) -> Result<Graph, Error> {
    load(&[bytes.to_vec()], GraphEncoding::Onnx, ExecutionTarget::Cpu)
}

fn context(model: &[u8]) -> Result<GraphExecutionContext, Error> {
    onnx(model)?.init_execution_context()
}

fn floats(shape: &[u32], values: &[f32]) -> Tensor {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Tensor::new(shape, TensorType::Fp32, &bytes)
}

fn x(tensor: Tensor) -> Named {
    vec![("x".to_owned(), tensor)]
}

fn only(outputs: &Named) -> Result<&Tensor, Outcome> {
    match outputs.as_slice() {
        [(name, tensor)] if name == "y" => Ok(tensor),
        other => {
            let names: Vec<_> = other.iter().map(|(name, _)| name.as_str()).collect();
            Err(Outcome::Fail(format!("the outputs are {names:?}, not y alone")))
        }
    }
}

/// Fails unless it was refused with one of those codes and some text.
fn refused<T>(what: Result<T, Error>, codes: &[ErrorCode]) -> Checked {
    let Err(error) = what else { return Err(Outcome::Fail("it was not refused".to_owned())) };
    let code = error.code();
    expect(format!("{code:?} is one of {codes:?} ({})", error.data()), codes.contains(&code))?;
    expect("the error has a text", !error.data().is_empty())
}

/// `y = x + 1`, of any bytes that are that model.
pub fn adds_one(model: &[u8]) -> Result<(), String> {
    let added = || {
        let outputs = context(model)?.compute(x(floats(&[2, 2], &[1.0, 2.0, 3.0, 4.0])))?;
        let y = only(&outputs)?;
        expect("it is x + 1", y.data() == floats(&[2, 2], &[2.0, 3.0, 4.0, 5.0]).data())
    };
    added().map_err(|outcome: Outcome| outcome.to_string())
}

/// Every pattern of bytes that is a number in each type comes back as it was.
fn gives_back(ty: &Type) -> Checked {
    let bytes: Vec<u8> = (0..3 * ty.size).map(|at| [0x01, 0x3c, 0x40, 0x3f][at % 4]).collect();
    let outputs = context(ty.same)?.compute(x(Tensor::new(&[3], ty.ty, &bytes)))?;
    let y = only(&outputs)?;
    expect("type and dimensions are those of x", y.ty() == ty.ty && y.dimensions() == [3])?;
    expect("the bytes are those of x", y.data() == bytes)
}

/// Numbers at the ends of what the type can say: the smallest, the largest, none, and for floats infinity.
fn keeps_extremes(ty: &Type) -> Checked {
    for element in ty.extremes {
        let bytes = element.repeat(3);
        let outputs = context(ty.same)?.compute(x(Tensor::new(&[3], ty.ty, &bytes)))?;
        expect(format!("{element:x?} comes back"), only(&outputs)?.data() == bytes)?;
    }
    Ok(())
}

fn refuses_shape_of(ty: &Type, shape: &[u32]) -> Checked {
    let count: u32 = shape.iter().product();
    let tensor = Tensor::new(shape, ty.ty, &vec![0; count as usize * ty.size]);
    refused(context(ty.same)?.compute(x(tensor)), &[ErrorCode::InvalidArgument])
}

fn refuses_named(ty: &Type, names: &[&str]) -> Checked {
    let tensor = || Tensor::new(&[3], ty.ty, &vec![0; 3 * ty.size]);
    let inputs = names.iter().map(|name| ((*name).to_owned(), tensor())).collect();
    refused(context(ty.same)?.compute(inputs), &[ErrorCode::InvalidArgument])
}

/// A tensor that the host made is as good as one of the guest's own.
fn takes_its_outputs(ty: &Type) -> Checked {
    let context = context(ty.same)?;
    let bytes = ty.extremes.first().map(|element| element.repeat(3)).unwrap_or_default();
    let mut tensor = Tensor::new(&[3], ty.ty, &bytes);
    for _ in 0..5 {
        let mut outputs = context.compute(x(tensor))?;
        only(&outputs)?;
        (_, tensor) = outputs.remove(0);
    }
    expect("the bytes are those of the first", tensor.data() == bytes)
}

fn works_after_an_error_of(ty: &Type) -> Checked {
    let context = context(ty.same)?;
    for _ in 0..5 {
        let short = Tensor::new(&[3], ty.ty, &[]);
        refused(context.compute(x(short)), &[ErrorCode::InvalidArgument])?;
    }
    only(&context.compute(x(Tensor::new(&[3], ty.ty, &vec![0; 3 * ty.size])))?).map(drop)
}

fn refuses_other_types(ty: &Type) -> Checked {
    let context = context(ty.same)?;
    for other in TYPES.iter().filter(|other| other.ty != ty.ty) {
        let tensor = Tensor::new(&[3], other.ty, &vec![0; 3 * other.size]);
        refused(context.compute(x(tensor)), &[ErrorCode::InvalidArgument])?;
    }
    Ok(())
}

fn refuses_length(ty: &Type, length: usize) -> Checked {
    let tensor = Tensor::new(&[3], ty.ty, &vec![0; length]);
    refused(context(ty.same)?.compute(x(tensor)), &[ErrorCode::InvalidArgument])
}

fn keeps(ty: &Type, shape: &[u32]) -> Checked {
    let count: u32 = shape.iter().product();
    let bytes: Vec<u8> = (0..count as usize * ty.size).map(|byte| byte as u8).collect();
    let tensor = Tensor::new(shape, ty.ty, &bytes);
    expect("it keeps its type", tensor.ty() == ty.ty)?;
    expect("it keeps its dimensions", tensor.dimensions() == shape)?;
    expect("it keeps its bytes, each time", tensor.data() == bytes && tensor.data() == bytes)
}

fn adds(ty: TensorType, (model, before, after): Add, rows: u32) -> Checked {
    let outputs =
        context(model)?.compute(x(Tensor::new(&[rows, 2], ty, &before.repeat(2 * rows as usize))))?;
    let y = only(&outputs)?;
    expect("type and dimensions are those of x", y.ty() == ty && y.dimensions() == [rows, 2])?;
    expect("every element is one more", y.data() == after.repeat(2 * rows as usize))
}

fn refuses_shape(shape: &[u32]) -> Checked {
    let count: u32 = shape.iter().product();
    let tensor = floats(shape, &vec![1.0; count as usize]);
    refused(context(models::ADD)?.compute(x(tensor)), &[ErrorCode::InvalidArgument])
}

/// Its size overflows 64 bits, and must neither be allocated nor wrap around.
fn refuses_the_impossible() -> Checked {
    let tensor = Tensor::new(&[u32::MAX, u32::MAX, u32::MAX], TensorType::Fp64, &[]);
    expect("it keeps its dimensions", tensor.dimensions() == [u32::MAX; 3])?;
    refused(context(models::ADD)?.compute(x(tensor)), &[ErrorCode::InvalidArgument])
}

fn refuses_names(names: &[&str]) -> Checked {
    let inputs = names.iter().map(|name| ((*name).to_owned(), floats(&[1, 2], &[1.0, 2.0]))).collect();
    refused(context(models::ADD)?.compute(inputs), &[ErrorCode::InvalidArgument])
}

fn two() -> (Tensor, Tensor) {
    (floats(&[1, 3], &[1.0, 2.0, 3.0]), floats(&[3, 2], &[1.0, 0.0, 0.0, 1.0, 1.0, 1.0]))
}

fn takes_any_order() -> Checked {
    let context = context(models::TWO)?;
    let (a, b) = two();
    let one = context.compute(vec![("a".to_owned(), a), ("b".to_owned(), b)])?;
    let (a, b) = two();
    let other = context.compute(vec![("b".to_owned(), b), ("a".to_owned(), a)])?;
    let data = |outputs: &Named| outputs.iter().map(|(_, tensor)| tensor.data()).collect::<Vec<_>>();
    expect("the order of inputs does not matter", data(&one) == data(&other))
}

fn gives_all_outputs() -> Checked {
    let (a, b) = two();
    let outputs = context(models::TWO)?.compute(vec![("a".to_owned(), a), ("b".to_owned(), b)])?;
    let [(first, product), (second, sum)] = outputs.as_slice() else {
        return Err(Outcome::Fail(format!("there are {} outputs, not two", outputs.len())));
    };
    expect("they are named as in the model, in its order", first == "product" && second == "sum")?;
    expect("the product is 1 by 2", product.dimensions() == [1, 2])?;
    expect("the product is right", product.data() == floats(&[2], &[4.0, 5.0]).data())?;
    // The standard's own text asks for [1] where a tensor is a single value.
    expect("the sum is one value", matches!(sum.dimensions().as_slice(), [] | [1]))?;
    expect("the sum is right", sum.data() == floats(&[1], &[9.0]).data())
}

/// Its input cannot be made, since there is no such type; whatever is tried instead does not fit.
fn refuses_booleans() -> Checked {
    let graph = match onnx(models::BOOLEAN) {
        Ok(graph) => graph,
        Err(error) => return refused(Err::<(), _>(error), CANNOT),
    };
    let bytes = Tensor::new(&[3], TensorType::U8, &[1, 0, 1]);
    refused(graph.init_execution_context()?.compute(x(bytes)), CANNOT)
}

fn refuses_bytes(bytes: &[u8], codes: &[ErrorCode]) -> Checked {
    // A model may also be found out when it is first run, not when it is loaded.
    let computed = context(bytes).and_then(|context| context.compute(x(floats(&[2], &[1.0, 2.0]))));
    refused(computed, codes)
}

fn refuses_builder(buffers: &[Vec<u8>]) -> Checked {
    refused(load(buffers, GraphEncoding::Onnx, ExecutionTarget::Cpu), &[ErrorCode::InvalidArgument])
}

fn refuses_encoding(encoding: GraphEncoding) -> Checked {
    let loaded = load(&[models::ADD.to_vec()], encoding, ExecutionTarget::Cpu);
    refused(
        loaded,
        &[ErrorCode::InvalidEncoding, ErrorCode::UnsupportedOperation, ErrorCode::InvalidArgument],
    )
}

fn computes_on(target: ExecutionTarget) -> Checked {
    let graph = load(&[models::ADD.to_vec()], GraphEncoding::Onnx, target)?;
    let outputs = graph.init_execution_context()?.compute(x(floats(&[1, 2], &[1.0, 2.0])))?;
    expect("it computes there", only(&outputs)?.data() == floats(&[2], &[2.0, 3.0]).data())
}

fn autodetects() -> Checked {
    let graph = load(&[models::ADD.to_vec()], GraphEncoding::Autodetect, ExecutionTarget::Cpu)?;
    let outputs = graph.init_execution_context()?.compute(x(floats(&[1, 2], &[1.0, 2.0])))?;
    only(&outputs).map(drop)
}

fn loads_again() -> Checked {
    for _ in 0..50 {
        let outputs = context(models::ADD)?.compute(x(floats(&[1, 2], &[1.0, 2.0])))?;
        only(&outputs)?;
    }
    Ok(())
}

fn refuses_a_name() -> Checked {
    let codes = [ErrorCode::NotFound, ErrorCode::Security];
    for name in ["somebody-elses", "", "../../etc/passwd", "0"] {
        refused(load_by_name(name), &codes)?;
    }
    Ok(())
}

fn contexts_are_independent() -> Checked {
    let graph = onnx(models::ADD)?;
    let (one, other) = (graph.init_execution_context()?, graph.init_execution_context()?);
    let first = one.compute(x(floats(&[1, 2], &[1.0, 2.0])))?;
    let second = other.compute(x(floats(&[2, 2], &[5.0; 4])))?;
    let unchanged = only(&first)?.data() == floats(&[2], &[2.0, 3.0]).data();
    expect("what one gave is not changed by the other", unchanged)?;
    expect("the other has its own", only(&second)?.data() == floats(&[4], &[6.0; 4]).data())
}

fn outlives_its_graph() -> Checked {
    let graph = onnx(models::ADD)?;
    let context = graph.init_execution_context()?;
    drop(graph);
    only(&context.compute(x(floats(&[1, 2], &[1.0, 2.0])))?).map(drop)
}

fn works_after_an_error() -> Checked {
    let context = context(models::ADD)?;
    for _ in 0..20 {
        refused(context.compute(x(floats(&[3], &[1.0; 3]))), &[ErrorCode::InvalidArgument])?;
    }
    only(&context.compute(x(floats(&[1, 2], &[1.0, 2.0])))?).map(drop)
}

fn reports_what_fails_late() -> Checked {
    let ran = context(models::FAILS).and_then(|context| context.compute(x(floats(&[2], &[1.0, 2.0]))));
    // OpenVINO defines a row that is not there to be zeros: then there is no failure to be told.
    if ran.is_ok() {
        return Err(Outcome::Unsupported("the back end computes what others fail at".to_owned()));
    }
    refused(ran, CANNOT)
}

/// An output that is an input, too large to be copied by chance, stays what it was once its input is gone and others
/// have computed.
fn keeps_what_passes_through() -> Checked {
    const COUNT: u32 = 3000;
    let graph = onnx(models::PASSED)?;
    let contexts = [graph.init_execution_context()?, graph.init_execution_context()?];
    let numbers = |client: usize, turn: usize| vec![(client * 100 + turn) as f32; COUNT as usize];
    let mut answers: Vec<(usize, usize, Named)> = Vec::new();
    for turn in 0..4 {
        for (client, context) in contexts.iter().enumerate() {
            let given = floats(&[1, COUNT], &numbers(client, turn));
            answers.push((client, turn, context.compute(x(given))?));
        }
    }
    for (client, turn, outputs) in &answers {
        let expected = floats(&[1, COUNT], &numbers(*client, *turn)).data();
        expect("there are two outputs", outputs.len() == 2)?;
        for (name, tensor) in outputs {
            expect(format!("'{name}' of turn {turn} is its own"), tensor.data() == expected)?;
        }
    }
    Ok(())
}

fn overrides_defaults() -> Checked {
    let context = context(models::DEFAULTS)?;
    let named = |name: &str, shape: &[u32], values: &[f32]| (name.to_owned(), floats(shape, values));
    let x = || named("x", &[1, 2], &[1.0, 3.0]);
    // By number the last ones are those that need not be there.
    for (given, expected) in [
        (vec![x()], [12.0_f32, 26.0]),
        (vec![named("scale", &[], &[3.0]), x()], [13.0, 29.0]),
        (vec![x()], [12.0, 26.0]),
        (vec![x(), named("1", &[2], &[-1.0, 0.5])], [1.0, 6.5]),
    ] {
        let outputs = context.compute(given)?;
        expect(
            "what is given counts, and else the default",
            only(&outputs)?.data() == floats(&[1, 2], &expected).data(),
        )?;
    }
    Ok(())
}
