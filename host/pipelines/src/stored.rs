//! What a step gave, as it is written down: a format with versions, apart from what the program works with.

use eyot_core::{Digest, StoredFormat};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::reports::Report;
use crate::runner::{Artifact, StepOutcome};

/// What is kept of a step that ran.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Kept {
    pub(crate) outcome: StepOutcome,
    pub(crate) reports: Vec<Report>,
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

impl From<Kept> for StoredOutcome {
    fn from(Kept { outcome: StepOutcome { outputs, artifacts }, reports }: Kept) -> Self {
        let artifacts = artifacts
            .into_iter()
            .map(|Artifact { at, digest, size, media_type }| StoredArtifact { at, digest, size, media_type });
        let reports = reports.into_iter().map(|report| match report {
            Report::Metric { key, value, step } => StoredReport::Metric { key, value, step },
            Report::Param { key, value } => StoredReport::Param { key, value },
            Report::Tag { key, value } => StoredReport::Tag { key, value },
        });
        Self { outputs, artifacts: artifacts.collect(), reports: reports.collect() }
    }
}

impl From<StoredOutcome> for Kept {
    fn from(StoredOutcome { outputs, artifacts, reports }: StoredOutcome) -> Self {
        let artifacts = artifacts
            .into_iter()
            .map(|StoredArtifact { at, digest, size, media_type }| Artifact { at, digest, size, media_type });
        let reports = reports.into_iter().map(|report| match report {
            StoredReport::Metric { key, value, step } => Report::Metric { key, value, step },
            StoredReport::Param { key, value } => Report::Param { key, value },
            StoredReport::Tag { key, value } => Report::Tag { key, value },
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
        let of = |file: &str| Kept::from(read_stored::<StoredOutcome>(file).unwrap());
        let newest = of(include_str!("stored/step-outcome-1.json"));
        assert_eq!(of(include_str!("stored/step-outcome-0.json")), newest);
        assert_eq!((newest.outcome.artifacts.len(), newest.reports.len()), (1, 3));
        let written = write_stored(&StoredOutcome::from(newest)).unwrap();
        assert_eq!(written, include_str!("stored/step-outcome-1.json").trim_end());
    }
}
