//! Deduplication of large files: they are split into chunks by content (FastCDC) or, for models, at the boundaries of
//! tensors. The index of the chunks is attached to the manifest as a referrer, so that of a new version only new
//! chunks are transferred.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use eyot_core::onnx::OnnxHeader;
use eyot_core::{Digest, Digester, Error, Result, ResultExt as _};
use fastcdc::v2020::StreamCDC;
use serde::{Deserialize, Serialize};

/// The artifact type of an index, and the media type of its layer.
pub(crate) const CHUNK_INDEX_TYPE: &str = "application/vnd.eyot.chunks.v1+json";
/// Files below this are sent whole: a round trip costs more than their bytes.
pub(crate) const MIN_CHUNKED_BYTES: u64 = 4 << 20;
/// The longest chunk of a tensor.
const MAX_TENSOR_CHUNK_BYTES: u64 = 4 << 20;
/// The minimum, average and maximum length of a content-defined chunk.
const CONTENT_CHUNK_BYTES: [usize; 3] = [64 << 10, 256 << 10, 1 << 20];
/// The longest header of a safetensors file that is read.
const MAX_HEADER_BYTES: u64 = 64 << 20;

/// The chunks of one file, from its beginning to its end. A newer Eyot may have added fields, which are ignored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ChunkIndex {
    pub(crate) version: u32,
    /// The whole file.
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) chunks: Vec<FileChunk>,
}

/// A chunk of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileChunk {
    pub(crate) length: u64,
    pub(crate) digest: Digest,
}

const CHUNK_INDEX_VERSION: u32 = 1;

/// Where a range of a file is copied from when it is made anew: the old version, or the new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChunkSource {
    /// Bytes of the old file.
    Old { offset: u64, length: u64 },
    /// Bytes of the new file.
    New { offset: u64, length: u64 },
}

impl ChunkIndex {
    /// Reads a file once, and splits it.
    pub(crate) fn of(path: &Path) -> Result<Self> {
        let read = || format!("cannot read {}", path.display());
        let size = std::fs::metadata(path).context(read)?.len();
        let tensors = tensors(path, size).unwrap_or_default();
        let mut file = BufReader::with_capacity(1 << 20, File::open(path).context(read)?);
        let mut cutter = FileChunker { whole: Digester::new(), chunks: Vec::new(), size: 0 };
        if tensors.is_empty() {
            cutter.by_content(file).context(read)?;
        } else {
            cutter.by_tensors(&mut file, &tensors, size).context(read)?;
        }
        let FileChunker { whole, chunks, size } = cutter;
        Ok(Self { version: CHUNK_INDEX_VERSION, digest: whole.finish(), size, chunks })
    }

    /// Reads what [`ChunkIndex`] is written as.
    ///
    /// Fails with `Invalid` when the chunks do not add up to the file, with `Unsupported` for a newer version.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self> {
        let index: Self = serde_json::from_slice(bytes)
            .map_err(|error| Error::invalid(format!("the index of chunks cannot be read: {error}")))?;
        if index.version != CHUNK_INDEX_VERSION {
            let version = index.version;
            return Err(Error::unsupported(format!("the index of chunks has version {version}")));
        }
        let sum = index.chunks.iter().try_fold(0_u64, |sum, chunk| sum.checked_add(chunk.length));
        if sum == Some(index.size) {
            return Ok(index);
        }
        Err(Error::invalid("the index's chunks do not add up to the file"))
    }

    /// The ranges that make this file for whoever has `old`.
    pub(crate) fn sources_from(&self, old: &Self) -> Vec<ChunkSource> {
        let mut there = HashMap::new();
        let mut offset = 0;
        for chunk in &old.chunks {
            there.entry((chunk.digest, chunk.length)).or_insert(offset);
            offset += chunk.length;
        }
        let mut sources: Vec<ChunkSource> = Vec::new();
        let mut at = 0;
        for chunk in &self.chunks {
            let part = match there.get(&(chunk.digest, chunk.length)) {
                Some(offset) => ChunkSource::Old { offset: *offset, length: chunk.length },
                None => ChunkSource::New { offset: at, length: chunk.length },
            };
            at += chunk.length;
            match (sources.last_mut(), part) {
                // Neighbours become one request.
                (
                    Some(ChunkSource::Old { offset, length }),
                    ChunkSource::Old { offset: next, length: more },
                )
                | (
                    Some(ChunkSource::New { offset, length }),
                    ChunkSource::New { offset: next, length: more },
                ) if *offset + *length == next => {
                    *length += more;
                }
                _ => sources.push(part),
            }
        }
        sources
    }
}

impl ChunkSource {
    /// Bytes that have to be transferred.
    pub(crate) fn transferred_bytes(&self) -> u64 {
        match self {
            Self::Old { .. } => 0,
            Self::New { length, .. } => *length,
        }
    }
}

struct FileChunker {
    whole: Digester,
    chunks: Vec<FileChunk>,
    size: u64,
}

impl FileChunker {
    fn add(&mut self, bytes: &[u8]) {
        self.whole.update(bytes);
        self.size += bytes.len() as u64;
        self.chunks.push(FileChunk { length: bytes.len() as u64, digest: Digest::of(bytes) });
    }

    fn by_content(&mut self, file: impl Read) -> std::io::Result<()> {
        let [least, usual, most] = CONTENT_CHUNK_BYTES;
        for chunk in StreamCDC::new(file, least, usual, most) {
            self.add(&chunk.map_err(std::io::Error::from)?.data);
        }
        Ok(())
    }

    /// Splits at the boundaries, and long tensors again. The header before the first tensor changes with every version,
    /// and is a chunk of its own.
    fn by_tensors(&mut self, file: &mut impl Read, boundaries: &[u64], size: u64) -> std::io::Result<()> {
        let mut at = 0;
        for end in boundaries.iter().copied().chain([size]) {
            while at < end {
                let mut piece = Vec::new();
                file.take((end - at).min(MAX_TENSOR_CHUNK_BYTES)).read_to_end(&mut piece)?;
                if piece.is_empty() {
                    return Ok(());
                }
                at += piece.len() as u64;
                self.add(&piece);
            }
        }
        Ok(())
    }
}

/// Where tensors begin and end in a file, in order; none for a file that is no model.
fn tensors(path: &Path, size: u64) -> Option<Vec<u64>> {
    let mut boundaries = match path.extension()?.to_str()? {
        "safetensors" => safetensors(File::open(path).ok()?, size)?,
        "onnx" if size <= 2 << 30 => {
            let header = OnnxHeader::read(&std::fs::read(path).ok()?)?;
            let places = header.weights.into_iter().filter_map(|weight| weight.place);
            places.flat_map(|place| [place.start as u64, place.end as u64]).collect()
        }
        _ => return None,
    };
    // Neighbouring small tensors are one chunk.
    boundaries.sort_unstable();
    let mut last = 0;
    boundaries.retain(|boundary| {
        // What lies before the first is the header, however short.
        let is_far = last == 0 || *boundary >= last + CONTENT_CHUNK_BYTES[0] as u64;
        let is_far = is_far && (1..size).contains(boundary);
        if is_far {
            last = *boundary;
        }
        is_far
    });
    Some(boundaries)
}

/// `8 bytes of length, a JSON object of names, the tensors`.
fn safetensors(mut file: impl Read, size: u64) -> Option<Vec<u64>> {
    let mut length = [0; 8];
    file.read_exact(&mut length).ok()?;
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER_BYTES.min(size) {
        return None;
    }
    let mut header = Vec::new();
    file.take(length).read_to_end(&mut header).ok()?;
    let header: HashMap<String, serde_json::Value> = serde_json::from_slice(&header).ok()?;
    let offset = |value: &serde_json::Value| value.as_u64()?.checked_add(8 + length);
    let ends = header.iter().filter(|(name, _)| *name != "__metadata__");
    Some(
        ends.flat_map(|(_, tensor)| [offset(&tensor["data_offsets"][0]), offset(&tensor["data_offsets"][1])])
            .flatten()
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn noise(length: usize, seed: u64) -> Vec<u8> {
        let mut state = seed | 1;
        std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .take(length)
        .collect()
    }

    fn index(name: &str, bytes: &[u8]) -> ChunkIndex {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let index = ChunkIndex::of(&path).unwrap();
        assert_eq!((index.digest, index.size), (Digest::of(bytes), bytes.len() as u64));
        assert_eq!(ChunkIndex::parse(&serde_json::to_vec(&index).unwrap()).unwrap(), index);
        index
    }

    /// Makes the new file of the old one as the parts say; answers how many bytes travelled.
    fn make(old: &[u8], new: &[u8], sources: &[ChunkSource]) -> u64 {
        let mut made = Vec::new();
        for part in sources {
            let (source, offset, length) = match *part {
                ChunkSource::Old { offset, length } => (old, offset as usize, length as usize),
                ChunkSource::New { offset, length } => (new, offset as usize, length as usize),
            };
            made.extend_from_slice(&source[offset..offset + length]);
        }
        assert!(made == new, "other bytes were made");
        sources.iter().map(ChunkSource::transferred_bytes).sum()
    }

    #[test]
    fn only_what_changed_travels() {
        let old = noise(8 << 20, 1);
        let mut inserted = old.clone();
        inserted.splice(3_000_000..3_000_000, noise(1000, 2));
        let mut removed = old.clone();
        removed.drain(5_000_000..5_100_000);
        for (new, most) in
            [(old.clone(), 0), (inserted, 3 << 20), (removed, 3 << 20), (noise(8 << 20, 9), 8 << 20)]
        {
            let sources = index("new", &new).sources_from(&index("old", &old));
            let transferred_bytes = make(&old, &new, &sources);
            assert!(transferred_bytes <= most, "{transferred_bytes} of {most}");
        }
    }

    #[test]
    fn tensors_are_pieces() {
        let tensors = [noise(3 << 20, 1), noise(2 << 20, 2), noise(1 << 20, 3)];
        let file = |tensors: &[Vec<u8>; 3], note: &str| {
            let mut at = 0;
            let mut header = serde_json::json!({ "__metadata__": { "note": note } });
            for (number, tensor) in tensors.iter().enumerate() {
                header[format!("t{number}")] = serde_json::json!({ "dtype": "U8", "shape": [tensor.len()], "data_offsets": [at, at + tensor.len()] });
                at += tensor.len();
            }
            let header = header.to_string();
            let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
            bytes.extend(header.bytes());
            tensors.iter().for_each(|tensor| bytes.extend(tensor));
            bytes
        };
        let old = file(&tensors, "short");
        let mut changed = tensors.clone();
        changed[1][7] ^= 1;
        let new = file(&changed, "a note that is longer, so that everything moves");
        let sources = index("new.safetensors", &new).sources_from(&index("old.safetensors", &old));
        let transferred_bytes = make(&old, &new, &sources);
        assert!(transferred_bytes < (2 << 20) + (64 << 10), "the header and one tensor: {transferred_bytes}");
        for damaged in [&b""[..], b"\xff\xff\xff\xff\xff\xff\xff\xff", b"\x02\0\0\0\0\0\0\0[]", &old[..100]] {
            index("damaged.safetensors", damaged);
            index("damaged.onnx", damaged);
        }
    }

    #[test]
    fn an_index_that_does_not_add_up_is_refused() {
        let good = serde_json::to_value(index("x", b"hello")).unwrap();
        for (field, value) in [("size", 6), ("version", 2)] {
            let mut bad = good.clone();
            bad[field] = value.into();
            assert!(ChunkIndex::parse(bad.to_string().as_bytes()).is_err(), "{field}");
        }
        assert!(ChunkIndex::parse(b"{}").is_err());
    }

    #[test]
    fn indexes_of_this_version_are_read_with_fields_of_later_ones() {
        let golden = include_str!("chunks/chunk-index-1.json").trim_end();
        let index = ChunkIndex::parse(golden.as_bytes()).unwrap();
        assert_eq!((index.chunks.len(), index.size, index.digest), (2, 11, Digest::of("hello world")));
        assert_eq!(serde_json::to_string(&index).unwrap(), golden);
        let with_more = golden.replace("\"length\":5", "\"length\":5,\"tensor\":\"w\"");
        let with_more = with_more.replace("{\"version\"", "{\"algorithm\":\"fastcdc\",\"version\"");
        assert_eq!(ChunkIndex::parse(with_more.as_bytes()).unwrap(), index);
        let newer = golden.replace("\"version\":1", "\"version\":2");
        assert_eq!(
            ChunkIndex::parse(newer.as_bytes()).unwrap_err().kind(),
            eyot_core::ErrorKind::Unsupported
        );
    }
}
