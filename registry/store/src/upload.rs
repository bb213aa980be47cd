use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use bytes::Bytes;
use eyot_core::{Error, Result};

use crate::{Blob, ContentDigest};

/// The name of an upload: a random UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UploadId(u128);

/// A blob that arrives in pieces, over several requests and perhaps over a restart.
///
/// Appending is one step ahead of the disk: an error of writing a piece may come with a later call,
/// and at the latest with `save` or `finish`.
#[async_trait]
pub trait BlobUpload: Send {
    /// Bytes received so far.
    fn received(&self) -> u64;

    /// Appends bytes.
    async fn append(&mut self, pieces: Vec<Bytes>) -> Result<()>;

    /// Makes what was received so far outlive this process and a power cut: resumed, the upload goes
    /// on from here. Dropped without this, it goes on from the last time.
    async fn save(&mut self) -> Result<()>;

    /// Makes the blob durable and visible, and ends the upload. The bytes are not read again, unless
    /// `expected` has an algorithm that was not asked for at the start.
    ///
    /// Fails with `Invalid` naming both digests when the bytes are others; they are gone then.
    async fn finish(self: Box<Self>, expected: &ContentDigest) -> Result<Blob>;

    /// Ends the upload without a blob, also after a write that failed: its room is free when this
    /// returns.
    async fn discard(self: Box<Self>) -> Result<()>;
}

impl UploadId {
    /// A fresh one, which nobody can guess.
    pub fn random() -> Self {
        // The core's ids are 128 random bits in hexadecimal: the same entropy, another spelling.
        Self(u128::from_str_radix(&eyot_core::new_id(), 16).unwrap_or_default())
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = format!("{:032x}", self.0);
        let part = |from: usize, to: usize| digits.get(from..to).unwrap_or_default();
        write!(f, "{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
    }
}

impl FromStr for UploadId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            let shown: String = text.chars().take(80).collect();
            Error::not_found(format!("there is no upload '{shown}'")).hint("start it again")
        };
        let digits: String = text.chars().filter(|letter| *letter != '-').collect();
        let id = u128::from_str_radix(&digits, 16).map(Self).map_err(|_| wrong())?;
        // One spelling only: it is a file name.
        if id.to_string() == text { Ok(id) } else { Err(wrong()) }
    }
}

pub(crate) fn unknown(id: UploadId) -> Error {
    Error::not_found(format!("there is no upload '{id}'")).hint("start it again")
}

pub(crate) fn busy(id: UploadId) -> Error {
    Error::conflict(format!("another request is writing to the upload '{id}'"))
        .hint("wait for that request to end")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn ids_have_one_spelling_and_are_file_names() {
        let id = UploadId::random();
        let text = id.to_string();
        assert_eq!((text.len(), text.parse::<UploadId>().unwrap()), (36, id));
        for bad in [
            "",
            "../../etc/passwd",
            &text.replace('-', ""),
            &text.to_uppercase().replace('0', "A"),
            &format!("+{text}"),
        ] {
            if *bad != text {
                assert!(bad.parse::<UploadId>().is_err(), "{bad}");
            }
        }
    }
}
