//! Inference without wasm: tensors, back ends behind one trait, and one loaded model per digest for
//! the whole process.
//!
//! ```
//! use eyot_nn::{DataType, Tensor};
//! let tensor = Tensor::new(DataType::F32, vec![1, 2], vec![0, 0, 128, 63, 0, 0, 0, 64]).unwrap();
//! assert_eq!(tensor.to_vec::<f32>().unwrap(), [1.0, 2.0]);
//! assert!(Tensor::new(DataType::F32, vec![3], vec![0; 4]).is_err());
//! ```

mod backend;
mod backends;
pub mod install;
mod models;
mod onnx;
mod signature;
#[cfg(test)]
mod suite;
mod tensor;

pub use backend::{Backend, Model, RanOn, Settings, Target};
pub use backends::Backends;
pub use models::{LoadedModel, Models};
pub use signature::{Signature, TensorSpec};
pub use tensor::{DataType, Element, NamedTensor, Tensor};
