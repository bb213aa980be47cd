//! A store for long work: the blobs that it writes are held until it ends.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use eyot_core::{Digest, Result};
use parking_lot::Mutex;

use crate::{
    Blob, BlobHold, BlobReader, BlobStore, BlobStream, BlobUpload, BlobWriter, DigestAlgorithm, StoreHold,
    UploadId,
};

/// Holds every blob that is written through it, until it is dropped.
pub struct HoldingStore {
    inner: Arc<dyn BlobStore>,
    held: HeldBlobs,
}

type HeldBlobs = Arc<Mutex<Vec<BlobHold>>>;

struct HoldingWriter {
    store: Arc<dyn BlobStore>,
    inner: Box<dyn BlobWriter>,
    held: HeldBlobs,
}

impl HoldingStore {
    /// Over a store.
    pub fn new(inner: Arc<dyn BlobStore>) -> Self {
        Self { inner, held: HeldBlobs::default() }
    }
}

#[async_trait]
impl BlobWriter for HoldingWriter {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.inner.write(bytes).await
    }

    fn written(&self) -> u64 {
        self.inner.written()
    }

    async fn finish(self: Box<Self>) -> Result<Blob> {
        let blob = self.inner.finish().await?;
        self.held.lock().push(self.store.hold(&blob.digest));
        Ok(blob)
    }

    async fn finish_as(self: Box<Self>, expected: &Digest) -> Result<Blob> {
        self.held.lock().push(self.store.hold(expected));
        self.inner.finish_as(expected).await
    }
}

#[async_trait]
impl BlobStore for HoldingStore {
    async fn writer(&self) -> Result<Box<dyn BlobWriter>> {
        let inner = self.inner.writer().await?;
        Ok(Box::new(HoldingWriter { store: self.inner.clone(), inner, held: self.held.clone() }))
    }

    async fn get(&self, digest: &Digest) -> Result<Bytes> {
        self.inner.get(digest).await
    }

    async fn open(&self, digest: &Digest) -> Result<BlobReader> {
        self.inner.open(digest).await
    }

    async fn read(&self, digest: &Digest, offset: u64, length: u64) -> Result<Bytes> {
        self.inner.read(digest, offset, length).await
    }

    async fn stream(&self, digest: &Digest, offset: u64, length: u64) -> Result<BlobStream> {
        self.inner.stream(digest, offset, length).await
    }

    async fn start_upload(&self, id: UploadId, algorithm: DigestAlgorithm) -> Result<Box<dyn BlobUpload>> {
        self.inner.start_upload(id, algorithm).await
    }

    async fn resume_upload(&self, id: UploadId) -> Result<Box<dyn BlobUpload>> {
        self.inner.resume_upload(id).await
    }

    async fn upload_received(&self, id: UploadId) -> Result<u64> {
        self.inner.upload_received(id).await
    }

    async fn drop_upload(&self, id: UploadId) -> Result<bool> {
        self.inner.drop_upload(id).await
    }

    async fn uploads(&self) -> Result<BTreeSet<UploadId>> {
        self.inner.uploads().await
    }

    async fn quarantine(&self, digest: &Digest) -> Result<bool> {
        self.inner.quarantine(digest).await
    }

    async fn size(&self, digest: &Digest) -> Result<Option<u64>> {
        self.inner.size(digest).await
    }

    async fn list(&self) -> Result<Vec<Blob>> {
        self.inner.list().await
    }

    async fn older_than(&self, age: std::time::Duration) -> Result<Vec<Digest>> {
        self.inner.older_than(age).await
    }

    async fn pin(&self, digest: &Digest, owner: &str) -> Result<()> {
        self.inner.pin(digest, owner).await
    }

    async fn unpin(&self, digest: &Digest, owner: &str) -> Result<()> {
        self.inner.unpin(digest, owner).await
    }

    async fn pins(&self, digest: &Digest) -> Result<Vec<String>> {
        self.inner.pins(digest).await
    }

    async fn pins_of(&self, prefix: &str) -> Result<Vec<(Digest, String)>> {
        self.inner.pins_of(prefix).await
    }

    fn hold(&self, digest: &Digest) -> BlobHold {
        self.inner.hold(digest)
    }

    fn hold_all(&self) -> StoreHold {
        self.inner.hold_all()
    }

    async fn delete(&self, digest: &Digest) -> Result<bool> {
        self.inner.delete(digest).await
    }

    fn path(&self, digest: &Digest) -> Option<PathBuf> {
        self.inner.path(digest)
    }
}
