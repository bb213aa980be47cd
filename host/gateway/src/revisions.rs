use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use eyot_core::{Digest, Name};
use parking_lot::RwLock;

use crate::Predictor;
use crate::admission::Gate;

/// What serves under a deployment.
pub struct Revision {
    pub deployment: Name,
    /// The version that the protocol names.
    pub revision: u64,
    /// `onnx` for a model alone, `eyot_component` for a handler.
    pub platform: String,
    /// The handler's component.
    pub component: Option<Digest>,
    /// The models it was granted.
    pub models: BTreeMap<String, Digest>,
    pub predictor: Arc<dyn Predictor>,
    /// How long a request may take, waiting included.
    pub timeout: Duration,
}

/// A revision with the gate of its deployment, which outlives it.
#[derive(Clone)]
pub(crate) struct Serving {
    pub(crate) revision: Arc<Revision>,
    pub(crate) gate: Arc<Gate>,
}

/// What serves now. A request that has looked up its revision keeps it until it ends.
#[derive(Default)]
pub(crate) struct Revisions(RwLock<HashMap<Name, Serving>>);

impl Revisions {
    pub(crate) fn activate(&self, revision: Revision, gate: impl FnOnce() -> Gate) {
        let mut serving = self.0.write();
        let name = revision.deployment.clone();
        let gate = serving.get(&name).map_or_else(|| Arc::new(gate()), |before| before.gate.clone());
        serving.insert(name, Serving { revision: Arc::new(revision), gate });
    }

    pub(crate) fn deactivate(&self, name: &Name) {
        self.0.write().remove(name);
    }

    pub(crate) fn get(&self, name: &str) -> Option<Serving> {
        self.0.read().get(name).cloned()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.0.read().keys().map(ToString::to_string).collect();
        names.sort();
        names
    }
}
