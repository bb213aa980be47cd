use std::path::Path;

use bytes::Bytes;
use clap::Args;
use eyot_component::{ComponentDescription, Composition, LinkedPart};
use eyot_core::interface::Interface;
use eyot_core::{Digest, Result, ResultExt};
use eyot_engine::provider;
use eyot_nn::{DataFile, ModelFiles};
use serde::Serialize;

use crate::cli::GlobalOptions;
use crate::model_path::{ModelPath, is_onnx};
use crate::output::{CommandOutput, TextTone, size};
use crate::session::ApiSession;

/// The media type of a Sigstore bundle, as which signatures are attached.
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// Shows what a component imports, who provides that, and what it exports; or what a model takes and gives.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  eyot inspect target/scorer.wasm\n  eyot inspect digits-steps:0.1.0\n  \
    eyot inspect models:/digits@champion --json")]
pub(crate) struct InspectCommand {
    /// A .wasm or .onnx file, or a reference in the registry.
    source: String,
}

#[derive(Serialize)]
struct InspectReport {
    /// Of the component or the model itself.
    digest: Digest,
    size: u64,
    /// Where it came from, if that was the registry.
    #[serde(skip_serializing_if = "Option::is_none")]
    registry: Option<RegisteredArtifact>,
    #[serde(flatten)]
    content: InspectedContent,
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum InspectedContent {
    Component(DescribedComponent),
    Model { back_end: String, signature: eyot_nn::ModelSignature },
}

/// What a component's bytes say of it, and who gives it what it imports.
#[derive(Serialize)]
struct DescribedComponent {
    #[serde(flatten)]
    interface: Interface,
    /// Imports with whoever provides them.
    provided: Vec<ProvidedImport>,
    languages: Vec<String>,
    tools: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    composition: Option<Composition>,
}

/// An import, and who gives it; nobody where this host does not.
#[derive(Serialize)]
struct ProvidedImport {
    name: String,
    provider: Option<&'static str>,
}

impl DescribedComponent {
    fn read(wasm: &[u8]) -> Result<Self> {
        let ComponentDescription { interface, languages, tools, composition } =
            ComponentDescription::read(wasm)?;
        let import = |name: &String| ProvidedImport { name: name.clone(), provider: provider(name) };
        let provided = interface.imports.iter().map(import).collect();
        Ok(Self { interface, provided, languages, tools, composition })
    }
}

/// What the registry knows beside the bytes.
#[derive(Serialize)]
struct RegisteredArtifact {
    repository: String,
    /// Of the manifest.
    digest: Digest,
    signatures: Vec<AttachedSignature>,
}

/// A signature that is there; whether it is good, eyot verify says.
#[derive(Serialize)]
struct AttachedSignature {
    digest: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    predicate: Option<String>,
}

impl InspectCommand {
    pub(crate) async fn run(self, global: &GlobalOptions, output: &CommandOutput) -> Result<()> {
        let path = Path::new(&self.source);
        let (files, registry) = match local(path).await? {
            Some(files) => (files, None),
            None => {
                let (files, registered) = self.fetch(global).await?;
                (files, Some(registered))
            }
        };
        let (digest, length) = (Digest::of(&files.onnx), files.bytes());
        let wasm =
            files.onnx.starts_with(b"\0asm") || path.extension().is_some_and(|ending| ending == "wasm");
        let content = if wasm {
            InspectedContent::Component(DescribedComponent::read(&files.onnx)?)
        } else {
            let models = crate::platform::models(&global.config()?)?;
            let model = models.load_files(files, eyot_nn::ModelSettings::default()).await?;
            InspectedContent::Model {
                back_end: model.ran_on().to_string(),
                signature: model.signature().clone(),
            }
        };
        let report = InspectReport { digest, size: length, registry, content };
        output.result(&report, |output| human(&report, output))
    }

    /// The bytes behind a reference, and what stands beside them.
    async fn fetch(&self, global: &GlobalOptions) -> Result<(ModelFiles, RegisteredArtifact)> {
        let session = ApiSession::open(global).await?;
        let resolved = session.client().resolve(&self.source).await?;
        let registry = session.client().registry();
        let onnx = registry.pull_blob(&resolved.repository, &resolved.content).await?;
        let mut data = Vec::new();
        for layer in &resolved.data {
            let bytes = registry.pull_blob(&resolved.repository, &layer.digest).await?;
            data.push(DataFile { name: layer.name.clone(), bytes });
        }
        let files = ModelFiles { onnx, data };
        let subject = resolved.manifest.into();
        let referrers = registry.referrers(&resolved.repository, &subject, Some(BUNDLE)).await?;
        let signature = |referrer: eyot_oci::Descriptor| AttachedSignature {
            digest: referrer.digest.to_string(),
            predicate: referrer.annotations.get("dev.sigstore.bundle.predicateType").cloned(),
        };
        let signatures = referrers.into_iter().map(signature).collect();
        Ok((
            files,
            RegisteredArtifact { repository: resolved.repository, digest: resolved.manifest, signatures },
        ))
    }
}

/// What lies on this machine under that path, if anything does.
async fn local(path: &Path) -> Result<Option<ModelFiles>> {
    if path.is_dir() {
        return ModelPath::in_folder(path)?.map(|model| model.files()).transpose();
    }
    if !path.is_file() {
        return Ok(None);
    }
    if is_onnx(path) {
        return ModelPath::at(path)?.files().map(Some);
    }
    let bytes = tokio::fs::read(path).await.context(|| format!("cannot read {}", path.display()))?;
    Ok(Some(Bytes::from(bytes).into()))
}

fn human(report: &InspectReport, output: &CommandOutput) -> String {
    let mut lines = Vec::new();
    let kind = match &report.content {
        InspectedContent::Component(_) => "component",
        InspectedContent::Model { .. } => "model",
    };
    lines.push(format!("{kind} {} ({})", report.digest, size(report.size)));
    if let Some(registered) = &report.registry {
        lines.push(format!("manifest {}@{}", registered.repository, registered.digest));
        lines.push(match registered.signatures.as_slice() {
            [] => "not signed".to_owned(),
            signatures => {
                let digests: Vec<_> = signatures.iter().map(|signature| signature.digest.as_str()).collect();
                format!("signatures {}", digests.join(", "))
            }
        });
    }
    match &report.content {
        InspectedContent::Component(described) => component(described, output, &mut lines),
        InspectedContent::Model { back_end, signature } => {
            lines.push(format!("loaded by {back_end}"));
            lines.push("inputs".to_owned());
            lines.extend(signature.all_inputs().map(tensor));
            lines.push("outputs".to_owned());
            lines.extend(signature.outputs.iter().map(tensor));
        }
    }
    lines.join("\n")
}

fn tensor(spec: &eyot_nn::TensorSpec) -> String {
    let optional = match (spec.is_optional(), spec.default_value()) {
        (false, _) => String::new(),
        (true, None) => ", optional".to_owned(),
        (true, Some(default)) => format!(", optional: {default} without it"),
    };
    format!("  {} {} {:?}{optional}", spec.name, spec.dtype, spec.shape)
}

fn component(described: &DescribedComponent, output: &CommandOutput, lines: &mut Vec<String>) {
    for (what, values) in [("languages", &described.languages), ("made with", &described.tools)] {
        if !values.is_empty() {
            lines.push(format!("{what} {}", values.join(", ")));
        }
    }
    if let Some(Composition { socket, plugs }) = &described.composition {
        lines.push(format!("linked from {} ({})", socket.name, socket.digest));
        for LinkedPart { name, digest, fills, fills_of } in plugs {
            let others = fills_of.iter().map(|(other, fills)| format!("{} to {other}", fills.join(", ")));
            let gives: Vec<String> = fills.iter().cloned().chain(others).collect();
            lines.push(format!("  {name} ({digest}) gives {}", gives.join(", ")));
        }
    }
    lines.push("imports".to_owned());
    let width = described.provided.iter().map(|import| import.name.len()).max().unwrap_or_default();
    for import in &described.provided {
        let who = match import.provider {
            Some(who) => output.paint(TextTone::Dim, who),
            None => output.paint(TextTone::Bad, "not offered by this host"),
        };
        lines.push(format!("  {:<width$}  {who}", import.name));
    }
    lines.push("exports".to_owned());
    lines.extend(described.interface.exports.iter().map(|export| format!("  {export}")));
    lines.extend(described.interface.functions.iter().map(|function| format!("  {function}")));
}
