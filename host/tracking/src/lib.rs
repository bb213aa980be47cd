//! Experiments, runs, parameters, metrics, tags, registered models and aliases, with the semantics of MLflow, over the
//! metadata database.

mod models;
mod runs;
#[cfg(test)]
mod tests;

use eyot_meta::Database;

pub use models::{ModelVersion, RegisteredModel};
pub use runs::{MetricPoint, RunOutcome, TrackedRun};

/// The tracking tables of the metadata database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TrackingStore {
    db: Database,
}

impl TrackingStore {
    /// Over a database.
    pub fn new(db: Database) -> Self {
        Self { db }
    }
}
