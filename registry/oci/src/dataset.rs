//! Data sets: directories as trees of content-addressed files. Of a new version only what is new in it is transferred.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use axum::body::Body;
use bytes::Bytes;
use eyot_core::{Digest, Error, Reference, Result, ResultExt as _, Selector};
use eyot_store::ContentDigest;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};
use tokio_util::io::ReaderStream;

use crate::attestation::AttestedManifest;
use crate::chunks::{CHUNK_INDEX_TYPE, ChunkIndex, ChunkSource, MIN_CHUNKED_BYTES};
use crate::client::{PushedArtifact, RegistryClient};
use crate::manifest::{Descriptor, EMPTY_CONFIG_TYPE, IMAGE_MANIFEST, Manifest, TITLE_ANNOTATION};
use crate::tree::{FileEntry, FileTree, TREE_TYPE};

/// The artifact type of a data set.
pub(crate) const DATASET_TYPE: &str = "application/vnd.eyot.dataset.v1+json";
const FILE_TYPE: &str = "application/octet-stream";
/// Files of one data set: each is a layer, and a manifest ends at 4 MiB.
const MAX_DATASET_FILES: usize = 10_000;

/// A data set that was pushed or pulled, and how much of it was transferred.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetTransfer {
    #[serde(flatten)]
    pub pushed: PushedArtifact,
    pub files: usize,
    /// Bytes of files that had to be sent or fetched.
    #[serde(rename = "travelled")]
    pub transferred_bytes: u64,
}

impl RegistryClient {
    /// Pushes a directory, as the next version of what `before` names, if it is given. Symbolic links and
    /// what is neither file nor directory are refused: they would mean something else elsewhere.
    pub async fn push_dataset(
        &self,
        repository: &str,
        tag: Option<&str>,
        dir: &Path,
        before: Option<&Reference>,
    ) -> Result<DatasetTransfer> {
        let root = dir.to_owned();
        let indexed = tokio::task::spawn_blocking(move || index_files(&root)).await;
        let indexed =
            indexed.map_err(|error| Error::internal("reading files ended early").because(error))??;
        let old = match before {
            Some(before) => self.indexes(before).await?,
            None => BTreeMap::new(),
        };
        let (mut files, mut layers, mut transferred_bytes) = (BTreeMap::new(), Vec::new(), 0);
        let mut known = BTreeSet::new();
        for (path, index) in &indexed {
            files.insert(path.clone(), FileEntry { digest: index.digest, size: index.size });
            if known.insert(index.digest) {
                transferred_bytes +=
                    self.push_file(repository, &dir.join(path), index, old.get(path)).await?;
                layers.push(file_descriptor(FILE_TYPE, index.digest, index.size, Some(path)));
            }
        }
        let size = files.values().map(|file| file.size).sum();
        let count = files.len();
        let tree = to_json(&FileTree::new(files))?;
        let content = Digest::of(&tree);
        let config = file_descriptor(TREE_TYPE, content, tree.len() as u64, None);
        self.push_blob(repository, tree).await?;
        let manifest = image_manifest(DATASET_TYPE, config, layers, None);
        let bytes = to_json(&manifest)?;
        let digest = Digest::of(&bytes);
        let length = bytes.len() as u64;
        // The index lies beside it before anybody can see it.
        self.push_indexes(repository, &digest, length, &indexed).await?;
        self.put_manifest(repository, tag, IMAGE_MANIFEST, bytes).await?;
        let pushed = PushedArtifact {
            repository: repository.to_owned(),
            tag: tag.map(str::to_owned),
            digest,
            content,
            size,
        };
        Ok(DatasetTransfer { pushed, files: count, transferred_bytes })
    }

    /// Sends a file that is not there, as far as it is new; answers how many bytes that were.
    async fn push_file(
        &self,
        repository: &str,
        path: &Path,
        index: &ChunkIndex,
        old: Option<&ChunkIndex>,
    ) -> Result<u64> {
        if self.has_blob(repository, &index.digest.into()).await? {
            return Ok(0);
        }
        let whole = [ChunkSource::New { offset: 0, length: index.size }];
        let sources = match old {
            Some(old) if self.has_blob(repository, &old.digest.into()).await? => index.sources_from(old),
            _ => whole.to_vec(),
        };
        let upload = self.start_upload(repository).await?;
        for part in &sources {
            match (part, old) {
                (ChunkSource::Old { offset, length }, Some(old)) => {
                    self.copy_range(&upload, &old.digest, *offset, *length).await?;
                }
                (ChunkSource::Old { offset, length } | ChunkSource::New { offset, length }, _) => {
                    let body = read_range(path, *offset, *length).await?;
                    self.append(&upload, *length, body).await?;
                }
            }
        }
        self.finish_upload(&upload, &index.digest)
            .await
            .map_err(|error| error.context(format!("{} cannot be pushed", path.display())))?;
        Ok(sources.iter().map(ChunkSource::transferred_bytes).sum())
    }

    async fn push_indexes(
        &self,
        repository: &str,
        subject: &Digest,
        length: u64,
        indexed: &BTreeMap<String, ChunkIndex>,
    ) -> Result<()> {
        let large: BTreeMap<_, _> =
            indexed.iter().filter(|(_, index)| index.size >= MIN_CHUNKED_BYTES).collect();
        if large.is_empty() {
            return Ok(());
        }
        let bytes = to_json(&large)?;
        let layer = file_descriptor(CHUNK_INDEX_TYPE, Digest::of(&bytes), bytes.len() as u64, None);
        self.push_blob(repository, bytes).await?;
        let empty = Bytes::from_static(b"{}");
        let config = file_descriptor(EMPTY_CONFIG_TYPE, Digest::of(&empty), empty.len() as u64, None);
        self.push_blob(repository, empty).await?;
        let subject = file_descriptor(IMAGE_MANIFEST, *subject, length, None);
        let manifest = image_manifest(CHUNK_INDEX_TYPE, config, vec![layer], Some(subject));
        self.put_manifest(repository, None, IMAGE_MANIFEST, to_json(&manifest)?).await.map(drop)
    }

    /// The chunk indexes of a data set's large files, by path. One that cannot be read counts as missing: then the file
    /// is transferred whole.
    async fn indexes(&self, reference: &Reference) -> Result<BTreeMap<String, ChunkIndex>> {
        let repository = &reference.repository;
        let digest = Digest::of(&self.fetch(reference).await?.bytes);
        let mut found = BTreeMap::new();
        for referrer in self.referrers(repository, &digest.into(), Some(CHUNK_INDEX_TYPE)).await? {
            let manifest = self.manifest(repository, &referrer.digest.to_string()).await?;
            let Ok(manifest) = Manifest::parse(&manifest.bytes) else { continue };
            let [layer] = manifest.layers.as_slice() else { continue };
            let bytes = self.blob(repository, &layer.digest).await?;
            let Ok(read) = serde_json::from_slice::<BTreeMap<String, serde_json::Value>>(&bytes) else {
                continue;
            };
            for (path, index) in read {
                if let Ok(index) = ChunkIndex::parse(index.to_string().as_bytes()) {
                    found.insert(path, index);
                }
            }
        }
        Ok(found)
    }

    /// The files of a manifest.
    pub(crate) async fn files(&self, repository: &str, manifest: &Manifest) -> Result<FileTree> {
        let config = match FileTree::config(manifest) {
            Some(config) => Some(self.blob(repository, &config).await?),
            None => None,
        };
        FileTree::of(manifest, config.as_deref())
    }

    /// A manifest with its files, as the subject of statements.
    pub(crate) async fn attested_manifest(
        &self,
        repository: &str,
        digest: &Digest,
    ) -> Result<AttestedManifest> {
        let manifest = Manifest::parse(&self.manifest(repository, &digest.to_string()).await?.bytes)?;
        Ok(AttestedManifest { digest: *digest, files: self.files(repository, &manifest).await? })
    }

    /// Makes a directory what a data set says, or puts there the files of a model, a component or whatever
    /// else has layers with names. Files that are there and right stay; of large ones only what is new is
    /// fetched. Other files are left alone.
    pub async fn pull_files(&self, reference: &Reference, dir: &Path) -> Result<DatasetTransfer> {
        let repository = &reference.repository;
        let fetched = self.fetch(reference).await?;
        let manifest = Manifest::parse(&fetched.bytes)?;
        let tree = self.files(repository, &manifest).await?;
        if tree.files.is_empty() {
            return Err(Error::invalid(format!("'{reference}' holds no files that have names"))
                .hint("eyot push DIR --as NAME:TAG makes a data set of a folder; eyot export takes what is no data set"));
        }
        let indexes = self.indexes(reference).await?;
        let mut transferred_bytes = 0;
        for (path, leaf) in &tree.files {
            let target = file_path(dir, path)?;
            transferred_bytes += self.pull_file(repository, &target, leaf, indexes.get(path)).await?;
        }
        // Of a data set the config as it came: a newer Eyot may have written more into it.
        let content = match FileTree::config(&manifest) {
            Some(ContentDigest::Sha256(config)) => config,
            _ => Digest::of(to_json(&tree)?),
        };
        let (size, files) = (tree.files.values().map(|file| file.size).sum(), tree.files.len());
        let tag = match &reference.selector {
            Selector::Tag(tag) => Some(tag.clone()),
            Selector::Digest(_) => None,
        };
        let digest = Digest::of(&fetched.bytes);
        let pushed = PushedArtifact { repository: repository.clone(), tag, digest, content, size };
        Ok(DatasetTransfer { pushed, files, transferred_bytes })
    }

    async fn pull_file(
        &self,
        repository: &str,
        target: &Path,
        leaf: &FileEntry,
        new: Option<&ChunkIndex>,
    ) -> Result<u64> {
        let old = match tokio::fs::try_exists(target).await? {
            true => {
                let path = target.to_owned();
                let index = tokio::task::spawn_blocking(move || ChunkIndex::of(&path)).await;
                Some(index.map_err(|error| Error::internal("reading a file ended early").because(error))??)
            }
            false => None,
        };
        if old.as_ref().is_some_and(|old| old.digest == leaf.digest) {
            return Ok(0);
        }
        let new = new.filter(|new| new.digest == leaf.digest && new.size == leaf.size);
        let sources = match (new, &old) {
            (Some(new), Some(old)) => new.sources_from(old),
            _ => vec![ChunkSource::New { offset: 0, length: leaf.size }],
        };
        let folder = target.parent().unwrap_or(Path::new("."));
        tokio::fs::create_dir_all(folder).await.context(|| format!("cannot make {}", folder.display()))?;
        let (file, made) = tempfile::NamedTempFile::new_in(folder)?.into_parts();
        let mut file = tokio::fs::File::from_std(file);
        let mut digester = eyot_core::Digester::new();
        for part in &sources {
            let mut body = match part {
                ChunkSource::Old { offset, length } => read_range(target, *offset, *length).await?,
                ChunkSource::New { offset, length } => {
                    self.blob_range(repository, &leaf.digest, *offset, *length).await?
                }
            }
            .into_data_stream();
            while let Some(piece) = futures::StreamExt::next(&mut body).await {
                let piece = piece.map_err(|error| Error::unavailable("a file ended early").because(error))?;
                digester.update(&piece);
                file.write_all(&piece).await?;
            }
        }
        file.sync_all().await?;
        let found = digester.finish();
        if found != leaf.digest {
            return Err(Error::corrupt(format!(
                "{} would not be what the data set says: its bytes hash to {found}, not {}",
                target.display(),
                leaf.digest
            ))
            .hint("pull into an empty folder"));
        }
        made.persist(target).map_err(|error| Error::from(error.error))?;
        Ok(sources.iter().map(ChunkSource::transferred_bytes).sum())
    }
}

/// Every file under a directory, by its path there, with its pieces.
fn index_files(root: &Path) -> Result<BTreeMap<String, ChunkIndex>> {
    let (mut files, mut folders) = (BTreeMap::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        let entries =
            std::fs::read_dir(&folder).context(|| format!("cannot look into {}", folder.display()))?;
        for entry in entries {
            let (entry, kind) = entry.and_then(|entry| entry.file_type().map(|kind| (entry.path(), kind)))?;
            if kind.is_dir() {
                folders.push(entry);
                continue;
            }
            if !kind.is_file() {
                return Err(Error::invalid(format!("{} is neither a file nor a folder", entry.display()))
                    .hint("a data set holds no links: put the file itself there"));
            }
            let path = entry
                .strip_prefix(root)
                .ok()
                .and_then(|path| path.to_str())
                .ok_or_else(|| Error::invalid(format!("the name of {} is no UTF-8", entry.display())))?;
            if files.len() == MAX_DATASET_FILES {
                return Err(Error::too_large(format!(
                    "{} holds more than {MAX_DATASET_FILES} files",
                    root.display()
                ))
                .hint("pack small files together, or push its folders by themselves"));
            }
            file_path(root, path)?;
            files.insert(path.to_owned(), ChunkIndex::of(&entry)?);
        }
    }
    if files.is_empty() {
        return Err(Error::invalid(format!("{} holds no files", root.display())));
    }
    Ok(files)
}

/// Where a file of a data set lies in a folder. Paths are somebody else's input: none may lead out of it,
/// not even over a link that is there already.
fn file_path(dir: &Path, path: &str) -> Result<PathBuf> {
    let refused = |why: &str| {
        let shown: String = path.chars().take(200).collect();
        Error::invalid(format!("the path '{shown}' {why}"))
    };
    let mut target = dir.to_owned();
    for part in path.split('/') {
        if part.is_empty() || part == "." || part == ".." || part.contains(['\\', '\0']) {
            return Err(refused("leads somewhere else"));
        }
        target.push(part);
        if std::fs::symlink_metadata(&target).is_ok_and(|found| found.is_symlink()) {
            return Err(refused("leads over a symbolic link"));
        }
    }
    Ok(target)
}

/// A part of a file.
pub(crate) async fn read_range(path: &Path, offset: u64, length: u64) -> Result<Body> {
    let mut file = tokio::fs::File::open(path).await.context(|| format!("cannot read {}", path.display()))?;
    file.seek(std::io::SeekFrom::Start(offset)).await?;
    Ok(Body::from_stream(ReaderStream::with_capacity(file.take(length), 256 << 10)))
}

fn to_json(value: &impl Serialize) -> Result<Bytes> {
    serde_json::to_vec(value).map(Bytes::from).map_err(|error| Error::internal("no JSON").because(error))
}

fn file_descriptor(media_type: &str, digest: Digest, size: u64, title: Option<&str>) -> Descriptor {
    Descriptor {
        media_type: media_type.to_owned(),
        digest: digest.into(),
        size,
        artifact_type: None,
        annotations: title.map(|title| (TITLE_ANNOTATION.to_owned(), title.to_owned())).into_iter().collect(),
        urls: Vec::new(),
    }
}

fn image_manifest(
    kind: &str,
    config: Descriptor,
    layers: Vec<Descriptor>,
    subject: Option<Descriptor>,
) -> Manifest {
    Manifest {
        schema_version: 2,
        media_type: Some(IMAGE_MANIFEST.to_owned()),
        artifact_type: Some(kind.to_owned()),
        config: Some(config),
        layers,
        manifests: Vec::new(),
        subject,
        annotations: BTreeMap::new(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn path_traversal_in_trees() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc", dir.path().join("link")).unwrap();
        for bad in [
            "",
            "/etc/passwd",
            "../x",
            "a/../../x",
            "a//b",
            "./a",
            "a\\b",
            "a\0b",
            "link/passwd",
            "link",
            "a/",
        ] {
            assert!(file_path(dir.path(), bad).is_err(), "{bad:?}");
        }
        assert_eq!(file_path(dir.path(), "a/b.csv").unwrap(), dir.path().join("a/b.csv"));
    }
}
