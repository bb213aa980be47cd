//! The stored formats of runs: what a run was requested with (`StoredRequest`), and what a step gave (`StoredOutcome`).
//! They are versioned, and separate from the types that the program works with.

use std::collections::BTreeMap;

use eyot_core::{Digest, StoredFormat};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::plan::{PlanRequest, ResolvedComponent};
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

/// The request of a run, for running it again, version 1. Version 0 is the same without its name.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StoredRequest {
    /// The text of the pipeline's file.
    source: String,
    file: String,
    params: BTreeMap<String, Value>,
    inputs: BTreeMap<String, Digest>,
    /// What the references of components resolved to.
    components: BTreeMap<String, Digest>,
}

impl StoredFormat for StoredRequest {
    const NAME: &'static str = "eyot.pipeline-request";
    const VERSION: u32 = 1;
}

impl StoredRequest {
    pub(crate) fn of(request: &PlanRequest) -> Self {
        let resolved = request.components.iter().filter_map(|(reference, resolved)| match resolved {
            ResolvedComponent::Found(digest) => Some((reference.clone(), *digest)),
            ResolvedComponent::Missing(_) => None,
        });
        Self {
            source: request.source.clone(),
            file: request.file.clone(),
            params: request.params.clone(),
            inputs: request.inputs.clone(),
            components: resolved.collect(),
        }
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

    #[test]
    fn requests_of_every_version_are_read() {
        let of = |file: &str| read_stored::<StoredRequest>(file).unwrap();
        let digest = Digest::of("rows");
        let missing = ResolvedComponent::Missing(eyot_core::Error::not_found("no such component"));
        let request = PlanRequest {
            source: "[pipeline]\nname = \"sums\"\n".to_owned(),
            file: "sums.toml".to_owned(),
            params: [("first".to_owned(), 2.into()), ("name".to_owned(), "a".into())].into(),
            inputs: [("rows".to_owned(), digest)].into(),
            components: [
                ("add:1".to_owned(), ResolvedComponent::Found(digest)),
                ("add:2".to_owned(), missing),
            ]
            .into(),
        };
        let newest = of(include_str!("stored/pipeline-request-1.json"));
        assert_eq!(of(include_str!("stored/pipeline-request-0.json")), newest);
        assert_eq!(StoredRequest::of(&request), newest);
        assert_eq!(write_stored(&newest).unwrap(), include_str!("stored/pipeline-request-1.json").trim_end());
        let error = read_stored::<StoredRequest>(r#"{"format": "eyot.pipeline-request/2"}"#).unwrap_err();
        assert!(error.chain().contains("eyot.pipeline-request/2"), "{error:?}");
    }
}
