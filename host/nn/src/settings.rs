use std::time::Duration;

use eyot_core::config::{self, BackendChoice, Optimization};
use eyot_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::{Precision, Target};

/// How a model is loaded; with its digest, what a loaded model is shared by. What is left open is as
/// the process has it by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ModelSettings {
    /// What computes. A target that is not there is an error, never a quiet fall-back.
    pub target: Target,
    /// How exactly. A back end that has not that precision is an error, never a quiet other one.
    pub precision: Precision,
    /// Which back end; `auto` is the first of the process that takes the model.
    pub backend: BackendChoice,
    /// Threads inside of one run. tract has one whatever this says.
    pub intra_threads: Option<usize>,
    /// Whether those threads spin while they wait.
    pub spinning: Option<bool>,
    /// Whether the memory of one run is kept for the next, where the back end lets one choose.
    pub arena: Option<bool>,
    /// How far the graph may be rewritten.
    pub optimization: Option<Optimization>,
}

impl From<&config::InferenceSettings> for ModelSettings {
    fn from(config: &config::InferenceSettings) -> Self {
        Self {
            target: Target::Cpu,
            precision: Precision::F32,
            // The configuration's choice decides which back ends the process opens at all.
            backend: BackendChoice::Auto,
            intra_threads: Some(config.intra_threads),
            spinning: Some(config.spinning),
            arena: Some(config.arena),
            optimization: Some(config.optimization),
        }
    }
}

/// How a model computes at int8, which no back end makes of another.
pub(crate) const QUANTISE: &str =
    "quantise the model and deploy the file that comes of it, which runs as it is on every back end";

impl ModelSettings {
    /// Nothing left open: the same on every node, however it is configured. What a step needs, whose
    /// results must not depend on the machine's settings.
    pub const FIXED: ModelSettings = ModelSettings {
        target: Target::Cpu,
        precision: Precision::F32,
        backend: BackendChoice::Auto,
        intra_threads: Some(1),
        spinning: Some(false),
        arena: Some(true),
        optimization: Some(Optimization::All),
    };

    /// These, and where they are open those.
    pub(crate) fn or(self, defaults: ModelSettings) -> Self {
        Self {
            intra_threads: self.intra_threads.or(defaults.intra_threads),
            spinning: self.spinning.or(defaults.spinning),
            arena: self.arena.or(defaults.arena),
            optimization: self.optimization.or(defaults.optimization),
            ..self
        }
    }

    /// For back ends that compute as the file says.
    pub(crate) fn full_precision_only(&self, backend: &str) -> Result<()> {
        let hint = match self.precision {
            Precision::F32 => return Ok(()),
            Precision::Bf16 => "openvino does: eyot backend install openvino, then --backend openvino",
            Precision::Int8 => QUANTISE,
        };
        Err(Error::unsupported(format!("{backend} does not compute at {}", self.precision)).hint(hint))
    }

    /// Threads inside of one run.
    pub(crate) fn threads(&self) -> usize {
        self.intra_threads.unwrap_or(1).max(1)
    }
}

/// How calls of one model by different callers are batched. Not part of what a model is shared by:
/// each request brings its own, and a batch keeps to those of all its members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchingPolicy {
    /// Rows of a batch, at most.
    pub max_rows: usize,
    /// How long a request may be kept back for others when a thread is free.
    pub max_delay: Duration,
}

impl BatchingPolicy {
    /// Each call runs alone: what a step needs, whose result must not depend on who else computes.
    pub const OFF: BatchingPolicy = BatchingPolicy { max_rows: 1, max_delay: Duration::ZERO };
}

impl Default for BatchingPolicy {
    fn default() -> Self {
        Self::from(&config::InferenceSettings::default())
    }
}

impl From<&config::InferenceSettings> for BatchingPolicy {
    fn from(config: &config::InferenceSettings) -> Self {
        Self { max_rows: config.max_batch.max(1), max_delay: config.max_delay.0 }
    }
}
