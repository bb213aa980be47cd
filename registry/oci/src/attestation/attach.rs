//! Statements in the registry: each is a manifest of its own that refers to its subject.

use bytes::Bytes;
use eyot_core::{Digest, Error, Result};
use eyot_store::ContentDigest;
use serde::{Deserialize, Serialize};

use super::{
    AttestedManifest, BUNDLE_TYPE, MAX_BUNDLE_BYTES, PrivateKey, PublicKey, VerifiedStatement, sign_files,
    statement_type, verify,
};
use crate::client::RegistryClient;
use crate::manifest::{
    BuiltManifest, Descriptor, EMPTY_CONFIG_TYPE, IMAGE_MANIFEST, Manifest, descriptor, subject,
};

/// A valid signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifiedSignature {
    /// The manifest that holds it.
    pub signature: ContentDigest,
    /// The key that it was made with.
    pub key: String,
    /// The predicate type of its statement.
    pub predicate_type: String,
}

/// A statement that was attached to its subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachedStatement {
    /// The manifest that holds it.
    pub signature: ContentDigest,
    /// Its predicate type.
    pub predicate_type: String,
}

/// The manifest of a bundle; `about` is the media type, digest and number of bytes of its subject.
pub fn bundle_manifest(
    about: (&str, &Digest, u64),
    bundle: &Bytes,
    predicate_type: &str,
) -> Result<BuiltManifest> {
    let empty = Bytes::from_static(b"{}");
    let note = |name: &str, value: &str| (format!("dev.sigstore.bundle.{name}"), value.to_owned());
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(IMAGE_MANIFEST.to_owned()),
        artifact_type: Some(BUNDLE_TYPE.to_owned()),
        config: Some(descriptor(EMPTY_CONFIG_TYPE, &empty, None)),
        layers: vec![descriptor(BUNDLE_TYPE, bundle, None)],
        manifests: Vec::new(),
        subject: Some(subject(about)),
        annotations: [note("content", "dsse-envelope"), note("predicateType", predicate_type)].into(),
    };
    BuiltManifest::new(&manifest, empty)
}

impl RegistryClient {
    /// Attaches a bundle to the manifest that is its subject; answers the manifest that holds it.
    ///
    /// Fails with `Denied` when it is about something else.
    pub async fn attach(
        &self,
        repository: &str,
        subject: &Digest,
        bundle: Bytes,
    ) -> Result<AttachedStatement> {
        if bundle.len() as u64 > MAX_BUNDLE_BYTES {
            return Err(Error::too_large(format!("the signature has {} bytes", bundle.len())));
        }
        let attested = self.attested_manifest(repository, subject).await?;
        let predicate_type = statement_type(&bundle, &attested)
            .map_err(|error| error.hint(format!("it is no signature of {repository}@{subject}")))?;
        let about = self.manifest(repository, &subject.to_string()).await?;
        let about = (about.media_type.as_str(), subject, about.bytes.len() as u64);
        let built = bundle_manifest(about, &bundle, &predicate_type)?;
        self.push_blob(repository, built.config).await?;
        self.push_blob(repository, bundle).await?;
        let signature = self.put_manifest(repository, None, IMAGE_MANIFEST, built.manifest).await?;
        Ok(AttachedStatement { signature, predicate_type })
    }

    /// A bundle that lists the files of a manifest, as `model_signing` does.
    pub async fn sign_files(&self, repository: &str, subject: &Digest, key: &PrivateKey) -> Result<Bytes> {
        let name = repository.rsplit('/').next().unwrap_or(repository);
        sign_files(key, name, &self.attested_manifest(repository, subject).await?)
    }

    /// The valid signatures of a manifest by `keys`.
    ///
    /// Fails with `Denied` when there are none, saying what is wrong with those that are there.
    pub async fn signatures(
        &self,
        repository: &str,
        subject: &Digest,
        keys: &[PublicKey],
    ) -> Result<Vec<VerifiedSignature>> {
        let attested = self.attested_manifest(repository, subject).await?;
        let (mut good, mut wrong) = (Vec::new(), Vec::new());
        for referrer in self.referrers(repository, &(*subject).into(), Some(BUNDLE_TYPE)).await? {
            match self.signature(repository, &referrer, &attested, keys).await {
                Ok(checked) => good.extend(checked.keys.into_iter().map(|key| VerifiedSignature {
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
        attested: &AttestedManifest,
        keys: &[PublicKey],
    ) -> Result<VerifiedStatement> {
        let manifest =
            Manifest::parse(&self.manifest(repository, &referrer.digest.to_string()).await?.bytes)?;
        let [layer] = manifest.layers.as_slice() else {
            return Err(Error::invalid("a signature has exactly one layer"));
        };
        if layer.size > MAX_BUNDLE_BYTES {
            return Err(Error::too_large(format!("the signature has {} bytes", layer.size)));
        }
        verify(&self.blob(repository, &layer.digest).await?, attested, keys)
    }
}
