//! Which blobs were hashed already, so that a blob that many pull is not hashed for each of them.

use std::collections::HashMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use eyot_core::Digest;
use parking_lot::Mutex;

/// Files that this process has hashed whole, when it wrote them or when it read them, and found to be what
/// they are called, as long as nobody has touched them. What rots below the file system is found by the
/// scrub, and by whoever pulls it.
#[derive(Default)]
pub(super) struct Known(Mutex<HashMap<Digest, Look>>);

/// What changes with every write to a file, whoever writes.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Look {
    inode: u64,
    length: u64,
    written: (i64, i64),
    changed: (i64, i64),
}

impl Look {
    fn of(file: &Metadata) -> Self {
        Self {
            inode: file.ino(),
            length: file.len(),
            written: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        }
    }
}

/// Blobs that are remembered: some megabytes.
const MOST: usize = 50_000;
/// The clock of file systems goes in steps, of a second at most: another write in the same step would not be
/// seen, so a file is not known before it is older.
const SETTLED: Duration = Duration::from_secs(2);

impl Known {
    pub(super) fn holds(&self, digest: &Digest, file: &Metadata) -> bool {
        self.0.lock().get(digest) == Some(&Look::of(file))
    }

    /// `file` as it was before it was hashed.
    pub(super) fn note(&self, digest: Digest, file: &Metadata) {
        let changed = UNIX_EPOCH + Duration::from_secs(u64::try_from(file.ctime()).unwrap_or_default());
        if SystemTime::now().duration_since(changed).is_ok_and(|age| age > SETTLED) {
            self.insert(digest, Look::of(file));
        }
    }

    /// `file` as it is after this process wrote and hashed it, made it durable and gave it its name. That the
    /// clock of its file system went on between the last write and the naming is what shows that
    /// another write since would be seen: it would have moved the time of the last write.
    pub(super) fn note_written(&self, digest: Digest, file: &Metadata) {
        let look = Look::of(file);
        if look.written < look.changed {
            self.insert(digest, look);
        }
    }

    fn insert(&self, digest: Digest, look: Look) {
        let mut known = self.0.lock();
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(digest, look);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_file_that_was_touched_is_not_known_any_more() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("blob");
        std::fs::write(&path, "bytes").unwrap();
        let (known, digest, look) =
            (Known::default(), Digest::of("bytes"), || std::fs::metadata(&path).unwrap());
        // Written just now: it could be written again without that being seen.
        known.note(digest, &look());
        assert!(!known.holds(&digest, &look()));
        known.0.lock().insert(digest, Look::of(&look()));
        assert!(known.holds(&digest, &look()) && !known.holds(&Digest::of("other"), &look()));
        std::fs::write(&path, "longer bytes").unwrap();
        assert!(!known.holds(&digest, &look()));
        known.note_written(digest, &look());
        assert!(!known.holds(&digest, &look()), "its last write may not have been ours");
        let earlier = SystemTime::now() - Duration::from_secs(1);
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(earlier).unwrap();
        known.note_written(digest, &look());
        assert!(known.holds(&digest, &look()));
        let old = std::fs::metadata("/proc/self/exe").unwrap();
        known.note(digest, &old);
        assert!(known.holds(&digest, &old));
    }
}
