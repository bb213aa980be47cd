//! The data plane: hyper, and the Open Inference Protocol over REST and gRPC.

mod about;
mod admission;
mod answer;
mod body;
mod compress;
mod docs;
mod functions;
mod grpc;
mod log;
mod metrics;
mod openapi;
mod places;
mod predict;
mod predictor;
mod protocol;
mod repository;
mod rest;
mod revisions;
mod router;
mod server;
mod shadow;
mod spans;
mod stats;
#[cfg(test)]
mod tests;
mod trace;
mod web;

pub use predictor::{ComponentPredictor, ModelPredictor, Predicted, Predictor};
pub use repository::Repository;
pub use revisions::Revision;
pub use server::{Gateway, Listening};
