//! Blobs from one store into another, each hashed on its way.

use eyot_core::{ErrorKind, Result};
use futures::StreamExt as _;
use serde::{Deserialize, Serialize};

use crate::{Blob, BlobStore};

/// What a transfer of blobs copied, and what was there already.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferReport {
    pub blobs: u64,
    pub bytes: u64,
    pub kept_blobs: u64,
    pub kept_bytes: u64,
}

/// Copies the blobs that `into` has not; `progress` is told of the bytes of each piece. A blob that is there is one that
/// was hashed when it came, as no other becomes visible.
///
/// Fails with `Corrupt` naming a blob whose bytes are not what its digest says, with `NotFound` for one that is gone.
pub async fn transfer_blobs(
    from: &dyn BlobStore,
    into: &dyn BlobStore,
    blobs: &[Blob],
    progress: impl Fn(u64),
) -> Result<TransferReport> {
    let mut report = TransferReport::default();
    for blob in blobs {
        if into.size(&blob.digest).await? == Some(blob.size) {
            (report.kept_blobs, report.kept_bytes) = (report.kept_blobs + 1, report.kept_bytes + blob.size);
            progress(blob.size);
            continue;
        }
        let length = transfer(from, into, blob, &progress).await?;
        (report.blobs, report.bytes) = (report.blobs + 1, report.bytes + length);
    }
    Ok(report)
}

async fn transfer(
    from: &dyn BlobStore,
    into: &dyn BlobStore,
    blob: &Blob,
    progress: &impl Fn(u64),
) -> Result<u64> {
    let digest = &blob.digest;
    let mut pieces = from.stream(digest, 0, u64::MAX).await?;
    let mut writer = into.writer().await?;
    while let Some(piece) = pieces.next().await {
        let piece = piece?;
        progress(piece.len() as u64);
        writer.write(piece).await?;
    }
    // What a store has hashed lately it may send unhashed: damage since then is noticed here.
    let written = writer.finish_as(digest).await.map_err(|error| match error.kind() {
        ErrorKind::Invalid => {
            error.with_kind(ErrorKind::Corrupt).context(format!("blob {digest} is damaged"))
        }
        _ => error,
    });
    Ok(written?.size)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::cell::Cell;

    use bytes::Bytes;
    use eyot_core::Digest;

    use super::*;
    use crate::{DirectoryStore, MemoryStore};

    #[tokio::test]
    async fn what_is_there_is_not_copied_again() {
        let (from, into) = (MemoryStore::default(), MemoryStore::default());
        for text in ["a", "bb", ""] {
            from.put(Bytes::from_static(text.as_bytes())).await.unwrap();
        }
        into.put(Bytes::from_static(b"bb")).await.unwrap();
        let blobs = from.list().await.unwrap();
        let told = Cell::new(0);
        let copy = || transfer_blobs(&from, &into, &blobs, |bytes| told.set(told.get() + bytes));
        let first = TransferReport { blobs: 2, bytes: 1, kept_blobs: 1, kept_bytes: 2 };
        assert_eq!(copy().await.unwrap(), first);
        assert_eq!(told.get(), 3);
        assert_eq!(copy().await.unwrap().blobs, 0);
        assert_eq!(into.list().await.unwrap(), blobs);
    }

    #[tokio::test]
    async fn a_damaged_blob_is_named_and_not_copied() {
        let (dir, into) = (tempfile::tempdir().unwrap(), MemoryStore::default());
        let from = DirectoryStore::open(dir.path()).await.unwrap();
        let blob = from.put(Bytes::from_static(b"whole")).await.unwrap();
        std::fs::write(from.path(&blob.digest).unwrap(), b"wrong").unwrap();
        for store in [from.clone(), DirectoryStore::read_only(dir.path())] {
            let error = transfer_blobs(&store, &into, &[blob], |_| {}).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
            assert!(error.chain().contains(&blob.digest.to_string()), "{error:?}");
        }
        let gone = Blob { digest: Digest::of("gone"), size: 4 };
        let error = transfer_blobs(&from, &into, &[gone], |_| {}).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(into.list().await.unwrap().is_empty());
    }
}
