//! What the fuzz targets of `tests/fuzz` call: each takes any bytes, and panics where something that must hold does not.

use http::{HeaderMap, HeaderValue, header};
use serde_json::Value;

use crate::manifest::Manifest;
use crate::unpack::{self, ArchiveFormat};
use crate::{mirror, server};

/// A manifest: what is admitted is JSON that any reader takes, with as many layers.
pub fn manifest(bytes: &[u8]) {
    let Ok((manifest, _)) = Manifest::admit(bytes, None) else { return };
    let read = serde_json::from_slice::<Value>(bytes).ok();
    let layers = read.as_ref().map(|read| read["layers"].as_array().map_or(0, Vec::len));
    assert_eq!(layers, Some(manifest.layers.len()));
    let _ = (manifest.content(), manifest.packed(), manifest.describes_component());
}

/// An archive with a model in it, in each packing. Nothing that is not packed becomes longer.
pub fn archive(bytes: &[u8]) {
    let mut length = 0;
    let _ = unpack::onnx(bytes, ArchiveFormat::Tar, bytes.len() as u64, |piece| {
        length += piece.len();
        Ok(())
    });
    assert!(length <= bytes.len(), "more than there is");
    for packing in [ArchiveFormat::TarGzip, ArchiveFormat::TarZstd] {
        let _ = unpack::onnx(bytes, packing, bytes.len() as u64, |_| Ok(()));
    }
}

/// The headers that clients and other registries send: a challenge, a range, a range of an upload. A range that is
/// answered lies inside of the blob.
pub fn headers(bytes: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(bytes) else { return };
    mirror::read_challenge(&value);
    let mut headers = HeaderMap::new();
    headers.insert(header::RANGE, value.clone());
    headers.insert(header::CONTENT_RANGE, value);
    for size in [0, 1, 1000, u64::MAX] {
        if let Some((offset, length)) = server::part_wanted(&headers, size) {
            assert!(length > 0 && offset < size && length <= size - offset, "{headers:?} of {size}");
        }
    }
    let _ = server::length_of_chunk(&headers);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    /// What was found by chance once, and what it began with, is tried in every run.
    #[test]
    fn the_corpus_holds() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus");
        for (target, run) in [
            ("manifest", super::manifest as fn(&[u8])),
            ("archive", super::archive),
            ("headers", super::headers),
        ] {
            let files = std::fs::read_dir(corpus.join(target)).unwrap();
            let count = files.map(|file| run(&std::fs::read(file.unwrap().path()).unwrap())).count();
            assert!(count > 0, "{target} has no corpus");
        }
    }
}
