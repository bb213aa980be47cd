use std::fmt;

use bytes::Bytes;
use eyot_core::Result;
use serde::{Deserialize, Serialize};

use crate::{Settings, Signature, Tensor};

/// What computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    #[default]
    Cpu,
    Gpu,
    Tpu,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Target::Cpu => "cpu",
            Target::Gpu => "gpu",
            Target::Tpu => "tpu",
        })
    }
}

/// A library that runs models. Every implementation passes `suite.rs`.
pub trait Backend: Send + Sync + 'static {
    /// `onnxruntime`, `tract`.
    fn name(&self) -> &'static str;

    /// The library's version.
    fn version(&self) -> &str;

    /// What it can compute on, on this machine.
    fn targets(&self) -> Vec<Target>;

    /// Loads the bytes of an ONNX file. Takes as long as it takes: not for an async thread.
    ///
    /// Fails with `Invalid` when the bytes are no model, `Unsupported` when the model needs what this
    /// back end or machine lacks. Never panics, whatever the bytes.
    fn load(&self, onnx: &Bytes, settings: Settings) -> Result<Box<dyn Model>>;
}

/// A loaded model. Runs from several threads at once do not wait for each other.
pub trait Model: Send + Sync + 'static {
    /// Inputs and outputs as the file declares them.
    fn signature(&self) -> &Signature;

    /// The part of the library that computes, where it has several: `cuda`.
    fn provider(&self) -> Option<&'static str> {
        None
    }

    /// Runs once. `inputs` fit the signature, in its order; the answer has all outputs in its order.
    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>>;
}

/// What a model runs on: `onnxruntime 1.32.0 (cpu)`, `onnxruntime/cuda 1.32.0 (gpu)`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RanOn {
    pub backend: String,
    pub version: String,
    pub target: Target,
}

impl RanOn {
    pub(crate) fn new(backend: &dyn Backend, model: &dyn Model, target: Target) -> Self {
        let name = match model.provider() {
            Some(provider) => format!("{}/{provider}", backend.name()),
            None => backend.name().to_owned(),
        };
        Self { backend: name, version: backend.version().to_owned(), target }
    }

    /// The back end's name without the provider.
    pub(crate) fn library(&self) -> &str {
        self.backend.split('/').next().unwrap_or_default()
    }
}

impl fmt::Display for RanOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({})", self.backend, self.version, self.target)
    }
}
