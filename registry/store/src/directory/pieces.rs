//! A blob on its way out: read one piece ahead of the reader, and hashed when it is whole and was not
//! hashed before.

use std::fs::{File, Metadata};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::sync::Arc;

use bytes::Bytes;
use eyot_core::{Digest, Digester, Result};
use futures::StreamExt as _;
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use super::Directory;
use crate::{Pieces, blocking, damaged};

/// Large enough that the hop to a thread costs nothing beside reading and hashing; small enough that a
/// hundred slow readers hold 50 MiB between them.
const PIECE: u64 = 256 << 10;

struct Reading {
    file: File,
    left: u64,
    digest: Digest,
    /// `None` for a range, since a part of a blob has no digest, and for what was hashed before.
    hashing: Option<Hashing>,
    buffers: Buffers,
}

struct Hashing {
    digester: Digester,
    store: Directory,
    /// The file before the first byte was read.
    before: Metadata,
}

/// Buffers that came back from whoever sent what was in them. Memory that is asked for anew for each piece
/// costs as much as reading into it.
type Buffers = Arc<Mutex<Vec<Vec<u8>>>>;

/// A piece in the hands of whoever sends it.
struct Lent {
    bytes: Vec<u8>,
    home: Buffers,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.home.lock().push(std::mem::take(&mut self.bytes));
    }
}

/// Streams `length` bytes from `offset`, which must lie in the file.
pub(super) fn stream(
    store: &Directory,
    mut file: File,
    digest: Digest,
    offset: u64,
    length: u64,
) -> Result<Pieces> {
    let before = file.metadata()?;
    let size = before.len();
    let left = size.saturating_sub(offset).min(length);
    file.seek(SeekFrom::Start(offset))?;
    let is_new = left == size && !store.0.known.holds(&digest, &before);
    let hashing = is_new.then(|| Hashing { digester: Digester::new(), store: store.clone(), before });
    let first = fetch(Reading { file, left, digest, hashing, buffers: Buffers::default() });
    Ok(futures::stream::unfold(Some(first), next).boxed())
}

type Fetch = JoinHandle<Result<(Bytes, Reading)>>;

fn fetch(mut reading: Reading) -> Fetch {
    tokio::spawn(blocking(move || {
        let wanted = reading.left.min(PIECE);
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
        let lent = Lent { bytes, home: reading.buffers.clone() };
        Ok((Bytes::from_owner(lent), reading))
    }))
}

impl Hashing {
    /// The digest that was found; if it is the right one, that is kept in mind.
    fn finish(self, digest: &Digest) -> Digest {
        let found = self.digester.finish();
        if found == *digest {
            self.store.0.known.note(found, &self.before);
        }
        found
    }
}

async fn next(fetching: Option<Fetch>) -> Option<(Result<Bytes>, Option<Fetch>)> {
    let fetched = fetching?.await;
    let fetched = fetched
        .unwrap_or_else(|error| Err(eyot_core::Error::internal("file work ended early").because(error)));
    match fetched {
        Ok((bytes, _)) if bytes.is_empty() => None,
        Ok((bytes, reading)) if reading.left == 0 => Some((Ok(bytes), None)),
        Ok((bytes, reading)) => Some((Ok(bytes), Some(fetch(reading)))),
        Err(error) => Some((Err(error), None)),
    }
}
