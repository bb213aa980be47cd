//! Bytes of uploads that are under way: they lie on the disk before a repository has them, so they count against its
//! quota.

use std::collections::HashMap;

use eyot_core::Result;
use eyot_core::config::Quota;
use eyot_store::UploadId;
use parking_lot::Mutex;

use super::Registry;
use eyot_core::glob;

/// The bytes received by each upload to a repository that has a quota.
#[derive(Default)]
pub(super) struct PendingBytes(Mutex<HashMap<UploadId, (String, u64)>>);

/// An upload that receives bytes. Dropped, it counts with the bytes of its last save, if there was one.
pub(crate) struct PendingUpload {
    registry: Registry,
    repository: String,
    id: UploadId,
    /// What each quota has left, uploads under way not counted.
    left: Vec<(Quota, u64)>,
    /// What counts now, and what counts once this is dropped.
    received: u64,
    kept: u64,
}

impl PendingBytes {
    /// Sets the bytes of an upload.
    pub(super) fn set(&self, repository: &str, id: UploadId, bytes: u64) {
        let mut pending = self.0.lock();
        match bytes {
            0 => drop(pending.remove(&id)),
            bytes => drop(pending.insert(id, (repository.to_owned(), bytes))),
        }
    }

    /// An upload was completed or cancelled.
    pub(super) fn end(&self, id: UploadId) {
        self.0.lock().remove(&id);
    }

    /// The bytes of uploads to repositories of a quota.
    fn bytes(&self, quota: &Quota) -> u64 {
        let pending = self.0.lock();
        let counted = pending.values().filter(|(name, _)| glob::matches(&quota.repository, name));
        counted.map(|(_, bytes)| bytes).sum()
    }
}

impl Registry {
    /// Counts the bytes of an upload against the quota; `received` is what its last save has.
    pub(crate) async fn track_upload(
        &self,
        repository: &str,
        id: UploadId,
        received: u64,
    ) -> Result<PendingUpload> {
        let left = self.remaining_bytes(repository).await?;
        let (registry, repository) = (self.clone(), repository.to_owned());
        Ok(PendingUpload { registry, repository, id, left, received, kept: received })
    }
}

impl PendingUpload {
    /// Admits so many bytes in all.
    ///
    /// Fails with `Full` when that exceeds the repository's quota.
    pub(crate) fn grow(&mut self, received: u64) -> Result<()> {
        if self.left.is_empty() {
            return Ok(());
        }
        self.received = received;
        let pending = &self.registry.0.pending;
        pending.set(&self.repository, self.id, received);
        match self.left.iter().all(|(quota, left)| pending.bytes(quota) <= *left) {
            true => Ok(()),
            false => Err(self.registry.quota_exceeded(&self.repository)),
        }
    }

    /// What was received is saved: it counts until the upload ends.
    pub(crate) fn keep(&mut self) {
        self.kept = self.received;
    }
}

impl Drop for PendingUpload {
    fn drop(&mut self) {
        if !self.left.is_empty() {
            self.registry.0.pending.set(&self.repository, self.id, self.kept);
        }
    }
}
