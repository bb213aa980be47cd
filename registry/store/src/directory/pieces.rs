//! A blob on its way out: read, and hashed when it is whole, one piece ahead of the reader.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};

use bytes::Bytes;
use eyot_core::{Digest, Digester, Result};
use futures::StreamExt as _;
use tokio::task::JoinHandle;

use crate::{Pieces, blocking, damaged};

/// Large enough that the hop to a thread costs nothing beside reading and hashing; small enough that a
/// hundred slow readers hold 50 MiB between them.
const PIECE: u64 = 256 << 10;

struct Reading {
    file: File,
    left: u64,
    digest: Digest,
    /// `None` for a range: a part of a blob has no digest.
    digester: Option<Digester>,
}

/// Streams `length` bytes from `offset`, which must lie in the file.
pub(super) fn stream(mut file: File, digest: Digest, size: u64, offset: u64, length: u64) -> Result<Pieces> {
    let left = size.saturating_sub(offset).min(length);
    file.seek(SeekFrom::Start(offset))?;
    let digester = (left == size).then(Digester::new);
    let first = fetch(Reading { file, left, digest, digester });
    Ok(futures::stream::unfold(Some(first), next).boxed())
}

type Fetch = JoinHandle<Result<(Bytes, Reading)>>;

fn fetch(mut reading: Reading) -> Fetch {
    tokio::spawn(blocking(move || {
        let wanted = reading.left.min(PIECE);
        let mut bytes = Vec::with_capacity(usize::try_from(wanted).unwrap_or_default());
        (&mut reading.file).take(wanted).read_to_end(&mut bytes)?;
        reading.left -= bytes.len() as u64;
        if let Some(digester) = &mut reading.digester {
            digester.update(&bytes);
        }
        let cut_short = (bytes.len() as u64) < wanted;
        if reading.left == 0 || cut_short {
            // The last piece is held back from a reader when the whole is not what it should be.
            let found = reading.digester.take().map_or(reading.digest, Digester::finish);
            if found != reading.digest || cut_short {
                return Err(damaged(&reading.digest, &found));
            }
        }
        Ok((bytes.into(), reading))
    }))
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
