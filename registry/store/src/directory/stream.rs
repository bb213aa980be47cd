//! Streams of blobs: read one piece ahead of the reader, and hashed when the blob is whole and not yet verified.

use std::fs::{File, Metadata};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::sync::Arc;

use bytes::Bytes;
use eyot_core::{Digest, Digester, Result};
use futures::StreamExt as _;
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use super::DirectoryStore;
use crate::{BlobStream, blocking, damaged};

/// Large enough that the hop to a thread costs nothing beside reading and hashing; small enough that a
/// hundred slow readers hold 50 MiB between them.
const PIECE_BYTES: u64 = 256 << 10;

struct ReadAhead {
    file: File,
    left: u64,
    digest: Digest,
    /// `None` for a range, since a part of a blob has no digest, and for what was hashed before.
    hashing: Option<StreamHash>,
    buffers: BufferPool,
}

struct StreamHash {
    digester: Digester,
    store: DirectoryStore,
    /// The file before the first byte was read.
    before: Metadata,
}

/// Buffers for reuse. Allocating one for each piece costs as much as reading into it.
type BufferPool = Arc<Mutex<Vec<Vec<u8>>>>;

/// A piece that is being sent; its buffer returns to the pool.
struct PooledBuffer {
    bytes: Vec<u8>,
    pool: BufferPool,
}

impl AsRef<[u8]> for PooledBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for PooledBuffer {
    fn drop(&mut self) {
        self.pool.lock().push(std::mem::take(&mut self.bytes));
    }
}

/// Streams `length` bytes from `offset`, which must lie in the file.
pub(super) fn stream(
    store: &DirectoryStore,
    mut file: File,
    digest: Digest,
    offset: u64,
    length: u64,
) -> Result<BlobStream> {
    let before = file.metadata()?;
    let size = before.len();
    let left = size.saturating_sub(offset).min(length);
    file.seek(SeekFrom::Start(offset))?;
    let is_new = left == size && !store.0.verified.contains(&digest, &before);
    let hashing = is_new.then(|| StreamHash { digester: Digester::new(), store: store.clone(), before });
    let first = start_read(ReadAhead { file, left, digest, hashing, buffers: BufferPool::default() });
    Ok(futures::stream::unfold(Some(first), next).boxed())
}

type PendingRead = JoinHandle<Result<(Bytes, ReadAhead)>>;

fn start_read(mut reading: ReadAhead) -> PendingRead {
    tokio::spawn(blocking(move || {
        let wanted = reading.left.min(PIECE_BYTES);
        let mut bytes = reading.buffers.lock().pop().unwrap_or_default();
        bytes.clear();
        bytes.reserve_exact(usize::try_from(wanted).unwrap_or_default());
        (&mut reading.file).take(wanted).read_to_end(&mut bytes)?;
        reading.left -= bytes.len() as u64;
        let cut_short = (bytes.len() as u64) < wanted;
        if let Some(hashing) = &mut reading.hashing {
            hashing.digester.update(&bytes);
        }
        // The last piece is held back from a reader when the whole is not what it should be.
        if reading.left == 0 || cut_short {
            let found =
                reading.hashing.take().map_or(reading.digest, |hashing| hashing.finish(&reading.digest));
            if found != reading.digest || cut_short {
                return Err(damaged(&reading.digest, &found));
            }
        }
        let buffer = PooledBuffer { bytes, pool: reading.buffers.clone() };
        Ok((Bytes::from_owner(buffer), reading))
    }))
}

impl StreamHash {
    /// The digest that was found; if it is the right one, the file is remembered as verified.
    fn finish(self, digest: &Digest) -> Digest {
        let found = self.digester.finish();
        if found == *digest {
            self.store.0.verified.record_read(found, &self.before);
        }
        found
    }
}

async fn next(pending: Option<PendingRead>) -> Option<(Result<Bytes>, Option<PendingRead>)> {
    let read = pending?.await;
    let read =
        read.unwrap_or_else(|error| Err(eyot_core::Error::internal("file work ended early").because(error)));
    match read {
        Ok((bytes, _)) if bytes.is_empty() => None,
        Ok((bytes, reading)) if reading.left == 0 => Some((Ok(bytes), None)),
        Ok((bytes, reading)) => Some((Ok(bytes), Some(start_read(reading)))),
        Err(error) => Some((Err(error), None)),
    }
}
