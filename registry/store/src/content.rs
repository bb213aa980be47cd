use std::fmt;
use std::str::FromStr;

use eyot_core::{Digest, Error, Result};
use sha2::digest::common::hazmat::SerializableState as _;
use sha2::{Digest as _, Sha256, Sha512};

/// A digest as clients write it: by sha256, which is also the name on disk, or by sha512, under which
/// the same bytes are known too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ContentDigest {
    Sha256(Digest),
    Sha512([u8; 64]),
}

/// The algorithm of a [`ContentDigest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DigestAlgorithm {
    Sha256,
    Sha512,
}

impl ContentDigest {
    /// The sha512 of `bytes`.
    pub fn sha512(bytes: impl AsRef<[u8]>) -> Self {
        Self::Sha512(Sha512::digest(bytes.as_ref()).into())
    }

    /// The digest of `bytes` by this digest's algorithm.
    pub fn of_same_algorithm(&self, bytes: &[u8]) -> Self {
        match self {
            Self::Sha256(_) => Self::Sha256(Digest::of(bytes)),
            Self::Sha512(_) => Self::sha512(bytes),
        }
    }

    pub fn algorithm(&self) -> DigestAlgorithm {
        match self {
            Self::Sha256(_) => DigestAlgorithm::Sha256,
            Self::Sha512(_) => DigestAlgorithm::Sha512,
        }
    }

    /// Lower-case hexadecimal digits, without the algorithm.
    pub fn hex(&self) -> String {
        match self {
            Self::Sha256(digest) => digest.hex(),
            Self::Sha512(hash) => hex::encode(hash),
        }
    }
}

impl From<Digest> for ContentDigest {
    fn from(digest: Digest) -> Self {
        Self::Sha256(digest)
    }
}

impl FromStr for ContentDigest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let Some(digits) = text.strip_prefix("sha512:") else { return text.parse().map(Self::Sha256) };
        let wrong = || {
            let shown: String = text.chars().take(80).collect();
            Error::invalid(format!("'{shown}' is no digest"))
                .hint("a digest is 'sha512:' and 128 lower-case hexadecimal digits, or 'sha256:' and 64")
        };
        bytes(digits).and_then(|hash| hash.try_into().ok()).map(Self::Sha512).ok_or_else(wrong)
    }
}

impl fmt::Display for ContentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256(digest) => digest.fmt(f),
            Self::Sha512(hash) => write!(f, "sha512:{}", hex::encode(hash)),
        }
    }
}

impl FromStr for DigestAlgorithm {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "sha256" => Ok(Self::Sha256),
            "sha512" => Ok(Self::Sha512),
            other => {
                let shown: String = other.chars().take(80).collect();
                Err(Error::invalid(format!("'{shown}' is no digest algorithm that is kept here"))
                    .hint("use sha256 or sha512"))
            }
        }
    }
}

impl serde::Serialize for ContentDigest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for ContentDigest {
    fn deserialize<D: serde::Deserializer<'de>>(de: D) -> std::result::Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(de)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The hashes of an upload, which can be written down and taken up again.
#[derive(Clone)]
pub(crate) struct HashState {
    sha256: Sha256,
    sha512: Option<Sha512>,
}

impl HashState {
    pub(crate) fn new(algorithm: DigestAlgorithm) -> Self {
        let sha512 = (algorithm == DigestAlgorithm::Sha512).then(Sha512::new);
        Self { sha256: Sha256::new(), sha512 }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        if let Some(sha512) = &mut self.sha512 {
            sha512.update(bytes);
        }
    }

    /// The sha256, and the sha512 where it was asked for.
    pub(crate) fn finish(self) -> (Digest, Option<ContentDigest>) {
        let sha512 = self.sha512.map(|hash| ContentDigest::Sha512(hash.finalize().into()));
        (Digest::from_bytes(self.sha256.finalize().into()), sha512)
    }

    /// Both states as text.
    pub(crate) fn save(&self) -> (String, Option<String>) {
        (hex::encode(self.sha256.serialize()), self.sha512.as_ref().map(|hash| hex::encode(hash.serialize())))
    }

    /// What [`HashState::save`] wrote; `None` when it is nothing of the kind.
    pub(crate) fn restore(sha256: &str, sha512: Option<&str>) -> Option<Self> {
        let sha256 = Sha256::deserialize(bytes(sha256)?.as_slice().try_into().ok()?).ok()?;
        let sha512 = match sha512 {
            Some(text) => Some(Sha512::deserialize(bytes(text)?.as_slice().try_into().ok()?).ok()?),
            None => None,
        };
        Some(Self { sha256, sha512 })
    }
}

/// Bytes from lower-case hexadecimal digits, the only spelling.
fn bytes(text: &str) -> Option<Vec<u8>> {
    let is_lower_case = !text.bytes().any(|digit| digit.is_ascii_uppercase());
    hex::decode(text).ok().filter(|_| is_lower_case)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn only_the_canonical_spelling_parses() {
        let good = ContentDigest::sha512("x").to_string();
        assert_eq!(good.parse::<ContentDigest>().unwrap(), ContentDigest::sha512("x"));
        let short = Digest::of("x").to_string();
        assert_eq!(short.parse::<ContentDigest>().unwrap(), ContentDigest::Sha256(Digest::of("x")));
        for bad in [
            String::new(),
            good.to_uppercase(),
            good.replace("sha512:", "sha256:"),
            short.replace("sha256:", "sha512:"),
            good.replace("sha512:", "md5:"),
            good[..good.len() - 1].to_owned(),
            format!("{good}00"),
            good.replace(':', "/"),
            format!("sha512:{}", "é".repeat(64)),
            "sha256:baddigeststring".to_owned(),
        ] {
            assert!(bad.parse::<ContentDigest>().is_err(), "{bad}");
        }
    }

    #[test]
    fn hashing_goes_on_where_it_was_written_down() {
        for algorithm in [DigestAlgorithm::Sha256, DigestAlgorithm::Sha512] {
            let mut hashes = HashState::new(algorithm);
            for piece in ["one", &"two".repeat(1000), ""] {
                hashes.update(piece.as_bytes());
                let (sha256, sha512) = hashes.save();
                hashes = HashState::restore(&sha256, sha512.as_deref()).unwrap();
            }
            let whole = format!("one{}", "two".repeat(1000));
            let (sha256, sha512) = hashes.finish();
            assert_eq!(sha256, Digest::of(&whole));
            assert_eq!(sha512, (algorithm == DigestAlgorithm::Sha512).then(|| ContentDigest::sha512(&whole)));
        }
        // The state that an earlier Eyot saved: an upload is resumed after an update, too.
        let saved = include_str!("content/hash-state-1.txt").trim_end();
        let mut hashes = HashState::restore(saved, None).unwrap();
        hashes.update(b" world");
        assert_eq!(hashes.finish().0, Digest::of("hello world"));
        for bad in ["", "00", "zz", &"0".repeat(10_000)] {
            assert!(HashState::restore(bad, None).is_none());
        }
    }
}
