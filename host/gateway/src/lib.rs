//! The data plane: hyper, and the Open Inference Protocol over REST and gRPC.

mod about;
mod admission;
mod answer;
mod body;
mod compress;
mod docs;
mod endpoint;
mod functions;
mod grpc;
mod identity;
mod log;
mod metrics;
mod model_control;
mod mounted;
mod openapi;
mod places;
mod predict;
mod predictor;
mod protocol;
mod repository;
mod rest;
mod revisions;
mod router;
mod sampling;
mod server;
mod shadow;
mod spans;
mod state;
mod stats;
#[cfg(test)]
mod tests;
mod trace;
mod web;

pub use endpoint::Revision;
pub use model_control::Repository;
pub use predictor::{ComponentPredictor, ModelPredictor, Predicted, Predictor};
pub use server::{Gateway, Listening};
