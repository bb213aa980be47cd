//! The folder of a backup: whose it is, and which snapshot in it is whole.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use eyot_core::{Error, Result, ResultExt as _, read_stored, write_stored};

use super::document::BackupDocument;
use crate::durable_files::write_durably;

const DOCUMENT_FILE: &str = "backup.json";
const LOCK_FILE: &str = "backup.lock";
const SNAPSHOTS_FOLDER: &str = "snapshots";
const REGISTRY_FOLDER: &str = "registry";

/// A backup's folder, which nobody else writes to meanwhile.
pub(crate) struct BackupFolder {
    root: PathBuf,
    _lock: Option<File>,
}

impl BackupFolder {
    /// Opens a folder to write a backup into, making it if it is not there.
    ///
    /// Fails with `Conflict` where it holds anything else, and with `Unsupported` where a newer Eyot wrote it.
    pub(crate) fn for_writing(root: &Path, data: &Path) -> Result<Self> {
        std::fs::create_dir_all(root).context(|| format!("cannot create {}", root.display()))?;
        check_apart(root, data)?;
        check_own(root)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(root.join(LOCK_FILE));
        let file = file.context(|| format!("cannot write to {}", root.display()))?;
        locked(file.try_lock(), root)?;
        let folder = Self { root: root.to_owned(), _lock: Some(file) };
        folder.document()?;
        Ok(folder)
    }

    /// Opens a backup to read it.
    ///
    /// Fails with `NotFound` where there is no whole one.
    pub(crate) fn for_reading(root: &Path) -> Result<(Self, BackupDocument)> {
        // It may lie where nobody may write.
        let lock = File::open(root.join(LOCK_FILE)).ok();
        if let Some(lock) = &lock {
            locked(lock.try_lock_shared(), root)?;
        }
        let folder = Self { root: root.to_owned(), _lock: lock };
        let document = folder.document()?.ok_or_else(|| {
            let begun = root.join(SNAPSHOTS_FOLDER).exists();
            let error = match begun {
                true => format!("the backup in {} was cut off before it was whole", root.display()),
                false => format!("there is no backup in {}", root.display()),
            };
            Error::not_found(error).hint(format!("eyot backup {} makes one", root.display()))
        })?;
        Ok((folder, document))
    }

    /// What the last whole backup says, if there is one.
    pub(crate) fn document(&self) -> Result<Option<BackupDocument>> {
        let file = self.root.join(DOCUMENT_FILE);
        match std::fs::read_to_string(&file) {
            Ok(text) => read_stored(&text).map(Some).context(|| format!("cannot read {}", file.display())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::from(error).context(format!("cannot read {}", file.display()))),
        }
    }

    /// A snapshot is whole from here on, and the one before it is none any more.
    pub(crate) fn complete(&self, document: &BackupDocument) -> Result<()> {
        write_durably(&self.root.join(DOCUMENT_FILE), write_stored(document)?.as_bytes())
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where the blobs are.
    pub(crate) fn registry(&self) -> PathBuf {
        self.root.join(REGISTRY_FOLDER)
    }

    /// Where the files of a snapshot are.
    pub(crate) fn snapshot(&self, name: &str) -> PathBuf {
        self.root.join(SNAPSHOTS_FOLDER).join(name)
    }

    /// Removes every snapshot but one: those that were cut off, and those that another came after.
    pub(crate) fn remove_snapshots_except(&self, kept: Option<&str>) -> Result<()> {
        let snapshots = self.root.join(SNAPSHOTS_FOLDER);
        let entries = match std::fs::read_dir(&snapshots) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        for entry in entries {
            let entry = entry?;
            if kept.is_none_or(|kept| entry.file_name() != kept) {
                std::fs::remove_dir_all(entry.path())
                    .context(|| format!("cannot remove {}", entry.path().display()))?;
            }
        }
        Ok(())
    }
}

fn locked(tried: std::result::Result<(), TryLockError>, root: &Path) -> Result<()> {
    match tried {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => {
            Err(Error::conflict(format!("another command works on the backup in {}", root.display()))
                .hint("wait until it has ended"))
        }
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

/// A backup in what it is a backup of is lost with it; and a data folder in a backup would be no part of it.
fn check_apart(root: &Path, data: &Path) -> Result<()> {
    let (root, data) = (root.canonicalize()?, data.canonicalize()?);
    if !root.starts_with(&data) && !data.starts_with(&root) {
        return Ok(());
    }
    let (root, data) = (root.display(), data.display());
    Err(Error::invalid(format!("the backup {root} and the data folder {data} lie in each other"))
        .hint("name a folder elsewhere, best on another disk"))
}

fn check_own(root: &Path) -> Result<()> {
    let own = BTreeSet::from([DOCUMENT_FILE, LOCK_FILE, SNAPSHOTS_FOLDER, REGISTRY_FOLDER]);
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(root)? {
        names.insert(entry?.file_name().to_string_lossy().into_owned());
    }
    // A temporary file is what a document was before it was renamed.
    let other = names.iter().find(|name| !own.contains(name.as_str()) && !name.starts_with(".tmp"));
    let is_begun = names.is_empty() || names.contains(LOCK_FILE) || names.contains(DOCUMENT_FILE);
    match other.or_else(|| names.first().filter(|_| !is_begun)) {
        None => Ok(()),
        Some(name) => Err(Error::conflict(format!("{} is no backup: {name} lies in it", root.display()))
            .hint("name an empty folder, or one that eyot backup wrote")),
    }
}
