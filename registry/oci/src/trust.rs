//! Who vouches for what: Sigstore bundles v0.3 signed with a key, as referrers of what they vouch for.
//! Nothing outside of the registry is asked, so they are verified offline.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use eyot_core::{Digest, Error, Result, Timestamp};
use eyot_store::ContentDigest;
use p256::ecdsa::signature::{Signer as _, Verifier as _};
use p256::ecdsa::{Signature, SigningKey, VerifyingKey};
use p256::elliptic_curve::Generate as _;
use p256::pkcs8::{
    DecodePrivateKey as _, DecodePublicKey as _, EncodePrivateKey as _, EncodePublicKey as _, LineEnding,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::client::Client;
use crate::manifest::{Descriptor, IMAGE_MANIFEST, Manifest};

/// The artifact type of a signature: a Sigstore bundle.
pub(crate) const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
const PAYLOAD: &str = "application/vnd.in-toto+json";
const STATEMENT: &str = "https://in-toto.io/Statement/v1";
/// What a plain signature says: the subject is the signer's.
pub const SIGNED: &str = "https://sigstore.dev/cosign/sign/v1";
/// A bundle larger than this is none: statements are kilobytes.
pub(crate) const LARGEST: u64 = 4 << 20;

/// A private key, ECDSA over P-256.
pub struct PrivateKey(SigningKey);

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

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

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bundle {
    media_type: String,
    verification_material: Value,
    dsse_envelope: Envelope,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<EnvelopeSignature>,
}

#[derive(Serialize, Deserialize)]
struct EnvelopeSignature {
    sig: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    keyid: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<Subject>,
    predicate_type: String,
    #[serde(default)]
    predicate: Value,
}

#[derive(Serialize, Deserialize)]
struct Subject {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    name: String,
    digest: BTreeMap<String, String>,
}

impl PrivateKey {
    pub fn generate() -> Self {
        Self(SigningKey::generate())
    }

    /// Reads PKCS #8 in PEM.
    pub fn from_pem(text: &str) -> Result<Self> {
        let key = SigningKey::from_pkcs8_pem(text);
        key.map(Self).map_err(|_| {
            Error::invalid("this is no private key for signing")
                .hint("eyot key generate writes one: PKCS #8 in PEM, for P-256")
        })
    }

    /// PKCS #8 in PEM.
    pub fn to_pem(&self) -> Result<String> {
        let pem = self.0.to_pkcs8_pem(LineEnding::LF);
        pem.map(|pem| pem.to_string())
            .map_err(|error| Error::internal("the key has no PEM form").because(error))
    }

    pub fn public(&self) -> PublicKey {
        PublicKey(*self.0.verifying_key())
    }
}

impl PublicKey {
    /// Reads a subject public key info in PEM.
    pub fn from_pem(text: &str) -> Result<Self> {
        let key = VerifyingKey::from_public_key_pem(text);
        key.map(Self).map_err(|_| {
            Error::invalid("this is no public key")
                .hint("a public key is a file that begins with '-----BEGIN PUBLIC KEY-----', for P-256")
        })
    }

    /// A subject public key info in PEM.
    pub fn to_pem(&self) -> Result<String> {
        self.0
            .to_public_key_pem(LineEnding::LF)
            .map_err(|error| Error::internal("the key has no PEM form").because(error))
    }

    /// The sha256 of the key, as bundles name it.
    pub fn fingerprint(&self) -> Result<String> {
        let key = self
            .0
            .to_public_key_der()
            .map_err(|error| Error::internal("the key has no DER form").because(error))?;
        Ok(STANDARD.encode(Digest::of(key.as_bytes()).as_bytes()))
    }
}

/// What a DSSE signature is over: the type and the payload with their lengths, so that neither can be
/// taken for a part of the other.
fn signed_bytes(payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {PAYLOAD} {} ", PAYLOAD.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

/// A bundle that says something of a manifest.
pub fn sign(
    key: &PrivateKey,
    name: &str,
    subject: &Digest,
    predicate_type: &str,
    predicate: Value,
) -> Result<Bytes> {
    let no_json = |error: serde_json::Error| Error::internal("a signature has no JSON form").because(error);
    let subject = Subject { name: name.to_owned(), digest: [("sha256".to_owned(), subject.hex())].into() };
    let (kind, predicate_type) = (STATEMENT.to_owned(), predicate_type.to_owned());
    let statement = Statement { kind, subject: vec![subject], predicate_type, predicate };
    let payload = serde_json::to_vec(&statement).map_err(no_json)?;
    let signature: Signature = key.0.sign(&signed_bytes(&payload));
    let signature =
        EnvelopeSignature { sig: STANDARD.encode(signature.to_der().as_bytes()), keyid: String::new() };
    let bundle = Bundle {
        media_type: BUNDLE.to_owned(),
        verification_material: json!({ "publicKey": { "hint": key.public().fingerprint()? }, "tlogEntries": [] }),
        dsse_envelope: Envelope {
            payload: STANDARD.encode(&payload),
            payload_type: PAYLOAD.to_owned(),
            signatures: vec![signature],
        },
    };
    serde_json::to_vec(&bundle).map(Bytes::from).map_err(no_json)
}

/// What a good bundle says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Checked {
    /// The fingerprints of the keys that signed it.
    pub(crate) keys: Vec<String>,
    pub(crate) predicate_type: String,
    /// When it was signed, if it says so.
    pub(crate) signed_at: Option<Timestamp>,
}

/// Which of `keys` signed a bundle, and what it says of `subject`.
///
/// Fails with `Denied` when none did, or when it is about something else.
pub(crate) fn check(bundle: &[u8], subject: &Digest, keys: &[PublicKey]) -> Result<Checked> {
    let bad = |what: &str| Error::denied(format!("the signature {what}"));
    let bundle: Bundle =
        serde_json::from_slice(bundle).map_err(|error| bad("is no Sigstore bundle").because(error))?;
    let envelope = &bundle.dsse_envelope;
    if envelope.payload_type != PAYLOAD {
        return Err(bad("is over something else than an in-toto statement"));
    }
    let payload = STANDARD.decode(&envelope.payload).map_err(|error| bad("has no payload").because(error))?;
    let signed = signed_bytes(&payload);
    let signatures = envelope
        .signatures
        .iter()
        .filter_map(|one| Signature::from_der(&STANDARD.decode(&one.sig).ok()?).ok());
    let signatures: Vec<_> = signatures.collect();
    let signers: Vec<_> = keys
        .iter()
        .filter(|key| signatures.iter().any(|signature| key.0.verify(&signed, signature).is_ok()))
        .collect();
    if signers.is_empty() {
        return Err(bad("was made with none of the keys"));
    }
    let statement: Statement =
        serde_json::from_slice(&payload).map_err(|error| bad("says nothing").because(error))?;
    let about = statement
        .subject
        .iter()
        .any(|about| about.digest.get("sha256").is_some_and(|hex| *hex == subject.hex()));
    if statement.kind != STATEMENT || !about {
        return Err(bad(&format!("is about something else than {subject}")));
    }
    let said =
        [&statement.predicate["signedAt"], &statement.predicate["runDetails"]["metadata"]["finishedOn"]];
    let signed_at = said.into_iter().find_map(|said| Timestamp::parse_rfc3339(said.as_str()?));
    let keys = signers.iter().map(|key| key.fingerprint()).collect::<Result<_>>()?;
    Ok(Checked { keys, predicate_type: statement.predicate_type, signed_at })
}

impl Client {
    /// Puts a bundle beside the manifest that it is about; answers the manifest that holds it.
    pub async fn attach(&self, repository: &str, subject: &Digest, bundle: Bytes) -> Result<ContentDigest> {
        let about = self.manifest(repository, &subject.to_string()).await?;
        let statement: Bundle = serde_json::from_slice(&bundle)
            .map_err(|error| Error::invalid("this is no Sigstore bundle").because(error))?;
        let payload = STANDARD.decode(&statement.dsse_envelope.payload).unwrap_or_default();
        let predicate =
            serde_json::from_slice::<Statement>(&payload).map(|statement| statement.predicate_type);
        let blob = |media_type: &str, digest: Digest, size: u64| Descriptor {
            media_type: media_type.to_owned(),
            digest: digest.into(),
            size,
            artifact_type: None,
            annotations: BTreeMap::new(),
            urls: Vec::new(),
        };
        let config = self.push_blob(repository, Bytes::from_static(b"{}")).await?;
        let size = bundle.len() as u64;
        let layer = self.push_blob(repository, bundle).await?;
        let note = |name: &str, value: String| (format!("dev.sigstore.bundle.{name}"), value);
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(IMAGE_MANIFEST.to_owned()),
            artifact_type: Some(BUNDLE.to_owned()),
            config: Some(blob(EMPTY, config, 2)),
            layers: vec![blob(BUNDLE, layer, size)],
            manifests: Vec::new(),
            subject: Some(Descriptor {
                media_type: about.media_type,
                ..blob("", *subject, about.bytes.len() as u64)
            }),
            annotations: [
                note("content", "dsse-envelope".to_owned()),
                note("predicateType", predicate.unwrap_or_default()),
            ]
            .into(),
        };
        let bytes =
            serde_json::to_vec(&manifest).map_err(|error| Error::internal("no JSON").because(error))?;
        self.put_manifest(repository, None, IMAGE_MANIFEST, bytes.into()).await
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
        let (mut good, mut wrong) = (Vec::new(), Vec::new());
        for referrer in self.referrers(repository, &(*subject).into(), Some(BUNDLE)).await? {
            match self.signature(repository, &referrer, subject, keys).await {
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
        subject: &Digest,
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
        check(&self.blob(repository, &layer.digest).await?, subject, keys)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn only_the_key_that_signed_the_very_digest_is_good() {
        let (key, other) = (PrivateKey::generate(), PrivateKey::generate());
        let subject = Digest::of("subject");
        let bundle = sign(&key, "a", &subject, SIGNED, json!({})).unwrap();
        let keys = [other.public(), key.public()];
        let checked = check(&bundle, &subject, &keys).unwrap();
        assert_eq!(checked.keys, [key.public().fingerprint().unwrap()]);
        assert_eq!((checked.predicate_type.as_str(), checked.signed_at), (SIGNED, None));
        assert!(check(&bundle, &subject, &keys[..1]).is_err() && check(&bundle, &subject, &[]).is_err());
        assert!(check(&bundle, &Digest::of("other"), &keys).is_err());
        for (field, value) in [
            ("payload", json!(STANDARD.encode("{}"))),
            ("payloadType", json!("text/plain")),
            ("signatures", json!([])),
            ("signatures", json!([{ "sig": "AAAA" }])),
        ] {
            let mut spoiled: Value = serde_json::from_slice(&bundle).unwrap();
            spoiled["dsseEnvelope"][field] = value;
            assert!(check(spoiled.to_string().as_bytes(), &subject, &keys).is_err(), "{field}");
        }
        for bad in ["", "{}", "[]", "null"] {
            assert!(check(bad.as_bytes(), &subject, &keys).is_err());
        }
    }

    #[test]
    fn keys_are_written_and_read_back() {
        let key = PrivateKey::generate();
        let read = PrivateKey::from_pem(&key.to_pem().unwrap()).unwrap();
        assert_eq!(read.public(), key.public());
        let public = key.public().to_pem().unwrap();
        assert!(public.starts_with("-----BEGIN PUBLIC KEY-----"));
        assert_eq!(PublicKey::from_pem(&public).unwrap(), key.public());
        assert!(PublicKey::from_pem("nonsense").is_err() && PrivateKey::from_pem(&public).is_err());
    }
}
