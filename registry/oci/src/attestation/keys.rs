//! Keys that sign and verify: ECDSA over P-256, in the files that OpenSSL writes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use eyot_core::{Digest, Error, Result};
use p256::ecdsa::signature::{Signer as _, Verifier as _};
use p256::ecdsa::{Signature, SigningKey, VerifyingKey};
use p256::elliptic_curve::Generate as _;
use p256::pkcs8::{
    DecodePrivateKey as _, DecodePublicKey as _, EncodePrivateKey as _, EncodePublicKey as _, LineEnding,
};

/// A private key, ECDSA over P-256.
pub struct PrivateKey(SigningKey);

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PrivateKey {
    pub fn generate() -> Self {
        Self(SigningKey::generate())
    }

    /// Reads PKCS #8 in PEM, or what `openssl ecparam -genkey` writes.
    pub fn from_pem(text: &str) -> Result<Self> {
        let older = || p256::SecretKey::from_sec1_pem(text).map(SigningKey::from);
        let key = SigningKey::from_pkcs8_pem(text).or_else(|_| older());
        key.map(Self).map_err(|_| {
            Error::invalid("this is no private key for signing").hint(
                "eyot key generate writes one: PKCS #8 in PEM, for P-256; openssl ecparam -name prime256v1 -genkey too",
            )
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

    /// A signature in DER.
    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let signature: Signature = self.0.sign(message);
        signature.to_der().as_bytes().to_vec()
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

    /// Whether a signature in DER is this key's.
    pub(super) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        Signature::from_der(signature).is_ok_and(|signature| self.0.verify(message, &signature).is_ok())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

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
