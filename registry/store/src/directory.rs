mod age;
mod stream;
mod uploads;
mod verified_files;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use eyot_core::{ByteCount, Digest, Digester, Error, Result, ResultExt as _};
use parking_lot::Mutex;
use percent_encoding::{AsciiSet, percent_decode_str, utf8_percent_encode};
use tempfile::NamedTempFile;
use tokio::io::{AsyncRead, ReadBuf};

use crate::{
    Blob, BlobHold, BlobReader, BlobStore, BlobStream, BlobUpload, BlobWriter, DigestAlgorithm, DiskReserve,
    StoreHold, UploadId, blob_holds::BlobHolds, blocking, check_expected, damaged, held, missing, pinned,
};

/// Blobs in an OCI image layout directory. Beside what the layout names lie `tmp/`, for blobs that
/// are being written, `pins/`, one empty file a pin, and `quarantine/`, for damaged blobs. Cheap to
/// clone.
#[derive(Clone)]
pub struct DirectoryStore(Arc<DirectoryState>);

struct DirectoryState {
    root: PathBuf,
    /// None where nothing is written.
    reserve: Option<DiskReserve>,
    /// Pinning and deleting must not pass each other.
    pins: Mutex<()>,
    active_uploads: uploads::ActiveUploads,
    verified: verified_files::VerifiedFiles,
    holds: BlobHolds,
}

impl DirectoryStore {
    /// Opens the directory, and makes it an image layout if it is none. What a killed process was
    /// still writing is removed, but for uploads: the caller sees to it that no other process has the
    /// directory open.
    pub async fn open(root: &Path) -> Result<Self> {
        Self::open_leaving(root, ByteCount(0)).await
    }

    /// As [`DirectoryStore::open`], leaving so much of the disk free as [`DiskReserve`] says.
    pub async fn open_leaving(root: &Path, reserve: ByteCount) -> Result<Self> {
        let root = root.to_owned();
        blocking(move || {
            uploads::clean_up(&root.join("tmp"))?;
            for dir in [root.join("blobs/sha256"), root.join("pins"), root.join("tmp/uploads")] {
                fs::create_dir_all(&dir).context(|| format!("cannot create {}", dir.display()))?;
            }
            let layout = root.join("oci-layout");
            if !layout.exists() {
                write_durably(&root, &layout, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
            }
            let reserve = DiskReserve::new(&root, reserve)?;
            Ok(Self::with_root(root, Some(reserve)))
        })
        .await
    }

    /// The directory as it is, for reading beside the process that has it open: nothing is made or
    /// removed.
    pub fn read_only(root: &Path) -> Self {
        Self::with_root(root.to_owned(), None)
    }

    fn with_root(root: PathBuf, reserve: Option<DiskReserve>) -> Self {
        Self(Arc::new(DirectoryState {
            root,
            reserve,
            pins: Mutex::new(()),
            active_uploads: uploads::ActiveUploads::default(),
            verified: verified_files::VerifiedFiles::default(),
            holds: BlobHolds::default(),
        }))
    }

    fn blob(&self, digest: &Digest) -> PathBuf {
        self.0.root.join("blobs/sha256").join(digest.hex())
    }

    fn check_space(&self, length: u64) -> Result<()> {
        self.0.reserve.as_ref().map_or(Ok(()), |reserve| reserve.check(length))
    }

    fn pin_folder(&self, digest: &Digest) -> PathBuf {
        self.0.root.join("pins").join(digest.hex())
    }

    fn pin_owners(&self, digest: &Digest) -> Result<Vec<String>> {
        let entries = match fs::read_dir(self.pin_folder(digest)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let mut owners = Vec::new();
        for entry in entries {
            owners.push(unescape(&entry?.file_name().to_string_lossy()));
        }
        owners.sort();
        Ok(owners)
    }

    fn open_file(&self, digest: &Digest) -> Result<File> {
        File::open(self.blob(digest)).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => missing(digest),
            _ => Error::from(error).context(format!("cannot read blob {digest}")),
        })
    }
}

impl DirectoryStore {
    /// Moves a damaged blob out of the way; `false` when it is whole, or not here.
    fn quarantine_file(&self, digest: &Digest) -> Result<bool> {
        let path = self.blob(digest);
        let hash = |path: &Path| {
            let mut digester = Digester::new();
            let mut file = File::open(path)?;
            let mut buffer = vec![0; 1 << 20];
            loop {
                match file.read(&mut buffer)? {
                    0 => return Ok::<_, std::io::Error>(digester.finish()),
                    length => digester.update(buffer.get(..length).unwrap_or_default()),
                }
            }
        };
        match hash(&path) {
            Ok(found) if found == *digest => return Ok(false),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            // A disk that cannot be read is damage too.
            _ => {}
        }
        let dir = self.0.root.join("quarantine");
        fs::create_dir_all(&dir)?;
        let aside = dir.join(digest.hex());
        fs::rename(&path, &aside).context(|| format!("cannot move the damaged blob {digest} away"))?;
        // Somebody may have pushed good bytes between the look and the move.
        if hash(&aside).is_ok_and(|found| found == *digest) {
            fs::rename(&aside, &path)?;
            return Ok(false);
        }
        sync_dir(&dir)?;
        sync_dir(&self.0.root.join("blobs/sha256"))?;
        Ok(true)
    }
}

/// Writes a small file so that a crash leaves the old one or the new one.
fn write_durably(dir: &Path, path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = NamedTempFile::new_in(dir)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    sync_dir(dir)
}

/// A rename is durable only once its directory is.
fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir)?.sync_all().map_err(Error::from)
}

#[async_trait]
impl BlobStore for DirectoryStore {
    async fn writer(&self) -> Result<Box<dyn BlobWriter>> {
        let store = self.clone();
        blocking(move || {
            let file = NamedTempFile::new_in(store.0.root.join("tmp"))
                .context(|| "cannot start a blob".to_owned())?;
            Ok(Box::new(DirectoryWriter {
                store,
                state: Some(WriterState { file, digester: Digester::new() }),
                written: 0,
            }) as _)
        })
        .await
    }

    async fn get(&self, digest: &Digest) -> Result<Bytes> {
        let (store, digest) = (self.clone(), *digest);
        blocking(move || {
            let mut bytes = Vec::new();
            store.open_file(&digest)?.read_to_end(&mut bytes)?;
            let found = Digest::of(&bytes);
            if found == digest { Ok(bytes.into()) } else { Err(damaged(&digest, &found)) }
        })
        .await
    }

    async fn open(&self, digest: &Digest) -> Result<BlobReader> {
        let (store, wanted) = (self.clone(), *digest);
        let file = blocking(move || store.open_file(&wanted)).await?;
        let (file, digester) = (tokio::fs::File::from_std(file), Some(Digester::new()));
        Ok(Box::pin(VerifyingReader { file, digest: *digest, digester }))
    }

    async fn read(&self, digest: &Digest, offset: u64, length: u64) -> Result<Bytes> {
        let (store, digest) = (self.clone(), *digest);
        blocking(move || {
            let mut file = store.open_file(&digest)?;
            let left = file.metadata()?.len().saturating_sub(offset).min(length);
            if left == 0 {
                return Ok(Bytes::new());
            }
            let mut bytes = Vec::with_capacity(usize::try_from(left).unwrap_or_default());
            file.seek(SeekFrom::Start(offset))?;
            file.take(left).read_to_end(&mut bytes)?;
            Ok(bytes.into())
        })
        .await
    }

    async fn stream(&self, digest: &Digest, offset: u64, length: u64) -> Result<BlobStream> {
        let (store, digest) = (self.clone(), *digest);
        blocking(move || {
            let file = store.open_file(&digest)?;
            stream::stream(&store, file, digest, offset, length)
        })
        .await
    }

    async fn start_upload(&self, id: UploadId, algorithm: DigestAlgorithm) -> Result<Box<dyn BlobUpload>> {
        let store = self.clone();
        blocking(move || Ok(Box::new(store.create_upload(id, algorithm)?) as _)).await
    }

    async fn resume_upload(&self, id: UploadId) -> Result<Box<dyn BlobUpload>> {
        let store = self.clone();
        blocking(move || Ok(Box::new(store.reopen_upload(id)?) as _)).await
    }

    async fn upload_received(&self, id: UploadId) -> Result<u64> {
        let store = self.clone();
        blocking(move || store.upload_length(id)).await
    }

    async fn drop_upload(&self, id: UploadId) -> Result<bool> {
        let store = self.clone();
        blocking(move || store.remove_upload(id)).await
    }

    async fn uploads(&self) -> Result<BTreeSet<UploadId>> {
        let store = self.clone();
        blocking(move || store.upload_ids()).await
    }

    async fn quarantine(&self, digest: &Digest) -> Result<bool> {
        let (store, digest) = (self.clone(), *digest);
        blocking(move || store.quarantine_file(&digest)).await
    }

    async fn size(&self, digest: &Digest) -> Result<Option<u64>> {
        let path = self.blob(digest);
        blocking(move || match fs::metadata(&path) {
            Ok(found) => Ok(Some(found.len())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::from(error).context(format!("cannot look at {}", path.display()))),
        })
        .await
    }

    async fn list(&self) -> Result<Vec<Blob>> {
        let dir = self.0.root.join("blobs/sha256");
        blocking(move || {
            let mut blobs = Vec::new();
            for entry in fs::read_dir(&dir)? {
                let entry = entry?;
                // A file with another name is no blob of ours; other tools may share the layout.
                if let Ok(digest) = format!("sha256:{}", entry.file_name().to_string_lossy()).parse() {
                    blobs.push(Blob { digest, size: entry.metadata()?.len() });
                }
            }
            blobs.sort();
            Ok(blobs)
        })
        .await
    }

    async fn older_than(&self, age: Duration) -> Result<Vec<Digest>> {
        let dir = self.0.root.join("blobs/sha256");
        blocking(move || age::older_than(&dir, age)).await
    }

    fn hold(&self, digest: &Digest) -> BlobHold {
        self.0.holds.hold(digest)
    }

    fn hold_all(&self) -> StoreHold {
        self.0.holds.hold_all()
    }

    async fn pin(&self, digest: &Digest, owner: &str) -> Result<()> {
        let (store, digest, owner) = (self.clone(), *digest, escape(owner));
        blocking(move || {
            let _guard = store.0.pins.lock();
            if !store.blob(&digest).exists() {
                return Err(missing(&digest));
            }
            let dir = store.pin_folder(&digest);
            fs::create_dir_all(&dir)?;
            File::create(dir.join(owner))?.sync_all()?;
            sync_dir(&dir)?;
            sync_dir(&store.0.root.join("pins"))
        })
        .await
    }

    async fn unpin(&self, digest: &Digest, owner: &str) -> Result<()> {
        let (store, digest, owner) = (self.clone(), *digest, owner.to_owned());
        blocking(move || {
            let _guard = store.0.pins.lock();
            let dir = store.pin_folder(&digest);
            // Before: whoever reads the pins meanwhile finds it in one of the two places.
            store.0.holds.record_unpin(&digest, &owner);
            match fs::remove_file(dir.join(escape(&owner))) {
                Ok(()) => {
                    // Only the last pin takes the folder away; a folder that still has one stays.
                    let _ = fs::remove_dir(&dir);
                    Ok(())
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
                Err(error) => Err(error.into()),
            }
        })
        .await
    }

    async fn pins(&self, digest: &Digest) -> Result<Vec<String>> {
        let (store, digest) = (self.clone(), *digest);
        blocking(move || store.pin_owners(&digest)).await
    }

    async fn pins_of(&self, prefix: &str) -> Result<Vec<(Digest, String)>> {
        let (store, prefix) = (self.clone(), prefix.to_owned());
        blocking(move || {
            let mut found = Vec::new();
            for folder in fs::read_dir(store.0.root.join("pins"))? {
                let name = folder?.file_name();
                let Ok(digest) = format!("sha256:{}", name.to_string_lossy()).parse() else { continue };
                let owners = store.pin_owners(&digest)?.into_iter();
                found.extend(owners.filter(|owner| owner.starts_with(&prefix)).map(|owner| (digest, owner)));
            }
            found.sort();
            Ok(found)
        })
        .await
    }

    async fn delete(&self, digest: &Digest) -> Result<bool> {
        let (store, digest) = (self.clone(), *digest);
        blocking(move || {
            let _guard = store.0.pins.lock();
            let owners = store.pin_owners(&digest)?;
            if !owners.is_empty() {
                return Err(pinned(&digest, &owners));
            }
            if store.0.holds.is_held(&digest) {
                return Err(held(&digest));
            }
            match fs::remove_file(store.blob(&digest)) {
                Ok(()) => sync_dir(&store.0.root.join("blobs/sha256")).map(|()| true),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
                Err(error) => Err(error.into()),
            }
        })
        .await
    }

    fn path(&self, digest: &Digest) -> Option<PathBuf> {
        Some(self.blob(digest))
    }
}

/// Owners are paths such as `deployment/digits/3`; a file name has no `/`.
const NO_FILE_NAME: &AsciiSet = &AsciiSet::EMPTY.add(b'%').add(b'/');

fn escape(owner: &str) -> String {
    utf8_percent_encode(owner, NO_FILE_NAME).to_string()
}

fn unescape(name: &str) -> String {
    percent_decode_str(name).decode_utf8_lossy().into_owned()
}

struct DirectoryWriter {
    store: DirectoryStore,
    /// `None` only while a write is under way, and after one that failed.
    state: Option<WriterState>,
    written: u64,
}

struct WriterState {
    file: NamedTempFile,
    digester: Digester,
}

#[async_trait]
impl BlobWriter for DirectoryWriter {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let mut state = self.state.take().ok_or_else(broken)?;
        let length = bytes.len() as u64;
        let store = self.store.clone();
        let state = blocking(move || {
            store.check_space(length)?;
            state.file.write_all(&bytes).context(|| "cannot write a blob".to_owned())?;
            state.digester.update(&bytes);
            Ok(state)
        });
        self.state = Some(state.await?);
        self.written += length;
        Ok(())
    }

    fn written(&self) -> u64 {
        self.written
    }

    async fn finish(self: Box<Self>) -> Result<Blob> {
        self.store_blob(None).await
    }

    async fn finish_as(self: Box<Self>, expected: &Digest) -> Result<Blob> {
        self.store_blob(Some(*expected)).await
    }
}

fn broken() -> Error {
    Error::internal("a write to this blob failed before")
}

impl DirectoryWriter {
    async fn store_blob(self, expected: Option<Digest>) -> Result<Blob> {
        let WriterState { file, digester } = self.state.ok_or_else(broken)?;
        let (store, size) = (self.store, self.written);
        blocking(move || {
            let digest = digester.finish();
            check_expected(expected.as_ref(), &digest)?;
            file.as_file().sync_all()?;
            // Over a blob that is here already too: its bytes may have been damaged since.
            let path = store.blob(&digest);
            let file = file.persist(&path).map_err(|error| error.error)?;
            sync_dir(&store.0.root.join("blobs/sha256"))?;
            store.0.verified.record_written(digest, &file.metadata()?);
            Ok(Blob { digest, size })
        })
        .await
    }
}

/// A file that is hashed while it is read.
struct VerifyingReader {
    file: tokio::fs::File,
    digest: Digest,
    /// `None` once the end was reached and the hash compared.
    digester: Option<Digester>,
}

impl AsyncRead for VerifyingReader {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        match Pin::new(&mut this.file).poll_read(context, buffer) {
            Poll::Ready(Ok(())) => {}
            other => return other,
        }
        let fresh = &buffer.filled()[before..];
        if !fresh.is_empty() {
            if let Some(digester) = &mut this.digester {
                digester.update(fresh);
            }
            return Poll::Ready(Ok(()));
        }
        if buffer.remaining() > 0
            && let Some(digester) = this.digester.take()
        {
            let found = digester.finish();
            if found != this.digest {
                return Poll::Ready(Err(std::io::Error::other(damaged(&this.digest, &found))));
            }
        }
        Poll::Ready(Ok(()))
    }
}
