//! The models that the checks need: a few hundred bytes each, so that a host needs nothing but the
//! component. `tests/fixtures/onnx/make.py` writes them.

use eyot_guest::bindings::wasi::nn::tensor::TensorType;

macro_rules! model {
    ($name:literal) => {
        include_bytes!(concat!("../../../../tests/fixtures/onnx/", $name, ".onnx"))
    };
}

/// A type, its name, the bytes of an element, and a model `y = x` over `[3]`.
pub struct Type {
    pub name: &'static str,
    pub ty: TensorType,
    pub size: usize,
    pub same: &'static [u8],
    /// The bytes of elements at the ends of what the type can say.
    pub extremes: &'static [&'static [u8]],
    /// Where there is one for the type.
    pub add: Option<Add>,
}

/// A model `y = x + 1` over `[n, 2]`, and 41 and 42 in its type.
pub type Add = (&'static [u8], &'static [u8], &'static [u8]);

pub const TYPES: [Type; 7] = [
    Type {
        name: "fp16",
        ty: TensorType::Fp16,
        size: 2,
        same: model!("same-fp16"),
        extremes: &[b"\x00\x80", b"\x01\x00", b"\xff\x7b", b"\x00\x7c", b"\x00\xfc"],
        add: None,
    },
    Type {
        name: "fp32",
        ty: TensorType::Fp32,
        size: 4,
        same: model!("same-fp32"),
        extremes: &[
            &(-0.0_f32).to_le_bytes(),
            &f32::from_bits(1).to_le_bytes(),
            &f32::MAX.to_le_bytes(),
            &f32::NEG_INFINITY.to_le_bytes(),
        ],
        add: Some((ADD, &41_f32.to_le_bytes(), &42_f32.to_le_bytes())),
    },
    Type {
        name: "fp64",
        ty: TensorType::Fp64,
        size: 8,
        same: model!("same-fp64"),
        extremes: &[
            &(-0.0_f64).to_le_bytes(),
            &f64::from_bits(1).to_le_bytes(),
            &f64::MAX.to_le_bytes(),
            &f64::NEG_INFINITY.to_le_bytes(),
        ],
        add: Some((model!("add-fp64"), &41_f64.to_le_bytes(), &42_f64.to_le_bytes())),
    },
    Type {
        name: "bf16",
        ty: TensorType::Bf16,
        size: 2,
        same: model!("same-bf16"),
        extremes: &[b"\x00\x80", b"\x01\x00", b"\x7f\x7f", b"\x80\x7f", b"\x80\xff"],
        add: None,
    },
    Type {
        name: "u8",
        ty: TensorType::U8,
        size: 1,
        same: model!("same-uint8"),
        extremes: &[&[0], &[u8::MAX]],
        add: None,
    },
    Type {
        name: "i32",
        ty: TensorType::I32,
        size: 4,
        same: model!("same-int32"),
        extremes: &[&i32::MIN.to_le_bytes(), &(-1_i32).to_le_bytes(), &i32::MAX.to_le_bytes()],
        add: Some((model!("add-int32"), &41_i32.to_le_bytes(), &42_i32.to_le_bytes())),
    },
    Type {
        name: "i64",
        ty: TensorType::I64,
        size: 8,
        same: model!("same-int64"),
        extremes: &[&i64::MIN.to_le_bytes(), &(-1_i64).to_le_bytes(), &i64::MAX.to_le_bytes()],
        add: Some((model!("add-int64"), &41_i64.to_le_bytes(), &42_i64.to_le_bytes())),
    },
];

/// `y = x + 1` over FP32 `[n, 2]`.
pub const ADD: &[u8] = model!("add-fp32");
/// `product = a · b` over FP32 `[n, 3]` and `[3, m]`, and its `sum`, a scalar.
pub const TWO: &[u8] = model!("two");
/// Fails when it runs: it takes row 7 of `x`, FP32 `[n]`.
pub const FAILS: &[u8] = model!("fails");
/// Has an operator that nobody has.
pub const UNKNOWN_OPERATOR: &[u8] = model!("unknown-op");
/// Has its weights in `/etc/passwd`.
pub const EXTERNAL: &[u8] = model!("external");
/// Gives a sequence, which is no tensor.
pub const SEQUENCE: &[u8] = model!("sequence");
/// Gives booleans, a type that wasi:nn has not.
pub const BOOLEAN: &[u8] = model!("same-bool");
/// `y = x * scale + shift` over FP32 `[n, 2]`, where `scale` is 2 and `shift` is 10 and 20 unless they are given.
pub const DEFAULTS: &[u8] = model!("defaults");
/// Gives FP32 `[n, m]` back as `x`, its own input, and as `y`.
pub const PASSED: &[u8] = model!("passed");
