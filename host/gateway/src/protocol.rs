//! The Open Inference Protocol's JSON, to and from tensors.

pub(crate) mod decode;
pub(crate) mod encode;
