//! What a backup says of itself.

use std::path::{Component, Path};

use eyot_core::{Digest, Error, Result, StoredFormat, Timestamp};
use eyot_meta::TableSummary;
use serde::{Deserialize, Serialize};

/// `backup.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BackupDocument {
    pub(crate) created_at: Timestamp,
    /// The version of Eyot whose rows these are.
    pub(crate) version: String,
    /// The folder's name under `snapshots`.
    pub(crate) snapshot: String,
    /// A SQLite database, whatever the rows were in.
    pub(crate) rows: BackupFile,
    pub(crate) tables: Vec<TableSummary>,
    /// For whom each blob is pinned.
    pub(crate) pins: BackupFile,
    /// Every blob with its size, a line each.
    pub(crate) blob_list: BackupFile,
    pub(crate) blobs: u64,
    pub(crate) blob_bytes: u64,
    /// Blobs that rows or pins name and that were not in the data folder either.
    pub(crate) missing_blobs: Vec<Digest>,
    /// What lies beside rows and blobs: by its path in the data folder.
    pub(crate) guest_files: Vec<BackupFile>,
}

/// A file of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BackupFile {
    pub(crate) path: String,
    pub(crate) bytes: u64,
    pub(crate) digest: Digest,
}

impl StoredFormat for BackupDocument {
    const NAME: &'static str = "eyot.backup";
    const VERSION: u32 = 1;
}

impl BackupFile {
    /// Fails with `Corrupt` where the path leads out of the folder that it is in.
    pub(crate) fn check_path(&self) -> Result<()> {
        let is_plain = |part| matches!(part, Component::Normal(_));
        if Path::new(&self.path).components().all(is_plain) {
            return Ok(());
        }
        Err(Error::corrupt(format!("the backup names a file '{}'", self.path)))
    }
}

impl BackupDocument {
    /// Rows of all tables.
    pub(crate) fn row_count(&self) -> u64 {
        self.tables.iter().map(|table| table.rows).sum()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use eyot_core::{ErrorKind, read_stored, write_stored};

    use super::*;

    /// As the first version wrote it: what is there must be read for ever.
    const GOLDEN: &str = concat!(
        r#"{"format":"eyot.backup/1","created_at":1,"version":"0.1.0","snapshot":"2","#,
        r#""rows":{"path":"rows.db","bytes":3,"digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},"#,
        r#""tables":[{"name":"tags","rows":4,"hash":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}],"#,
        r#""pins":{"path":"pins.jsonl","bytes":0,"digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},"#,
        r#""blob_list":{"path":"blobs.txt","bytes":0,"digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},"#,
        r#""blobs":0,"blob_bytes":0,"missing_blobs":[],"guest_files":[]}"#,
    );

    #[test]
    fn no_path_leads_elsewhere() {
        for (path, is_good) in
            [("sqlite/notes.db", true), ("../x", false), ("/etc/x", false), ("a/../../x", false)]
        {
            let file = BackupFile { path: path.to_owned(), bytes: 0, digest: Digest::of("") };
            assert_eq!(file.check_path().is_ok(), is_good, "{path}");
        }
    }

    #[test]
    fn the_first_format_is_read_and_a_newer_one_is_refused_by_name() {
        let document: BackupDocument = read_stored(GOLDEN).unwrap();
        assert_eq!(document.row_count(), 4);
        assert_eq!(write_stored(&document).unwrap(), GOLDEN);
        let newer = read_stored::<BackupDocument>(&GOLDEN.replace("backup/1", "backup/2")).unwrap_err();
        assert_eq!(newer.kind(), ErrorKind::Unsupported);
        assert!(newer.chain().contains("eyot.backup/2"), "{newer:?}");
    }
}
