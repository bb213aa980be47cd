use std::path::PathBuf;

use bytes::Bytes;
use clap::Args;
use eyot_core::{Clock as _, Digest, Error, Reference, Result, SystemClock};
use eyot_oci::{PrivateKey, SBOM, SIGNED, sbom};
use eyot_pipelines::PipelineRun;
use serde::Serialize;
use serde_json::{Value, json};

use crate::cli::{Global, key};
use crate::output::Output;
use crate::session::Session;

/// Signs something of the registry; the signature lies beside it and is copied along with it.
///
/// It is a Sigstore bundle (v0.3, with a key), over the manifest's digest: a tag that moves later leaves
/// the signature where it was. It says that the thing is yours, or how it came about, or what is in it.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  eyot key generate release\n  eyot sign acme/scorer:1.0.0 --key release.key\n  \
    eyot verify acme/scorer:1.0.0 --key release.pub\n  eyot sign acme/scorer:1.0.0 --key release.key --sbom\n  \
    eyot sign models/digits@sha256:… --key builder.key --provenance RUN"
)]
pub(crate) struct Sign {
    /// What to sign: NAME:TAG or NAME@DIGEST.
    reference: Reference,
    /// The private key.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Says which pipeline run made it, of what: SLSA provenance.
    #[arg(long, value_name = "RUN", conflicts_with = "sbom")]
    provenance: Option<String>,
    /// Says what a component was built of: CycloneDX.
    #[arg(long)]
    sbom: bool,
}

#[derive(Serialize)]
struct Signed {
    subject: String,
    signature: String,
    key: String,
    predicate_type: String,
}

/// The predicate type of SLSA provenance.
const PROVENANCE: &str = "https://slsa.dev/provenance/v1";

impl Sign {
    pub(crate) async fn run(self, global: &Global, output: &Output) -> Result<()> {
        let key = key::read_private(&self.key)?;
        let session = Session::open(global).await?;
        let registry = session.client().registry();
        let fetched = registry.fetch(&self.reference).await?;
        let (repository, subject) = (&self.reference.repository, Digest::of(&fetched.bytes));
        let (predicate_type, predicate) = self.predicate(&session, &subject).await?;
        let bundle = eyot_oci::sign(&key, repository, &subject, predicate_type, predicate)?;
        let signature = registry.attach(repository, &subject, bundle).await?;
        let signed = Signed {
            subject: format!("{repository}@{subject}"),
            signature: signature.to_string(),
            key: key.public().fingerprint()?,
            predicate_type: predicate_type.to_owned(),
        };
        output.result(&signed, |_| format!("{}\nsigned by {}", signed.subject, signed.key))
    }

    async fn predicate(&self, session: &Session, subject: &Digest) -> Result<(&'static str, Value)> {
        if self.provenance.is_none() && !self.sbom {
            return Ok((SIGNED, now()));
        }
        let client = session.client();
        let exact = format!("{}@{subject}", self.reference.repository);
        let resolved = client.resolve(&exact).await?;
        let Some(run) = &self.provenance else {
            let wasm = client.registry().pull_blob(&resolved.repository, &resolved.content).await?;
            return Ok((SBOM, sbom(&resolved.repository, &wasm)?));
        };
        let run = client.run(run).await?;
        if !made(&run, &resolved.content) {
            let error = Error::invalid(format!("run {} did not make {exact}", run.id));
            return Err(error.hint(format!("eyot runs {} shows what it made", run.id)));
        }
        Ok((PROVENANCE, provenance(&run)))
    }
}

fn now() -> Value {
    json!({ "signedAt": SystemClock.now().to_rfc3339() })
}

/// Says that a manifest is the key holder's, and when they said so: policies ask for the age.
pub(crate) fn statement(key: &PrivateKey, repository: &str, subject: &Digest) -> Result<Bytes> {
    eyot_oci::sign(key, repository, subject, SIGNED, now())
}

/// Whether a step of a run gave these bytes.
fn made(run: &PipelineRun, content: &Digest) -> bool {
    let content = content.to_string();
    run.steps.iter().flat_map(|step| step.outputs.values()).any(|output| output.as_str() == Some(&content))
}

/// What a run was made of: components, and what went into its steps.
fn provenance(run: &PipelineRun) -> Value {
    let (mut parameters, mut dependencies) = (serde_json::Map::new(), Vec::new());
    let dependency =
        |name: String, digest: &Digest| json!({ "name": name, "digest": { "sha256": digest.hex() } });
    for step in &run.steps {
        dependencies
            .extend(step.component.map(|digest| dependency(format!("{}/component", step.step), &digest)));
        for (name, value) in &step.inputs {
            let name = format!("{}/{name}", step.step);
            match value.as_str().and_then(|text| text.parse::<Digest>().ok()) {
                Some(digest) => dependencies.push(dependency(name, &digest)),
                None => drop(parameters.insert(name, value.clone())),
            }
        }
    }
    json!({
        "buildDefinition": {
            "buildType": "https://eyot.dev/pipeline/v1",
            "externalParameters": { "pipeline": run.pipeline, "parameters": parameters },
            "resolvedDependencies": dependencies,
        },
        "runDetails": {
            "builder": { "id": "https://eyot.dev/eyot", "version": { "eyot": env!("CARGO_PKG_VERSION") } },
            "metadata": {
                "invocationId": run.id,
                "startedOn": run.started.to_rfc3339(),
                "finishedOn": run.ended.unwrap_or(run.started).to_rfc3339(),
            },
        },
    })
}
