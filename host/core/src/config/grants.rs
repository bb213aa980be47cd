use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a component may reach where it serves, beside what it brings: for `eyot dev`, `eyot test`, and `eyot deploy` in
/// its folder. A flag of theirs overrides what stands here under the same name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ComponentGrants {
    /// Models by the name under which the component opens them: references, or files beside eyot.toml. Or a list of
    /// the names alone, where every deployment is given models of its own (--model NAME=SOURCE); one that lacks any
    /// is refused.
    #[serde(skip_serializing_if = "ModelGrants::is_empty")]
    pub models: ModelGrants,
    /// Where it may send requests over HTTP: api.example.com, *.example.com, localhost:8000 or *.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub http: Vec<String>,
    /// Settings, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: BTreeMap<String, String>,
    /// Environment variables.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// Key-value stores: the label that it opens, or LABEL=STORE.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub key_value: Vec<String>,
    /// SQLite databases, likewise.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sqlite: Vec<String>,
}

impl ComponentGrants {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The models of a component: which they are, or only what it calls them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a table of names and models, or a list of names")]
pub enum ModelGrants {
    Sources(BTreeMap<String, String>),
    Names(Vec<String>),
}

impl ModelGrants {
    /// What the component calls its models.
    pub fn names(&self) -> Vec<String> {
        match self {
            Self::Sources(sources) => sources.keys().cloned().collect(),
            Self::Names(names) => names.clone(),
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Sources(sources) => sources.is_empty(),
            Self::Names(names) => names.is_empty(),
        }
    }
}

impl Default for ModelGrants {
    fn default() -> Self {
        Self::Sources(BTreeMap::new())
    }
}
