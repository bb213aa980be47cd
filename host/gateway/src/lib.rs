//! The data plane: hyper, and the Open Inference Protocol over REST.

mod admission;
mod answer;
mod body;
mod compress;
mod places;
mod predictor;
mod protocol;
mod rest;
mod revisions;
mod router;
mod server;
#[cfg(test)]
mod tests;

pub use predictor::{ComponentPredictor, ModelPredictor, Predictor};
pub use revisions::Revision;
pub use server::Gateway;
