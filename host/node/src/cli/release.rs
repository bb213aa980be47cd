use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use eyot_api::ApiClient;
use eyot_core::{Digest, Error, Reference, Result, ResultExt as _};
use eyot_oci::{ReleaseSpec, differences};
use serde::Serialize;
use serde_json::json;

use crate::cli::GlobalOptions;
use crate::keys;
use crate::output::{CommandOutput, size, table};
use crate::session::ApiSession;

/// Pins code, weights, pipeline, parameters and data under one digest.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  eyot release create releases/iris:1.0.0 --component acme/scorer:1.0.0 --model iris=models/iris:3 \
    --param rate=0.1\n  eyot release diff releases/iris:1.0.0 releases/iris:1.1.0\n  eyot release verify releases/iris:1.1.0 --key release.pub"
)]
pub(crate) struct ReleaseCommand {
    #[command(subcommand)]
    command: ReleaseAction,
}

#[derive(Debug, Subcommand)]
enum ReleaseAction {
    /// Makes a release of what is in the registry.
    Create(CreateOptions),
    /// Shows what a release pins.
    Show {
        /// The release.
        release: Reference,
    },
    /// Says in words what changed from one release to another.
    Diff {
        /// The release before.
        old: Reference,
        /// The release after.
        new: Reference,
    },
    /// Reads all that a release pins, every byte checked, and its signatures, if keys are given.
    Verify {
        /// The release.
        release: Reference,
        /// A public key that is trusted; may be repeated.
        #[arg(long = "key", value_name = "FILE")]
        keys: Vec<PathBuf>,
    },
}

#[derive(Debug, Args)]
struct CreateOptions {
    /// Repository and version of the release.
    target: Reference,
    /// A component; may be repeated.
    #[arg(long = "component", value_name = "REF")]
    components: Vec<Reference>,
    /// A model under the name that it is granted under; may be repeated.
    #[arg(long = "model", value_name = "NAME=REF")]
    models: Vec<String>,
    /// A pipeline's file.
    #[arg(long, value_name = "FILE")]
    pipeline: Option<PathBuf>,
    /// A parameter; may be repeated.
    #[arg(long = "param", value_name = "NAME=VALUE")]
    parameters: Vec<String>,
    /// The digest of a data set; may be repeated.
    #[arg(long = "dataset", value_name = "NAME=DIGEST")]
    datasets: Vec<String>,
}

#[derive(Serialize)]
struct CreatedRelease {
    release: String,
    digest: String,
}

impl ReleaseCommand {
    pub(crate) async fn run(self, global: &GlobalOptions, output: &CommandOutput) -> Result<()> {
        let session = ApiSession::open(global).await?;
        match self.command {
            ReleaseAction::Create(create) => {
                let target = session.client().qualified(&create.target);
                let recipe = create.recipe(session.client())?;
                let digest = session.client().registry().create_release(&target, &recipe).await?;
                let created = CreatedRelease { release: target.to_string(), digest: digest.to_string() };
                output.result(&created, |_| format!("{}\n{}", created.release, created.digest))
            }
            ReleaseAction::Show { release } => {
                let release = session.client().qualified(&release);
                let release = session.client().registry().release(&release).await?;
                output.result(&release, |output| human(output, &release))
            }
            ReleaseAction::Diff { old, new } => {
                let (old, new) = (session.client().qualified(&old), session.client().qualified(&new));
                let registry = session.client().registry();
                let lines = differences(&registry.release(&old).await?, &registry.release(&new).await?);
                output.result(&lines, |_| {
                    if lines.is_empty() { "nothing changed".to_owned() } else { lines.join("\n") }
                })
            }
            ReleaseAction::Verify { release, keys } => {
                verify(&session, &session.client().qualified(&release), &keys, output).await
            }
        }
    }
}

impl CreateOptions {
    fn recipe(&self, client: &ApiClient) -> Result<ReleaseSpec> {
        let pipeline = self
            .pipeline
            .as_ref()
            .map(|file| std::fs::read_to_string(file).context(|| format!("cannot read {}", file.display())));
        Ok(ReleaseSpec {
            components: self.components.iter().map(|reference| client.qualified(reference)).collect(),
            models: pairs("--model", &self.models, |text| Ok(client.qualified(&text.parse()?)))?,
            pipeline: pipeline.transpose()?,
            parameters: pairs("--param", &self.parameters, |text| Ok(text.to_owned()))?,
            data: pairs("--dataset", &self.datasets, str::parse::<Digest>)?,
        })
    }
}

fn pairs<T>(flag: &str, texts: &[String], parse: impl Fn(&str) -> Result<T>) -> Result<BTreeMap<String, T>> {
    texts
        .iter()
        .map(|text| {
            let wrong = || {
                Error::invalid(format!("{flag} {text}: there is no '='")).hint(format!("write {flag} NAME=…"))
            };
            let (name, value) = text.split_once('=').ok_or_else(wrong)?;
            let value = parse(value).map_err(|error| error.context(format!("{flag} {text}")))?;
            Ok((name.to_owned(), value))
        })
        .collect()
}

fn human(output: &CommandOutput, release: &eyot_oci::Release) -> String {
    let mut rows: Vec<_> = release
        .parts
        .iter()
        .map(|part| vec![part.role.clone(), part.name.clone(), size(part.size), part.content.to_string()])
        .collect();
    let row = |role: &str, (name, value): (&String, &String)| {
        vec![role.to_owned(), name.clone(), String::new(), value.clone()]
    };
    rows.extend(release.parameters.iter().map(|pair| row("parameter", pair)));
    rows.extend(release.data.iter().map(|pair| row("data set", pair)));
    format!("{}\n{}", release.digest, table(output, &["ROLE", "NAME", "SIZE", "PINNED"], &rows))
}

async fn verify(
    session: &ApiSession,
    release: &Reference,
    keys: &[PathBuf],
    output: &CommandOutput,
) -> Result<()> {
    let keys = keys.iter().map(|file| keys::read_public(file)).collect::<Result<Vec<_>>>()?;
    let registry = session.client().registry();
    let (blobs, bytes) = registry.verify_release(release).await?;
    let mut signed = Vec::new();
    if !keys.is_empty() {
        let subject = Digest::of(&registry.fetch(release).await?.bytes);
        signed = registry.signatures(&release.repository, &subject, &keys).await?;
    }
    let report = json!({ "blobs": blobs, "bytes": bytes, "signatures": signed });
    output.result(&report, |_| {
        let whole = format!("{blobs} blobs ({}) are what the release pins", size(bytes));
        let signers = signed.iter().map(|signature| format!("signed by {}", signature.key));
        [whole].into_iter().chain(signers).collect::<Vec<_>>().join("\n")
    })
}
