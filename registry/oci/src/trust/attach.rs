//! Statements in the registry: each is a manifest of its own that refers to what it is about.

use bytes::Bytes;
use eyot_core::{Digest, Error, Result};
use eyot_store::ContentDigest;
use serde::{Deserialize, Serialize};

use super::{BUNDLE, Checked, Held, LARGEST, PrivateKey, PublicKey, check, says, sign_files};
use crate::client::Client;
use crate::manifest::{Built, Descriptor, EMPTY, IMAGE_MANIFEST, Manifest, descriptor, subject};

/// A signature that is good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vouched {
    /// The manifest that holds it.
    pub signature: ContentDigest,
    /// The key that it was made with.
    pub key: String,
    /// What it says of its subject.
    pub predicate_type: String,
}

/// A statement that was put beside what it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// The manifest that holds it.
    pub signature: ContentDigest,
    /// What it says.
    pub predicate_type: String,
}

/// The manifest of a bundle; `about` is the media type, digest and number of bytes of what it is about.
pub fn bundle_manifest(about: (&str, &Digest, u64), bundle: &Bytes, predicate_type: &str) -> Result<Built> {
    let empty = Bytes::from_static(b"{}");
    let note = |name: &str, value: &str| (format!("dev.sigstore.bundle.{name}"), value.to_owned());
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(IMAGE_MANIFEST.to_owned()),
        artifact_type: Some(BUNDLE.to_owned()),
        config: Some(descriptor(EMPTY, &empty, None)),
        layers: vec![descriptor(BUNDLE, bundle, None)],
        manifests: Vec::new(),
        subject: Some(subject(about)),
        annotations: [note("content", "dsse-envelope"), note("predicateType", predicate_type)].into(),
    };
    Built::new(&manifest, empty)
}

impl Client {
    /// Puts a bundle beside the manifest that it is about; answers the manifest that holds it.
    ///
    /// Fails with `Denied` when it is about something else.
    pub async fn attach(&self, repository: &str, subject: &Digest, bundle: Bytes) -> Result<Attached> {
        if bundle.len() as u64 > LARGEST {
            return Err(Error::too_large(format!("the signature has {} bytes", bundle.len())));
        }
        let held = self.held(repository, subject).await?;
        let predicate_type = says(&bundle, &held)
            .map_err(|error| error.hint(format!("it is no signature of {repository}@{subject}")))?;
        let about = self.manifest(repository, &subject.to_string()).await?;
        let about = (about.media_type.as_str(), subject, about.bytes.len() as u64);
        let built = bundle_manifest(about, &bundle, &predicate_type)?;
        self.push_blob(repository, built.config).await?;
        self.push_blob(repository, bundle).await?;
        let signature = self.put_manifest(repository, None, IMAGE_MANIFEST, built.manifest).await?;
        Ok(Attached { signature, predicate_type })
    }

    /// A bundle that lists the files of a manifest, as `model_signing` does.
    pub async fn sign_files(&self, repository: &str, subject: &Digest, key: &PrivateKey) -> Result<Bytes> {
        let name = repository.rsplit('/').next().unwrap_or(repository);
        sign_files(key, name, &self.held(repository, subject).await?)
    }

    /// The good signatures of a manifest by `keys`.
    ///
    /// Fails with `Denied` when there are none, saying what is wrong with those that are there.
    pub async fn signatures(
        &self,
        repository: &str,
        subject: &Digest,
        keys: &[PublicKey],
    ) -> Result<Vec<Vouched>> {
        let held = self.held(repository, subject).await?;
        let (mut good, mut wrong) = (Vec::new(), Vec::new());
        for referrer in self.referrers(repository, &(*subject).into(), Some(BUNDLE)).await? {
            match self.signature(repository, &referrer, &held, keys).await {
                Ok(checked) => good.extend(checked.keys.into_iter().map(|key| Vouched {
                    signature: referrer.digest,
                    key,
                    predicate_type: checked.predicate_type.clone(),
                })),
                Err(error) => wrong.push(format!("{}: {}", referrer.digest, error.chain())),
            }
        }
        if good.is_empty() {
            let error = match wrong.as_slice() {
                [] => Error::denied(format!("{repository}@{subject} is not signed")),
                wrong => Error::denied(format!(
                    "no signature of {repository}@{subject} is good: {}",
                    wrong.join("; ")
                )),
            };
            return Err(error.hint(format!("eyot sign {repository}@{subject} --key FILE signs it")));
        }
        Ok(good)
    }

    async fn signature(
        &self,
        repository: &str,
        referrer: &Descriptor,
        held: &Held,
        keys: &[PublicKey],
    ) -> Result<Checked> {
        let manifest =
            Manifest::parse(&self.manifest(repository, &referrer.digest.to_string()).await?.bytes)?;
        let [layer] = manifest.layers.as_slice() else {
            return Err(Error::invalid("a signature has exactly one layer"));
        };
        if layer.size > LARGEST {
            return Err(Error::too_large(format!("the signature has {} bytes", layer.size)));
        }
        check(&self.blob(repository, &layer.digest).await?, held, keys)
    }
}
