//! How models run, where a deployment does not say.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ByteCount, Period};

/// Inference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct InferenceSettings {
    /// Which back end runs models: `auto` takes ONNX Runtime when it is installed, else tract.
    pub backend: BackendChoice,
    /// Threads that run inferences; 0 is one for each processor.
    pub threads: usize,
    /// Memory that loaded models may take together; those used longest ago make room and are loaded
    /// again when they are asked for. 0 is half of this machine's memory.
    pub memory: ByteCount,
    /// Inferences that wait for one model before the next is refused.
    pub queue: usize,
    /// Threads inside of one inference. More make one inference of a large model faster, and the
    /// machine as a whole slower.
    pub intra_threads: usize,
    /// Whether those threads spin while they wait for work: a little faster, and a processor each.
    pub spinning: bool,
    /// Whether a back end keeps the memory of one inference for the next: faster, and the memory of the
    /// largest inference stays taken.
    pub arena: bool,
    /// How long one run of a model may take, whoever asks for it; then it is stopped.
    pub run_timeout: Period,
    /// Memory that all runs may take together in ONNX Runtime, beside the weights, and that one value of a
    /// run may take in tract. 0 is a quarter of this machine's memory.
    pub run_memory: ByteCount,
    /// Bytes of all outputs of one inference.
    pub output_bytes: ByteCount,
    /// How far a back end may rewrite a model's graph when it loads it.
    pub optimization: Optimization,
    /// Rows that inferences of different requests are joined up to, of models whose graph proves that a row
    /// gets what it would get alone; 1 joins none.
    pub max_batch: usize,
    /// How long an inference may wait for others to join it when a thread is free; 0s joins only
    /// what waits anyway.
    pub max_delay: Period,
}

/// How far a back end may rewrite a model's graph when it loads it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Optimization {
    /// Not at all: as the file says.
    Off,
    /// Constants are folded and what does nothing is removed.
    Basic,
    /// Operators are fused.
    Extended,
    /// Layouts are chosen for this processor as well.
    #[default]
    All,
}

/// Which back end runs models.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BackendChoice {
    #[default]
    Auto,
    Onnxruntime,
    Openvino,
    Tract,
}

impl BackendChoice {
    pub fn as_str(self) -> &'static str {
        match self {
            BackendChoice::Auto => "auto",
            BackendChoice::Onnxruntime => "onnxruntime",
            BackendChoice::Openvino => "openvino",
            BackendChoice::Tract => "tract",
        }
    }
}

impl Default for InferenceSettings {
    fn default() -> Self {
        Self {
            backend: BackendChoice::Auto,
            threads: 0,
            memory: ByteCount(0),
            queue: 1024,
            intra_threads: 1,
            spinning: false,
            arena: true,
            run_timeout: Period(std::time::Duration::from_secs(300)),
            run_memory: ByteCount(0),
            output_bytes: ByteCount(256 << 20),
            optimization: Optimization::All,
            max_batch: 32,
            max_delay: Period(std::time::Duration::ZERO),
        }
    }
}
