//! What components keep, and what was predicted: files of a data folder beside its rows and blobs.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use eyot_core::{Error, Result, ResultExt as _};
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::document::BackupFile;
use super::files::describe;
use crate::durable_files::sync_folder_of;

/// Folders of databases, and those of logs, to whose files nothing but lines is added.
const DATABASE_FOLDERS: [&str; 2] = ["key-values", "sqlite"];
const LOG_FOLDERS: [&str; 1] = ["predictions"];

/// How long a database may be locked by whoever writes to it.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// Copies them from a data folder, which others may work on, into a snapshot; each is consistent in itself.
pub(super) fn copy_guest_files(data: &Path, snapshot: &Path) -> Result<Vec<BackupFile>> {
    let mut copied = Vec::new();
    for folder in DATABASE_FOLDERS {
        for name in names(&data.join(folder), ".db")? {
            let path = format!("{folder}/{name}");
            let (from, into) = (data.join(&path), target(snapshot, &path)?);
            copy_database(&from, &into).context(|| format!("cannot copy {}", from.display()))?;
            copied.push(describe(&into, &path)?);
        }
    }
    for folder in LOG_FOLDERS {
        for name in names(&data.join(folder), ".jsonl")? {
            let path = format!("{folder}/{name}");
            let (from, into) = (data.join(&path), target(snapshot, &path)?);
            if copy_lines(&from, &into).context(|| format!("cannot copy {}", from.display()))? {
                copied.push(describe(&into, &path)?);
            }
        }
    }
    Ok(copied)
}

fn names(folder: &Path, ending: &str) -> Result<Vec<String>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(ending) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn target(snapshot: &Path, path: &str) -> Result<PathBuf> {
    let into = snapshot.join(path);
    if let Some(folder) = into.parent() {
        std::fs::create_dir_all(folder)?;
    }
    Ok(into)
}

/// Page by page in one read transaction, for which nobody waits. `VACUUM INTO` would evaluate what the component's
/// schema says of its indexes, and that is a stranger's.
fn copy_database(from: &Path, into: &Path) -> Result<()> {
    let failed = |error: rusqlite::Error| {
        let is_full = error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull);
        let text = error.to_string();
        if is_full { Error::full(text) } else { Error::internal(text) }
    };
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let source = Connection::open_with_flags(from, flags).map_err(failed)?;
    source.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
    let mut target = Connection::open(into).map_err(failed)?;
    let step = Backup::new(&source, &mut target).and_then(|backup| backup.step(-1)).map_err(failed)?;
    if step != StepResult::Done {
        return Err(Error::unavailable("the database is locked").hint("try again"));
    }
    target.close().map_err(|(_, error)| failed(error))?;
    sync_folder_of(into)
}

/// Copies the whole lines; `false` where the file is gone by now.
fn copy_lines(from: &Path, into: &Path) -> Result<bool> {
    let mut source = match File::open(from) {
        Ok(source) => source,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    let mut length = source.metadata()?.len();
    let mut last = [0];
    while length > 0 {
        source.seek(SeekFrom::Start(length - 1))?;
        source.read_exact(&mut last)?;
        if last == *b"\n" {
            break;
        }
        length -= 1;
    }
    source.rewind()?;
    let mut target = File::create(into)?;
    std::io::copy(&mut source.take(length), &mut target)?;
    target.flush()?;
    sync_folder_of(into)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn databases_are_copied_while_they_are_written_to_and_logs_by_whole_lines() {
        let (data, snapshot) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for folder in ["sqlite", "predictions"] {
            std::fs::create_dir(data.path().join(folder)).unwrap();
        }
        let open = Connection::open(data.path().join("sqlite/notes.db")).unwrap();
        open.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (n); INSERT INTO t VALUES (1); BEGIN; INSERT INTO t VALUES (2)")
            .unwrap();
        std::fs::write(data.path().join("predictions/iris.jsonl"), "{}\n{}\n{\"cut").unwrap();
        let copied = copy_guest_files(data.path(), snapshot.path()).unwrap();
        let paths: Vec<_> = copied.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["sqlite/notes.db", "predictions/iris.jsonl"]);
        let lines = std::fs::read_to_string(snapshot.path().join("predictions/iris.jsonl")).unwrap();
        assert_eq!(lines, "{}\n{}\n");
        let copy = Connection::open(snapshot.path().join("sqlite/notes.db")).unwrap();
        let sum: i64 = copy.query_row("SELECT SUM(n) FROM t", [], |row| row.get(0)).unwrap();
        assert_eq!(sum, 1, "what is not committed is not there");
        open.execute_batch("COMMIT").unwrap();
    }
}
