//! Content-addressed blobs. A blob is known by the sha256 of its bytes, is visible only when whole and
//! durable, and is checked against its name when it is read.

mod blob_holds;
mod content;
mod directory;
mod holding_store;
mod keyed_locks;
mod memory;
mod reserve;
#[cfg(test)]
mod suite;
mod transfer;
mod upload;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use eyot_core::{Digest, Error, Result};
use futures::Stream;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncRead;

pub use blob_holds::{BlobHold, StoreHold};
pub use content::{ContentDigest, DigestAlgorithm};
pub use directory::DirectoryStore;
pub use holding_store::HoldingStore;
pub use keyed_locks::{KeyedLock, KeyedLocks};
pub use memory::MemoryStore;
pub use reserve::DiskReserve;
pub use transfer::{TransferReport, transfer_blobs};
pub use upload::{BlobUpload, UploadId};

/// A stored blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Blob {
    pub digest: Digest,
    /// Length in bytes.
    pub size: u64,
}

/// A reader of a blob that verifies it: the last read fails when the bytes do not match the digest.
pub type BlobReader = Pin<Box<dyn AsyncRead + Send>>;

/// A blob's bytes as a stream of pieces, for sending.
pub type BlobStream = Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>;

/// What [`BlobStore::verify`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerificationReport {
    /// Blobs looked at.
    pub checked: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Those whose bytes are not what their digest says.
    pub damaged: Vec<Digest>,
}

/// A place for blobs. Every implementation passes `suite.rs`.
#[async_trait]
pub trait BlobStore: Send + Sync + 'static {
    /// Starts a blob of unknown length. Dropped before `finish`, it never existed.
    async fn writer(&self) -> Result<Box<dyn BlobWriter>>;

    /// The whole blob, checked.
    ///
    /// Fails with `NotFound`, or `Corrupt` when the bytes are not what the digest says.
    async fn get(&self, digest: &Digest) -> Result<Bytes>;

    /// The blob as a stream; the same failures, `Corrupt` as the error of its last read.
    async fn open(&self, digest: &Digest) -> Result<BlobReader>;

    /// Up to `length` bytes from `offset`; shorter only at the end, empty at or past it. A range is
    /// not checked: whoever needs that reads the whole once.
    async fn read(&self, digest: &Digest, offset: u64, length: u64) -> Result<Bytes>;

    /// Up to `length` bytes from `offset` in pieces, the next one read while the last one is sent. A
    /// whole blob is checked: its last piece never comes, but `Corrupt`, when the bytes are not what
    /// the digest says.
    async fn stream(&self, digest: &Digest, offset: u64, length: u64) -> Result<BlobStream>;

    /// Starts an upload that goes on after a restart; its digest will have `algorithm`.
    async fn start_upload(&self, id: UploadId, algorithm: DigestAlgorithm) -> Result<Box<dyn BlobUpload>>;

    /// Goes on with an upload from its last save.
    ///
    /// Fails with `NotFound` when there is none, with `Conflict` while somebody writes to it.
    async fn resume_upload(&self, id: UploadId) -> Result<Box<dyn BlobUpload>>;

    /// Bytes of an upload at its last save.
    ///
    /// Fails with `NotFound` when there is none.
    async fn upload_received(&self, id: UploadId) -> Result<u64>;

    /// Ends an upload without a blob; `false` when there was none.
    ///
    /// Fails with `Conflict` while somebody writes to it.
    async fn drop_upload(&self, id: UploadId) -> Result<bool>;

    /// Every upload that is under way.
    async fn uploads(&self) -> Result<BTreeSet<UploadId>>;

    /// Moves a blob whose bytes are not what its digest says to where nobody reads it; `false` when it
    /// is whole, or not here.
    async fn quarantine(&self, digest: &Digest) -> Result<bool>;

    /// The length of a blob, `None` when it is not here.
    async fn size(&self, digest: &Digest) -> Result<Option<u64>>;

    /// Every blob, by digest.
    async fn list(&self) -> Result<Vec<Blob>>;

    /// The blobs that were last written longer ago than that, by digest.
    async fn older_than(&self, age: Duration) -> Result<Vec<Digest>>;

    /// Keeps a blob from being deleted until the same owner unpins it. Pinning twice is pinning once.
    ///
    /// Fails with `NotFound` when there is no such blob.
    async fn pin(&self, digest: &Digest, owner: &str) -> Result<()>;

    /// Takes a pin away; a pin that is not there is gone already.
    async fn unpin(&self, digest: &Digest, owner: &str) -> Result<()>;

    /// Who pins a blob, in alphabetical order.
    async fn pins(&self, digest: &Digest) -> Result<Vec<String>>;

    /// Every pin whose owner begins with `prefix`. A process that was killed between a pin and the row of its owner
    /// leaves an orphaned pin: owners look for those when they start.
    async fn pins_of(&self, prefix: &str) -> Result<Vec<(Digest, String)>>;

    /// Keeps a blob from being deleted until the hold is dropped, or the process ends.
    fn hold(&self, digest: &Digest) -> BlobHold;

    /// Keeps every blob from being deleted until the hold is dropped, or the process ends; those of later, too.
    fn hold_all(&self) -> StoreHold;

    /// Deletes a blob; `false` when it was not there.
    ///
    /// Fails with `Conflict` while somebody pins or holds it.
    async fn delete(&self, digest: &Digest) -> Result<bool>;

    /// Where the blob lies as a file, for those who map it. `None` for a store without files.
    fn path(&self, _digest: &Digest) -> Option<PathBuf> {
        None
    }

    /// Stores bytes that are in memory.
    async fn put(&self, bytes: Bytes) -> Result<Blob> {
        let mut writer = self.writer().await?;
        writer.write(bytes).await?;
        writer.finish().await
    }

    /// Reads every blob again and compares it with its digest.
    async fn verify(&self) -> Result<VerificationReport> {
        let mut found = VerificationReport::default();
        for blob in self.list().await? {
            found.checked += 1;
            found.bytes += blob.size;
            let mut reader = self.open(&blob.digest).await?;
            if tokio::io::copy(&mut reader, &mut tokio::io::sink()).await.is_err() {
                found.damaged.push(blob.digest);
            }
        }
        Ok(found)
    }
}

/// A blob that is being written.
#[async_trait]
pub trait BlobWriter: Send {
    /// Appends bytes.
    async fn write(&mut self, bytes: Bytes) -> Result<()>;

    /// Bytes written so far.
    fn written(&self) -> u64;

    /// Makes the blob durable and visible. A blob that is here already is the same blob.
    async fn finish(self: Box<Self>) -> Result<Blob>;

    /// The same, if the bytes are those of `expected`; otherwise nothing is stored.
    ///
    /// Fails with `Invalid` naming both digests.
    async fn finish_as(self: Box<Self>, expected: &Digest) -> Result<Blob>;
}

fn missing(digest: &Digest) -> Error {
    Error::not_found(format!("there is no blob {digest}")).hint("push it, or check the digest")
}

fn damaged(digest: &Digest, found: &Digest) -> Error {
    Error::corrupt(format!("blob {digest} is damaged: its bytes hash to {found}"))
        .hint("eyot verify names all damaged blobs; push this one again from where it came")
}

fn pinned(digest: &Digest, owners: &[String]) -> Error {
    Error::conflict(format!("blob {digest} is in use by {}", owners.join(", ")))
}

fn held(digest: &Digest) -> Error {
    Error::conflict(format!("blob {digest} is in use by work that is under way"))
}

fn check_expected<D: PartialEq + std::fmt::Display>(expected: Option<&D>, found: &D) -> Result<()> {
    match expected {
        Some(expected) if expected != found => Err(Error::invalid(format!(
            "the bytes hash to {found}, not to the digest {expected} that was given"
        ))
        .hint("send the bytes that the digest was made of")),
        _ => Ok(()),
    }
}

/// Runs file work away from the async threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::internal("file work ended early").because(error))?
}
