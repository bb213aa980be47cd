use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;
use eyot_core::{Digest, Error, Reference, Result};
use eyot_store::{BlobStore as _, DirectoryStore};

use crate::cli::GlobalOptions;
use crate::keys;
use crate::output::{CommandOutput, size};
use crate::session::ApiSession;

/// Checks signatures, or hashes every blob of the data folder again and names those that are damaged.
///
/// With a reference: whether it is signed by as many of the keys as are wanted. Nothing but the
/// registry is asked.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  eyot verify --data ./state\n  eyot verify acme/scorer:1.0.0 --key release.pub\n  \
    eyot verify acme/scorer:1.0.0 --key a.pub --key b.pub --threshold 2"
)]
pub(crate) struct VerifyCommand {
    /// What must be signed: NAME:TAG or NAME@DIGEST.
    #[arg(requires = "keys")]
    reference: Option<Reference>,
    /// A public key that is trusted; may be repeated.
    #[arg(long = "key", value_name = "FILE", requires = "reference")]
    keys: Vec<PathBuf>,
    /// How many of the keys must have signed.
    #[arg(long, value_name = "NUMBER", default_value_t = 1, requires = "reference")]
    threshold: usize,
}

impl VerifyCommand {
    pub(crate) async fn run(self, global: &GlobalOptions, output: &CommandOutput) -> Result<()> {
        match &self.reference {
            Some(reference) => self.signatures(reference, global, output).await,
            None => store(global, output).await,
        }
    }

    async fn signatures(
        &self,
        reference: &Reference,
        global: &GlobalOptions,
        output: &CommandOutput,
    ) -> Result<()> {
        let keys = self.keys.iter().map(|file| keys::read_public(file)).collect::<Result<Vec<_>>>()?;
        let session = ApiSession::open(global).await?;
        let registry = session.client().registry();
        let reference = &session.client().qualified(reference);
        let subject = Digest::of(&registry.fetch(reference).await?.bytes);
        let good = registry.signatures(&reference.repository, &subject, &keys).await?;
        let signers: BTreeSet<_> = good.iter().map(|signature| signature.key.as_str()).collect();
        if signers.len() < self.threshold {
            let (found, wanted) = (signers.len(), self.threshold);
            return Err(Error::denied(format!(
                "{reference} is signed by {found} of the keys, {wanted} are wanted"
            )));
        }
        output.result(&good, |_| {
            let signers: Vec<_> = signers.iter().map(|signer| format!("signed by {signer}")).collect();
            format!("{}@{subject}\n{}", reference.repository, signers.join("\n"))
        })
    }
}

async fn store(global: &GlobalOptions, output: &CommandOutput) -> Result<()> {
    let dir = global.config()?.data.dir.join("registry");
    if !dir.is_dir() {
        return Err(Error::not_found(format!("there is no store in {}", dir.display()))
            .hint("name the data folder with --data"));
    }
    let spinner = output.spinner("hashing");
    // A server may have the folder open: nothing of what it is writing must be swept.
    let verification = DirectoryStore::read_only(&dir).verify().await;
    spinner.finish_and_clear();
    let verification = verification?;
    output.result(&verification, |_| {
        let bytes = size(verification.bytes);
        format!("{} blobs, {bytes}, {} damaged", verification.checked, verification.damaged.len())
    })?;
    match verification.damaged.as_slice() {
        [] => Ok(()),
        damaged => {
            let names: Vec<_> = damaged.iter().map(ToString::to_string).collect();
            Err(Error::corrupt(format!("damaged: {}", names.join(", ")))
                .hint("push them again from where they came"))
        }
    }
}
