//! Blobs that were verified already, so that a popular blob is not hashed for each pull.

use std::collections::HashMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use eyot_core::Digest;
use parking_lot::Mutex;

/// Files whose digests this process has verified, when it wrote or read them, and which were not modified since. Bit rot
/// below the file system is found by the scrub, and by clients.
#[derive(Default)]
pub(super) struct VerifiedFiles(Mutex<HashMap<Digest, FileIdentity>>);

/// The metadata that changes with every write to a file.
#[derive(Clone, Copy, PartialEq, Eq)]
struct FileIdentity {
    inode: u64,
    length: u64,
    written: (i64, i64),
    changed: (i64, i64),
}

impl FileIdentity {
    fn of(file: &Metadata) -> Self {
        Self {
            inode: file.ino(),
            length: file.len(),
            written: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        }
    }
}

/// Files that are remembered: some megabytes.
const REMEMBERED_FILES: usize = 50_000;
/// File systems' timestamps have a granularity of up to a second: another write within it would not be seen, so only
/// older files are remembered.
const CLOCK_GRANULARITY: Duration = Duration::from_secs(2);

impl VerifiedFiles {
    pub(super) fn contains(&self, digest: &Digest, file: &Metadata) -> bool {
        self.0.lock().get(digest) == Some(&FileIdentity::of(file))
    }

    /// `file` as it was before it was hashed.
    pub(super) fn record_read(&self, digest: Digest, file: &Metadata) {
        let changed = UNIX_EPOCH + Duration::from_secs(u64::try_from(file.ctime()).unwrap_or_default());
        if SystemTime::now().duration_since(changed).is_ok_and(|age| age > CLOCK_GRANULARITY) {
            self.insert(digest, FileIdentity::of(file));
        }
    }

    /// `file` as it is after this process wrote and hashed it, made it durable and gave it its name. That the
    /// clock of its file system went on between the last write and the naming is what shows that
    /// another write since would be seen: it would have moved the time of the last write.
    pub(super) fn record_written(&self, digest: Digest, file: &Metadata) {
        let look = FileIdentity::of(file);
        if look.written < look.changed {
            self.insert(digest, look);
        }
    }

    fn insert(&self, digest: Digest, look: FileIdentity) {
        let mut verified = self.0.lock();
        if verified.len() >= REMEMBERED_FILES {
            verified.clear();
        }
        verified.insert(digest, look);
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
        let (verified, digest, look) =
            (VerifiedFiles::default(), Digest::of("bytes"), || std::fs::metadata(&path).unwrap());
        // Written just now: it could be written again without that being seen.
        verified.record_read(digest, &look());
        assert!(!verified.contains(&digest, &look()));
        verified.0.lock().insert(digest, FileIdentity::of(&look()));
        assert!(verified.contains(&digest, &look()) && !verified.contains(&Digest::of("other"), &look()));
        std::fs::write(&path, "longer bytes").unwrap();
        assert!(!verified.contains(&digest, &look()));
        verified.record_written(digest, &look());
        assert!(!verified.contains(&digest, &look()), "its last write may not have been ours");
        let earlier = SystemTime::now() - Duration::from_secs(1);
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(earlier).unwrap();
        verified.record_written(digest, &look());
        assert!(verified.contains(&digest, &look()));
        let old = std::fs::metadata("/proc/self/exe").unwrap();
        verified.record_read(digest, &old);
        assert!(verified.contains(&digest, &old));
    }
}
