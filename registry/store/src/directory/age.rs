//! When blobs were written.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use eyot_core::{Digest, Result};

/// The blobs of a folder that got their names longer ago than that, by digest.
pub(super) fn older_than(dir: &Path, age: Duration) -> Result<Vec<Digest>> {
    let now = SystemTime::now();
    let mut blobs = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        // A file with another name is no blob of ours; other tools may share the layout.
        let Ok(digest) = format!("sha256:{}", entry.file_name().to_string_lossy()).parse() else { continue };
        // A blob that is deleted meanwhile is none.
        let Ok(found) = entry.metadata() else { continue };
        if now.duration_since(named(&found)).is_ok_and(|since| since > age) {
            blobs.push(digest);
        }
    }
    blobs.sort();
    Ok(blobs)
}

/// The time at which a file was last written or renamed, which no tool sets back.
fn named(file: &Metadata) -> SystemTime {
    let seconds = u64::try_from(file.ctime()).unwrap_or_default();
    UNIX_EPOCH + Duration::new(seconds, u32::try_from(file.ctime_nsec()).unwrap_or_default())
}
