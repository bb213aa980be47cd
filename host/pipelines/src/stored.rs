//! What a step gave, as it is written down: a format with versions, apart from what the program works with.

use eyot_core::{Digest, StoredFormat};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::reports::StepReport;
use crate::runner::{StepArtifact, StepOutcome};

/// What is kept of a step that ran.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CachedStep {
    pub(crate) outcome: StepOutcome,
    pub(crate) reports: Vec<StepReport>,
}

/// The outcome of a step, version 1. Version 0 is the same without its name.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StoredOutcome {
    outputs: IndexMap<String, Value>,
    artifacts: Vec<StoredArtifact>,
    reports: Vec<StoredReport>,
}

impl StoredFormat for StoredOutcome {
    const NAME: &'static str = "eyot.step-outcome";
    const VERSION: u32 = 1;
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredArtifact {
    at: String,
    digest: Digest,
    size: u64,
    media_type: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum StoredReport {
    Metric { key: String, value: String, step: i64 },
    Param { key: String, value: String },
    Tag { key: String, value: String },
}

impl From<CachedStep> for StoredOutcome {
    fn from(CachedStep { outcome: StepOutcome { outputs, artifacts }, reports }: CachedStep) -> Self {
        let artifacts = artifacts.into_iter().map(|StepArtifact { at, digest, size, media_type }| {
            StoredArtifact { at, digest, size, media_type }
        });
        let reports = reports.into_iter().map(|report| match report {
            StepReport::Metric { key, value, step } => StoredReport::Metric { key, value, step },
            StepReport::Param { key, value } => StoredReport::Param { key, value },
            StepReport::Tag { key, value } => StoredReport::Tag { key, value },
        });
        Self { outputs, artifacts: artifacts.collect(), reports: reports.collect() }
    }
}

impl From<StoredOutcome> for CachedStep {
    fn from(StoredOutcome { outputs, artifacts, reports }: StoredOutcome) -> Self {
        let artifacts = artifacts.into_iter().map(|StoredArtifact { at, digest, size, media_type }| {
            StepArtifact { at, digest, size, media_type }
        });
        let reports = reports.into_iter().map(|report| match report {
            StoredReport::Metric { key, value, step } => StepReport::Metric { key, value, step },
            StoredReport::Param { key, value } => StepReport::Param { key, value },
            StoredReport::Tag { key, value } => StepReport::Tag { key, value },
        });
        Self { outcome: StepOutcome { outputs, artifacts: artifacts.collect() }, reports: reports.collect() }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use eyot_core::{read_stored, write_stored};

    use super::*;

    #[test]
    fn outcomes_of_every_version_are_read() {
        let of = |file: &str| CachedStep::from(read_stored::<StoredOutcome>(file).unwrap());
        let newest = of(include_str!("stored/step-outcome-1.json"));
        assert_eq!(of(include_str!("stored/step-outcome-0.json")), newest);
        assert_eq!((newest.outcome.artifacts.len(), newest.reports.len()), (1, 3));
        let written = write_stored(&StoredOutcome::from(newest)).unwrap();
        assert_eq!(written, include_str!("stored/step-outcome-1.json").trim_end());
    }
}
