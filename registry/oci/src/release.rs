//! Releases: an index that pins components, models, the pipeline, parameters and data under one digest.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use eyot_component::{WasmContent, world_text};
use eyot_core::{Digest, Error, Reference, Result, Selector};
use eyot_store::ContentDigest;
use serde::{Deserialize, Serialize};

use crate::client::{FetchedManifest, RegistryClient};
use crate::manifest::{
    ArtifactKind, Descriptor, EMPTY_CONFIG_TYPE, IMAGE_INDEX, IMAGE_MANIFEST, Manifest, descriptor,
};
use crate::world::{WORLD_TYPE, changes};

/// The annotation that marks an index as a release. It is no `artifactType`: skopeo 1.9 writes an index anew when it
/// copies it, without the fields that it does not know, and so under another digest.
const KIND_ANNOTATION: &str = "dev.eyot.kind";
pub(crate) const RELEASE_TYPE: &str = "application/vnd.eyot.release.v1+json";
/// The types of releases of all versions begin so.
const RELEASE_FAMILY: &str = "application/vnd.eyot.release.v";
const PARAMETERS_TYPE: &str = "application/vnd.eyot.parameters.v1+json";
const PIPELINE_TYPE: &str = "application/vnd.eyot.pipeline.v1+toml";
const ROLE_ANNOTATION: &str = "dev.eyot.release.role";
/// The role of a component's world; its name is that of the component.
const WORLD_ROLE: &str = "world";
const NAME_ANNOTATION: &str = "dev.eyot.release.name";
const SOURCE_ANNOTATION: &str = "dev.eyot.release.source";
/// The prefix of a data set's name in the index's annotations.
const DATA_PREFIX: &str = "dev.eyot.release.data.";

/// What a release is to pin.
#[derive(Clone, Debug, Default)]
pub struct ReleaseSpec {
    pub components: Vec<Reference>,
    /// Models by the names that they are granted under.
    pub models: BTreeMap<String, Reference>,
    /// The text of a pipeline's file.
    pub pipeline: Option<String>,
    pub parameters: BTreeMap<String, String>,
    /// Data sets by name.
    pub data: BTreeMap<String, Digest>,
}

/// What a release pins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    pub digest: ContentDigest,
    pub parts: Vec<ReleasePart>,
    pub parameters: BTreeMap<String, String>,
    pub data: BTreeMap<String, String>,
}

/// A component, its world, a model or the pipeline of a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleasePart {
    /// `component`, `world`, `model` or `pipeline`.
    pub role: String,
    pub name: String,
    /// The reference that it was resolved from when the release was made.
    pub source: String,
    pub manifest: ContentDigest,
    /// The bytes that matter: wasm, weights, the file.
    pub content: ContentDigest,
    pub size: u64,
    /// The interfaces that a component imports.
    pub imports: BTreeSet<String>,
    /// The text of a component's world.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub world: Option<String>,
}

impl RegistryClient {
    /// Makes a release in a repository. What it pins is copied into that repository, so that it can be copied as a
    /// whole.
    pub async fn create_release(&self, target: &Reference, recipe: &ReleaseSpec) -> Result<ContentDigest> {
        let Selector::Tag(tag) = &target.selector else {
            return Err(
                Error::invalid(format!("'{target}' is a digest")).hint("name the release NAME:VERSION")
            );
        };
        let repository = &target.repository;
        let mut children = Vec::new();
        for component in &recipe.components {
            let name = &component.repository;
            children.push(self.pin(repository, component, ArtifactKind::Component, name).await?);
            let text = world_text(&self.component(component).await?)?;
            children.push(self.document(repository, (WORLD_ROLE, name), WORLD_TYPE, text.into()).await?);
        }
        for (name, model) in &recipe.models {
            children.push(self.pin(repository, model, ArtifactKind::Model, name).await?);
        }
        if let Some(pipeline) = &recipe.pipeline {
            children.push(
                self.document(repository, ("pipeline", "pipeline"), PIPELINE_TYPE, pipeline.clone().into())
                    .await?,
            );
        }
        if !recipe.parameters.is_empty() {
            let text = serde_json::to_vec(&recipe.parameters)
                .map_err(|error| Error::internal("no JSON").because(error))?;
            children.push(
                self.document(repository, ("parameters", "parameters"), PARAMETERS_TYPE, text.into()).await?,
            );
        }
        if children.is_empty() {
            return Err(Error::invalid("the release pins nothing")
                .hint("--component REF, --model NAME=REF, --pipeline FILE or --param NAME=VALUE"));
        }
        let data =
            recipe.data.iter().map(|(name, digest)| (format!("{DATA_PREFIX}{name}"), digest.to_string()));
        let index = Manifest {
            schema_version: 2,
            media_type: Some(IMAGE_INDEX.to_owned()),
            artifact_type: None,
            config: None,
            layers: Vec::new(),
            manifests: children,
            subject: None,
            annotations: data.chain([(KIND_ANNOTATION.to_owned(), RELEASE_TYPE.to_owned())]).collect(),
        };
        let bytes = serde_json::to_vec(&index).map_err(|error| Error::internal("no JSON").because(error))?;
        self.put_manifest(repository, Some(tag), IMAGE_INDEX, bytes.into()).await
    }

    /// The bytes of a component.
    async fn component(&self, source: &Reference) -> Result<Bytes> {
        let manifest = Manifest::parse(&self.fetch(source).await?.bytes)?;
        match manifest.content()? {
            (ArtifactKind::Component, Some(layer)) => self.blob(&source.repository, &layer.digest).await,
            _ => Err(Error::invalid(format!("'{source}' is no component"))),
        }
    }

    /// Copies a manifest of another repository here.
    async fn pin(
        &self,
        repository: &str,
        source: &Reference,
        kind: ArtifactKind,
        name: &str,
    ) -> Result<Descriptor> {
        let fetched = self.fetch(source).await?;
        let manifest = Manifest::parse(&fetched.bytes)?;
        let (found, _) = manifest.content()?;
        if found != kind {
            return Err(Error::invalid(format!("'{source}' is no {}", kind.as_str()))
                .hint("eyot ls shows what is what"));
        }
        for blob in manifest.config.iter().chain(&manifest.layers) {
            let is_here = repository == source.repository
                || self.mount(repository, &blob.digest, &source.repository).await?;
            if !is_here {
                let bytes = self.blob(&source.repository, &blob.digest).await?;
                self.push_stream(repository, &blob.digest, blob.size, bytes.into()).await?;
            }
        }
        let digest = self.put_manifest(repository, None, &fetched.media_type, fetched.bytes.clone()).await?;
        let notes = [
            (ROLE_ANNOTATION, kind.as_str()),
            (NAME_ANNOTATION, name),
            (SOURCE_ANNOTATION, &source.to_string()),
        ];
        let annotations = notes.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let size = fetched.bytes.len() as u64;
        Ok(Descriptor {
            media_type: fetched.media_type,
            digest,
            size,
            artifact_type: None,
            annotations,
            urls: Vec::new(),
        })
    }

    /// Stores a file as an artifact.
    async fn document(
        &self,
        repository: &str,
        (role, name): (&str, &str),
        media_type: &str,
        text: Bytes,
    ) -> Result<Descriptor> {
        let empty = Bytes::from_static(b"{}");
        self.push_blob(repository, empty.clone()).await?;
        self.push_blob(repository, text.clone()).await?;
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(IMAGE_MANIFEST.to_owned()),
            artifact_type: Some(media_type.to_owned()),
            config: Some(descriptor(EMPTY_CONFIG_TYPE, &empty, None)),
            layers: vec![descriptor(media_type, &text, None)],
            manifests: Vec::new(),
            subject: None,
            annotations: BTreeMap::new(),
        };
        let bytes =
            serde_json::to_vec(&manifest).map_err(|error| Error::internal("no JSON").because(error))?;
        let size = bytes.len() as u64;
        let digest = self.put_manifest(repository, None, IMAGE_MANIFEST, bytes.into()).await?;
        let annotations =
            [(ROLE_ANNOTATION.to_owned(), role.to_owned()), (NAME_ANNOTATION.to_owned(), name.to_owned())]
                .into();
        Ok(Descriptor {
            media_type: IMAGE_MANIFEST.to_owned(),
            digest,
            size,
            artifact_type: None,
            annotations,
            urls: Vec::new(),
        })
    }

    /// Fetches the manifest of a reference.
    pub async fn fetch(&self, reference: &Reference) -> Result<FetchedManifest> {
        let target = match &reference.selector {
            Selector::Tag(tag) => tag.clone(),
            Selector::Digest(digest) => digest.to_string(),
        };
        self.manifest(&reference.repository, &target).await
    }

    /// What a release pins.
    ///
    /// Fails with `Invalid` when the reference is no release, with `Unsupported` for one of a newer version.
    pub async fn release(&self, reference: &Reference) -> Result<Release> {
        let fetched = self.fetch(reference).await?;
        let index = Manifest::parse(&fetched.bytes)?;
        check_kind(reference, &index)?;
        let data = index
            .annotations
            .iter()
            .filter_map(|(key, value)| Some((key.strip_prefix(DATA_PREFIX)?.to_owned(), value.clone())));
        let mut release = Release {
            digest: fetched.digest,
            parts: Vec::new(),
            parameters: BTreeMap::new(),
            data: data.collect(),
        };
        for child in &index.manifests {
            let manifest = self.manifest(&reference.repository, &child.digest.to_string()).await?;
            let manifest = Manifest::parse(&manifest.bytes)?;
            let note = |key: &str| child.annotations.get(key).cloned().unwrap_or_default();
            let [layer, ..] = manifest.layers.as_slice() else {
                return Err(Error::invalid(format!("{} pins nothing", child.digest)));
            };
            if note(ROLE_ANNOTATION) == "parameters" {
                let text = self.blob(&reference.repository, &layer.digest).await?;
                release.parameters = serde_json::from_slice(&text)
                    .map_err(|error| Error::invalid("the parameters cannot be read").because(error))?;
                continue;
            }
            let mut world = None;
            if note(ROLE_ANNOTATION) == WORLD_ROLE {
                let text = self.blob(&reference.repository, &layer.digest).await?;
                world = Some(String::from_utf8_lossy(&text).into_owned());
            }
            release.parts.push(ReleasePart {
                world,
                role: note(ROLE_ANNOTATION),
                name: note(NAME_ANNOTATION),
                source: note(SOURCE_ANNOTATION),
                manifest: child.digest,
                content: layer.digest,
                size: layer.size,
                imports: self.imports(&reference.repository, &manifest).await?,
            });
        }
        Ok(release)
    }

    async fn imports(&self, repository: &str, manifest: &Manifest) -> Result<BTreeSet<String>> {
        let (ArtifactKind::Component, Some(layer)) = manifest.content()? else { return Ok(BTreeSet::new()) };
        // From the bytes: the config may omit some.
        match WasmContent::read(&self.blob(repository, &layer.digest).await?)? {
            WasmContent::Component(names) => Ok(names.imports.into_iter().collect()),
            _ => Ok(BTreeSet::new()),
        }
    }

    /// Reads all that a release pins, every byte checked; answers how many blobs and bytes that were.
    pub async fn verify_release(&self, reference: &Reference) -> Result<(u64, u64)> {
        let release = self.fetch(reference).await?;
        let index = Manifest::parse(&release.bytes)?;
        let (mut blobs, mut bytes) = (0, 0);
        for child in &index.manifests {
            let manifest = Manifest::parse(
                &self.manifest(&reference.repository, &child.digest.to_string()).await?.bytes,
            )?;
            for blob in manifest.config.iter().chain(&manifest.layers) {
                let found = self.blob(&reference.repository, &blob.digest).await?;
                (blobs, bytes) = (blobs + 1, bytes + found.len() as u64);
            }
        }
        Ok((blobs, bytes))
    }
}

/// Fails with `Invalid` for an index that is no release, with `Unsupported` for a release of a newer version.
fn check_kind(reference: &Reference, index: &Manifest) -> Result<()> {
    match index.annotations.get(KIND_ANNOTATION).map(String::as_str) {
        Some(RELEASE_TYPE) => Ok(()),
        Some(newer) if newer.starts_with(RELEASE_FAMILY) => {
            let shown: String = newer.chars().take(80).collect();
            Err(Error::unsupported(format!(
                "a newer Eyot made '{reference}': it is {shown}, and {RELEASE_TYPE} is known here"
            ))
            .hint("run the version that made it; eyot version says which this is"))
        }
        _ => {
            let error = Error::invalid(format!("'{reference}' is no release"));
            Err(error.hint("eyot release create makes one"))
        }
    }
}

/// The differences between two releases, a line each.
pub fn differences(old: &Release, new: &Release) -> Vec<String> {
    let mut lines = Vec::new();
    let word = |role: &str| match role {
        "component" => "code",
        "model" => "weights",
        WORLD_ROLE => "interface",
        _ => "pipeline",
    };
    let find = |release: &Release, part: &ReleasePart| {
        release.parts.iter().find(|other| (&other.role, &other.name) == (&part.role, &part.name)).cloned()
    };
    for part in &new.parts {
        let what = format!("{} of {} '{}'", word(&part.role), part.role, part.name);
        match find(old, part) {
            None => lines.push(format!("{what} is new: {}", part.content)),
            Some(ReleasePart { world: Some(before), .. }) => {
                lines.extend(changes(&part.name, &before, part.world.as_deref().unwrap_or_default()));
            }
            Some(before) => {
                if before.content != part.content {
                    let (from, to) = (before.content, part.content);
                    lines.push(format!(
                        "{what} changed: {from} ({} bytes) is now {to} ({} bytes)",
                        before.size, part.size
                    ));
                }
                let gained = part
                    .imports
                    .difference(&before.imports)
                    .map(|import| format!("'{}' gained the capability {import}", part.name));
                let lost = before
                    .imports
                    .difference(&part.imports)
                    .map(|import| format!("'{}' lost the capability {import}", part.name));
                lines.extend(gained.chain(lost));
            }
        }
    }
    for part in old.parts.iter().filter(|part| find(new, part).is_none()) {
        lines.push(format!("{} of {} '{}' is gone", word(&part.role), part.role, part.name));
    }
    lines.extend(changed("parameter", &old.parameters, &new.parameters));
    lines.extend(changed("data set", &old.data, &new.data));
    lines
}

fn changed(what: &str, old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) -> Vec<String> {
    let names: BTreeSet<_> = old.keys().chain(new.keys()).collect();
    let line = |name: &String| match (old.get(name), new.get(name)) {
        (Some(from), Some(to)) if from != to => Some(format!("{what} '{name}' changed: {from} is now {to}")),
        (Some(_), None) => Some(format!("{what} '{name}' is gone")),
        (None, Some(to)) => Some(format!("{what} '{name}' is new: {to}")),
        _ => None,
    };
    names.into_iter().filter_map(line).collect()
}
