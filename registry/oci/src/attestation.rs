//! Signatures and attestations: Sigstore bundles v0.3 signed with a key, as referrers of their subjects. They are
//! verified offline, with nothing but the registry.

mod attach;
mod keys;
mod listing;

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use eyot_core::{Digest, Error, Result, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub use attach::{AttachedStatement, VerifiedSignature, bundle_manifest};
pub use keys::{PrivateKey, PublicKey};
pub use listing::FILE_LIST_PREDICATE;

use crate::tree::FileTree;

/// The artifact type of a signature: a Sigstore bundle.
pub(crate) const BUNDLE_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// The predicate type of a plain signature.
pub const SIGNATURE_PREDICATE: &str = "https://sigstore.dev/cosign/sign/v1";
/// The largest bundle that is read: statements are kilobytes.
pub(crate) const MAX_BUNDLE_BYTES: u64 = 4 << 20;

/// The subject of statements: a manifest and the files that it holds.
#[derive(Clone, Debug)]
pub(crate) struct AttestedManifest {
    pub(crate) digest: Digest,
    pub(crate) files: FileTree,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SigstoreBundle {
    media_type: String,
    verification_material: Value,
    dsse_envelope: DsseEnvelope,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct DsseEnvelope {
    payload: String,
    payload_type: String,
    signatures: Vec<DsseSignature>,
}

#[derive(Serialize, Deserialize)]
struct DsseSignature {
    sig: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    keyid: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct InTotoStatement {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<StatementSubject>,
    predicate_type: String,
    #[serde(default)]
    predicate: Value,
}

#[derive(Serialize, Deserialize)]
struct StatementSubject {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    name: String,
    digest: BTreeMap<String, String>,
}

/// What a DSSE signature is over: the type and the payload with their lengths, so that neither can be
/// taken for a part of the other.
fn signed_bytes(payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {PAYLOAD_TYPE} {} ", PAYLOAD_TYPE.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

/// Makes a bundle with a signed statement about a manifest.
pub fn sign(
    key: &PrivateKey,
    name: &str,
    subject: &Digest,
    predicate_type: &str,
    predicate: Value,
) -> Result<Bytes> {
    let subject =
        StatementSubject { name: name.to_owned(), digest: [("sha256".to_owned(), subject.hex())].into() };
    let (kind, predicate_type) = (STATEMENT_TYPE.to_owned(), predicate_type.to_owned());
    let statement = InTotoStatement { kind, subject: vec![subject], predicate_type, predicate };
    sign_statement(key, &statement, key.public().fingerprint()?)
}

/// Makes a bundle that lists the files of a manifest in the form of OpenSSF Model Signing.
///
/// Fails with `Invalid` when it holds none that have names.
pub(crate) fn sign_files(key: &PrivateKey, name: &str, attested: &AttestedManifest) -> Result<Bytes> {
    if attested.files.files.is_empty() {
        return Err(Error::invalid(format!("{} holds no files that have names", attested.digest))
            .hint("without --files the manifest itself is signed"));
    }
    listing::sign(key, name, &attested.files)
}

/// Signs a statement; `hint` is how verifiers find the key.
fn sign_statement(key: &PrivateKey, statement: &InTotoStatement, hint: String) -> Result<Bytes> {
    let no_json = |error: serde_json::Error| Error::internal("a signature has no JSON form").because(error);
    let payload = serde_json::to_vec(statement).map_err(no_json)?;
    let signature =
        DsseSignature { sig: STANDARD.encode(key.sign(&signed_bytes(&payload))), keyid: String::new() };
    let bundle = SigstoreBundle {
        media_type: BUNDLE_TYPE.to_owned(),
        verification_material: json!({ "publicKey": { "hint": hint }, "tlogEntries": [] }),
        dsse_envelope: DsseEnvelope {
            payload: STANDARD.encode(&payload),
            payload_type: PAYLOAD_TYPE.to_owned(),
            signatures: vec![signature],
        },
    };
    serde_json::to_vec(&bundle).map(Bytes::from).map_err(no_json)
}

/// The statement of a bundle whose signature is valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VerifiedStatement {
    /// The fingerprints of the keys that signed it.
    pub(crate) keys: Vec<String>,
    pub(crate) predicate_type: String,
    /// When it was signed, if it says so.
    pub(crate) signed_at: Option<Timestamp>,
}

/// A parsed bundle; its signatures are not verified yet.
struct ParsedBundle {
    signed: Vec<u8>,
    /// Signatures in DER.
    signatures: Vec<Vec<u8>>,
    statement: InTotoStatement,
}

fn invalid_signature(what: &str) -> Error {
    Error::denied(format!("the signature {what}"))
}

fn parse_bundle(bundle: &[u8]) -> Result<ParsedBundle> {
    let bundle: SigstoreBundle = serde_json::from_slice(bundle)
        .map_err(|error| invalid_signature("is no Sigstore bundle").because(error))?;
    let envelope = &bundle.dsse_envelope;
    if envelope.payload_type != PAYLOAD_TYPE {
        return Err(invalid_signature("is over something else than an in-toto statement"));
    }
    let payload = STANDARD
        .decode(&envelope.payload)
        .map_err(|error| invalid_signature("has no payload").because(error))?;
    let signed = signed_bytes(&payload);
    let signatures = envelope.signatures.iter().filter_map(|one| STANDARD.decode(&one.sig).ok()).collect();
    let statement: InTotoStatement =
        serde_json::from_slice(&payload).map_err(|error| invalid_signature("says nothing").because(error))?;
    if statement.kind != STATEMENT_TYPE {
        return Err(invalid_signature(&format!(
            "is over a '{}', not a statement of in-toto",
            statement.kind
        )));
    }
    Ok(ParsedBundle { signed, signatures, statement })
}

impl InTotoStatement {
    /// Fails with `Denied` when the statement is about something else.
    fn is_about(&self, attested: &AttestedManifest) -> Result<()> {
        if self.predicate_type == FILE_LIST_PREDICATE {
            return listing::is_about(self, &attested.files);
        }
        let hex = attested.digest.hex();
        let about =
            self.subject.iter().any(|about| about.digest.get("sha256").is_some_and(|said| *said == hex));
        if about {
            Ok(())
        } else {
            Err(invalid_signature(&format!("is about something else than {}", attested.digest)))
        }
    }
}

/// The predicate type of a bundle's statement, if it is about `attested`. Its signatures are not verified.
///
/// Fails with `Denied` when it is no bundle, or about something else.
pub(crate) fn statement_type(bundle: &[u8], attested: &AttestedManifest) -> Result<String> {
    let opened = parse_bundle(bundle)?;
    opened.statement.is_about(attested)?;
    Ok(opened.statement.predicate_type)
}

/// Verifies that one of `keys` signed a bundle about `attested`; answers which, and the statement.
///
/// Fails with `Denied` when none did, or when it is about something else.
pub(crate) fn verify(
    bundle: &[u8],
    attested: &AttestedManifest,
    keys: &[PublicKey],
) -> Result<VerifiedStatement> {
    let opened = parse_bundle(bundle)?;
    let by = |key: &&PublicKey| opened.signatures.iter().any(|one| key.has_signed(&opened.signed, one));
    let signers: Vec<_> = keys.iter().filter(by).collect();
    if signers.is_empty() {
        return Err(invalid_signature("was made with none of the keys"));
    }
    opened.statement.is_about(attested)?;
    let predicate = &opened.statement.predicate;
    let said = [&predicate["signedAt"], &predicate["runDetails"]["metadata"]["finishedOn"]];
    let signed_at = said.into_iter().find_map(|said| Timestamp::parse_rfc3339(said.as_str()?));
    let keys = signers.iter().map(|key| key.fingerprint()).collect::<Result<_>>()?;
    Ok(VerifiedStatement { keys, predicate_type: opened.statement.predicate_type, signed_at })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn attested(text: &str) -> AttestedManifest {
        AttestedManifest { digest: Digest::of(text), files: FileTree::default() }
    }

    #[test]
    fn only_the_key_that_signed_the_very_digest_is_good() {
        let (key, other) = (PrivateKey::generate(), PrivateKey::generate());
        let subject = attested("subject");
        let bundle = sign(&key, "a", &subject.digest, SIGNATURE_PREDICATE, json!({})).unwrap();
        let keys = [other.public(), key.public()];
        let checked = verify(&bundle, &subject, &keys).unwrap();
        assert_eq!(checked.keys, [key.public().fingerprint().unwrap()]);
        assert_eq!((checked.predicate_type.as_str(), checked.signed_at), (SIGNATURE_PREDICATE, None));
        assert!(verify(&bundle, &subject, &keys[..1]).is_err() && verify(&bundle, &subject, &[]).is_err());
        assert!(verify(&bundle, &attested("other"), &keys).is_err());
        for (field, value) in [
            ("payload", json!(STANDARD.encode("{}"))),
            ("payloadType", json!("text/plain")),
            ("signatures", json!([])),
            ("signatures", json!([{ "sig": "AAAA" }])),
        ] {
            let mut spoiled: Value = serde_json::from_slice(&bundle).unwrap();
            spoiled["dsseEnvelope"][field] = value;
            assert!(verify(spoiled.to_string().as_bytes(), &subject, &keys).is_err(), "{field}");
        }
        for bad in ["", "{}", "[]", "null"] {
            assert!(verify(bad.as_bytes(), &subject, &keys).is_err());
        }
    }
}
