use std::path::PathBuf;

use bytes::Bytes;
use clap::Args;
use eyot_core::{Clock as _, Digest, Reference, Result, SystemClock};
use eyot_oci::{PrivateKey, SIGNED};
use serde::Serialize;

use crate::cli::{Global, key};
use crate::output::Output;
use crate::session::Session;

/// Signs something of the registry; the signature lies beside it and is copied along with it.
///
/// It is a Sigstore bundle (v0.3, with a key), over the manifest's digest: a tag that moves later leaves
/// the signature where it was.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  eyot key generate release\n  eyot sign acme/scorer:1.0.0 --key release.key\n  \
    eyot verify acme/scorer:1.0.0 --key release.pub"
)]
pub(crate) struct Sign {
    /// What to sign: NAME:TAG or NAME@DIGEST.
    reference: Reference,
    /// The private key.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

#[derive(Serialize)]
struct Signed {
    subject: String,
    signature: String,
    key: String,
}

impl Sign {
    pub(crate) async fn run(self, global: &Global, output: &Output) -> Result<()> {
        let key = key::read_private(&self.key)?;
        let session = Session::open(global).await?;
        let registry = session.client().registry();
        let fetched = registry.fetch(&self.reference).await?;
        let (repository, subject) = (&self.reference.repository, Digest::of(&fetched.bytes));
        let bundle = statement(&key, repository, &subject)?;
        let signature = registry.attach(repository, &subject, bundle).await?;
        let subject = format!("{repository}@{subject}");
        let signed = Signed { subject, signature: signature.to_string(), key: key.public().fingerprint()? };
        output.result(&signed, |_| format!("{}\nsigned by {}", signed.subject, signed.key))
    }
}

/// Says that a manifest is the key holder's, and when they said so: policies ask for the age.
pub(crate) fn statement(key: &PrivateKey, repository: &str, subject: &Digest) -> Result<Bytes> {
    let predicate = serde_json::json!({ "signedAt": SystemClock.now().to_rfc3339() });
    eyot_oci::sign(key, repository, subject, SIGNED, predicate)
}
