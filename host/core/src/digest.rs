use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use crate::{Error, Result};

/// The sha256 of some bytes: the identity of everything that is stored.
///
/// ```
/// let digest = eyot_core::Digest::of(b"");
/// assert_eq!(
///     digest.to_string(),
///     "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
/// );
/// assert_eq!(digest.to_string().parse::<eyot_core::Digest>().unwrap(), digest);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: impl AsRef<[u8]>) -> Self {
        let mut digester = Digester::new();
        digester.update(bytes);
        digester.finish()
    }

    /// The 32 bytes of the hash.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The digest whose hash is `bytes`.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// 64 lower-case hexadecimal digits, without the algorithm. Also the blob's file name.
    pub fn hex(&self) -> String {
        hex::encode(self.0)
    }

    /// The first twelve digits, for people.
    pub fn short(&self) -> String {
        self.hex()[..12].to_owned()
    }
}

/// Hashes bytes that arrive in pieces.
#[derive(Clone, Default)]
pub struct Digester(Sha256);

impl Digester {
    /// Starts at the empty string.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends bytes.
    pub fn update(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.update(bytes.as_ref());
    }

    /// The digest of all bytes so far.
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        // One spelling only: two spellings of one digest would be two cache keys and two files.
        let wrong = || {
            let shown: String = text.chars().take(80).collect();
            Error::invalid(format!("'{shown}' is no digest"))
                .hint("a digest is 'sha256:' and 64 lower-case hexadecimal digits")
        };
        let digits = text.strip_prefix("sha256:").ok_or_else(wrong)?;
        let is_lower_case = !digits.bytes().any(|digit| digit.is_ascii_uppercase());
        let mut bytes = [0; 32];
        let decoded = hex::decode_to_slice(digits, &mut bytes).ok().filter(|()| is_lower_case);
        decoded.map(|()| Self(bytes)).ok_or_else(wrong)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_canonical_spelling_parses() {
        let good = Digest::of("x").to_string();
        assert_eq!(good.parse::<Digest>().unwrap(), Digest::of("x"));
        for bad in [
            String::new(),
            good.to_uppercase(),
            good.replace("sha256:", "sha512:"),
            good.replace("sha256:", "sha256:A"),
            good[..good.len() - 1].to_owned(),
            format!("{good}0"),
            good.replace(':', "/"),
            format!("sha256:{}", "g".repeat(64)),
            format!("sha256:{}", "é".repeat(32)),
        ] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }
}
