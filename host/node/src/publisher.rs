//! Registering models: a model that a step wrote becomes a ModelPack in the registry.

use std::sync::Arc;

use async_trait::async_trait;
use eyot_core::{Digest, Name, Reference, Result, Selector};
use eyot_nn::{Models, Settings};
use eyot_oci::{Registry, model_manifest};
use eyot_pipelines::ModelPublisher;
use eyot_store::BlobStore;

/// Publishes under `models/NAME`.
pub(crate) struct Publisher {
    registry: Registry,
    models: Arc<Models>,
    store: Arc<dyn BlobStore>,
}

impl Publisher {
    pub(crate) fn new(registry: Registry, models: Arc<Models>, store: Arc<dyn BlobStore>) -> Self {
        Self { registry, models, store }
    }
}

#[async_trait]
impl ModelPublisher for Publisher {
    async fn publish(&self, model: &str, weights: &Digest) -> Result<String> {
        let name: Name = model.parse()?;
        // What no back end can load must not become a version that somebody deploys.
        self.models.load(*weights, Settings::default()).await?;
        let repository = format!("models/{name}");
        Reference::check_repository(&repository)?;
        let bytes = self.store.get(weights).await?;
        let built = model_manifest(&repository, &format!("{name}.onnx"), &bytes)?;
        self.store.put(built.config.clone()).await?;
        let digest = Digest::of(&built.manifest);
        let target = Reference { repository, selector: Selector::Digest(digest) };
        self.registry.put(&target, built.media_type(), built.manifest).await?;
        // A version has no tag: without this a rule of retention would take it for forgotten.
        self.store.pin(&digest, &format!("model/{name}")).await?;
        Ok(target.to_string())
    }
}
