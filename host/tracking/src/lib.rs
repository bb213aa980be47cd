//! Experiments, runs, parameters, metrics, tags, registered models and aliases: the words and rules of
//! MLflow, over the metadata database.

mod models;
mod runs;
#[cfg(test)]
mod tests;

use eyot_meta::Database;

pub use models::{ModelVersion, RegisteredModel};
pub use runs::{Metric, Outcome, Run};

/// Everything that is tracked. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tracking {
    db: Database,
}

impl Tracking {
    /// Over a database.
    pub fn new(db: Database) -> Self {
        Self { db }
    }
}
