//! Inference without wasm: tensors, back ends behind one trait, and one loaded model per digest for
//! the whole process.
//!
//! ```
//! use eyot_nn::{DataType, Tensor};
//! let tensor = Tensor::new(DataType::F32, vec![1, 2], vec![0, 0, 128, 63, 0, 0, 0, 64]).unwrap();
//! assert_eq!(tensor.to_vec::<f32>().unwrap(), [1.0, 2.0]);
//! assert!(Tensor::new(DataType::F32, vec![3], vec![0; 4]).is_err());
//! ```

#[cfg(test)]
mod aliases;
mod aligned;
mod backend;
mod backends;
mod batch;
mod batch_probe;
pub mod bench;
mod control;
mod cost;
mod defaults;
mod difference;
mod example;
#[cfg(test)]
mod fake;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
#[cfg(test)]
mod graphs;
mod independence;
mod infer_options;
pub mod install;
mod job;
mod loaded;
mod memory;
mod model_files;
mod model_state;
mod models;
mod onnx;
mod probe_cache;
#[cfg(test)]
mod properties;
mod request;
#[cfg(test)]
mod runaway;
mod schedule;
mod settings;
mod signature;
mod stats;
#[cfg(test)]
mod suite;
mod tensor;
mod threads;

pub use backend::{BackendModel, InferenceBackend, InputOverride, RanOn};
pub use backends::BackendSet;
pub use control::{RunControl, RunInterrupt, RunLimits, StopReason};
pub use cost::thread_time;
pub use eyot_core::config::{Precision, Target, Tolerance};
pub use infer_options::{InferOptions, InferenceResult, RequestPriority};
pub use loaded::{LoadedModel, ModelPin};
pub use model_files::{DataFile, ModelFiles, StoredData, StoredModel, map_file};
pub use models::{LoadedModels, ModelCacheOptions};
pub use onnx::is_plain_name;
pub use settings::{BatchingPolicy, ModelSettings};
pub use signature::{FixedInputs, ModelSignature, TensorParameters, TensorSpec};
pub use stats::{CacheStats, LearnedCost, ModelStats};
pub use tensor::{DataType, NamedTensor, Tensor, TensorElement};
