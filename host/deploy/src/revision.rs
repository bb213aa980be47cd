use std::collections::BTreeMap;

use eyot_core::{Digest, Error, Name, Period, ProjectName, Result, ScopedName, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{InferenceOverrides, Route, Traffic};

/// Something from the registry, by the name it was asked for and by what that meant then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinnedArtifact {
    /// As the user wrote it: `digits-image:0.1.0`, `models:/digits@champion`.
    pub reference: String,
    /// The digest of its manifest.
    pub manifest: Digest,
    /// The digest of the wasm or model file itself.
    pub content: Digest,
    /// The files of weights that lie beside a model's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data: Vec<PinnedData>,
}

impl PinnedArtifact {
    /// The digest that tells all of it: its file's, or its manifest's where there are several files.
    pub fn digest(&self) -> Digest {
        if self.data.is_empty() { self.content } else { self.manifest }
    }
}

/// A file of weights beside a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinnedData {
    /// As the model names it.
    pub name: String,
    pub digest: Digest,
}

/// What serves: a component with the models it was granted, or a model alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevisionSpec {
    /// The handler; without one, the built-in handler serves the only model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<PinnedArtifact>,
    /// Models by the name under which the handler opens them.
    #[serde(default)]
    pub models: BTreeMap<String, PinnedArtifact>,
    /// What one revision may take; where it does not say, the server's configuration does.
    #[serde(default, skip_serializing_if = "RevisionLimits::is_default")]
    pub limits: RevisionLimits,
    /// How its models run; where it does not say, the server's configuration does.
    #[serde(default, skip_serializing_if = "InferenceOverrides::is_default")]
    pub inference: InferenceOverrides,
    /// What the component may reach beside its models.
    #[serde(default, skip_serializing_if = "RevisionGrants::is_default")]
    pub grants: RevisionGrants,
    /// The requests that a component which answers HTTP gets; none is everything below its name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
}

/// What a component may reach beside its models. Nothing that is not named here exists for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RevisionGrants {
    /// Where requests over HTTP may go: `api.example.com`, `*.example.com`, `localhost:8000`, `*`.
    #[serde(deserialize_with = "eyot_core::nullable", skip_serializing_if = "Vec::is_empty")]
    pub http: Vec<String>,
    /// Settings, by name.
    #[serde(deserialize_with = "eyot_core::nullable", skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: BTreeMap<String, String>,
    /// Environment variables.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// Key-value stores, by the label under which the component opens them. Those of one name are one
    /// store, whichever deployments have it.
    #[serde(deserialize_with = "eyot_core::nullable", skip_serializing_if = "BTreeMap::is_empty")]
    pub stores: BTreeMap<String, Name>,
    /// SQLite databases, likewise.
    #[serde(deserialize_with = "eyot_core::nullable", skip_serializing_if = "BTreeMap::is_empty")]
    pub databases: BTreeMap<String, Name>,
}

impl RevisionGrants {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What one revision may take of the server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevisionLimits {
    /// Requests that it works on at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<usize>,
    /// Requests that wait before the next is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<usize>,
    /// How long one request may take, waiting included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Period>,
}

impl RevisionLimits {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl RevisionSpec {
    /// Fails with `Invalid` for what no host can serve.
    pub(crate) fn check(&self, name: &ScopedName) -> Result<()> {
        if self.component.is_none() && self.models.len() != 1 {
            let count = self.models.len();
            return Err(Error::invalid(format!("deployment '{name}' has no component and {count} models"))
                .hint("deploy a component, or exactly one model for the built-in handler"));
        }
        if self.limits.concurrency == Some(0)
            || self.limits.timeout.is_some_and(|timeout| timeout.0.is_zero())
        {
            return Err(Error::invalid(format!("deployment '{name}' could never answer: a limit is 0")));
        }
        self.inference.check().map_err(|error| error.context(format!("deployment '{name}'")))
    }

    /// The digests of everything that must stay in the store while this serves.
    pub fn contents(&self) -> impl Iterator<Item = Digest> + '_ {
        self.component.iter().chain(self.models.values()).flat_map(|pinned| {
            std::iter::once(pinned.content).chain(pinned.data.iter().map(|data| data.digest))
        })
    }
}

/// How a deployment is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum DeploymentState {
    /// Answers requests.
    Serving,
    /// Could not be restored after a restart; says why.
    Failed { error: String },
    /// Was unloaded by a client of the data plane, until it is loaded again.
    Unloaded,
}

/// A deployment with the revision that serves under it: of several, the one with the largest share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    #[serde(default)]
    pub project: ProjectName,
    pub name: Name,
    /// Counts up from 1 with every change; never used again, not even after an undeploy.
    pub revision: u64,
    #[serde(flatten)]
    pub spec: RevisionSpec,
    /// What really runs its models, by the name under which each is granted; empty while it does not
    /// serve.
    #[serde(default)]
    pub runs_on: BTreeMap<String, String>,
    /// Models of which calls are not joined, by the name under which each is granted, and why.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub not_joined: BTreeMap<String, String>,
    /// What its component imports and will not get; each says how it is granted, if it can be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// When the revision was made.
    pub created: Timestamp,
    /// How requests are split among revisions.
    pub traffic: Traffic,
    /// Where requests go, as in `POST /v2/models/digits/infer`.
    #[serde(default)]
    pub endpoints: Vec<String>,
    #[serde(flatten)]
    pub state: DeploymentState,
}

/// A revision that was made under a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    pub revision: u64,
    #[serde(flatten)]
    pub spec: RevisionSpec,
    pub created: Timestamp,
    /// Its share of the requests, out of all weights' sum.
    pub weight: u32,
    /// Whether it is loaded: requests that name it are answered.
    pub ready: bool,
}
