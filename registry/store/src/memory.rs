use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use eyot_core::{Digest, Result};
use futures::StreamExt as _;
use parking_lot::Mutex;

use crate::blob_holds::BlobHolds;
use crate::upload::{busy, unknown};
use crate::{
    Blob, BlobHold, BlobReader, BlobStore, BlobStream, BlobUpload, BlobWriter, ContentDigest,
    DigestAlgorithm, StoreHold, UploadId, check_expected, held, missing, pinned,
};

/// Blobs in memory: for tests, and for work that keeps nothing. Cheap to clone.
#[derive(Clone, Default)]
pub struct MemoryStore(Arc<Mutex<MemoryState>>);

#[derive(Default)]
struct MemoryState {
    blobs: BTreeMap<Digest, Bytes>,
    written: BTreeMap<Digest, Instant>,
    holds: BlobHolds,
    pins: BTreeMap<Digest, BTreeSet<String>>,
    /// `None` while somebody writes to it.
    uploads: BTreeMap<UploadId, Option<Bytes>>,
}

impl MemoryState {
    fn keep(&mut self, digest: Digest, bytes: Bytes) {
        self.blobs.insert(digest, bytes);
        self.written.insert(digest, Instant::now());
    }
}

/// An upload that a request writes to; dropped, it is as it was last saved.
struct MemoryUpload {
    store: MemoryStore,
    id: UploadId,
    saved: Bytes,
    bytes: BytesMut,
}

struct MemoryWriter {
    store: MemoryStore,
    bytes: BytesMut,
}

#[async_trait]
impl BlobStore for MemoryStore {
    async fn writer(&self) -> Result<Box<dyn BlobWriter>> {
        Ok(Box::new(MemoryWriter { store: self.clone(), bytes: BytesMut::new() }))
    }

    async fn get(&self, digest: &Digest) -> Result<Bytes> {
        self.0.lock().blobs.get(digest).cloned().ok_or_else(|| missing(digest))
    }

    async fn open(&self, digest: &Digest) -> Result<BlobReader> {
        Ok(Box::pin(std::io::Cursor::new(self.get(digest).await?)))
    }

    async fn read(&self, digest: &Digest, offset: u64, length: u64) -> Result<Bytes> {
        let bytes = self.get(digest).await?;
        let end = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
        Ok(bytes.slice(end(offset)..end(offset.saturating_add(length))))
    }

    async fn stream(&self, digest: &Digest, offset: u64, length: u64) -> Result<BlobStream> {
        let bytes = self.read(digest, offset, length).await?;
        Ok(futures::stream::iter((!bytes.is_empty()).then_some(Ok(bytes))).boxed())
    }

    async fn start_upload(&self, id: UploadId, _: DigestAlgorithm) -> Result<Box<dyn BlobUpload>> {
        self.0.lock().uploads.insert(id, None);
        Ok(Box::new(MemoryUpload { store: self.clone(), id, saved: Bytes::new(), bytes: BytesMut::new() }))
    }

    async fn resume_upload(&self, id: UploadId) -> Result<Box<dyn BlobUpload>> {
        let saved =
            self.0.lock().uploads.get_mut(&id).ok_or_else(|| unknown(id))?.take().ok_or_else(|| busy(id))?;
        let bytes = BytesMut::from(&saved[..]);
        Ok(Box::new(MemoryUpload { store: self.clone(), id, saved, bytes }))
    }

    async fn upload_received(&self, id: UploadId) -> Result<u64> {
        let inner = self.0.lock();
        let upload = inner.uploads.get(&id).ok_or_else(|| unknown(id))?;
        upload.as_ref().map(|bytes| bytes.len() as u64).ok_or_else(|| busy(id))
    }

    async fn drop_upload(&self, id: UploadId) -> Result<bool> {
        let mut inner = self.0.lock();
        match inner.uploads.get(&id) {
            Some(None) => Err(busy(id)),
            Some(Some(_)) => Ok(inner.uploads.remove(&id).is_some()),
            None => Ok(false),
        }
    }

    async fn uploads(&self) -> Result<BTreeSet<UploadId>> {
        Ok(self.0.lock().uploads.keys().copied().collect())
    }

    /// Memory does not rot.
    async fn quarantine(&self, _: &Digest) -> Result<bool> {
        Ok(false)
    }

    async fn size(&self, digest: &Digest) -> Result<Option<u64>> {
        Ok(self.0.lock().blobs.get(digest).map(|bytes| bytes.len() as u64))
    }

    async fn list(&self) -> Result<Vec<Blob>> {
        let inner = self.0.lock();
        Ok(inner
            .blobs
            .iter()
            .map(|(digest, bytes)| Blob { digest: *digest, size: bytes.len() as u64 })
            .collect())
    }

    async fn older_than(&self, age: Duration) -> Result<Vec<Digest>> {
        let inner = self.0.lock();
        let old = inner.written.iter().filter(|(_, written)| written.elapsed() > age);
        Ok(old.map(|(digest, _)| *digest).filter(|digest| inner.blobs.contains_key(digest)).collect())
    }

    fn hold(&self, digest: &Digest) -> BlobHold {
        self.0.lock().holds.hold(digest)
    }

    fn hold_all(&self) -> StoreHold {
        self.0.lock().holds.hold_all()
    }

    async fn pin(&self, digest: &Digest, owner: &str) -> Result<()> {
        let mut inner = self.0.lock();
        if !inner.blobs.contains_key(digest) {
            return Err(missing(digest));
        }
        inner.pins.entry(*digest).or_default().insert(owner.to_owned());
        Ok(())
    }

    async fn unpin(&self, digest: &Digest, owner: &str) -> Result<()> {
        let mut inner = self.0.lock();
        inner.holds.record_unpin(digest, owner);
        if let Some(owners) = inner.pins.get_mut(digest) {
            owners.remove(owner);
        }
        Ok(())
    }

    async fn pins(&self, digest: &Digest) -> Result<Vec<String>> {
        Ok(self.0.lock().pins.get(digest).into_iter().flatten().cloned().collect())
    }

    async fn pins_of(&self, prefix: &str) -> Result<Vec<(Digest, String)>> {
        let inner = self.0.lock();
        let pins = inner.pins.iter().flat_map(|(digest, owners)| owners.iter().map(|owner| (*digest, owner)));
        let pins = pins.filter(|(_, owner)| owner.starts_with(prefix));
        Ok(pins.map(|(digest, owner)| (digest, owner.clone())).collect())
    }

    async fn delete(&self, digest: &Digest) -> Result<bool> {
        let mut inner = self.0.lock();
        let owners: Vec<String> = inner.pins.get(digest).into_iter().flatten().cloned().collect();
        if !owners.is_empty() {
            return Err(pinned(digest, &owners));
        }
        if inner.holds.is_held(digest) {
            return Err(held(digest));
        }
        inner.written.remove(digest);
        Ok(inner.blobs.remove(digest).is_some())
    }
}

#[async_trait]
impl BlobWriter for MemoryWriter {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.bytes.extend_from_slice(&bytes);
        Ok(())
    }

    fn written(&self) -> u64 {
        self.bytes.len() as u64
    }

    async fn finish(self: Box<Self>) -> Result<Blob> {
        self.keep(None)
    }

    async fn finish_as(self: Box<Self>, expected: &Digest) -> Result<Blob> {
        self.keep(Some(expected))
    }
}

impl MemoryWriter {
    fn keep(self, expected: Option<&Digest>) -> Result<Blob> {
        let (digest, size) = (Digest::of(&self.bytes), self.bytes.len() as u64);
        check_expected(expected, &digest)?;
        self.store.0.lock().keep(digest, self.bytes.freeze());
        Ok(Blob { digest, size })
    }
}

impl Drop for MemoryUpload {
    fn drop(&mut self) {
        if let Some(upload) = self.store.0.lock().uploads.get_mut(&self.id) {
            *upload = Some(std::mem::take(&mut self.saved));
        }
    }
}

#[async_trait]
impl BlobUpload for MemoryUpload {
    fn received(&self) -> u64 {
        self.bytes.len() as u64
    }

    async fn append(&mut self, pieces: Vec<Bytes>) -> Result<()> {
        pieces.iter().for_each(|piece| self.bytes.extend_from_slice(piece));
        Ok(())
    }

    async fn save(&mut self) -> Result<()> {
        self.saved = self.bytes.clone().freeze();
        Ok(())
    }

    async fn finish(mut self: Box<Self>, expected: &ContentDigest) -> Result<Blob> {
        let bytes = std::mem::take(&mut self.bytes).freeze();
        self.store.0.lock().uploads.remove(&self.id);
        check_expected(Some(expected), &expected.of_same_algorithm(&bytes))?;
        let blob = Blob { digest: Digest::of(&bytes), size: bytes.len() as u64 };
        self.store.0.lock().keep(blob.digest, bytes);
        Ok(blob)
    }

    async fn discard(self: Box<Self>) -> Result<()> {
        self.store.0.lock().uploads.remove(&self.id);
        Ok(())
    }
}
