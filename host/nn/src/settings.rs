use std::time::Duration;

use eyot_core::config::{self, BackendChoice, Optimization};
use serde::{Deserialize, Serialize};

use crate::Target;

/// How a model is loaded; with its digest, what a loaded model is shared by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// What computes. A target that is not there is an error, never a quiet fall-back.
    pub target: Target,
    /// Which back end; `auto` is the first of the process that takes the model.
    pub backend: BackendChoice,
    /// Threads inside of one run. tract has one whatever this says.
    pub intra_threads: usize,
    /// Whether those threads spin while they wait.
    pub spinning: bool,
    /// How far the graph may be rewritten.
    pub optimization: Optimization,
}

impl Default for Settings {
    fn default() -> Self {
        Self::from(&config::Inference::default())
    }
}

impl From<&config::Inference> for Settings {
    fn from(config: &config::Inference) -> Self {
        Self {
            target: Target::Cpu,
            // The configuration's choice decides which back ends the process opens at all.
            backend: BackendChoice::Auto,
            intra_threads: config.intra_threads.max(1),
            spinning: config.spinning,
            optimization: config.optimization,
        }
    }
}

/// How runs of one model for different callers are joined. Not part of what a model is shared by:
/// each request brings its own, and a batch keeps to those of all its members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batching {
    /// Rows of a batch, at most.
    pub max_rows: usize,
    /// How long a request may be kept back for others when a thread is free.
    pub max_delay: Duration,
}

impl Batching {
    /// Each call runs alone: what a step needs, whose result must not depend on who else computes.
    pub const OFF: Batching = Batching { max_rows: 1, max_delay: Duration::ZERO };
}

impl Default for Batching {
    fn default() -> Self {
        Self::from(&config::Inference::default())
    }
}

impl From<&config::Inference> for Batching {
    fn from(config: &config::Inference) -> Self {
        Self { max_rows: config.max_batch.max(1), max_delay: config.max_delay.0 }
    }
}
