use eyot_core::Digest;
use serde::Serialize;

use crate::{ModelSettings, RanOn};

/// What the store of loaded models holds and has done.
#[derive(Clone, Debug, Serialize)]
pub struct CacheStats {
    /// Bytes that models may take together.
    pub budget_bytes: u64,
    /// Bytes that they take, as the length of their files says.
    pub resident_bytes: u64,
    /// Times that weights were loaded, for the first time or again.
    pub loads: u64,
    /// Times that weights were put away to make room.
    pub evictions: u64,
    /// Every model that somebody holds or that is in memory.
    pub models: Vec<ModelStats>,
}

/// What has happened to one model.
#[derive(Clone, Debug, Serialize)]
pub struct ModelStats {
    pub digest: Digest,
    pub ran_on: RanOn,
    pub settings: ModelSettings,
    /// 0 while its weights are put away.
    pub resident_bytes: u64,
    /// Whether its weights stay whatever happens.
    pub pinned: bool,
    /// Requests that wait for a thread.
    pub waiting: usize,
    /// Runs, each of one call or of several joined.
    pub inferences: u64,
    /// Runs that ended in an error.
    pub failures: u64,
    /// Calls that were given up before their turn, and did not run.
    pub abandoned: u64,
    /// Runs of several calls.
    pub batches: u64,
    /// Calls in those.
    pub batched: u64,
    /// Whether calls can be batched: `joins`, or why not.
    pub batching: String,
    /// What a run costs, once known.
    pub cost: Option<LearnedCost>,
}

/// The straight line through the measured costs of a model's runs.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct LearnedCost {
    /// Nanoseconds for each element of the inputs.
    pub nanoseconds_element: f64,
    /// Nanoseconds for each run.
    pub nanoseconds_run: f64,
}
