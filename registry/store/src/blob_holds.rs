//! Blobs that must not be deleted while this process uses them.

use std::collections::HashMap;
use std::sync::Arc;

use eyot_core::Digest;
use parking_lot::Mutex;

/// The held blobs, with reference counts.
#[derive(Clone, Default)]
pub(crate) struct BlobHolds(Arc<Mutex<HashMap<Digest, usize>>>);

/// Keeps a blob from being deleted until it is dropped: a pin of this process, for the time until the use of the blob is
/// recorded. The blob need not be there yet.
#[must_use]
pub struct BlobHold {
    holds: BlobHolds,
    digest: Digest,
}

impl BlobHolds {
    pub(crate) fn hold(&self, digest: &Digest) -> BlobHold {
        *self.0.lock().entry(*digest).or_default() += 1;
        BlobHold { holds: self.clone(), digest: *digest }
    }

    pub(crate) fn is_held(&self, digest: &Digest) -> bool {
        self.0.lock().contains_key(digest)
    }
}

impl Drop for BlobHold {
    fn drop(&mut self) {
        let mut holds = self.holds.0.lock();
        if let Some(count) = holds.get_mut(&self.digest) {
            *count -= 1;
            if *count == 0 {
                holds.remove(&self.digest);
            }
        }
    }
}
