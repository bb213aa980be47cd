use std::collections::BTreeMap;

use eyot_core::{Digest, Name, Timestamp};
use serde::{Deserialize, Serialize};

/// Something from the registry, by the name it was asked for and by what that meant then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pinned {
    /// As the user wrote it: `digits-image:0.1.0`, `models:/digits@champion`.
    pub reference: String,
    /// The digest of its manifest.
    pub manifest: Digest,
    /// The digest of the wasm or model file itself.
    pub content: Digest,
}

/// What serves: a component with the models it was granted, or a model alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// The handler; without one, the built-in handler serves the only model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<Pinned>,
    /// Models by the name under which the handler opens them.
    #[serde(default)]
    pub models: BTreeMap<String, Pinned>,
}

impl Spec {
    /// The digests of everything that must stay in the store while this serves.
    pub fn contents(&self) -> impl Iterator<Item = Digest> + '_ {
        self.component.iter().chain(self.models.values()).map(|pinned| pinned.content)
    }
}

/// How a deployment is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum State {
    /// Answers requests.
    Serving,
    /// Could not be restored after a restart; says why.
    Failed { error: String },
}

/// A deployment with the revision that serves under it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    pub name: Name,
    /// Counts up from 1 with every change; never used again, not even after an undeploy.
    pub revision: u64,
    #[serde(flatten)]
    pub spec: Spec,
    /// When the revision was made.
    pub created: Timestamp,
    #[serde(flatten)]
    pub state: State,
}
