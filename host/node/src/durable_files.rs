//! Files that are there after a power cut once they were said to be.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use eyot_core::{Error, Result, ResultExt as _};

/// Writes a small file so that a crash leaves the old one or the new one.
pub(crate) fn write_durably(file: &Path, bytes: &[u8]) -> Result<()> {
    replace(file, bytes).context(|| format!("cannot write {}", file.display()))
}

fn replace(file: &Path, bytes: &[u8]) -> Result<()> {
    let mut fresh = tempfile::NamedTempFile::new_in(file.parent().unwrap_or(Path::new(".")))?;
    fresh.write_all(bytes)?;
    fresh.as_file().sync_all()?;
    fresh.persist(file).map_err(|error| error.error)?;
    sync_folder_of(file)
}

/// Makes durable which files lie beside this one.
pub(crate) fn sync_folder_of(file: &Path) -> Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(Error::from)
}
