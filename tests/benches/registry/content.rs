//! What is pushed.

use anyhow::Result;
use eyot_core::Digest;
use serde_json::json;

use crate::http::Connection;

/// The length of a large blob.
pub(crate) const LARGE: usize = 512 << 20;

/// Bytes that no file system and no registry can make smaller; the same for the same seed.
pub(crate) fn fill(bytes: &mut [u8], seed: u64) {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for piece in bytes.chunks_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        piece.copy_from_slice(&state.to_le_bytes()[..piece.len()]);
    }
}

/// A manifest with one layer.
pub(crate) struct Artifact {
    pub(crate) manifest: Vec<u8>,
    pub(crate) blob: Vec<u8>,
}

const CONFIG: &[u8] = b"{}";

impl Artifact {
    /// With a layer of `length` bytes; another for another `seed`.
    pub(crate) fn new(length: usize, seed: u64) -> Self {
        let mut blob = vec![0; length];
        fill(&mut blob, seed);
        let manifest = manifest(&blob, seed).to_string().into_bytes();
        Self { manifest, blob }
    }

    pub(crate) fn push(&self, connection: &mut Connection, repository: &str, tag: &str) -> Result<()> {
        for bytes in [CONFIG, &self.blob] {
            connection.push_blob(repository, &Digest::of(bytes), bytes)?;
        }
        connection.push_manifest(repository, tag, &self.manifest)
    }
}

/// A manifest of `blob`; another for another number.
pub(crate) fn manifest(blob: &[u8], number: u64) -> serde_json::Value {
    let of = |kind: &str, bytes: &[u8]| json!({ "mediaType": kind, "digest": Digest::of(bytes), "size": bytes.len() });
    json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": of("application/vnd.oci.image.config.v1+json", CONFIG),
        "layers": [of("application/vnd.oci.image.layer.v1.tar", blob)],
        "annotations": { "number": number.to_string() },
    })
}
