//! The data plane: hyper, and the Open Inference Protocol over REST and gRPC, on four floors. Each knows those
//! below it and none above: the doors, what watches requests, what protocols say, what serves.

#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod http;
mod protocol;
mod serving;
mod telemetry;
#[cfg(test)]
mod tests;

pub use crate::http::server::{Gateway, GatewayServer};
pub use crate::serving::endpoint::LoadedRevision;
pub use crate::serving::model_control::ModelRepository;
pub use crate::serving::predictor::{ComponentPredictor, ModelPredictor, Predictor, PredictorOutput};
