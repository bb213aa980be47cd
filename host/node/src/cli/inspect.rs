use std::path::Path;

use clap::Args;
use eyot_core::interface::Interface;
use eyot_core::{Digest, Result, ResultExt};
use serde::Serialize;

use crate::cli::Global;
use crate::output::{Output, size};
use crate::session::Session;

/// Shows what a component imports and exports, or what a model takes and gives.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  eyot inspect target/scorer.wasm\n  eyot inspect digits-steps:0.1.0\n  \
    eyot inspect models:/digits@champion --json")]
pub(crate) struct Inspect {
    /// A .wasm or .onnx file, or a reference in the registry.
    source: String,
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum Report {
    Component {
        digest: Digest,
        size: u64,
        #[serde(flatten)]
        interface: Interface,
    },
    Model {
        digest: Digest,
        size: u64,
        back_end: String,
        signature: eyot_nn::Signature,
    },
}

impl Inspect {
    pub(crate) async fn run(self, global: &Global, output: &Output) -> Result<()> {
        let path = Path::new(&self.source);
        let bytes = if path.is_file() {
            tokio::fs::read(path).await.context(|| format!("cannot read {}", path.display()))?.into()
        } else {
            let session = Session::open(global).await?;
            let resolved = session.client().resolve(&self.source).await?;
            session.client().registry().pull_blob(&resolved.repository, &resolved.content).await?
        };
        let (digest, length) = (Digest::of(&bytes), bytes.len() as u64);
        let report = if bytes.starts_with(b"\0asm") || path.extension().is_some_and(|ending| ending == "wasm")
        {
            let engine = crate::platform::engine(&global.config()?)?;
            Report::Component { digest, size: length, interface: engine.inspect(&bytes)? }
        } else {
            let models = crate::platform::models(&global.config()?)?;
            let model = models.load_bytes(bytes, eyot_nn::Settings::default()).await?;
            let back_end = model.ran_on().to_string();
            Report::Model { digest, size: length, back_end, signature: model.signature().clone() }
        };
        output.result(&report, |_| human(&report))
    }
}

fn human(report: &Report) -> String {
    let mut lines = Vec::new();
    match report {
        Report::Component { digest, size: length, interface } => {
            lines.push(format!("component {digest} ({})", size(*length)));
            lines.push("imports".to_owned());
            lines.extend(interface.imports.iter().map(|import| format!("  {import}")));
            lines.push("exports".to_owned());
            lines.extend(interface.exports.iter().map(|export| format!("  {export}")));
            lines.extend(interface.functions.iter().map(|function| format!("  {function}")));
        }
        Report::Model { digest, size: length, back_end, signature } => {
            lines.push(format!("model {digest} ({}), loaded by {back_end}", size(*length)));
            for (what, specs) in [("inputs", &signature.inputs), ("outputs", &signature.outputs)] {
                lines.push(what.to_owned());
                lines.extend(
                    specs.iter().map(|spec| format!("  {} {} {:?}", spec.name, spec.dtype, spec.shape)),
                );
            }
        }
    }
    lines.join("\n")
}
