//! What a model is made of: its ONNX file, and the files beside it that hold weights. In memory, and as a store has
//! them.

use std::fs::File;
use std::path::Path;

use bytes::Bytes;
use eyot_core::onnx::named_files;
use eyot_core::{Digest, Digester, Error, Result, ResultExt as _};
use eyot_store::BlobStore;

/// A model whose files are at hand.
#[derive(Clone, Debug)]
pub struct ModelFiles {
    pub onnx: Bytes,
    /// Files that the model may take weights from; of no others.
    pub data: Vec<DataFile>,
}

/// A file of weights.
#[derive(Clone, Debug)]
pub struct DataFile {
    /// As the model names it: no folders.
    pub name: String,
    pub bytes: Bytes,
}

/// A model whose files lie in a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredModel {
    pub onnx: Digest,
    pub data: Vec<StoredData>,
}

/// A file of weights in a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredData {
    pub name: String,
    pub digest: Digest,
}

impl From<Bytes> for ModelFiles {
    fn from(onnx: Bytes) -> Self {
        Self { onnx, data: Vec::new() }
    }
}

impl From<Digest> for StoredModel {
    fn from(onnx: Digest) -> Self {
        Self { onnx, data: Vec::new() }
    }
}

impl ModelFiles {
    /// Bytes of all files together.
    pub fn bytes(&self) -> u64 {
        self.data.iter().fold(self.onnx.len() as u64, |sum, file| sum.saturating_add(file.bytes.len() as u64))
    }

    /// The name under which the model is known: that of its only file, or one of them all.
    pub fn digest(&self) -> Digest {
        let stored =
            |file: &DataFile| StoredData { name: file.name.clone(), digest: Digest::of(&file.bytes) };
        StoredModel { onnx: Digest::of(&self.onnx), data: self.data.iter().map(stored).collect() }.digest()
    }

    /// Names of the files that an ONNX file takes weights from, each once.
    pub fn named_in(onnx: &[u8]) -> Vec<String> {
        let mut names = named_files(onnx);
        names.sort_unstable();
        names.dedup();
        names
    }
}

impl StoredModel {
    /// The name under which the model is known. It tells other weights apart although the ONNX file is the same.
    pub fn digest(&self) -> Digest {
        if self.data.is_empty() {
            return self.onnx;
        }
        let mut lines: Vec<String> =
            self.data.iter().map(|file| format!("{} {}\n", file.digest, file.name)).collect();
        lines.sort_unstable();
        Digest::of(format!("model of several files\n{}\n{}", self.onnx, lines.concat()))
    }

    /// All files that the model names, each checked against its digest. Weights are mapped where they lie as files.
    pub(crate) async fn read(&self, store: &dyn BlobStore) -> Result<ModelFiles> {
        let onnx = store.get(&self.onnx).await?;
        let mut data = Vec::new();
        if !self.data.is_empty() {
            let named = ModelFiles::named_in(&onnx);
            for file in self.data.iter().filter(|file| named.contains(&file.name)) {
                let bytes = mapped(store, &file.digest).await;
                let bytes =
                    bytes.map_err(|error| error.context(format!("the weights in '{}'", file.name)))?;
                data.push(DataFile { name: file.name.clone(), bytes });
            }
        }
        Ok(ModelFiles { onnx, data })
    }
}

async fn mapped(store: &dyn BlobStore, digest: &Digest) -> Result<Bytes> {
    let Some(path) = store.path(digest) else { return store.get(digest).await };
    // Says what is missing in the store's own words.
    if store.size(digest).await?.is_none() {
        return store.get(digest).await;
    }
    let wanted = *digest;
    let checked = tokio::task::spawn_blocking(move || {
        let bytes = map_file(&path)?;
        let mut digester = Digester::new();
        digester.update(&bytes);
        let found = digester.finish();
        if found == wanted {
            return Ok(bytes);
        }
        Err(Error::corrupt(format!("blob {wanted} is damaged: its bytes hash to {found}")))
    });
    checked.await.map_err(|error| Error::internal("reading weights ended early").because(error))?
}

/// A file as bytes that are read when they are looked at, which may be more than there is memory for.
pub fn map_file(path: &Path) -> Result<Bytes> {
    let cannot = || format!("cannot read {}", path.display());
    let file = File::open(path).context(cannot)?;
    if file.metadata().context(cannot)?.len() == 0 {
        return Ok(Bytes::new());
    }
    // SAFETY: nobody writes to a blob: a store's are made whole and replaced, never changed. A file that a user
    // hands to a command is theirs: whoever changes it meanwhile changes what that command reads.
    let map = unsafe { memmap2::Mmap::map(&file) }.context(cannot)?;
    Ok(Bytes::from_owner(map))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_model_is_known_by_all_its_files() {
        let of = |onnx: &str, data: &[(&str, &str)]| {
            let data = data
                .iter()
                .map(|(name, bytes)| StoredData { name: (*name).to_owned(), digest: Digest::of(bytes) });
            StoredModel { onnx: Digest::of(onnx), data: data.collect() }.digest()
        };
        assert_eq!(of("a", &[]), Digest::of("a"));
        let all = [
            of("a", &[]),
            of("a", &[("w", "1")]),
            of("a", &[("w", "2")]),
            of("b", &[("w", "1")]),
            of("a", &[("v", "1")]),
            of("a", &[("w", "1"), ("v", "1")]),
        ];
        assert_eq!(all.iter().collect::<std::collections::HashSet<_>>().len(), all.len());
        assert_eq!(of("a", &[("w", "1"), ("v", "2")]), of("a", &[("v", "2"), ("w", "1")]));
        let onnx = Bytes::from_static(b"a");
        let data = vec![DataFile { name: "w".into(), bytes: Bytes::from_static(b"1") }];
        assert_eq!(ModelFiles { onnx, data }.digest(), of("a", &[("w", "1")]));
    }

    #[test]
    fn files_are_mapped_also_empty_ones() {
        let dir = tempfile::tempdir().unwrap();
        for content in [&b""[..], b"weights"] {
            let path = dir.path().join("w");
            std::fs::write(&path, content).unwrap();
            assert_eq!(map_file(&path).unwrap(), content);
        }
        assert!(map_file(&dir.path().join("none")).unwrap_err().chain().contains("none"));
    }
}
