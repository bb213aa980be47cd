//! `eyot:ml/types`, written by hand for the sake of one field: the macro would make a tensor's data a
//! `Vec<u8>`, of which a host that keeps tensors elsewhere would need a copy for each call. As `Bytes`
//! they are read out of a guest's memory once, and written into it once.
//!
//! That this says the same as `wit/types.wit` is checked when a component is linked: a difference is
//! an error that names the type.

use bytes::Bytes;
use wasmtime::component::{ComponentType, HasData, Lift, Linker, Lower};

/// The type of one element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(enum)]
#[repr(u8)]
pub enum Dtype {
    #[component(name = "boolean")]
    Boolean,
    #[component(name = "uint8")]
    Uint8,
    #[component(name = "uint16")]
    Uint16,
    #[component(name = "uint32")]
    Uint32,
    #[component(name = "uint64")]
    Uint64,
    #[component(name = "int8")]
    Int8,
    #[component(name = "int16")]
    Int16,
    #[component(name = "int32")]
    Int32,
    #[component(name = "int64")]
    Int64,
    #[component(name = "fp16")]
    Fp16,
    #[component(name = "bf16")]
    Bf16,
    #[component(name = "fp32")]
    Fp32,
    #[component(name = "fp64")]
    Fp64,
    #[component(name = "bytes")]
    Bytes,
}

/// A named tensor.
#[derive(Clone, Debug, ComponentType, Lift, Lower)]
#[component(record)]
pub struct Tensor {
    pub name: String,
    pub dtype: Dtype,
    pub shape: Vec<u64>,
    pub data: Bytes,
}

/// What is known of a tensor before it exists.
#[derive(Clone, Debug, ComponentType, Lift, Lower)]
#[component(record)]
pub struct TensorSpec {
    pub name: String,
    pub dtype: Dtype,
    pub shape: Vec<i64>,
}

/// The inputs that are needed and the outputs that come back.
#[derive(Clone, Debug, ComponentType, Lift, Lower)]
#[component(record)]
pub struct Signature {
    pub inputs: Vec<TensorSpec>,
    pub outputs: Vec<TensorSpec>,
}

/// Why something was not done.
#[derive(Clone, Debug, ComponentType, Lift, Lower)]
#[component(variant)]
pub enum Error {
    #[component(name = "invalid-input")]
    InvalidInput(String),
    #[component(name = "not-found")]
    NotFound(String),
    #[component(name = "denied")]
    Denied(String),
    #[component(name = "unsupported")]
    Unsupported(String),
    #[component(name = "unavailable")]
    Unavailable(String),
    #[component(name = "timeout")]
    Timeout(String),
    #[component(name = "internal")]
    Internal(String),
}

/// What the macro's output asks of every interface; this one has no functions.
pub trait HostWithStore<T>: HasData {}

impl<T, D: HasData + ?Sized> HostWithStore<T> for D {}

/// As above.
pub trait Host {}

impl<T: ?Sized> Host for T {}

/// Makes the interface importable.
pub fn add_to_linker<T: 'static, D: HostWithStore<T>>(
    linker: &mut Linker<T>,
    _host: fn(&mut T) -> D::Data<'_>,
) -> wasmtime::Result<()> {
    linker.instance("eyot:ml/types@0.1.0").map(drop)
}
