//! Manifests as the world writes them: components in the CNCF wasm artifact layout, models in CNCF
//! ModelPack. The same content gives the same manifest: there is no time in them.

use std::collections::BTreeMap;

use bytes::Bytes;
use eyot_core::{Digest, Error, Result};
use eyot_store::ContentDigest;
use serde::{Deserialize, Serialize};
use serde_json::json;
use wasmparser::{Parser, Payload, Validator, WasmFeatures};

pub(crate) const IMAGE_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const IMAGE_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const WASM_CONFIG: &str = "application/vnd.wasm.config.v0+json";
const WASM_LAYER: &str = "application/wasm";
const MODEL_MANIFEST: &str = "application/vnd.cncf.model.manifest.v1+json";
const MODEL_CONFIG: &str = "application/vnd.cncf.model.config.v1+json";
const MODEL_WEIGHT: &str = "application/vnd.cncf.model.weight.v1.raw";
const TITLE: &str = "org.opencontainers.image.title";
const FILE_PATH: &str = "org.cncf.model.filepath";

/// What a manifest is of.
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
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Where else the bytes are; a layer that has this need not be here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
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
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<Descriptor>,
    /// The children of an index.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub manifests: Vec<Descriptor>,
    /// The manifest that this one says something about; it need not be here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Manifest {
    /// Reads the bytes of a manifest or index that came as `media_type`, if the sender said so, and
    /// answers the type that it has. A document that could be read as two things, or is called one and
    /// says that it is another, is neither: two readers must not see two things under one digest.
    pub fn admit(bytes: &[u8], media_type: Option<&str>) -> Result<(Self, String)> {
        let manifest = Self::parse(bytes)?;
        let fields: BTreeMap<&str, serde::de::IgnoredAny> = serde_json::from_slice(bytes)
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
        if self.artifact_type.as_deref() == Some(MODEL_MANIFEST) || config == MODEL_CONFIG {
            // Models in other formats or packed ones are kept and handed out, but not served.
            let onnx = self.layers.iter().find(|layer| layer.media_type == MODEL_WEIGHT);
            return Ok(onnx.map_or((ArtifactKind::Other, None), |layer| (ArtifactKind::Model, Some(layer))));
        }
        Ok((ArtifactKind::Other, None))
    }
}

/// A manifest that is ready to be pushed, with its config blob.
#[derive(Clone, Debug)]
pub struct Built {
    pub manifest: Bytes,
    pub config: Bytes,
}

impl Built {
    fn new(manifest: &Manifest, config: Bytes) -> Result<Self> {
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

fn descriptor(media_type: &str, bytes: &[u8], annotation: Option<(&str, &str)>) -> Descriptor {
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

/// The manifest of a component.
///
/// Fails with `Invalid` when the bytes are no valid component.
pub fn component_manifest(name: &str, wasm: &Bytes) -> Result<Built> {
    let (imports, exports) = interface(wasm)?;
    let layer = descriptor(WASM_LAYER, wasm, Some((TITLE, &format!("{name}.wasm"))));
    let config = json_bytes(&json!({
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
        annotations: BTreeMap::new(),
    };
    Built::new(&manifest, config)
}

/// The manifest of a model in ONNX.
pub fn model_manifest(name: &str, file: &str, onnx: &Bytes) -> Result<Built> {
    let layer = descriptor(MODEL_WEIGHT, onnx, Some((FILE_PATH, file)));
    let config = json_bytes(&json!({
        "descriptor": { "name": name },
        "config": { "format": "onnx" },
        "modelfs": { "type": "layers", "diffIds": [layer.digest] },
    }))?;
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(IMAGE_MANIFEST.to_owned()),
        artifact_type: Some(MODEL_MANIFEST.to_owned()),
        config: Some(descriptor(MODEL_CONFIG, &config, None)),
        layers: vec![layer],
        manifests: Vec::new(),
        subject: None,
        annotations: BTreeMap::new(),
    };
    Built::new(&manifest, config)
}

/// The names of a component's own imports and exports.
fn interface(wasm: &[u8]) -> Result<(Vec<String>, Vec<String>)> {
    let invalid = |error: wasmparser::BinaryReaderError| {
        Error::invalid(format!("the file is no valid component: {error}"))
            .hint("build it again; a file that was cut short or damaged looks like this")
    };
    if !Parser::is_component(wasm) {
        let what = if Parser::is_core_wasm(wasm) {
            "a core wasm module, not a component"
        } else {
            "no wasm component"
        };
        return Err(Error::invalid(format!("the file is {what}")).hint(
            "a component is what cargo build --target wasm32-wasip2, eyot build or componentize-py write",
        ));
    }
    Validator::new_with_features(WasmFeatures::all()).validate_all(wasm).map_err(invalid)?;
    let (mut imports, mut exports, mut depth) = (Vec::new(), Vec::new(), 0_usize);
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.map_err(invalid)? {
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 1 => {
                for import in section {
                    imports.push(import.map_err(invalid)?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 1 => {
                for export in section {
                    exports.push(export.map_err(invalid)?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok((imports, exports))
}
