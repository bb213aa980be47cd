use std::path::PathBuf;

use bytes::Bytes;
use clap::Args;
use eyot_core::{Clock as _, Digest, Error, Reference, Result, ResultExt as _, SystemClock};
use eyot_oci::{PrivateKey, SBOM_PREDICATE, SIGNATURE_PREDICATE, sbom};
use eyot_pipelines::PROVENANCE;
use serde::Serialize;
use serde_json::{Value, json};

use crate::cli::GlobalOptions;
use crate::keys;
use crate::output::CommandOutput;
use crate::session::ApiSession;

/// Signs something of the registry; the signature lies beside it and is copied along with it.
///
/// It is a Sigstore bundle (v0.3, with a key), over the manifest's digest: a tag that moves later leaves
/// the signature where it was. It says that the thing is yours, or how it came about, or what is in it.
/// With --files it lists every file instead, as `model_signing` does, so that it holds of the files also
/// where there is no registry.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  eyot key generate release\n  eyot sign acme/scorer:1.0.0 --key release.key\n  \
    eyot verify acme/scorer:1.0.0 --key release.pub\n  eyot sign acme/scorer:1.0.0 --key release.key --sbom\n  \
    eyot sign models/digits@sha256:… --key builder.key --provenance RUN\n  eyot sign models/digits:1.0.0 --key release.key --files --out model.sig\n  \
    eyot sign models/digits:1.0.0 --bundle model.sig"
)]
pub(crate) struct SignCommand {
    /// What to sign: NAME:TAG or NAME@DIGEST.
    reference: Reference,
    /// The private key.
    #[arg(long, value_name = "FILE", required_unless_present = "bundle")]
    key: Option<PathBuf>,
    /// Says which pipeline run made it, of what: SLSA provenance.
    #[arg(long, value_name = "RUN", conflicts_with = "sbom")]
    provenance: Option<String>,
    /// Says what a component was built of: CycloneDX.
    #[arg(long)]
    sbom: bool,
    /// Lists the files of a model or a data set, in the form of OpenSSF Model Signing.
    #[arg(long, conflicts_with_all = ["sbom", "provenance"])]
    files: bool,
    /// Puts a bundle there that another tool has signed, `model_signing` for one.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["key", "sbom", "provenance", "files"])]
    bundle: Option<PathBuf>,
    /// Writes the bundle into a file as well, for tools that do not ask the registry.
    #[arg(long, value_name = "FILE", conflicts_with = "bundle")]
    out: Option<PathBuf>,
}

#[derive(Serialize)]
struct SignedArtifact {
    subject: String,
    signature: String,
    /// Who signed it; what another tool signed is not looked at without its key.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    predicate_type: String,
}

impl SignCommand {
    pub(crate) async fn run(self, global: &GlobalOptions, output: &CommandOutput) -> Result<()> {
        let key = self.key.as_deref().map(keys::read_private).transpose()?;
        let session = ApiSession::open(global).await?;
        let registry = session.client().registry();
        let reference = session.client().qualified(&self.reference);
        let fetched = registry.fetch(&reference).await?;
        let (repository, subject) = (&reference.repository, Digest::of(&fetched.bytes));
        let bundle = match (&key, &self.bundle) {
            (Some(key), _) if self.files => registry.sign_files(repository, &subject, key).await?,
            (Some(key), _) => {
                let (predicate_type, predicate) = self.predicate(&session, &subject).await?;
                eyot_oci::sign(key, repository, &subject, predicate_type, predicate)?
            }
            (None, Some(file)) => {
                std::fs::read(file).context(|| format!("cannot read {}", file.display()))?.into()
            }
            (None, None) => return Err(Error::invalid("a key to sign with is missing").hint("--key FILE")),
        };
        let attached = registry.attach(repository, &subject, bundle.clone()).await?;
        if let Some(file) = &self.out {
            std::fs::write(file, &bundle).context(|| format!("cannot write {}", file.display()))?;
        }
        let signed = SignedArtifact {
            subject: format!("{repository}@{subject}"),
            signature: attached.signature.to_string(),
            key: key.map(|key| key.public().fingerprint()).transpose()?,
            predicate_type: attached.predicate_type,
        };
        output.result(&signed, |_| match &signed.key {
            Some(key) => format!("{}\nsigned by {key}", signed.subject),
            None => format!("{}\nits signature says {}", signed.subject, signed.predicate_type),
        })
    }

    async fn predicate(&self, session: &ApiSession, subject: &Digest) -> Result<(&'static str, Value)> {
        if self.provenance.is_none() && !self.sbom {
            return Ok((SIGNATURE_PREDICATE, now()));
        }
        let client = session.client();
        let exact = format!("{}@{subject}", client.repository(&self.reference.repository));
        let resolved = client.resolve(&exact).await?;
        let Some(run) = &self.provenance else {
            let wasm = client.registry().pull_blob(&resolved.repository, &resolved.content).await?;
            return Ok((SBOM_PREDICATE, sbom(&resolved.repository, &wasm)?));
        };
        let run = client.run(run).await?;
        if !run.made(&resolved.content) {
            let error = Error::invalid(format!("run {} did not make {exact}", run.id));
            return Err(error.hint(format!("eyot runs {} shows what it made", run.id)));
        }
        Ok((PROVENANCE, run.provenance(run.ended.unwrap_or(run.started))))
    }
}

fn now() -> Value {
    json!({ "signedAt": SystemClock.now().to_rfc3339() })
}

/// Says that a manifest is the key holder's, and when they said so: policies ask for the age.
pub(crate) fn statement(key: &PrivateKey, repository: &str, subject: &Digest) -> Result<Bytes> {
    eyot_oci::sign(key, repository, subject, SIGNATURE_PREDICATE, now())
}
