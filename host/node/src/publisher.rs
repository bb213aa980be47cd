//! Registering models: a model that a step wrote becomes a ModelPack in the registry, and beside it stands
//! signed which run made it, of what.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use eyot_core::{Digest, Error, Reference, Result, ScopedName, Selector};
use eyot_nn::{LoadedModels, ModelSettings};
use eyot_oci::{IMAGE_MANIFEST, PrivateKey, Registry, bundle_manifest, model_manifest};
use eyot_pipelines::{ModelPublisher, PROVENANCE};
use eyot_store::BlobStore;
use serde_json::Value;

use crate::keys;

/// Publishes under `models/NAME` of the project.
pub(crate) struct RegistryPublisher {
    registry: Registry,
    models: Arc<LoadedModels>,
    store: Arc<dyn BlobStore>,
    /// Where the key lies that says which run made a model, without `.key`.
    key: PathBuf,
}

impl RegistryPublisher {
    pub(crate) fn new(
        registry: Registry,
        models: Arc<LoadedModels>,
        store: Arc<dyn BlobStore>,
        data: &Path,
    ) -> Self {
        Self { registry, models, store, key: data.join("builder") }
    }

    /// The key of this data folder, made when it is first wanted.
    fn key(&self) -> Result<PrivateKey> {
        let private = self.key.with_extension("key");
        if private.exists() { keys::read_private(&private) } else { Ok(keys::write_pair(&self.key)?.0) }
    }
}

#[async_trait]
impl ModelPublisher for RegistryPublisher {
    async fn publish(&self, model: &ScopedName, weights: &Digest) -> Result<String> {
        let (project, name) = (model.project_name(), model.name());
        // What no back end can load must not become a version that somebody deploys.
        self.models.load(*weights, ModelSettings::default()).await?;
        let below = if project.is_default() { String::new() } else { format!("{project}/") };
        let repository = format!("{below}models/{name}");
        Reference::check_repository(&repository)?;
        let bytes = self.store.get(weights).await?;
        let built = model_manifest(&repository, &format!("{name}.onnx"), &bytes)?;
        self.store.put(built.config.clone()).await?;
        let digest = Digest::of(&built.manifest);
        let target = Reference { repository, selector: Selector::Digest(digest) };
        self.registry.put(&target, built.media_type(), built.manifest).await?;
        // A version has no tag: without this a rule of retention would take it for forgotten.
        self.store.pin(&digest, &format!("model/{model}")).await?;
        Ok(target.to_string())
    }

    async fn attest(&self, source: &str, predicate: Value) -> Result<()> {
        let Reference { repository, selector: Selector::Digest(subject) } = source.parse()? else {
            return Err(Error::internal(format!("'{source}' was published by no digest")));
        };
        let bundle = eyot_oci::sign(&self.key()?, &repository, &subject, PROVENANCE, predicate)?;
        let size = self.store.get(&subject).await?.len() as u64;
        let built = bundle_manifest((IMAGE_MANIFEST, &subject, size), &bundle, PROVENANCE)?;
        self.store.put(built.config.clone()).await?;
        self.store.put(bundle).await?;
        let target = Reference { repository, selector: Selector::Digest(Digest::of(&built.manifest)) };
        self.registry.put(&target, built.media_type(), built.manifest).await.map(drop)
    }
}
