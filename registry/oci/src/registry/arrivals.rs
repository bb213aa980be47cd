//! Bytes of uploads that are under way: they lie on the disk before any repository has them, so they count
//! for what a repository may hold as if it had them.

use std::collections::HashMap;

use eyot_core::Result;
use eyot_core::config::Quota;
use eyot_store::UploadId;
use parking_lot::Mutex;

use super::Registry;
use crate::glob;

/// What has arrived of each upload to a repository that has a quota.
#[derive(Default)]
pub(super) struct Arrivals(Mutex<HashMap<UploadId, (String, u64)>>);

/// An upload that takes bytes in. Dropped, it counts as it was last kept; nothing if it never was.
pub(crate) struct Arrival {
    registry: Registry,
    repository: String,
    id: UploadId,
    /// What each quota has left beside uploads under way.
    left: Vec<(Quota, u64)>,
    /// What counts now, and what counts after this.
    received: u64,
    kept: u64,
}

impl Arrivals {
    /// How many bytes an upload has, from now on.
    pub(super) fn set(&self, repository: &str, id: UploadId, bytes: u64) {
        let mut arrivals = self.0.lock();
        match bytes {
            0 => drop(arrivals.remove(&id)),
            bytes => drop(arrivals.insert(id, (repository.to_owned(), bytes))),
        }
    }

    /// An upload became a blob, or nothing.
    pub(super) fn end(&self, id: UploadId) {
        self.0.lock().remove(&id);
    }

    /// What uploads to repositories of a quota have.
    fn bytes(&self, quota: &Quota) -> u64 {
        let arrivals = self.0.lock();
        let counted = arrivals.values().filter(|(name, _)| glob::matches(&quota.repository, name));
        counted.map(|(_, bytes)| bytes).sum()
    }
}

impl Registry {
    /// Has what arrives of an upload counted, which had `received` bytes when it was last kept.
    pub(crate) async fn arrive(&self, repository: &str, id: UploadId, received: u64) -> Result<Arrival> {
        let left = self.left(repository).await?;
        let (registry, repository) = (self.clone(), repository.to_owned());
        Ok(Arrival { registry, repository, id, left, received, kept: received })
    }
}

impl Arrival {
    /// Lets an upload have so many bytes in all.
    ///
    /// Fails with `Full` when that would be more than the repository may hold.
    pub(crate) fn grow(&mut self, received: u64) -> Result<()> {
        if self.left.is_empty() {
            return Ok(());
        }
        self.received = received;
        let arrivals = &self.registry.0.arrivals;
        arrivals.set(&self.repository, self.id, received);
        match self.left.iter().all(|(quota, left)| arrivals.bytes(quota) <= *left) {
            true => Ok(()),
            false => Err(self.registry.no_room(&self.repository)),
        }
    }

    /// What has arrived counts from now on, until the upload ends.
    pub(crate) fn keep(&mut self) {
        self.kept = self.received;
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        if !self.left.is_empty() {
            self.registry.0.arrivals.set(&self.repository, self.id, self.kept);
        }
    }
}
