//! Deployments as they are written down: formats with versions, apart from what the program works with and from what
//! clients send. A change of either shows here as code that does not compile.

use std::collections::BTreeMap;

use eyot_core::config::{BackendChoice, Optimization, Precision, Target, Tolerance};
use eyot_core::{Digest, Name, Period, StoredFormat};
use serde::{Deserialize, Serialize};

use crate::{
    InferenceOverrides, PinnedArtifact, PinnedData, RevisionGrants, RevisionLimits, RevisionSpec, Route,
    Shadow, Traffic,
};

/// A revision's spec, version 1. Version 0 is the same without its name.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct StoredSpec {
    #[serde(skip_serializing_if = "Option::is_none")]
    component: Option<StoredArtifact>,
    models: BTreeMap<String, StoredArtifact>,
    limits: StoredLimits,
    inference: StoredInference,
    grants: StoredGrants,
    routes: Vec<Route>,
}

impl StoredFormat for StoredSpec {
    const NAME: &'static str = "eyot.deployment-spec";
    const VERSION: u32 = 1;
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredArtifact {
    reference: String,
    manifest: Digest,
    content: Digest,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    data: Vec<StoredDataFile>,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredDataFile {
    name: String,
    digest: Digest,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct StoredLimits {
    #[serde(skip_serializing_if = "Option::is_none")]
    concurrency: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout: Option<Period>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct StoredInference {
    #[serde(skip_serializing_if = "Option::is_none")]
    backend: Option<BackendChoice>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<Target>,
    #[serde(skip_serializing_if = "Option::is_none")]
    precision: Option<Precision>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tolerance: Option<Tolerance>,
    #[serde(skip_serializing_if = "Option::is_none")]
    intra_threads: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    spinning: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    arena: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    optimization: Option<Optimization>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_batch: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_delay: Option<Period>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pin: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reuse: Option<u64>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct StoredGrants {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    http: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    variables: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    environment: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    stores: BTreeMap<String, Name>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    databases: BTreeMap<String, Name>,
}

/// How requests are split, version 1. Version 0 is the same without its name.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StoredTraffic {
    weights: BTreeMap<u64, u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sticky: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shadow: Option<StoredShadow>,
}

impl StoredFormat for StoredTraffic {
    const NAME: &'static str = "eyot.traffic-split";
    const VERSION: u32 = 1;
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredShadow {
    revision: u64,
    percent: u8,
}

/// Both ways between two structures that have the same fields; a field that one of them lacks does not compile.
macro_rules! same_fields {
    ($one:ident, $other:ident, { $($field:ident),* }) => {
        impl From<$one> for $other {
            fn from($one { $($field),* }: $one) -> Self {
                Self { $($field),* }
            }
        }
        impl From<$other> for $one {
            fn from($other { $($field),* }: $other) -> Self {
                Self { $($field),* }
            }
        }
    };
}

same_fields!(PinnedData, StoredDataFile, { name, digest });
same_fields!(RevisionLimits, StoredLimits, { concurrency, queue, timeout });
same_fields!(RevisionGrants, StoredGrants, { http, variables, environment, stores, databases });
same_fields!(Shadow, StoredShadow, { revision, percent });
same_fields!(InferenceOverrides, StoredInference, {
    backend, target, precision, tolerance, intra_threads, spinning, arena, optimization, max_batch, max_delay, pin, reuse
});

impl From<PinnedArtifact> for StoredArtifact {
    fn from(PinnedArtifact { reference, manifest, content, data }: PinnedArtifact) -> Self {
        Self { reference, manifest, content, data: data.into_iter().map(Into::into).collect() }
    }
}

impl From<StoredArtifact> for PinnedArtifact {
    fn from(StoredArtifact { reference, manifest, content, data }: StoredArtifact) -> Self {
        Self { reference, manifest, content, data: data.into_iter().map(Into::into).collect() }
    }
}

impl From<RevisionSpec> for StoredSpec {
    fn from(RevisionSpec { component, models, limits, inference, grants, routes }: RevisionSpec) -> Self {
        let models = models.into_iter().map(|(name, model)| (name, model.into())).collect();
        let (limits, inference, grants) = (limits.into(), inference.into(), grants.into());
        Self { component: component.map(Into::into), models, limits, inference, grants, routes }
    }
}

impl From<StoredSpec> for RevisionSpec {
    fn from(StoredSpec { component, models, limits, inference, grants, routes }: StoredSpec) -> Self {
        let models = models.into_iter().map(|(name, model)| (name, model.into())).collect();
        let (limits, inference, grants) = (limits.into(), inference.into(), grants.into());
        Self { component: component.map(Into::into), models, limits, inference, grants, routes }
    }
}

impl From<Traffic> for StoredTraffic {
    fn from(Traffic { weights, sticky, shadow }: Traffic) -> Self {
        Self { weights, sticky, shadow: shadow.map(Into::into) }
    }
}

impl From<StoredTraffic> for Traffic {
    fn from(StoredTraffic { weights, sticky, shadow }: StoredTraffic) -> Self {
        Self { weights, sticky, shadow: shadow.map(Into::into) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use eyot_core::{read_stored, write_stored};

    use super::*;

    #[test]
    fn specs_of_every_version_are_read() {
        let of = |file: &str| RevisionSpec::from(read_stored::<StoredSpec>(file).unwrap());
        let newest = of(include_str!("stored/deployment-spec-1.json"));
        assert_eq!(of(include_str!("stored/deployment-spec-0.json")), newest);
        assert!(newest.component.is_some() && newest.grants.stores.len() == 1 && newest.routes.len() == 2);
        assert_eq!((newest.inference.reuse, newest.limits.queue), (Some(64), Some(8)));
        let written = write_stored(&StoredSpec::from(newest)).unwrap();
        assert_eq!(written, include_str!("stored/deployment-spec-1.json").trim_end());
    }

    #[test]
    fn splits_of_every_version_are_read() {
        let of = |file: &str| Traffic::from(read_stored::<StoredTraffic>(file).unwrap());
        let newest = of(include_str!("stored/traffic-split-1.json"));
        assert_eq!(of(include_str!("stored/traffic-split-0.json")), newest);
        assert_eq!(newest.shadow.as_ref().unwrap().percent, 5);
        let written = write_stored(&StoredTraffic::from(newest)).unwrap();
        assert_eq!(written, include_str!("stored/traffic-split-1.json").trim_end());
    }
}
