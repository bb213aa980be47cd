//! How a backup becomes a data folder again: rows last, and nothing of it is opened before all of it is checked.

use std::path::{Path, PathBuf};

use eyot_core::config::Config;
use eyot_core::{Error, Result, ResultExt as _};
use eyot_meta::{Database, RowSnapshot};
use eyot_oci::read_pins;
use eyot_store::{BlobStore as _, DirectoryStore, transfer_blobs};
use serde::Serialize;

use super::document::BackupDocument;
use super::files::{check_file, copy_checked};
use super::folder::BackupFolder;
use super::writing::read_list;
use crate::claimed_database::ClaimedDatabase;
use crate::durable_files::sync_folder_of;
use crate::folder::RestoringFolder;

const ROWS_FILE: &str = "eyot.db";

/// What was restored, all of it checked.
#[derive(Debug, Serialize)]
pub(crate) struct RestoreReport {
    pub(crate) data: PathBuf,
    pub(crate) rows: u64,
    pub(crate) blobs: u64,
    pub(crate) blob_bytes: u64,
    pub(crate) guest_files: u64,
    /// Entries of the audit log, whose chain is whole.
    pub(crate) log_entries: i64,
}

/// Restores a backup into an empty data folder; rows go to PostgreSQL where `storage.database` says so. A restore that
/// was cut off is gone on with.
///
/// Fails with `Conflict` where the folder or the database has anything in it, with `Corrupt` naming what is damaged.
pub(crate) async fn restore(
    backup: &BackupFolder,
    document: &BackupDocument,
    config: &Config,
    progress: impl Fn(u64),
) -> Result<RestoreReport> {
    let dir = &config.data.dir;
    let restoring = RestoringFolder::begin(dir, &document.rows.digest)?;
    let target = match target(config, restoring.is_resumed).await {
        Err(error) if !restoring.is_resumed => {
            // Nothing was brought here yet.
            restoring.finish()?;
            return Err(error);
        }
        target => target?,
    };
    let snapshot = backup.snapshot(&document.snapshot);
    copy_blobs(backup, document, dir, &snapshot, progress).await?;
    for file in &document.guest_files {
        file.check_path()?;
        copy_checked(&snapshot.join(&file.path), &dir.join(&file.path), file)?;
    }
    let log_entries = restore_rows(document, &snapshot, dir, target).await?;
    sync_folder_of(&dir.join(ROWS_FILE))?;
    restoring.finish()?;
    Ok(RestoreReport {
        data: dir.clone(),
        rows: document.row_count(),
        blobs: document.blobs,
        blob_bytes: document.blob_bytes,
        guest_files: document.guest_files.len() as u64,
        log_entries,
    })
}

async fn target(config: &Config, is_resumed: bool) -> Result<Option<ClaimedDatabase>> {
    let url = &config.storage.database;
    if url.is_empty() {
        return Ok(None);
    }
    let target = ClaimedDatabase::connect(url).await?;
    if !is_resumed {
        target.db.check_unused().await?;
    }
    Ok(Some(target))
}

async fn copy_blobs(
    backup: &BackupFolder,
    document: &BackupDocument,
    dir: &Path,
    snapshot: &Path,
    progress: impl Fn(u64),
) -> Result<()> {
    let (list, pins) = (snapshot.join(&document.blob_list.path), snapshot.join(&document.pins.path));
    check_file(&list, &document.blob_list)?;
    check_file(&pins, &document.pins)?;
    let from = DirectoryStore::read_only(&backup.registry());
    let into = DirectoryStore::open(&dir.join("registry")).await?;
    transfer_blobs(&from, &into, &read_list(&list)?, progress)
        .await
        .context(|| format!("the backup in {} is not whole", backup.root().display()))?;
    for pin in read_pins(&pins)? {
        if !document.missing_blobs.contains(&pin.digest) {
            into.pin(&pin.digest, &pin.owner).await?;
        }
    }
    Ok(())
}

/// Rows as SQLite first, whatever they go to: so they are checked as they were written, and brought up to date.
async fn restore_rows(
    document: &BackupDocument,
    snapshot: &Path,
    dir: &Path,
    target: Option<ClaimedDatabase>,
) -> Result<i64> {
    let file = dir.join(ROWS_FILE);
    remove_database(&file)?;
    copy_checked(&snapshot.join(&document.rows.path), &file, &document.rows)?;
    let copied = RowSnapshot::open(&file).await?;
    let tables = copied.summaries().await?;
    copied.close().await;
    if let Some(wrong) = document.tables.iter().find(|table| !tables.contains(table)) {
        return Err(Error::corrupt(format!("table {} is not what was written", wrong.name)));
    }
    let db = Database::open(&file).await?;
    let checked = db.check_audit().await;
    let moved = match (&checked, &target) {
        (Ok(_), Some(target)) => move_rows(&db, target).await,
        _ => Ok(()),
    };
    db.close().await;
    let entries = checked?.iter().map(|log| log.entries).sum();
    moved?;
    if let Some(target) = target {
        target.db.close().await;
        remove_database(&file)?;
    }
    Ok(entries)
}

async fn move_rows(db: &Database, target: &ClaimedDatabase) -> Result<()> {
    // An earlier restore may have ended after its commit.
    if target.db.has_rows_of(db).await? {
        return Ok(());
    }
    db.copy_into(&target.db).await.map(drop)
}

/// Removes a SQLite database, which a restore that was cut off left.
pub(crate) fn remove_database(file: &Path) -> Result<()> {
    for ending in ["", "-wal", "-shm"] {
        let mut path = file.as_os_str().to_owned();
        path.push(ending);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}
