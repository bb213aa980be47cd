//! Who works on a data folder: one process at a time, which `FolderLock` sees to; and where a server on it answers,
//! which `AnnouncedServer` says and `server` finds out.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use eyot_access::LocalSecret;
use eyot_core::{Digest, Error, Result, ResultExt};
use eyot_http::ServerTrust;
use serde::{Deserialize, Serialize};

use crate::durable_files::{sync_folder_of, write_durably};
use crate::output::aside;

/// Where a running server answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RunningServer {
    pub(crate) pid: u32,
    pub(crate) api: String,
    pub(crate) gateway: String,
    /// The control plane's certificate, if it speaks TLS: commands on this folder know it by that,
    /// whatever names are in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) certificate: Option<Digest>,
}

impl RunningServer {
    /// Whom to believe to be this server.
    pub(crate) fn trust(&self) -> ServerTrust {
        self.certificate.map_or(ServerTrust::System, ServerTrust::Exactly)
    }
}

/// What stands in the file beside the lock.
#[derive(Serialize, Deserialize)]
pub(crate) struct ReachableServer {
    #[serde(flatten)]
    pub(crate) running: RunningServer,
    /// See [`LocalSecret`]; the file is readable by the folder's owner alone.
    #[serde(default)]
    pub(crate) secret: String,
}

/// Held by whoever works on the folder.
const LOCK_FILE: &str = "lock";
/// Held by a server from its first moment until it answers.
const STARTING_FILE: &str = "starting";
/// There while what a backup holds is brought here.
const RESTORING_FILE: &str = "restoring";
/// What may lie in a folder that nobody has worked on.
const UNUSED_FILES: [&str; 3] = [LOCK_FILE, STARTING_FILE, "cache"];
/// Where a server answers.
const ADDRESS_FILE: &str = "server.json";

/// How long a server may take to start, while those who need it wait: it loads every deployment.
const START_TIMEOUT: Duration = Duration::from_secs(600);
/// How long a server waits for a command that works on the folder.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);
/// Who waits for longer says so.
const NOTE_DELAY: Duration = Duration::from_secs(1);

/// The server that has the data folder open, if one does; one that is starting is waited for.
///
/// Fails with `Unavailable` when it does not come to answer.
pub(crate) async fn server(dir: &Path) -> Result<Option<ReachableServer>> {
    wait_for_start(dir).await?;
    running(dir)
}

/// Whether a server has the data folder, or is about to.
pub(crate) fn has_server(dir: &Path) -> Result<bool> {
    Ok(is_starting(dir)? || running(dir)?.is_some())
}

/// Returns when no server is starting on the folder: it answers, or has given up.
///
/// Fails with `Unavailable` when that takes too long.
pub(crate) async fn wait_for_start(dir: &Path) -> Result<()> {
    let file = match File::open(dir.join(STARTING_FILE)) {
        Ok(file) => file,
        // None has ever been started here.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let note = || format!("waiting for the server that is starting on {}", dir.display());
    let is_over = locked(file, LockMode::Shared, START_TIMEOUT, note).await?.is_some();
    is_over.then_some(()).ok_or_else(|| {
        Error::unavailable(format!("the server on {} is still starting", dir.display()))
            .hint("its log says what it does; try again when it answers")
    })
}

fn is_starting(dir: &Path) -> Result<bool> {
    match File::open(dir.join(STARTING_FILE)) {
        Ok(file) => is_held(&file),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn running(dir: &Path) -> Result<Option<ReachableServer>> {
    match File::open(dir.join(LOCK_FILE)) {
        Ok(file) if is_held(&file)? => {}
        Ok(_) => return Ok(None),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    // Held without an address: a command that works on the folder itself, or a server still starting.
    let text = match std::fs::read_to_string(dir.join(ADDRESS_FILE)) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    serde_json::from_str(&text)
        .map(Some)
        .map_err(|error| Error::corrupt(format!("{ADDRESS_FILE} cannot be read")).because(error))
}

fn is_held(file: &File) -> Result<bool> {
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

#[derive(Clone, Copy)]
enum LockMode {
    Shared,
    Exclusive,
}

/// The file once it is locked; none when it is not within `timeout`. Whoever waits for longer than a moment is told
/// what for.
async fn locked(
    file: File,
    mode: LockMode,
    timeout: Duration,
    note: impl FnOnce() -> String,
) -> Result<Option<File>> {
    let tried = match mode {
        LockMode::Shared => file.try_lock_shared(),
        LockMode::Exclusive => file.try_lock(),
    };
    match tried {
        Ok(()) => return Ok(Some(file)),
        Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(error)) => return Err(error.into()),
    }
    // A thread that waits in vain ends with the process.
    let mut waiting = tokio::task::spawn_blocking(move || {
        match mode {
            LockMode::Shared => file.lock_shared()?,
            LockMode::Exclusive => file.lock()?,
        }
        Ok::<_, std::io::Error>(file)
    });
    let done = match tokio::time::timeout(NOTE_DELAY, &mut waiting).await {
        Ok(done) => Ok(done),
        Err(_) => {
            aside(&note());
            tokio::time::timeout(timeout, waiting).await
        }
    };
    match done {
        Ok(file) => Ok(Some(file.map_err(|error| Error::internal("a wait ended early").because(error))??)),
        Err(_) => Ok(None),
    }
}

/// A server that does not answer yet. Dropped before it is announced, it has given up.
pub(crate) struct StartingServer {
    _file: File,
}

impl StartingServer {
    /// From here on commands on the folder wait for this server.
    pub(crate) async fn begin(dir: &Path) -> Result<Self> {
        let file = create(dir, STARTING_FILE)?;
        let note = || format!("waiting for another server that is starting on {}", dir.display());
        let file = locked(file, LockMode::Exclusive, START_TIMEOUT, note).await?;
        file.map(|file| Self { _file: file }).ok_or_else(|| in_use(dir))
    }

    /// Tells where it answers, until what this returns is dropped.
    pub(crate) fn announce(
        self,
        dir: &Path,
        running: &RunningServer,
        secret: &LocalSecret,
    ) -> Result<AnnouncedServer> {
        let path = dir.join(ADDRESS_FILE);
        let reachable = ReachableServer { running: running.clone(), secret: secret.reveal().to_owned() };
        let text = serde_json::to_string_pretty(&reachable)
            .map_err(|error| Error::internal("an address has no JSON form").because(error))?;
        // Temporary files are made for their owner's eyes only.
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        std::io::Write::write_all(&mut file, text.as_bytes())?;
        file.persist(&path).map_err(|error| Error::from(error.error))?;
        Ok(AnnouncedServer(path))
    }
}

/// A server of which commands know where it answers, until this is dropped.
pub(crate) struct AnnouncedServer(PathBuf);

impl Drop for AnnouncedServer {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The data folder's lock; the system lets go of it however the process ends.
pub(crate) struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Fails with `Conflict` when another process has the folder open.
    pub(crate) fn take(dir: &Path) -> Result<Self> {
        let lock = Self::take_unfinished(dir)?;
        check_finished(dir)?;
        Ok(lock)
    }

    /// Takes it also where a restore did not end.
    fn take_unfinished(dir: &Path) -> Result<Self> {
        let file = create(dir, LOCK_FILE)?;
        match file.try_lock() {
            Ok(()) => Ok(Self::taken(dir, file)),
            Err(TryLockError::WouldBlock) => Err(in_use(dir)),
            Err(TryLockError::Error(error)) => Err(error.into()),
        }
    }

    /// Waits for a command that works on the folder, or a server that is ending.
    ///
    /// Fails with `Conflict` when a server answers there, or when that takes too long.
    pub(crate) async fn take_when_free(dir: &Path) -> Result<Self> {
        if running(dir)?.is_some() {
            return Err(in_use(dir));
        }
        let note = || format!("waiting for a command that works on {}", dir.display());
        let file = locked(create(dir, LOCK_FILE)?, LockMode::Exclusive, COMMAND_TIMEOUT, note).await?;
        let lock = file.map(|file| Self::taken(dir, file)).ok_or_else(|| in_use(dir))?;
        check_finished(dir)?;
        Ok(lock)
    }

    fn taken(dir: &Path, file: File) -> Self {
        // A server that was killed could not take its address away.
        let _ = std::fs::remove_file(dir.join(ADDRESS_FILE));
        Self { _file: file }
    }
}

/// A folder into which a backup is brought. Until that is done, nobody else opens it, however this process ends.
pub(crate) struct RestoringFolder {
    marker: PathBuf,
    /// Whether an earlier restore of the same backup did not end.
    pub(crate) is_resumed: bool,
    _lock: FolderLock,
}

impl RestoringFolder {
    /// Begins to restore a backup, or goes on with it.
    ///
    /// Fails with `Conflict` where the folder has anything else in it, or is open in another process.
    pub(crate) fn begin(dir: &Path, backup: &Digest) -> Result<Self> {
        let lock = FolderLock::take_unfinished(dir)?;
        let marker = dir.join(RESTORING_FILE);
        let is_resumed = match std::fs::read_to_string(&marker) {
            Ok(text) if text == backup.to_string() => true,
            Ok(_) => {
                return Err(Error::conflict(format!(
                    "the restore of another backup into {} did not end",
                    dir.display()
                ))
                .hint("empty the folder, or name another one with --data"));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => false,
            Err(error) => return Err(error.into()),
        };
        if !is_resumed {
            check_unused(dir)?;
            write_durably(&marker, backup.to_string().as_bytes())?;
        }
        Ok(Self { marker, is_resumed, _lock: lock })
    }

    /// Everything is there, and durable.
    pub(crate) fn finish(self) -> Result<()> {
        std::fs::remove_file(&self.marker)?;
        sync_folder_of(&self.marker)
    }
}

fn check_unused(dir: &Path) -> Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        if !UNUSED_FILES.iter().any(|unused| name == *unused) {
            let (dir, name) = (dir.display(), name.display());
            return Err(Error::conflict(format!("the data folder {dir} is not empty: {name} lies in it"))
                .hint("name an empty folder with --data"));
        }
    }
    Ok(())
}

fn check_finished(dir: &Path) -> Result<()> {
    match dir.join(RESTORING_FILE).try_exists()? {
        false => Ok(()),
        true => Err(Error::conflict(format!(
            "a restore into the data folder {} did not end: what is there is not whole",
            dir.display()
        ))
        .hint("run eyot restore with the same backup again, or empty the folder")),
    }
}

fn in_use(dir: &Path) -> Error {
    Error::conflict(format!("the data folder {} is open in another process", dir.display()))
        .hint("talk to its server with --server URL, wait for it, or choose another folder with --data")
}

fn create(dir: &Path, name: &str) -> Result<File> {
    std::fs::create_dir_all(dir).context(|| format!("cannot create the data folder {}", dir.display()))?;
    let path = dir.join(name);
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
    file.context(|| format!("cannot open {}", path.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn running_at(api: &str) -> RunningServer {
        RunningServer { pid: 1, api: api.to_owned(), gateway: String::new(), certificate: None }
    }

    #[tokio::test]
    async fn a_server_that_is_starting_is_waited_for_and_one_that_gives_up_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        assert!(server(dir).await.unwrap().is_none());
        for gives_up in [true, false] {
            let starting = StartingServer::begin(dir).await.unwrap();
            assert!(has_server(dir).unwrap());
            let (asked, to) = (
                tokio::spawn({
                    let dir = dir.to_owned();
                    async move { server(&dir).await }
                }),
                dir,
            );
            let lock = FolderLock::take_when_free(to).await.unwrap();
            assert!(FolderLock::take(dir).is_err(), "one at a time");
            assert!(!asked.is_finished());
            if gives_up {
                drop((lock, starting));
                assert!(asked.await.unwrap().unwrap().is_none());
                assert!(!has_server(dir).unwrap());
                continue;
            }
            let announced = starting.announce(dir, &running_at("http://x"), &LocalSecret::random()).unwrap();
            assert_eq!(asked.await.unwrap().unwrap().unwrap().running.api, "http://x");
            assert!(
                FolderLock::take_when_free(dir).await.is_err(),
                "a server that answers is not waited for"
            );
            drop((announced, lock));
            assert!(server(dir).await.unwrap().is_none());
        }
    }

    #[tokio::test]
    async fn a_server_waits_for_a_command() {
        let dir = tempfile::tempdir().unwrap();
        let command = FolderLock::take(dir.path()).unwrap();
        let folder = dir.path().to_owned();
        let waiting = tokio::spawn(async move { FolderLock::take_when_free(&folder).await });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(command);
        assert!(waiting.await.unwrap().is_ok());
    }
}
