//! What is left free on a disk, so that whoever owns it can still write when others may not.

use std::path::{Path, PathBuf};

use eyot_core::{ByteCount, Error, Result};

/// Bytes of a disk that blobs and whatever guests keep leave free. The server's own database may use them:
/// names are removed by writing to it, so a disk that is full to the last byte could never be emptied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskReserve {
    folder: PathBuf,
    bytes: u64,
}

/// The least that is kept, and the most where nobody says how much.
const DEFAULT_BYTES: (u64, u64) = (8 << 20, 256 << 20);
/// By default the reserve is a twentieth of the disk.
const DISK_TO_RESERVE_RATIO: u64 = 20;

impl DiskReserve {
    /// On the disk of that folder, which is there; 0 bytes is a twentieth of the disk, within 8 and 256 MiB.
    pub fn new(folder: &Path, bytes: ByteCount) -> Result<Self> {
        let folder = folder.to_owned();
        if bytes.0 > 0 {
            return Ok(Self { folder, bytes: bytes.0 });
        }
        let disk = rustix::fs::statvfs(&folder).map_err(std::io::Error::from)?;
        let size = disk.f_blocks.saturating_mul(disk.f_frsize);
        let bytes = (size / DISK_TO_RESERVE_RATIO).clamp(DEFAULT_BYTES.0, DEFAULT_BYTES.1);
        Ok(Self { folder, bytes })
    }

    /// Bytes that may be written before the reserve begins.
    pub fn left(&self) -> Result<u64> {
        Ok(self.free()?.saturating_sub(self.bytes))
    }

    /// Fails with `Full` when so many bytes more would not leave the reserve.
    pub fn check(&self, length: u64) -> Result<()> {
        let free = self.free()?;
        if free >= self.bytes.saturating_add(length) {
            return Ok(());
        }
        let (left, kept) = (free >> 20, self.bytes >> 20);
        Err(Error::full(format!(
            "the disk of {} is full: {left} MiB are left, of which {kept} are kept for the server (data.reserve)",
            self.folder.display()
        ))
        .hint("make room on the disk; eyot gc removes what nothing uses"))
    }

    fn free(&self) -> Result<u64> {
        let disk = rustix::fs::statvfs(&self.folder).map_err(std::io::Error::from)?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_is_kept_is_not_given() {
        let dir = tempfile::tempdir().unwrap();
        let disk = DiskReserve::new(dir.path(), ByteCount(1)).unwrap();
        disk.check(1).unwrap();
        let all = disk.free().unwrap();
        let nothing = DiskReserve::new(dir.path(), ByteCount(all.saturating_mul(2))).unwrap();
        assert_eq!(nothing.left().unwrap(), 0);
        let full = nothing.check(0).unwrap_err();
        assert!(
            full.kind() == eyot_core::ErrorKind::Full && full.chain().contains("data.reserve"),
            "{full:?}"
        );
        let usual = DiskReserve::new(dir.path(), ByteCount(0)).unwrap();
        assert!(usual.bytes >= DEFAULT_BYTES.0 && usual.bytes <= DEFAULT_BYTES.1);
    }
}
