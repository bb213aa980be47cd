//! How a backup is written: everything first, and last what says that it is whole.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use eyot_api::ApiClient;
use eyot_core::{ByteCount, Clock as _, Digest, Error, Result, ResultExt as _, SystemClock};
use eyot_meta::{RowSnapshot, TableSummary};
use eyot_oci::{HeldSnapshot, read_pins, recorded_blobs};
use eyot_store::{Blob, BlobStore as _, DirectoryStore, TransferReport, transfer_blobs};
use serde::Serialize;

use super::document::{BackupDocument, BackupFile};
use super::files::{copy, describe};
use super::folder::BackupFolder;
use super::guest_files::copy_guest_files;
use crate::durable_files::{sync_folder_of, write_durably};
use crate::platform::SNAPSHOT_FOLDER;

const BLOB_LIST: &str = "blobs.txt";
/// What is left free on the disk of a backup: nobody else's writes depend on it.
const RESERVE: ByteCount = ByteCount(1);

/// What a backup holds, and what of it came with this one.
#[derive(Debug, Serialize)]
pub(crate) struct BackupReport {
    pub(crate) backup: PathBuf,
    pub(crate) rows: u64,
    pub(crate) blobs: u64,
    pub(crate) blob_bytes: u64,
    pub(crate) copied_blobs: u64,
    pub(crate) copied_bytes: u64,
    pub(crate) guest_files: u64,
    pub(crate) missing_blobs: Vec<Digest>,
}

/// Writes a backup of a data folder, of which `client` asks whoever has it open. What the folder holds of an earlier
/// backup is not copied again, and stays until this one is whole.
pub(crate) async fn write_backup(
    folder: &BackupFolder,
    data: &Path,
    client: &ApiClient,
    progress: impl Fn(u64),
) -> Result<BackupReport> {
    let before = folder.document()?.map(|document| document.snapshot);
    folder.remove_snapshots_except(before.as_deref())?;
    // Until it is dropped nothing that is copied is deleted.
    let held = client.snapshot().await?;
    let name = new_name(before.as_deref());
    let snapshot = folder.snapshot(&name);
    std::fs::create_dir_all(&snapshot).context(|| format!("cannot create {}", snapshot.display()))?;
    let [rows, pins] = HeldSnapshot::files();
    let from = data.join(SNAPSHOT_FOLDER);
    let rows = copy(&from.join(rows), &snapshot.join(rows), rows)?;
    let pins = copy(&from.join(pins), &snapshot.join(pins), pins)?;
    let guest_files = copy_guest_files(data, &snapshot)?;
    let store = DirectoryStore::read_only(&data.join("registry"));
    let blobs = store.list().await?;
    let blob_list = write_list(&snapshot.join(BLOB_LIST), &blobs)?;
    let (tables, missing_blobs) = look_at(&snapshot, &rows, &pins, &blobs).await?;
    let copied = copy_blobs(folder, &store, &blobs, progress).await?;
    sync_folder_of(&snapshot)?;
    let document = BackupDocument {
        created_at: SystemClock.now(),
        version: held.notice.version.clone(),
        snapshot: name.clone(),
        rows,
        tables,
        pins,
        blob_list,
        blobs: blobs.len() as u64,
        blob_bytes: blobs.iter().map(|blob| blob.size).sum(),
        missing_blobs,
        guest_files,
    };
    folder.complete(&document)?;
    drop(held);
    remove_surplus(folder, &name, &blobs).await?;
    Ok(report(folder, document, copied))
}

fn report(folder: &BackupFolder, document: BackupDocument, copied: TransferReport) -> BackupReport {
    BackupReport {
        backup: folder.root().to_owned(),
        rows: document.row_count(),
        blobs: document.blobs,
        blob_bytes: document.blob_bytes,
        copied_blobs: copied.blobs,
        copied_bytes: copied.bytes,
        guest_files: document.guest_files.len() as u64,
        missing_blobs: document.missing_blobs,
    }
}

/// A name that the snapshot before does not have, also where the clock was set back.
fn new_name(before: Option<&str>) -> String {
    let before = before.and_then(|name| name.parse::<i64>().ok()).unwrap_or_default();
    SystemClock.now().0.max(before + 1).to_string()
}

fn write_list(file: &Path, blobs: &[Blob]) -> Result<BackupFile> {
    let mut lines = String::new();
    for blob in blobs {
        writeln!(lines, "{} {}", blob.digest, blob.size)
            .map_err(|error| Error::internal("a blob has no text").because(error))?;
    }
    write_durably(file, lines.as_bytes())?;
    describe(file, BLOB_LIST)
}

/// Reads the list of a backup's blobs.
pub(super) fn read_list(file: &Path) -> Result<Vec<Blob>> {
    let text = std::fs::read_to_string(file).context(|| format!("cannot read {}", file.display()))?;
    let read = |line: &str| {
        let (digest, size) = line.split_once(' ')?;
        Some(Blob { digest: digest.parse().ok()?, size: size.parse().ok()? })
    };
    let blobs = text.lines().map(read).collect::<Option<Vec<_>>>();
    blobs.ok_or_else(|| Error::corrupt(format!("{} is no list of blobs", file.display())))
}

/// What the tables hold, and which blobs are named there or by a pin and are nowhere.
async fn look_at(
    snapshot: &Path,
    rows: &BackupFile,
    pins: &BackupFile,
    blobs: &[Blob],
) -> Result<(Vec<TableSummary>, Vec<Digest>)> {
    let copied = RowSnapshot::open(&snapshot.join(&rows.path)).await?;
    let tables = copied.summaries().await?;
    let recorded = recorded_blobs(copied.database()).await?;
    copied.close().await;
    let pinned = read_pins(&snapshot.join(&pins.path))?.into_iter().map(|pin| pin.digest);
    let named: BTreeSet<Digest> = recorded.into_iter().chain(pinned).collect();
    let is_here = |digest: &Digest| blobs.binary_search_by_key(digest, |blob| blob.digest).is_ok();
    Ok((tables, named.into_iter().filter(|digest| !is_here(digest)).collect()))
}

async fn copy_blobs(
    folder: &BackupFolder,
    store: &DirectoryStore,
    blobs: &[Blob],
    progress: impl Fn(u64),
) -> Result<TransferReport> {
    let into = DirectoryStore::open_leaving(&folder.registry(), RESERVE).await?;
    let copied = transfer_blobs(store, &into, blobs, progress).await;
    copied.map_err(|error| match error.kind() {
        eyot_core::ErrorKind::Corrupt => {
            error.hint("eyot gc --scrub puts damaged blobs aside; push them again from where they came")
        }
        _ => error,
    })
}

/// Removes what only earlier backups had.
async fn remove_surplus(folder: &BackupFolder, name: &str, blobs: &[Blob]) -> Result<()> {
    folder.remove_snapshots_except(Some(name))?;
    let store = DirectoryStore::open_leaving(&folder.registry(), RESERVE).await?;
    for blob in store.list().await? {
        if blobs.binary_search_by_key(&blob.digest, |known| known.digest).is_err() {
            store.delete(&blob.digest).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_list_reads_back_and_a_name_is_new() {
        let dir = tempfile::tempdir().unwrap();
        let blobs: Vec<_> = ["a", "b"].map(|text| Blob { digest: Digest::of(text), size: 1 }).into();
        let file = dir.path().join(BLOB_LIST);
        write_list(&file, &blobs).unwrap();
        assert_eq!(read_list(&file).unwrap(), blobs);
        std::fs::write(&file, "sha256:0 1\n").unwrap();
        assert!(read_list(&file).unwrap_err().chain().contains(BLOB_LIST));
        let later = i64::MAX - 5;
        assert_eq!(new_name(Some(&later.to_string())), (later + 1).to_string());
        assert_ne!(new_name(None), new_name(Some(&new_name(None))));
    }
}
