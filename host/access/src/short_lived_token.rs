//! Short-lived bearer tokens, which clients get for an access token.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use eyot_core::{Digest, Error, Result, new_id};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::scope::AccessScope;

/// The claims of a short-lived token, authenticated with a key of this process: after a restart clients request a new
/// one. It is no JWT, so there is no header that could choose the algorithm or the key.
#[derive(Serialize, Deserialize)]
pub(crate) struct TokenClaims {
    /// The id of the token it was got for; none for no token.
    pub(crate) holder: Option<String>,
    pub(crate) scopes: Vec<AccessScope>,
    pub(crate) until: i64,
}

/// The key of short-lived tokens.
pub(crate) struct SigningKey([u8; 32]);

impl SigningKey {
    pub(crate) fn random() -> Self {
        // 256 bits of the same source as ids; hashed only to have them as bytes.
        Self(*Digest::of(new_id() + &new_id()).as_bytes())
    }

    fn mac(&self, payload: &str) -> Result<Hmac<Sha256>> {
        let mac = Hmac::<Sha256>::new_from_slice(&self.0);
        let mut mac = mac.map_err(|error| Error::internal("no key").because(error))?;
        mac.update(payload.as_bytes());
        Ok(mac)
    }

    pub(crate) fn sign(&self, claims: &TokenClaims) -> Result<String> {
        let text = serde_json::to_vec(claims).map_err(|error| Error::internal("no JSON").because(error))?;
        let payload = URL_SAFE_NO_PAD.encode(text);
        let signature = self.mac(&payload)?.finalize().into_bytes();
        Ok(format!("{payload}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// The claims of a token that was made with this key and is valid at the time `now`, in milliseconds.
    pub(crate) fn check(&self, token: &str, now: i64) -> Option<TokenClaims> {
        let (payload, signature) = token.split_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        // Compares in constant time.
        self.mac(payload).ok()?.verify_slice(&signature).ok()?;
        let claims: TokenClaims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
        (now < claims.until).then_some(claims)
    }
}
