//! What must not be deleted while this process is at work with it.

use std::collections::HashMap;
use std::sync::Arc;

use eyot_core::Digest;
use parking_lot::Mutex;

/// The blobs that are held, and by how many.
#[derive(Clone, Default)]
pub(crate) struct Holds(Arc<Mutex<HashMap<Digest, usize>>>);

/// Keeps a blob from being deleted for as long as it lives: a pin of this process, for the time until what
/// uses the blob is written down. The blob need not be there yet.
#[must_use]
pub struct Hold {
    holds: Holds,
    digest: Digest,
}

impl Holds {
    pub(crate) fn hold(&self, digest: &Digest) -> Hold {
        *self.0.lock().entry(*digest).or_default() += 1;
        Hold { holds: self.clone(), digest: *digest }
    }

    pub(crate) fn is_held(&self, digest: &Digest) -> bool {
        self.0.lock().contains_key(digest)
    }
}

impl Drop for Hold {
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
