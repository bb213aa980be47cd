//! Seals on files: that they are as this folder's owner wrote them.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

/// Bytes of a seal, which stands at the end of its file.
pub(crate) const SEAL_BYTES: usize = 32;
/// A file is hashed in pieces of that size, by several threads, since a start waits for it.
const PIECE_BYTES: usize = 1 << 20;
/// Threads that hash one file at most; beyond that memory is the limit.
const MAX_THREADS: usize = 4;

/// What seals are made with.
pub(crate) struct SealKey([u8; 32]);

impl SealKey {
    /// The key in that file; a new one where there is none, or none that is whole.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        match std::fs::read(path) {
            Ok(bytes) => {
                if let Ok(key) = bytes.try_into() {
                    return Ok(Self(key));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let key: [u8; 32] = rand::random();
        let folder = path.parent().unwrap_or(Path::new("."));
        let mut file = tempfile::Builder::new().make_in(folder, |path| {
            std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
        })?;
        file.write_all(&key)?;
        // Before anything that is sealed with it.
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(Self(key))
    }

    /// The seal of what a file holds up to `length`, under the name of `path`.
    pub(crate) fn seal(&self, path: &Path, file: &File, length: u64) -> io::Result<[u8; SEAL_BYTES]> {
        self.mac(path, file, length).map(|mac| mac.finalize().into_bytes().into())
    }

    /// Whether a file ends with the seal of what is before it.
    pub(crate) fn is_sealed(&self, path: &Path) -> io::Result<bool> {
        let file = File::open(path)?;
        let Some(length) = file.metadata()?.len().checked_sub(SEAL_BYTES as u64) else { return Ok(false) };
        let mut seal = [0; SEAL_BYTES];
        file.read_exact_at(&mut seal, length)?;
        Ok(self.mac(path, &file, length)?.verify_slice(&seal).is_ok())
    }

    fn mac(&self, path: &Path, file: &File, length: u64) -> io::Result<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).map_err(io::Error::other)?;
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        mac.update(&(name.len() as u64).to_le_bytes());
        mac.update(name);
        mac.update(&length.to_le_bytes());
        pieces(file, length)?.iter().for_each(|piece| mac.update(piece));
        Ok(mac)
    }
}

/// The digest of each piece of a file.
fn pieces(file: &File, length: u64) -> io::Result<Vec<[u8; 32]>> {
    let count = usize::try_from(length.div_ceil(PIECE_BYTES as u64)).map_err(io::Error::other)?;
    let next = AtomicUsize::new(0);
    let hash = || {
        let mut buffer = vec![0; PIECE_BYTES];
        let mut hashed = Vec::new();
        loop {
            let piece = next.fetch_add(1, Ordering::Relaxed);
            if piece >= count {
                return io::Result::Ok(hashed);
            }
            let begin = (piece * PIECE_BYTES) as u64;
            let size = usize::try_from(length - begin).unwrap_or(usize::MAX).min(PIECE_BYTES);
            file.read_exact_at(&mut buffer[..size], begin)?;
            hashed.push((piece, <[u8; 32]>::from(Sha256::digest(&buffer[..size]))));
        }
    };
    let helpers = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS).min(count);
    let mut all = std::thread::scope(|scope| {
        let helper = || std::thread::Builder::new().name("eyot-seal".to_owned()).spawn_scoped(scope, hash);
        // Where no thread can be had, this one does it all.
        let started: Vec<_> = (1..helpers).map_while(|_| helper().ok()).collect();
        let mut all = hash()?;
        for helper in started {
            all.extend(helper.join().unwrap_or_else(|_| Err(io::Error::other("a thread ended early")))?);
        }
        io::Result::Ok(all)
    })?;
    all.sort_unstable_by_key(|(piece, _)| *piece);
    Ok(all.into_iter().map(|(_, digest)| digest).collect())
}
