//! The seams: what runs steps and what publishes models. Wasm in the product, plain functions in tests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use eyot_core::interface::Interface;
use eyot_core::{Digest, Result, ScopedName};
use eyot_store::BlobStore;
use indexmap::IndexMap;
use serde_json::Value;

use crate::command::CommandSpec;

/// Runs steps.
#[async_trait]
pub trait StepRunner: Send + Sync + 'static {
    /// What a component exports.
    async fn interface(&self, component: &Digest) -> Result<Interface>;

    /// Everything beside component and arguments that a step's outputs can depend on: part of the key
    /// under which they are cached.
    fn semantics(&self, component: &Interface) -> String;

    /// Runs one step. The same work gives the same outcome. Dropping the future stops the step.
    async fn run(&self, work: StepWork, reporter: Arc<dyn StepReporter>) -> Result<StepOutcome>;
}

/// One step to run.
#[derive(Clone)]
pub struct StepWork {
    pub component: Digest,
    /// The exported function, by its full name.
    pub function: String,
    /// Arguments by parameter name; artifacts as digests.
    pub arguments: IndexMap<String, Value>,
    /// How it is called, if it is a whole program.
    pub command: Option<CommandSpec>,
    /// Media types of the artifacts among the arguments, by their places as JSON pointers.
    pub media_types: BTreeMap<String, String>,
    /// What randomness is drawn from: the cache key.
    pub seed: [u8; 32],
    /// Wall time; `None` is the node's own limit.
    pub timeout: Option<Duration>,
    /// Bytes of memory; `None` is the node's own limit.
    pub memory: Option<u64>,
    /// Where artifacts are read and written: what is written stays at least until the run is over.
    pub store: Arc<dyn BlobStore>,
}

/// What a step gave.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepOutcome {
    /// Values by output name; artifacts as digests.
    pub outputs: IndexMap<String, Value>,
    /// The artifacts among them, in their order.
    pub artifacts: Vec<StepArtifact>,
}

/// An artifact that a step gave. Equal bytes of different types are different artifacts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepArtifact {
    /// Where it stands in the outputs, as a JSON pointer.
    pub at: String,
    pub digest: Digest,
    pub size: u64,
    pub media_type: String,
}

/// Takes what a step reports. Called from the thread that computes: it does not block.
pub trait StepReporter: Send + Sync + 'static {
    fn line(&self, line: &str);
    fn metric(&self, key: &str, value: f64, step: i64);
    fn param(&self, key: &str, value: &str);
    fn tag(&self, key: &str, value: &str);
}

/// Puts models into the registry.
#[async_trait]
pub trait ModelPublisher: Send + Sync + 'static {
    /// Publishes weights under the name of a model in its project; answers where they lie: REPOSITORY@DIGEST. The same
    /// weights again are the same place.
    ///
    /// Fails with `Invalid` when the weights are no model.
    async fn publish(&self, model: &ScopedName, weights: &Digest) -> Result<String>;

    /// Attaches an attestation to what was published: `predicate` is its SLSA provenance.
    async fn attest(&self, source: &str, predicate: Value) -> Result<()>;
}
