//! Uploads on disk: the bytes in `tmp/uploads/ID`, and beside them in `ID.json` how many of them were
//! hashed and the state of the hash.

use std::collections::{BTreeSet, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use eyot_core::{Error, Result, ResultExt as _};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use super::{Directory, sync_dir};
use crate::content::Hashes;
use crate::upload::{busy, unknown};
use crate::{Algorithm, Blob, ContentDigest, Upload, UploadId, blocking, check_expected};

/// What `ID.json` holds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    version: u32,
    received: u64,
    sha256: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sha512: Option<String>,
}

const VERSION: u32 = 1;

/// An upload that a request works on.
pub(super) struct Session {
    store: Directory,
    id: UploadId,
    state: Working,
    early: Arc<Early>,
    /// What was handed over to be written, written or not.
    received: u64,
}

/// The file and the hashes, here or with the thread that writes the last piece.
enum Working {
    Here(Box<State>),
    Away(JoinHandle<Result<Box<State>>>),
    /// A write failed: what is on disk is not known.
    Broken,
}

struct State {
    file: File,
    hashes: Hashes,
    received: u64,
    /// Held until the last write has ended, also by a thread whose request is gone.
    _turn: Turn,
}

/// Has the disk write what has arrived while the rest arrives, or all of it would be waited for at the end.
#[derive(Default)]
struct Early(Mutex<(u64, Option<JoinHandle<()>>)>);

/// Bytes that are handed to the disk at once.
const EARLY: u64 = 16 << 20;

impl Early {
    /// So many bytes more were written to `path`.
    fn add(&self, length: u64, path: PathBuf) {
        let mut early = self.0.lock();
        let (waiting, at_work) = &mut *early;
        *waiting += length;
        if *waiting < EARLY || at_work.as_ref().is_some_and(|task| !task.is_finished()) {
            return;
        }
        *waiting = 0;
        *at_work = Some(tokio::task::spawn_blocking(move || {
            // By another opening of the file: an error that the disk meets is told to each opening once, and
            // must not be missed by the one that is synchronised before the blob gets its name.
            let _ = File::open(path).and_then(|file| file.sync_data());
        }));
    }

    /// Returns when nothing holds the file any more.
    async fn ended(&self) {
        let at_work = self.0.lock().1.take();
        if let Some(task) = at_work {
            drop(task.await);
        }
    }
}

/// Uploads that are being written to: two writers of one file would spoil it.
pub(super) type Busy = Arc<Mutex<HashSet<UploadId>>>;

struct Turn(Busy, UploadId);

impl Turn {
    fn take(busy_uploads: &Busy, id: UploadId) -> Result<Self> {
        if busy_uploads.lock().insert(id) { Ok(Self(busy_uploads.clone(), id)) } else { Err(busy(id)) }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.lock().remove(&self.1);
    }
}

/// What a killed process left: everything but uploads, which are whole again from their last save.
pub(super) fn sweep(tmp: &Path) -> Result<()> {
    let uploads = tmp.join("uploads");
    for entry in entries(tmp)?.into_iter().filter(|path| *path != uploads) {
        let removed = if entry.is_dir() { fs::remove_dir_all(&entry) } else { fs::remove_file(&entry) };
        removed.context(|| format!("cannot clean {}", entry.display()))?;
    }
    for path in entries(&uploads)? {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let (id, partner) = match name.strip_suffix(".json") {
            Some(id) => (id.to_owned(), uploads.join(id)),
            None => (name.clone(), uploads.join(format!("{name}.json"))),
        };
        if id.parse::<UploadId>().is_err() || !partner.is_file() {
            fs::remove_file(&path).context(|| format!("cannot clean {}", path.display()))?;
        }
    }
    Ok(())
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    match fs::read_dir(dir) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(Error::from(error).context(format!("cannot look into {}", dir.display()))),
    }
}

impl Directory {
    fn upload_file(&self, id: UploadId) -> PathBuf {
        self.0.root.join("tmp/uploads").join(id.to_string())
    }

    fn upload_state(&self, id: UploadId) -> PathBuf {
        self.0.root.join("tmp/uploads").join(format!("{id}.json"))
    }

    pub(super) fn create_upload(&self, id: UploadId, algorithm: Algorithm) -> Result<Session> {
        let turn = Turn::take(&self.0.busy, id)?;
        let file = OpenOptions::new().write(true).create_new(true).open(self.upload_file(id));
        let file = file.context(|| "cannot start an upload".to_owned())?;
        let state = State { file, hashes: Hashes::new(algorithm), received: 0, _turn: turn };
        write_state(self, id, &state)?;
        Ok(Session::new(self, id, state))
    }

    pub(super) fn reopen_upload(&self, id: UploadId) -> Result<Session> {
        let turn = Turn::take(&self.0.busy, id)?;
        let saved = read_state(self, id)?;
        let hashes = Hashes::restore(&saved.sha256, saved.sha512.as_deref()).ok_or_else(|| unknown(id))?;
        let mut file = OpenOptions::new().write(true).open(self.upload_file(id)).map_err(|_| unknown(id))?;
        let length = file.metadata()?.len();
        if length < saved.received {
            return Err(unknown(id));
        }
        if length > saved.received {
            // Bytes past the last save belong to a request that never ended: they were not hashed.
            file.set_len(saved.received)?;
        }
        file.seek(SeekFrom::Start(saved.received))?;
        let state = State { file, hashes, received: saved.received, _turn: turn };
        Ok(Session::new(self, id, state))
    }

    pub(super) fn upload_length(&self, id: UploadId) -> Result<u64> {
        read_state(self, id).map(|saved| saved.received)
    }

    pub(super) fn remove_upload(&self, id: UploadId) -> Result<bool> {
        let _turn = Turn::take(&self.0.busy, id)?;
        remove(&self.upload_state(id))?;
        remove(&self.upload_file(id))
    }

    pub(super) fn upload_ids(&self) -> Result<BTreeSet<UploadId>> {
        let names = entries(&self.0.root.join("tmp/uploads"))?;
        Ok(names.iter().filter_map(|path| path.file_name()?.to_str()?.parse().ok()).collect())
    }
}

fn remove(path: &Path) -> Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::from(error).context(format!("cannot remove {}", path.display()))),
    }
}

fn read_state(store: &Directory, id: UploadId) -> Result<Saved> {
    let text = fs::read(store.upload_state(id)).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => unknown(id),
        _ => error.into(),
    })?;
    // A power cut may leave an empty file: that upload never got far enough to be promised.
    let saved: Saved = serde_json::from_slice(&text).map_err(|_| unknown(id))?;
    if saved.version == VERSION { Ok(saved) } else { Err(unknown(id)) }
}

/// The bytes first, then the note of how many they are: a note of bytes that a power cut took away
/// would make a blob of zeros under a good digest.
fn write_state(store: &Directory, id: UploadId, state: &State) -> Result<()> {
    if state.received > 0 {
        state.file.sync_data()?;
    }
    let (sha256, sha512) = state.hashes.save();
    let saved = Saved { version: VERSION, received: state.received, sha256, sha512 };
    let text = serde_json::to_vec(&saved).map_err(|error| Error::internal("no JSON").because(error))?;
    let path = store.upload_state(id);
    let fresh = path.with_extension("json.new");
    fs::write(&fresh, text).context(|| "cannot note an upload's state".to_owned())?;
    fs::rename(&fresh, &path).map_err(Error::from)
}

impl Session {
    fn new(store: &Directory, id: UploadId, state: State) -> Self {
        let (store, received, early) = (store.clone(), state.received, Arc::default());
        Self { store, id, state: Working::Here(Box::new(state)), early, received }
    }

    async fn state(&mut self) -> Result<Box<State>> {
        match std::mem::replace(&mut self.state, Working::Broken) {
            Working::Here(state) => Ok(state),
            Working::Away(task) => {
                task.await.map_err(|error| Error::internal("file work ended early").because(error))?
            }
            Working::Broken => Err(Error::internal("a write to this upload failed before")),
        }
    }
}

#[async_trait]
impl Upload for Session {
    fn received(&self) -> u64 {
        self.received
    }

    async fn append(&mut self, pieces: Vec<Bytes>) -> Result<()> {
        let mut state = self.state().await?;
        let length = pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
        self.received += length;
        let (store, path, early) = (self.store.clone(), self.store.upload_file(self.id), self.early.clone());
        // The next piece is received while this one is hashed and written.
        self.state = Working::Away(tokio::task::spawn_blocking(move || {
            store.room_for(length)?;
            for piece in pieces {
                state.file.write_all(&piece).context(|| "cannot write an upload".to_owned())?;
                state.hashes.update(&piece);
                state.received += piece.len() as u64;
            }
            early.add(length, path);
            Ok(state)
        }));
        Ok(())
    }

    async fn save(&mut self) -> Result<()> {
        let state = self.state().await?;
        let (store, id) = (self.store.clone(), self.id);
        let state = blocking(move || write_state(&store, id, &state).map(|()| state)).await?;
        self.state = Working::Here(state);
        Ok(())
    }

    async fn finish(mut self: Box<Self>, expected: &ContentDigest) -> Result<Blob> {
        let state = self.state().await?;
        let (store, id, expected) = (self.store.clone(), self.id, *expected);
        blocking(move || keep(&store, id, *state, &expected)).await
    }

    async fn discard(mut self: Box<Self>) -> Result<()> {
        // Whatever became of the last write, it has ended after this.
        drop(self.state().await);
        self.early.ended().await;
        let (store, id) = (self.store.clone(), self.id);
        blocking(move || store.remove_upload(id).map(drop)).await
    }
}

fn keep(store: &Directory, id: UploadId, state: State, expected: &ContentDigest) -> Result<Blob> {
    let State { file, hashes, received, _turn } = state;
    let path = store.upload_file(id);
    let (digest, sha512) = hashes.finish();
    let found = match (expected, sha512) {
        (ContentDigest::Sha256(_), _) => ContentDigest::Sha256(digest),
        (ContentDigest::Sha512(_), Some(sha512)) => sha512,
        (ContentDigest::Sha512(_), None) => sha512_of(&path)?,
    };
    if let Err(error) = check_expected(Some(expected), &found) {
        remove(&store.upload_state(id))?;
        remove(&path)?;
        return Err(error);
    }
    file.sync_all()?;
    // Over a blob that is here already too: its bytes may have been damaged since.
    fs::rename(&path, store.blob(&digest)).context(|| format!("cannot keep blob {digest}"))?;
    sync_dir(&store.0.root.join("blobs/sha256"))?;
    store.0.known.note_written(digest, &file.metadata()?);
    remove(&store.upload_state(id))?;
    Ok(Blob { digest, size: received })
}

fn sha512_of(path: &Path) -> Result<ContentDigest> {
    let mut file = File::open(path)?;
    let mut hasher = HashWriter(Hashes::new(Algorithm::Sha512));
    std::io::copy(&mut file, &mut hasher)?;
    hasher.0.finish().1.ok_or_else(|| Error::internal("no sha512 was made"))
}

struct HashWriter(Hashes);

impl std::io::Write for HashWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
