//! Files that are there whole after a power cut, and are what they were.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;

use eyot_core::{Digester, Error, Result, ResultExt as _};

use super::document::BackupFile;
use crate::durable_files::sync_folder_of;

const BUFFER_BYTES: usize = 1 << 20;

/// Copies a file, durably; answers what it holds under the path `name`.
pub(super) fn copy(from: &Path, into: &Path, name: &str) -> Result<BackupFile> {
    let copied = copy_durably(from, into, name);
    copied.context(|| format!("cannot copy {} to {}", from.display(), into.display()))
}

fn copy_durably(from: &Path, into: &Path, name: &str) -> Result<BackupFile> {
    if let Some(folder) = into.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let (mut source, mut target) = (File::open(from)?, File::create(into)?);
    let copied = hash(&mut source, |bytes| target.write_all(bytes).map_err(Error::from), name)?;
    target.sync_all()?;
    sync_folder_of(into)?;
    Ok(copied)
}

/// Copies a file that must be the one that a backup says.
///
/// Fails with `Corrupt` naming it where it is another.
pub(super) fn copy_checked(from: &Path, into: &Path, expected: &BackupFile) -> Result<()> {
    check(copy(from, into, &expected.path)?, from, expected)
}

/// Looks whether a file is the one that a backup says.
pub(super) fn check_file(file: &Path, expected: &BackupFile) -> Result<()> {
    check(describe(file, &expected.path)?, file, expected)
}

fn check(found: BackupFile, file: &Path, expected: &BackupFile) -> Result<()> {
    if found == *expected {
        return Ok(());
    }
    Err(Error::corrupt(format!(
        "{} is damaged: it is {}, and {} was written",
        file.display(),
        found.digest,
        expected.digest
    ))
    .hint("restore another backup"))
}

/// What a file that is there holds, made durable.
pub(super) fn describe(file: &Path, name: &str) -> Result<BackupFile> {
    let mut source = File::open(file).context(|| format!("cannot read {}", file.display()))?;
    source.sync_all()?;
    hash(&mut source, |_| Ok(()), name).context(|| format!("cannot read {}", file.display()))
}

fn hash(source: &mut File, mut each: impl FnMut(&[u8]) -> Result<()>, name: &str) -> Result<BackupFile> {
    let (mut digester, mut bytes) = (Digester::new(), 0);
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let length = source.read(&mut buffer)?;
        let Some(read @ [_, ..]) = buffer.get(..length) else {
            return Ok(BackupFile { path: name.to_owned(), bytes, digest: digester.finish() });
        };
        digester.update(read);
        each(read)?;
        bytes += length as u64;
    }
}
