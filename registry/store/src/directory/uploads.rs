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

use super::{DirectoryStore, sync_dir};
use crate::content::HashState;
use crate::upload::{busy, unknown};
use crate::{Blob, BlobUpload, ContentDigest, DigestAlgorithm, UploadId, blocking, check_expected};

/// What `ID.json` holds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedUpload {
    version: u32,
    received: u64,
    sha256: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sha512: Option<String>,
}

const STATE_VERSION: u32 = 1;

/// An upload that a request writes to.
pub(super) struct DirectoryUpload {
    store: DirectoryStore,
    id: UploadId,
    state: WriteState,
    early_sync: Arc<EarlySync>,
    /// What was handed over to be written, written or not.
    received: u64,
}

/// The file and the hashes, here or on the thread that writes the last piece.
enum WriteState {
    Here(Box<UploadState>),
    Away(JoinHandle<Result<Box<UploadState>>>),
    /// A write failed: what is on disk is not known.
    Broken,
}

struct UploadState {
    file: File,
    hashes: HashState,
    received: u64,
    /// Held until the last write has ended, also by a thread whose request is gone.
    _lock: UploadLock,
}

/// Syncs what was received while the rest arrives, or the final sync would wait for all of it.
#[derive(Default)]
struct EarlySync(Mutex<(u64, Option<JoinHandle<()>>)>);

/// Bytes between two early syncs.
const EARLY_SYNC_BYTES: u64 = 16 << 20;

impl EarlySync {
    /// So many bytes more were written to `path`.
    fn add(&self, length: u64, path: PathBuf) {
        let mut early_sync = self.0.lock();
        let (waiting, at_work) = &mut *early_sync;
        *waiting += length;
        if *waiting < EARLY_SYNC_BYTES || at_work.as_ref().is_some_and(|task| !task.is_finished()) {
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
pub(super) type ActiveUploads = Arc<Mutex<HashSet<UploadId>>>;

struct UploadLock(ActiveUploads, UploadId);

impl UploadLock {
    fn take(active: &ActiveUploads, id: UploadId) -> Result<Self> {
        if active.lock().insert(id) { Ok(Self(active.clone(), id)) } else { Err(busy(id)) }
    }
}

impl Drop for UploadLock {
    fn drop(&mut self) {
        self.0.lock().remove(&self.1);
    }
}

/// Removes what a killed process left, except uploads, which can be resumed from their last save.
pub(super) fn clean_up(tmp: &Path) -> Result<()> {
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

impl DirectoryStore {
    fn upload_file(&self, id: UploadId) -> PathBuf {
        self.0.root.join("tmp/uploads").join(id.to_string())
    }

    fn upload_state(&self, id: UploadId) -> PathBuf {
        self.0.root.join("tmp/uploads").join(format!("{id}.json"))
    }

    pub(super) fn create_upload(&self, id: UploadId, algorithm: DigestAlgorithm) -> Result<DirectoryUpload> {
        let lock = UploadLock::take(&self.0.active_uploads, id)?;
        let file = OpenOptions::new().write(true).create_new(true).open(self.upload_file(id));
        let file = file.context(|| "cannot start an upload".to_owned())?;
        let state = UploadState { file, hashes: HashState::new(algorithm), received: 0, _lock: lock };
        write_state(self, id, &state)?;
        Ok(DirectoryUpload::new(self, id, state))
    }

    pub(super) fn reopen_upload(&self, id: UploadId) -> Result<DirectoryUpload> {
        let lock = UploadLock::take(&self.0.active_uploads, id)?;
        let saved = read_state(self, id)?;
        let hashes = HashState::restore(&saved.sha256, saved.sha512.as_deref()).ok_or_else(|| unknown(id))?;
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
        let state = UploadState { file, hashes, received: saved.received, _lock: lock };
        Ok(DirectoryUpload::new(self, id, state))
    }

    pub(super) fn upload_length(&self, id: UploadId) -> Result<u64> {
        read_state(self, id).map(|saved| saved.received)
    }

    pub(super) fn remove_upload(&self, id: UploadId) -> Result<bool> {
        let _lock = UploadLock::take(&self.0.active_uploads, id)?;
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

fn read_state(store: &DirectoryStore, id: UploadId) -> Result<SavedUpload> {
    let text = fs::read(store.upload_state(id)).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => unknown(id),
        _ => error.into(),
    })?;
    // A power cut may leave an empty file: that upload never got far enough to be promised.
    let saved: SavedUpload = serde_json::from_slice(&text).map_err(|_| unknown(id))?;
    if saved.version == STATE_VERSION { Ok(saved) } else { Err(unknown(id)) }
}

/// The bytes first, then the note of how many they are: a note of bytes that a power cut took away
/// would make a blob of zeros under a good digest.
fn write_state(store: &DirectoryStore, id: UploadId, state: &UploadState) -> Result<()> {
    if state.received > 0 {
        state.file.sync_data()?;
    }
    let (sha256, sha512) = state.hashes.save();
    let saved = SavedUpload { version: STATE_VERSION, received: state.received, sha256, sha512 };
    let text = serde_json::to_vec(&saved).map_err(|error| Error::internal("no JSON").because(error))?;
    let path = store.upload_state(id);
    let fresh = path.with_extension("json.new");
    fs::write(&fresh, text).context(|| "cannot note an upload's state".to_owned())?;
    fs::rename(&fresh, &path).map_err(Error::from)
}

impl DirectoryUpload {
    fn new(store: &DirectoryStore, id: UploadId, state: UploadState) -> Self {
        let (store, received, early_sync) = (store.clone(), state.received, Arc::default());
        Self { store, id, state: WriteState::Here(Box::new(state)), early_sync, received }
    }

    async fn state(&mut self) -> Result<Box<UploadState>> {
        match std::mem::replace(&mut self.state, WriteState::Broken) {
            WriteState::Here(state) => Ok(state),
            WriteState::Away(task) => {
                task.await.map_err(|error| Error::internal("file work ended early").because(error))?
            }
            WriteState::Broken => Err(Error::internal("a write to this upload failed before")),
        }
    }
}

#[async_trait]
impl BlobUpload for DirectoryUpload {
    fn received(&self) -> u64 {
        self.received
    }

    async fn append(&mut self, pieces: Vec<Bytes>) -> Result<()> {
        let mut state = self.state().await?;
        let length = pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
        self.received += length;
        let (store, path, early_sync) =
            (self.store.clone(), self.store.upload_file(self.id), self.early_sync.clone());
        // The next piece is received while this one is hashed and written.
        self.state = WriteState::Away(tokio::task::spawn_blocking(move || {
            store.check_space(length)?;
            for piece in pieces {
                state.file.write_all(&piece).context(|| "cannot write an upload".to_owned())?;
                state.hashes.update(&piece);
                state.received += piece.len() as u64;
            }
            early_sync.add(length, path);
            Ok(state)
        }));
        Ok(())
    }

    async fn save(&mut self) -> Result<()> {
        let state = self.state().await?;
        let (store, id) = (self.store.clone(), self.id);
        let state = blocking(move || write_state(&store, id, &state).map(|()| state)).await?;
        self.state = WriteState::Here(state);
        Ok(())
    }

    async fn finish(mut self: Box<Self>, expected: &ContentDigest) -> Result<Blob> {
        let state = self.state().await?;
        let (store, id, expected) = (self.store.clone(), self.id, *expected);
        blocking(move || store_blob(&store, id, *state, &expected)).await
    }

    async fn discard(mut self: Box<Self>) -> Result<()> {
        // Whatever became of the last write, it has ended after this.
        drop(self.state().await);
        self.early_sync.ended().await;
        let (store, id) = (self.store.clone(), self.id);
        blocking(move || store.remove_upload(id).map(drop)).await
    }
}

fn store_blob(
    store: &DirectoryStore,
    id: UploadId,
    state: UploadState,
    expected: &ContentDigest,
) -> Result<Blob> {
    let UploadState { file, hashes, received, _lock } = state;
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
    store.0.verified.record_written(digest, &file.metadata()?);
    remove(&store.upload_state(id))?;
    Ok(Blob { digest, size: received })
}

fn sha512_of(path: &Path) -> Result<ContentDigest> {
    let mut file = File::open(path)?;
    let mut hasher = HashWriter(HashState::new(DigestAlgorithm::Sha512));
    std::io::copy(&mut file, &mut hasher)?;
    hasher.0.finish().1.ok_or_else(|| Error::internal("no sha512 was made"))
}

struct HashWriter(HashState);

impl std::io::Write for HashWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
