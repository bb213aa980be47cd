//! Blobs that must not be deleted while this process uses them.

use std::collections::HashMap;
use std::sync::Arc;

use eyot_core::Digest;
use parking_lot::Mutex;

/// The held blobs, with reference counts.
#[derive(Clone, Default)]
pub(crate) struct BlobHolds(Arc<Mutex<HeldBlobs>>);

#[derive(Default)]
struct HeldBlobs {
    single: HashMap<Digest, usize>,
    /// How many hold everything that there is.
    all: usize,
    /// Pins that were taken away while somebody reads which there are, and how many do.
    unpinned: Vec<(Digest, String)>,
    readers: usize,
}

/// Keeps a blob from being deleted until it is dropped: a pin of this process, for the time until the use of the blob is
/// recorded. The blob need not be there yet.
#[must_use]
pub struct BlobHold {
    holds: BlobHolds,
    digest: Digest,
}

/// Keeps every blob from being deleted until it is dropped: for whoever copies them.
#[must_use]
pub struct StoreHold {
    holds: BlobHolds,
    is_reading_pins: bool,
}

impl BlobHolds {
    pub(crate) fn hold(&self, digest: &Digest) -> BlobHold {
        *self.0.lock().single.entry(*digest).or_default() += 1;
        BlobHold { holds: self.clone(), digest: *digest }
    }

    pub(crate) fn hold_all(&self) -> StoreHold {
        let mut held = self.0.lock();
        held.all += 1;
        held.readers += 1;
        StoreHold { holds: self.clone(), is_reading_pins: true }
    }

    pub(crate) fn is_held(&self, digest: &Digest) -> bool {
        let held = self.0.lock();
        held.all > 0 || held.single.contains_key(digest)
    }

    /// A pin is taken away.
    pub(crate) fn record_unpin(&self, digest: &Digest, owner: &str) {
        let mut held = self.0.lock();
        if held.readers > 0 {
            held.unpinned.push((*digest, owner.to_owned()));
        }
    }
}

impl HeldBlobs {
    fn end_reading(&mut self) {
        self.readers -= 1;
        if self.readers == 0 {
            self.unpinned = Vec::new();
        }
    }
}

impl StoreHold {
    /// The pins that were taken away since the hold began. They and those that are there are all that there were at
    /// any moment between. Asked once; what is unpinned afterwards is not kept in mind.
    pub fn unpinned(&mut self) -> Vec<(Digest, String)> {
        if !std::mem::take(&mut self.is_reading_pins) {
            return Vec::new();
        }
        let mut held = self.holds.0.lock();
        let unpinned = held.unpinned.clone();
        held.end_reading();
        unpinned
    }
}

impl Drop for BlobHold {
    fn drop(&mut self) {
        let mut holds = self.holds.0.lock();
        if let Some(count) = holds.single.get_mut(&self.digest) {
            *count -= 1;
            if *count == 0 {
                holds.single.remove(&self.digest);
            }
        }
    }
}

impl Drop for StoreHold {
    fn drop(&mut self) {
        let mut held = self.holds.0.lock();
        held.all -= 1;
        if self.is_reading_pins {
            held.end_reading();
        }
    }
}
