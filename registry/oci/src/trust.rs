//! Who vouches for what: Sigstore bundles v0.3 signed with a key, as referrers of what they vouch for.
//! Nothing outside of the registry is asked, so they are verified offline.

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

pub use attach::{Attached, Vouched, bundle_manifest};
pub use keys::{PrivateKey, PublicKey};
pub use listing::LISTED;

use crate::tree::Tree;

/// The artifact type of a signature: a Sigstore bundle.
pub(crate) const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const PAYLOAD: &str = "application/vnd.in-toto+json";
const STATEMENT: &str = "https://in-toto.io/Statement/v1";
/// What a plain signature says: the subject is the signer's.
pub const SIGNED: &str = "https://sigstore.dev/cosign/sign/v1";
/// A bundle larger than this is none: statements are kilobytes.
pub(crate) const LARGEST: u64 = 4 << 20;

/// A manifest that statements are about, and the files that it holds.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) digest: Digest,
    pub(crate) files: Tree,
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
    let subject = Subject { name: name.to_owned(), digest: [("sha256".to_owned(), subject.hex())].into() };
    let (kind, predicate_type) = (STATEMENT.to_owned(), predicate_type.to_owned());
    let statement = Statement { kind, subject: vec![subject], predicate_type, predicate };
    seal(key, &statement, key.public().fingerprint()?)
}

/// A bundle that lists the files of a manifest in the form of OpenSSF Model Signing.
///
/// Fails with `Invalid` when it holds none that have names.
pub(crate) fn sign_files(key: &PrivateKey, name: &str, held: &Held) -> Result<Bytes> {
    if held.files.files.is_empty() {
        return Err(Error::invalid(format!("{} holds no files that have names", held.digest))
            .hint("without --files the manifest itself is signed"));
    }
    listing::sign(key, name, &held.files)
}

/// Signs a statement; `hint` is how those who read it find the key.
fn seal(key: &PrivateKey, statement: &Statement, hint: String) -> Result<Bytes> {
    let no_json = |error: serde_json::Error| Error::internal("a signature has no JSON form").because(error);
    let payload = serde_json::to_vec(statement).map_err(no_json)?;
    let signature =
        EnvelopeSignature { sig: STANDARD.encode(key.sign(&signed_bytes(&payload))), keyid: String::new() };
    let bundle = Bundle {
        media_type: BUNDLE.to_owned(),
        verification_material: json!({ "publicKey": { "hint": hint }, "tlogEntries": [] }),
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

/// A bundle that was read; who signed it is not looked at yet.
struct Opened {
    signed: Vec<u8>,
    /// Signatures in DER.
    signatures: Vec<Vec<u8>>,
    statement: Statement,
}

fn bad(what: &str) -> Error {
    Error::denied(format!("the signature {what}"))
}

fn open(bundle: &[u8]) -> Result<Opened> {
    let bundle: Bundle =
        serde_json::from_slice(bundle).map_err(|error| bad("is no Sigstore bundle").because(error))?;
    let envelope = &bundle.dsse_envelope;
    if envelope.payload_type != PAYLOAD {
        return Err(bad("is over something else than an in-toto statement"));
    }
    let payload = STANDARD.decode(&envelope.payload).map_err(|error| bad("has no payload").because(error))?;
    let signed = signed_bytes(&payload);
    let signatures = envelope.signatures.iter().filter_map(|one| STANDARD.decode(&one.sig).ok()).collect();
    let statement: Statement =
        serde_json::from_slice(&payload).map_err(|error| bad("says nothing").because(error))?;
    if statement.kind != STATEMENT {
        return Err(bad(&format!("is over a '{}', not a statement of in-toto", statement.kind)));
    }
    Ok(Opened { signed, signatures, statement })
}

impl Statement {
    /// Fails with `Denied` when the statement is about something else.
    fn is_about(&self, held: &Held) -> Result<()> {
        if self.predicate_type == LISTED {
            return listing::is_about(self, &held.files);
        }
        let hex = held.digest.hex();
        let about =
            self.subject.iter().any(|about| about.digest.get("sha256").is_some_and(|said| *said == hex));
        if about { Ok(()) } else { Err(bad(&format!("is about something else than {}", held.digest))) }
    }
}

/// What a bundle says, if it is about what is held; who signed it is not looked at.
///
/// Fails with `Denied` when it is no bundle, or about something else.
pub(crate) fn says(bundle: &[u8], held: &Held) -> Result<String> {
    let opened = open(bundle)?;
    opened.statement.is_about(held)?;
    Ok(opened.statement.predicate_type)
}

/// Which of `keys` signed a bundle, and what it says of what is held.
///
/// Fails with `Denied` when none did, or when it is about something else.
pub(crate) fn check(bundle: &[u8], held: &Held, keys: &[PublicKey]) -> Result<Checked> {
    let opened = open(bundle)?;
    let by = |key: &&PublicKey| opened.signatures.iter().any(|one| key.has_signed(&opened.signed, one));
    let signers: Vec<_> = keys.iter().filter(by).collect();
    if signers.is_empty() {
        return Err(bad("was made with none of the keys"));
    }
    opened.statement.is_about(held)?;
    let predicate = &opened.statement.predicate;
    let said = [&predicate["signedAt"], &predicate["runDetails"]["metadata"]["finishedOn"]];
    let signed_at = said.into_iter().find_map(|said| Timestamp::parse_rfc3339(said.as_str()?));
    let keys = signers.iter().map(|key| key.fingerprint()).collect::<Result<_>>()?;
    Ok(Checked { keys, predicate_type: opened.statement.predicate_type, signed_at })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn held(text: &str) -> Held {
        Held { digest: Digest::of(text), files: Tree::default() }
    }

    #[test]
    fn only_the_key_that_signed_the_very_digest_is_good() {
        let (key, other) = (PrivateKey::generate(), PrivateKey::generate());
        let subject = held("subject");
        let bundle = sign(&key, "a", &subject.digest, SIGNED, json!({})).unwrap();
        let keys = [other.public(), key.public()];
        let checked = check(&bundle, &subject, &keys).unwrap();
        assert_eq!(checked.keys, [key.public().fingerprint().unwrap()]);
        assert_eq!((checked.predicate_type.as_str(), checked.signed_at), (SIGNED, None));
        assert!(check(&bundle, &subject, &keys[..1]).is_err() && check(&bundle, &subject, &[]).is_err());
        assert!(check(&bundle, &held("other"), &keys).is_err());
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
}
