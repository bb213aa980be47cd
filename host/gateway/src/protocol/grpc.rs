//! The messages of the Open Inference Protocol's gRPC service.

pub(crate) mod tensors;

/// Types and services of proto/inference.proto.
#[allow(clippy::all, clippy::pedantic, unreachable_pub, missing_docs)]
pub(crate) mod pb {
    tonic::include_proto!("inference");

    /// The file itself, for reflection.
    pub(crate) const FILE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/inference.bin"));
}
