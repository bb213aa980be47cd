//! Write steps and handlers for Eyot in Rust.
//!
//! A step is a public function of a module; what it takes are the step's parameters and inputs, what
//! it gives are its outputs:
//!
//! ```ignore
//! #[eyot_guest::component]
//! mod steps {
//!     use eyot_guest::{Artifact, Result};
//!
//!     /// Counts the lines of a file.
//!     pub fn count(file: Artifact, skip: u64) -> Result<u64> {
//!         Ok((file.text()?.lines().count() as u64).saturating_sub(skip))
//!     }
//! }
//! ```
//!
//! A handler is a function from tensors to tensors:
//!
//! ```ignore
//! #[eyot_guest::handler(inputs("x: FP32[-1]"), outputs("y: FP32[-1]"))]
//! fn double(inputs: Vec<Tensor>) -> Result<Vec<Tensor>> {
//!     let x = inputs[0].to_vec::<f32>()?;
//!     Ok(vec![Tensor::of("y", &[x.len()], &x.iter().map(|x| 2.0 * x).collect::<Vec<_>>())])
//! }
//! ```
//!
//! Either may be an `async fn`. A component that serves then has several inferences under way, with what
//! futures are joined with everywhere, such as the crate `futures`:
//!
//! ```ignore
//! #[eyot_guest::handler(inputs("x: FP32[-1]"), outputs("y: FP32[-1]"))]
//! async fn both(inputs: Vec<Tensor>) -> Result<Vec<Tensor>> {
//!     let (one, other) = (Model::open("one")?, Model::open("other")?);
//!     let answers = futures::try_join!(one.infer_async(inputs.clone()), other.infer_async(inputs))?;
//!     mean(answers)
//! }
//! ```

mod artifact;
mod error;
mod model;
mod tensor;
pub mod tracking;

pub use artifact::{Artifact, Reader, Writer};
pub use error::{Error, Kind, Result};
pub use eyot_guest_macros::{component, handler};
pub use model::Model;
pub use tensor::{Element, Tensor};
#[doc(hidden)]
pub use wit_bindgen;

/// The contracts as wit-bindgen makes them. What is public here beside `wasi` has a better form in this
/// crate.
#[doc(hidden)]
pub mod bindings {
    wit_bindgen::generate!({
        inline: "
            package eyot:guest;
            world all {
                include eyot:ml/pipeline-step@0.1.0;
                import eyot:ml/models-async@0.1.0;
            }
        ",
        path: "../../wit",
        generate_all,
    });
}
