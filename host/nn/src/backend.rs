use std::fmt;

use bytes::Bytes;
use eyot_core::config::{Precision, Target, Tolerance};
use eyot_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::{ModelFiles, ModelSettings, ModelSignature, RunControl, Tensor};

/// A library that runs models. Every implementation passes `suite.rs`.
pub trait InferenceBackend: Send + Sync + 'static {
    /// `onnxruntime`, `tract`.
    fn name(&self) -> &'static str;

    /// The library's version.
    fn version(&self) -> &str;

    /// What it can compute on, on this machine.
    fn targets(&self) -> Vec<Target>;

    /// How exactly it can compute; a processor may lack some of them, which shows when a model is loaded.
    fn precisions(&self) -> &'static [Precision] {
        &[Precision::F32]
    }

    /// Loads a model. Takes as long as it takes: not for an async thread. No file is opened: what the model takes
    /// from beside its file is in `files`.
    ///
    /// Fails with `Invalid` when the bytes are no model, `Unsupported` when the model needs what this
    /// back end or machine lacks. Never panics, whatever the bytes.
    fn load_files(&self, files: &ModelFiles, settings: ModelSettings) -> Result<Box<dyn BackendModel>>;

    /// Loads a model that is one ONNX file.
    fn load(&self, onnx: &Bytes, settings: ModelSettings) -> Result<Box<dyn BackendModel>> {
        self.load_files(&onnx.clone().into(), settings)
    }
}

/// A loaded model. Runs from several threads at once do not wait for each other.
pub trait BackendModel: Send + Sync + 'static {
    /// Inputs and outputs as the file declares them.
    fn signature(&self) -> &ModelSignature;

    /// The part of the library that computes, where it has several: `cuda`.
    fn provider(&self) -> Option<&'static str> {
        None
    }

    /// Runs once, for as long as `control` lets it: between operators, and between the rounds of a loop.
    /// `inputs` fit the signature, in its order; the answer has all outputs in its order.
    ///
    /// Fails with whatever it likes when it was stopped: who stopped it says why.
    fn run_while(&self, control: &RunControl, inputs: &[Tensor]) -> Result<Vec<Tensor>>;

    /// The same, with other values than their defaults in place of some optional inputs, each of which fits its
    /// part of the signature.
    fn run_overriding(
        &self,
        control: &RunControl,
        inputs: &[Tensor],
        overrides: &[InputOverride],
    ) -> Result<Vec<Tensor>> {
        match overrides {
            [] => self.run_while(control, inputs),
            _ => Err(Error::internal("a model without optional inputs was given one")),
        }
    }

    /// Bytes that it takes beside those of its file: another form of it, say.
    fn further_bytes(&self) -> u64 {
        0
    }

    /// Runs once, however long that takes.
    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        self.run_while(&RunControl::default(), inputs)
    }
}

/// What stands in place of the default of an optional input.
#[derive(Clone, Debug)]
pub struct InputOverride {
    /// The input's place among the signature's optional ones.
    pub place: usize,
    pub tensor: Tensor,
}

/// What a model runs on: `onnxruntime 1.32.0 (cpu)`, `onnxruntime/cuda 1.32.0 (gpu)`,
/// `openvino 2026.4.1 (cpu, bf16 within 0.0031 of f32)`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RanOn {
    pub backend: String,
    pub version: String,
    pub target: Target,
    /// How exactly it computes.
    #[serde(default)]
    pub precision: Precision,
    /// How far its outputs were from those at f32 when it was loaded, where it is less exact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub difference: Option<Tolerance>,
}

impl RanOn {
    pub(crate) fn new(
        backend: &dyn InferenceBackend,
        model: &dyn BackendModel,
        settings: ModelSettings,
    ) -> Self {
        let name = match model.provider() {
            Some(provider) => format!("{}/{provider}", backend.name()),
            None => backend.name().to_owned(),
        };
        let ModelSettings { target, precision, .. } = settings;
        Self { backend: name, version: backend.version().to_owned(), target, precision, difference: None }
    }

    /// On the processor, as the file says.
    pub fn plain(backend: &str, version: &str) -> Self {
        let (backend, version) = (backend.to_owned(), version.to_owned());
        Self { backend, version, target: Target::Cpu, precision: Precision::F32, difference: None }
    }

    /// The back end's name without the provider.
    pub fn library(&self) -> &str {
        self.backend.split('/').next().unwrap_or_default()
    }

    /// The part of the library that computes: `cuda`, or the processor itself.
    pub fn provider(&self) -> &str {
        self.backend.split_once('/').map_or(self.target.as_str(), |(_, provider)| provider)
    }
}

impl fmt::Display for RanOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({}", self.backend, self.version, self.target)?;
        if self.precision != Precision::F32 {
            write!(f, ", {}", self.precision)?;
        }
        if let Some(difference) = self.difference {
            write!(f, " within {difference} of f32")?;
        }
        f.write_str(")")
    }
}
