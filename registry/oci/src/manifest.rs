//! Manifests in standard layouts: components as CNCF wasm artifacts, models as CNCF ModelPack. They are reproducible:
//! there is no time in them.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use eyot_component::{ComponentNames, component_names};
use eyot_core::onnx::{OnnxHeader, OnnxPort};
use eyot_core::{Digest, Error, Result};
use eyot_store::ContentDigest;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::unpack::ArchiveFormat;

/// The media type of an image manifest, which all that is pushed from here is.
pub const IMAGE_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const IMAGE_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(crate) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const WASM_CONFIG: &str = "application/vnd.wasm.config.v0+json";
const WASM_LAYER: &str = "application/wasm";
const MODEL_MANIFEST: &str = "application/vnd.cncf.model.manifest.v1+json";
const MODEL_CONFIG: &str = "application/vnd.cncf.model.config.v1+json";
const MODEL_WEIGHT: &str = "application/vnd.cncf.model.weight.v1.raw";
const SPIN_APPLICATION: &str = "application/vnd.fermyon.spin.application.v1+config";
const SPIN_LAYER: &str = "application/vnd.wasm.content.layer.v1+wasm";
const KITOPS_CONFIG: &str = "application/vnd.kitops.modelkit.config.v1+json";
/// The prefixes of media types of layers that hold a packed model.
const PACKED_WEIGHT_TYPES: [&str; 3] = [
    "application/vnd.cncf.model.weight.v1.",
    "application/vnd.kitops.modelkit.model.v1.",
    "application/vnd.kitops.modelkit.modelpart.v1.",
];
pub(crate) const EMPTY_CONFIG_TYPE: &str = "application/vnd.oci.empty.v1+json";
pub(crate) const TITLE_ANNOTATION: &str = "org.opencontainers.image.title";
pub(crate) const FILE_PATH_ANNOTATION: &str = "org.cncf.model.filepath";

/// The kind of a manifest's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ArtifactKind {
    Component,
    Model,
    Other,
}

impl ArtifactKind {
    pub fn as_str(self) -> &'static str {
        match self {
            ArtifactKind::Component => "component",
            ArtifactKind::Model => "model",
            ArtifactKind::Other => "other",
        }
    }

    pub(crate) fn parse(text: &str) -> Self {
        match text {
            "component" => ArtifactKind::Component,
            "model" => ArtifactKind::Model,
            _ => ArtifactKind::Other,
        }
    }
}

/// A reference to a blob or manifest, as every OCI document writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    pub media_type: String,
    pub digest: ContentDigest,
    pub size: u64,
    /// What a manifest is of; no other thing has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    #[serde(default, deserialize_with = "eyot_core::nullable", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Where else the bytes are; a layer that has this need not be here.
    #[serde(default, deserialize_with = "eyot_core::nullable", skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
}

impl Descriptor {
    /// The file that a layer is unpacked as.
    fn file_name(&self) -> Option<&str> {
        [FILE_PATH_ANNOTATION, TITLE_ANNOTATION]
            .into_iter()
            .find_map(|key| self.annotations.get(key))
            .map(String::as_str)
    }
}

/// The parts of an image manifest or index that Eyot reads; what else a document holds stays in its
/// bytes, which are kept as they came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    pub schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Descriptor>,
    #[serde(default, deserialize_with = "eyot_core::nullable", skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<Descriptor>,
    /// The children of an index.
    #[serde(default, deserialize_with = "eyot_core::nullable", skip_serializing_if = "Vec::is_empty")]
    pub manifests: Vec<Descriptor>,
    /// The manifest that this one says something about; it need not be here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    #[serde(default, deserialize_with = "eyot_core::nullable", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Manifest {
    /// Reads the bytes of a manifest or index that came as `media_type`, if the sender said so, and
    /// answers the type that it has. A document that could be read as two things, or is called one and
    /// says that it is another, is neither: two readers must not see two things under one digest.
    pub fn admit(bytes: &[u8], media_type: Option<&str>) -> Result<(Self, String)> {
        let manifest = Self::parse(bytes)?;
        // To the last value, also those that nobody here looks at: what is no text, or half a character,
        // other readers refuse.
        let fields: BTreeMap<std::borrow::Cow<'_, str>, serde_json::Value> = serde_json::from_slice(bytes)
            .map_err(|error| Error::invalid(format!("the manifest cannot be read: {error}")))?;
        let is_index = fields.contains_key("manifests");
        if is_index && (fields.contains_key("layers") || fields.contains_key("config")) {
            return Err(Error::invalid(
                "the manifest has both 'manifests' and 'layers' or 'config': it is neither an index nor an image",
            ));
        }
        let shape = if is_index { IMAGE_INDEX } else { IMAGE_MANIFEST };
        let said = manifest.media_type.as_deref();
        let media_type = media_type.filter(|text| !text.is_empty()).or(said).unwrap_or(shape);
        if said.is_some_and(|said| said != media_type) {
            let said = said.unwrap_or_default();
            return Err(Error::invalid(format!(
                "the manifest says that it is {said}, but was sent as {media_type}"
            )));
        }
        let fits = match media_type {
            IMAGE_INDEX | DOCKER_LIST => is_index,
            IMAGE_MANIFEST | DOCKER_MANIFEST => !is_index && manifest.config.is_some(),
            _ => true,
        };
        if !fits {
            return Err(Error::invalid(format!("the document is no {media_type}"))
                .hint("an image manifest has 'config' and 'layers', an index has 'manifests'"));
        }
        let media_type = media_type.to_owned();
        Ok((manifest, media_type))
    }

    /// What kind of thing the referrers API calls it; none for an index that does not say.
    pub(crate) fn kind_of_artifact(&self) -> Option<&str> {
        let said = self.artifact_type.as_deref().filter(|said| !said.is_empty());
        said.or_else(|| self.config.as_ref().map(|config| config.media_type.as_str()))
    }

    /// Reads the bytes of a manifest or index.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let manifest: Self = serde_json::from_slice(bytes)
            .map_err(|error| Error::invalid(format!("the manifest cannot be read: {error}")))?;
        if manifest.schema_version != 2 {
            return Err(Error::invalid(format!(
                "the manifest has schemaVersion {}, not 2",
                manifest.schema_version
            )));
        }
        Ok(manifest)
    }

    /// What it is of, and the layer that is the thing itself.
    pub(crate) fn content(&self) -> Result<(ArtifactKind, Option<&Descriptor>)> {
        let config = self.config.as_ref().map_or("", |config| config.media_type.as_str());
        if config == WASM_CONFIG {
            return match self.layers.as_slice() {
                [layer] => Ok((ArtifactKind::Component, Some(layer))),
                layers => Err(Error::invalid(format!(
                    "a component has exactly one layer, this manifest {}",
                    layers.len()
                ))),
            };
        }
        if let Some(layer) = self.onnx_layer() {
            return Ok((ArtifactKind::Model, Some(layer)));
        }
        if self.packed().is_some() {
            return Ok((ArtifactKind::Model, None));
        }
        if self.layers.iter().any(|layer| layer.media_type == SPIN_APPLICATION) {
            let is_wasm = |layer: &&Descriptor| matches!(layer.media_type.as_str(), SPIN_LAYER | WASM_LAYER);
            let mut components = self.layers.iter().filter(is_wasm);
            // An application of several components is several things: each is pushed by itself to be
            // served.
            if let (Some(layer), None) = (components.next(), components.next()) {
                return Ok((ArtifactKind::Component, Some(layer)));
            }
        }
        Ok((ArtifactKind::Other, None))
    }

    /// Of the layers that hold weights as they are the one that is the model's own file: that whose name says so, or
    /// else the first.
    fn onnx_layer(&self) -> Option<&Descriptor> {
        let is_onnx = |layer: &&Descriptor| layer.file_name().is_some_and(|name| name.ends_with(".onnx"));
        self.weights().find(is_onnx).or_else(|| self.weights().next())
    }

    fn weights(&self) -> impl Iterator<Item = &Descriptor> {
        self.layers.iter().filter(|layer| self.is_model() && layer.media_type == MODEL_WEIGHT)
    }

    /// The names by which a component declares that it opens models. An annotation that is no list declares nothing:
    /// others may use it as they like.
    pub(crate) fn declared_models(&self) -> Vec<String> {
        let list = self.annotations.get(MODELS_ANNOTATION);
        list.and_then(|list| serde_json::from_str(list).ok()).unwrap_or_default()
    }

    /// The files beside a model's own.
    ///
    /// Fails with `Invalid` where two of its files have one name.
    pub(crate) fn data_layers(&self) -> Result<Vec<DataLayer>> {
        let Some(onnx) = self.onnx_layer() else { return Ok(Vec::new()) };
        let mut names: BTreeSet<&str> = onnx.file_name().into_iter().collect();
        let mut data = Vec::new();
        for layer in self.weights().filter(|layer| !std::ptr::eq(*layer, onnx)) {
            let (Some(name), ContentDigest::Sha256(digest)) = (layer.file_name(), layer.digest) else {
                continue;
            };
            if !names.insert(name) {
                return Err(Error::invalid(format!("two layers of the model are called '{name}'")));
            }
            data.push(DataLayer { name: name.to_owned(), digest, size: layer.size });
        }
        Ok(data)
    }

    fn is_model(&self) -> bool {
        let config = self.config.as_ref().map_or("", |config| config.media_type.as_str());
        let is_kit = [self.artifact_type.as_deref(), Some(config)].contains(&Some(KITOPS_CONFIG));
        is_kit || self.artifact_type.as_deref() == Some(MODEL_MANIFEST) || config == MODEL_CONFIG
    }

    /// The only layer that holds a model in an archive. Models in other formats are kept and handed out,
    /// but not served.
    pub(crate) fn packed(&self) -> Option<(&Descriptor, ArchiveFormat)> {
        let packing = |layer: &Descriptor| {
            let is_model = PACKED_WEIGHT_TYPES.iter().any(|kind| layer.media_type.starts_with(kind));
            is_model.then(|| ArchiveFormat::of(&layer.media_type)).flatten()
        };
        let mut packed =
            self.layers.iter().filter(|_| self.is_model()).filter_map(|layer| Some((layer, packing(layer)?)));
        packed.next().filter(|_| packed.next().is_none())
    }

    /// Whether the config is one that lists a component's imports.
    pub(crate) fn describes_component(&self) -> bool {
        self.config.as_ref().is_some_and(|config| config.media_type == WASM_CONFIG)
    }
}

/// A manifest that is ready to be pushed, with its config blob.
#[derive(Clone, Debug)]
pub struct BuiltManifest {
    pub manifest: Bytes,
    pub config: Bytes,
}

impl BuiltManifest {
    pub(crate) fn new(manifest: &Manifest, config: Bytes) -> Result<Self> {
        Ok(Self { manifest: json_bytes(manifest)?, config })
    }

    /// The media type under which the manifest is pushed.
    pub fn media_type(&self) -> &'static str {
        IMAGE_MANIFEST
    }
}

fn json_bytes(value: &impl Serialize) -> Result<Bytes> {
    let bytes = serde_json::to_vec(value);
    bytes.map(Bytes::from).map_err(|error| Error::internal("a manifest has no JSON form").because(error))
}

pub(crate) fn descriptor(media_type: &str, bytes: &[u8], annotation: Option<(&str, &str)>) -> Descriptor {
    let annotations = annotation.map(|(key, value)| (key.to_owned(), value.to_owned())).into_iter().collect();
    let (digest, size) = (Digest::of(bytes), bytes.len() as u64);
    Descriptor {
        media_type: media_type.to_owned(),
        digest: digest.into(),
        size,
        artifact_type: None,
        annotations,
        urls: Vec::new(),
    }
}

/// wkg takes no config without it. It is always the same, as the digest is of the same content.
const CREATED_AT: &str = "1970-01-01T00:00:00Z";

/// The manifest of a component that opens models under these names.
///
/// Fails with `Invalid` when the bytes are no valid component.
pub fn component_manifest(name: &str, wasm: &Bytes, models: &[String]) -> Result<BuiltManifest> {
    let ComponentNames { imports, exports } = component_names(wasm)?;
    let layer = descriptor(WASM_LAYER, wasm, Some((TITLE_ANNOTATION, &format!("{name}.wasm"))));
    let config = json_bytes(&json!({
        "created": CREATED_AT,
        "architecture": "wasm",
        "os": "wasip2",
        "layerDigests": [layer.digest],
        "component": { "exports": exports, "imports": imports, "target": null },
    }))?;
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(IMAGE_MANIFEST.to_owned()),
        artifact_type: None,
        config: Some(descriptor(WASM_CONFIG, &config, None)),
        layers: vec![layer],
        manifests: Vec::new(),
        subject: None,
        annotations: declared_models(models)?,
    };
    BuiltManifest::new(&manifest, config)
}

/// Under this annotation the names stand by which a component opens models: a list in JSON.
const MODELS_ANNOTATION: &str = "dev.eyot.component.models";

fn declared_models(names: &[String]) -> Result<BTreeMap<String, String>> {
    if names.is_empty() {
        return Ok(BTreeMap::new());
    }
    let list = serde_json::to_string(names);
    let list = list.map_err(|error| Error::internal("names of models have no JSON form").because(error))?;
    Ok([(MODELS_ANNOTATION.to_owned(), list)].into())
}

/// The artifact type of the core module that a component was made of.
const MODULE_TYPE: &str = "application/vnd.eyot.module.v1+wasm";

/// The manifest of a core module that refers to the component made of it: `about` is the component's media
/// type, digest and number of bytes.
pub(crate) fn module_manifest(
    about: (&str, &Digest, u64),
    name: &str,
    module: &Bytes,
) -> Result<BuiltManifest> {
    let config = Bytes::from_static(b"{}");
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(IMAGE_MANIFEST.to_owned()),
        artifact_type: Some(MODULE_TYPE.to_owned()),
        config: Some(descriptor(EMPTY_CONFIG_TYPE, &config, None)),
        layers: vec![descriptor(WASM_LAYER, module, Some((TITLE_ANNOTATION, &format!("{name}.core.wasm"))))],
        manifests: Vec::new(),
        subject: Some(subject(about)),
        annotations: BTreeMap::new(),
    };
    BuiltManifest::new(&manifest, config)
}

/// The descriptor of a subject: a media type, a digest and a number of bytes.
pub(crate) fn subject((media_type, digest, size): (&str, &Digest, u64)) -> Descriptor {
    Descriptor {
        media_type: media_type.to_owned(),
        digest: (*digest).into(),
        size,
        artifact_type: None,
        annotations: BTreeMap::new(),
        urls: Vec::new(),
    }
}

/// A file of weights that lies beside a model's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataLayer {
    /// As the model names it.
    pub name: String,
    pub digest: Digest,
    pub size: u64,
}

/// The manifest of a model in ONNX. What its config says is read from the file.
pub fn model_manifest(name: &str, file: &str, onnx: &Bytes) -> Result<BuiltManifest> {
    model_manifest_with(name, file, onnx, &[])
}

/// The same of a model whose weights lie in files beside it: a layer each, under the names that the model gives them.
pub fn model_manifest_with(
    name: &str,
    file: &str,
    onnx: &Bytes,
    data: &[DataLayer],
) -> Result<BuiltManifest> {
    let mut layer = descriptor(MODEL_WEIGHT, onnx, Some((FILE_PATH_ANNOTATION, file)));
    let title = |layer: &mut Descriptor, name: &str| {
        layer.annotations.insert(TITLE_ANNOTATION.to_owned(), name.to_owned());
    };
    // Clients that know nothing of models write files under their titles. A model that is one file needs none, and
    // had none before there were others.
    if !data.is_empty() {
        title(&mut layer, file);
    }
    let mut layers = vec![layer.clone()];
    for DataLayer { name, digest, size } in data {
        let mut layer = Descriptor {
            media_type: MODEL_WEIGHT.to_owned(),
            digest: (*digest).into(),
            size: *size,
            artifact_type: None,
            annotations: BTreeMap::from([(FILE_PATH_ANNOTATION.to_owned(), name.clone())]),
            urls: Vec::new(),
        };
        title(&mut layer, name);
        layers.push(layer);
    }
    let diff_ids: Vec<&ContentDigest> = layers.iter().map(|layer| &layer.digest).collect();
    let header = OnnxHeader::read(onnx).unwrap_or_default();
    let config = json_bytes(&json!({
        "descriptor": { "name": name },
        "config": about(&header),
        "modelfs": { "type": "layers", "diffIds": diff_ids },
    }))?;
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(IMAGE_MANIFEST.to_owned()),
        artifact_type: Some(MODEL_MANIFEST.to_owned()),
        config: Some(descriptor(MODEL_CONFIG, &config, None)),
        layers,
        manifests: Vec::new(),
        subject: None,
        annotations: signature(&header)?,
    };
    BuiltManifest::new(&manifest, config)
}

/// ModelPack's `config`, as far as the file says it.
fn about(header: &OnnxHeader) -> serde_json::Value {
    let mut about = json!({ "format": "onnx" });
    // What an architecture is called is nowhere in the format; the graph's name is what comes nearest.
    for (field, value) in [("architecture", &header.graph)] {
        if !value.is_empty() {
            about[field] = json!(value);
        }
    }
    if !header.weights.is_empty() {
        about["paramSize"] = json!(in_short(header.parameters()));
        about["precision"] = json!(header.precision().join(","));
    }
    about
}

/// Under this annotation a model's inputs and outputs stand: ModelPack's config has no place for them.
const SIGNATURE_ANNOTATION: &str = "dev.eyot.model.signature";

fn signature(header: &OnnxHeader) -> Result<BTreeMap<String, String>> {
    if header.inputs.is_empty() && header.outputs.is_empty() {
        return Ok(BTreeMap::new());
    }
    let ports = |ports: &[OnnxPort]| {
        let port = |port: &OnnxPort| json!({ "name": port.name, "type": port.kind, "shape": port.shape });
        ports.iter().map(port).collect::<Vec<_>>()
    };
    let signature = json!({ "inputs": ports(&header.inputs), "outputs": ports(&header.outputs) });
    Ok([(SIGNATURE_ANNOTATION.to_owned(), signature.to_string())].into())
}

/// A number of parameters as models are named by it: `950`, `1.3K`, `6.7B`.
fn in_short(number: u64) -> String {
    let (unit, by) = match number {
        0..1_000 => return number.to_string(),
        1_000..1_000_000 => ("K", 1e3),
        1_000_000..1_000_000_000 => ("M", 1e6),
        1_000_000_000..1_000_000_000_000 => ("B", 1e9),
        _ => ("T", 1e12),
    };
    let short = format!("{:.1}", number as f64 / by);
    format!("{}{unit}", short.strip_suffix(".0").unwrap_or(&short))
}
