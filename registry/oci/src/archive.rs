//! Export to and import from OCI image layout directories, as skopeo and oras read and write them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

use axum::body::Body;
use eyot_core::{Digest, Error, Reference, Result, ResultExt as _, Selector};
use eyot_store::{ContentDigest, DigestAlgorithm};
use futures::StreamExt as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::Digest as _;
use tokio::io::AsyncWriteExt as _;
use tokio_util::io::ReaderStream;

use crate::client::RegistryClient;
use crate::layout::REFERENCE_ANNOTATION;
use crate::manifest::{Descriptor, IMAGE_INDEX, IMAGE_MANIFEST, Manifest};

/// What an export or import transferred.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferStats {
    /// The references, as `REPOSITORY:TAG` or `REPOSITORY@DIGEST`.
    pub names: Vec<String>,
    pub manifests: u64,
    pub blobs: u64,
    /// Bytes of blobs that were not there already.
    pub bytes: u64,
}

/// The largest manifest in a layout that is read.
const MAX_MANIFEST_BYTES: u64 = 4 << 20;

/// Writes a manifest, what it needs and what refers to it into a layout directory, beside what is there.
pub async fn export(client: &RegistryClient, reference: &Reference, dir: &Path) -> Result<TransferStats> {
    let repository = &reference.repository;
    let target = match &reference.selector {
        Selector::Tag(tag) => tag.clone(),
        Selector::Digest(digest) => digest.to_string(),
    };
    let root = client.manifest(repository, &target).await?;
    let mut stats = TransferStats { names: vec![reference.to_string()], ..TransferStats::default() };
    let name = (REFERENCE_ANNOTATION.to_owned(), reference.to_string());
    let mut entries = vec![entry(&root.media_type, root.digest, root.bytes.len(), [name].into())];
    let mut waiting = VecDeque::from([root.digest]);
    let mut seen = BTreeSet::from([root.digest]);
    while let Some(digest) = waiting.pop_front() {
        let fetched = client.manifest(repository, &digest.to_string()).await?;
        let manifest = Manifest::parse(&fetched.bytes)?;
        write(dir, &digest, &fetched.bytes).await?;
        stats.manifests += 1;
        for blob in manifest.config.iter().chain(&manifest.layers) {
            fetch(client, repository, blob, dir, &mut stats).await?;
        }
        let children = manifest.manifests.iter().map(|child| child.digest);
        waiting.extend(children.filter(|child| seen.insert(*child)));
        for referrer in client.referrers(repository, &digest, None).await? {
            if seen.insert(referrer.digest) {
                let size = usize::try_from(referrer.size).unwrap_or(usize::MAX);
                entries.push(entry(&referrer.media_type, referrer.digest, size, BTreeMap::new()));
                waiting.push_back(referrer.digest);
            }
        }
    }
    write_index(dir, entries).await?;
    Ok(stats)
}

fn entry(
    media_type: &str,
    digest: ContentDigest,
    size: usize,
    annotations: BTreeMap<String, String>,
) -> Descriptor {
    let (media_type, size) = (media_type.to_owned(), size as u64);
    Descriptor { media_type, digest, size, artifact_type: None, annotations, urls: Vec::new() }
}

async fn create_parent(path: &Path) -> Result<()> {
    let dir = path.parent().unwrap_or(path);
    tokio::fs::create_dir_all(dir).await.context(|| format!("cannot create {}", dir.display()))
}

fn blob_path(dir: &Path, digest: &ContentDigest) -> PathBuf {
    let algorithm = match digest.algorithm() {
        DigestAlgorithm::Sha256 => "sha256",
        DigestAlgorithm::Sha512 => "sha512",
    };
    dir.join("blobs").join(algorithm).join(digest.hex())
}

async fn fetch(
    client: &RegistryClient,
    repository: &str,
    blob: &Descriptor,
    dir: &Path,
    stats: &mut TransferStats,
) -> Result<()> {
    let path = blob_path(dir, &blob.digest);
    let is_here = tokio::fs::metadata(&path).await.is_ok_and(|found| found.len() == blob.size);
    if is_here {
        return Ok(());
    }
    // A layer that lies elsewhere need not be in the registry.
    if !blob.urls.is_empty() && !client.has_blob(repository, &blob.digest).await? {
        return Ok(());
    }
    create_parent(&path).await?;
    let fresh = path.with_extension("part");
    let mut file =
        tokio::fs::File::create(&fresh).await.context(|| format!("cannot write {}", fresh.display()))?;
    let mut hasher = ContentHasher::new(blob.digest.algorithm());
    let mut pieces = client.stream_blob(repository, &blob.digest).await?.into_data_stream();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| {
            Error::unavailable(format!("blob {} ended early", blob.digest)).because(error)
        })?;
        hasher.update(&piece);
        file.write_all(&piece).await?;
    }
    file.sync_all().await?;
    let found = hasher.finish();
    if found != blob.digest {
        return Err(Error::corrupt(format!(
            "the registry sent other bytes than those of {}: they hash to {found}",
            blob.digest
        )));
    }
    tokio::fs::rename(&fresh, &path).await?;
    (stats.blobs, stats.bytes) = (stats.blobs + 1, stats.bytes + blob.size);
    Ok(())
}

enum ContentHasher {
    Sha256(sha2::Sha256),
    Sha512(sha2::Sha512),
}

impl ContentHasher {
    fn new(algorithm: DigestAlgorithm) -> Self {
        match algorithm {
            DigestAlgorithm::Sha256 => Self::Sha256(sha2::Sha256::new()),
            DigestAlgorithm::Sha512 => Self::Sha512(sha2::Sha512::new()),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(bytes),
            Self::Sha512(hash) => hash.update(bytes),
        }
    }

    fn finish(self) -> ContentDigest {
        match self {
            Self::Sha256(hash) => Digest::from_bytes(hash.finalize().into()).into(),
            Self::Sha512(hash) => ContentDigest::Sha512(hash.finalize().into()),
        }
    }
}

async fn write(dir: &Path, digest: &ContentDigest, bytes: &[u8]) -> Result<()> {
    let path = blob_path(dir, digest);
    create_parent(&path).await?;
    tokio::fs::write(&path, bytes).await.context(|| format!("cannot write {}", path.display()))
}

/// Adds entries to a layout's index; a name that is there already names the new one.
async fn write_index(dir: &Path, entries: Vec<Descriptor>) -> Result<()> {
    let mut kept = match read_index(dir).await {
        Ok(index) => index.manifests,
        Err(error) if error.kind() == eyot_core::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    let name = |entry: &Descriptor| entry.annotations.get(REFERENCE_ANNOTATION).cloned();
    kept.retain(|old| {
        !entries.iter().any(|new| {
            (name(old), old.digest) == (name(new), new.digest)
                || name(old).is_some() && name(old) == name(new)
        })
    });
    kept.extend(entries);
    let index = json!({ "schemaVersion": 2, "mediaType": IMAGE_INDEX, "manifests": kept });
    tokio::fs::write(dir.join("index.json"), index.to_string())
        .await
        .context(|| "cannot write index.json".to_owned())?;
    let layout = json!({ "imageLayoutVersion": "1.0.0" });
    tokio::fs::write(dir.join("oci-layout"), layout.to_string())
        .await
        .context(|| "cannot write oci-layout".to_owned())
}

async fn read_index(dir: &Path) -> Result<Manifest> {
    let path = dir.join("index.json");
    let bytes = tokio::fs::read(&path).await.map_err(|error| {
        Error::from(error).context(format!("{} is no image layout: index.json cannot be read", dir.display()))
    })?;
    Manifest::parse(&bytes).map_err(|error| error.context(format!("{} cannot be read", path.display())))
}

/// Pushes what a layout directory holds under the names that it has there; those that are tags alone,
/// as skopeo and oras write them, come into the repository `into`.
pub async fn import(client: &RegistryClient, dir: &Path, into: Option<&str>) -> Result<TransferStats> {
    let index = read_index(dir).await?;
    let mut stats = TransferStats::default();
    let mut repositories: BTreeMap<ContentDigest, String> = BTreeMap::new();
    let mut unnamed = Vec::new();
    for entry in &index.manifests {
        let Some(name) = entry.annotations.get(REFERENCE_ANNOTATION) else {
            unnamed.push(entry);
            continue;
        };
        let target = target_of(name, into)?;
        push_tree(client, dir, &target.repository, entry, &mut repositories, &mut stats).await?;
        if let Selector::Tag(tag) = &target.selector {
            let bytes = read_manifest(dir, &entry.digest).await?;
            client
                .put_manifest(&target.repository, Some(tag), &media_type(entry, &bytes), bytes.into())
                .await?;
        }
        stats.names.push(target.to_string());
    }
    // What refers to something goes where that went; it may refer to what refers.
    while !unnamed.is_empty() {
        let before = unnamed.len();
        let mut left = Vec::new();
        for entry in unnamed {
            let manifest = Manifest::parse(&read_manifest(dir, &entry.digest).await?)?;
            let repository = manifest.subject.and_then(|subject| repositories.get(&subject.digest).cloned());
            match repository.or_else(|| into.map(str::to_owned)) {
                Some(repository) => {
                    push_tree(client, dir, &repository, entry, &mut repositories, &mut stats).await?
                }
                None => left.push(entry),
            }
        }
        if left.len() == before {
            let digest = left.first().map(|entry| entry.digest.to_string()).unwrap_or_default();
            return Err(Error::invalid(format!("{digest} has no name in {}", dir.display()))
                .hint("say where it goes: --into REPOSITORY"));
        }
        unnamed = left;
    }
    Ok(stats)
}

fn target_of(name: &str, into: Option<&str>) -> Result<Reference> {
    match into {
        Some(into) if Reference::check_tag(name).is_ok() => format!("{into}:{name}").parse(),
        // The last part of a whole name stays the tag or digest that it was.
        Some(into) => {
            let reference: Reference = name.parse()?;
            Ok(Reference { repository: into.to_owned(), ..reference })
        }
        None if name.contains([':', '@']) => name.parse(),
        None => Err(Error::invalid(format!("the layout names '{name}', which is a tag alone"))
            .hint("say where it goes: --into REPOSITORY")),
    }
}

async fn read_manifest(dir: &Path, digest: &ContentDigest) -> Result<Vec<u8>> {
    let path = blob_path(dir, digest);
    let length =
        tokio::fs::metadata(&path).await.context(|| format!("cannot read {}", path.display()))?.len();
    if length > MAX_MANIFEST_BYTES {
        return Err(Error::too_large(format!("the manifest {digest} has {length} bytes")));
    }
    let bytes = tokio::fs::read(&path).await.context(|| format!("cannot read {}", path.display()))?;
    let found = digest.of_same_algorithm(&bytes);
    if found == *digest {
        Ok(bytes)
    } else {
        Err(Error::corrupt(format!("{} is damaged: it hashes to {found}", path.display())))
    }
}

/// The type of a manifest: what it says itself, or what its entry says.
fn media_type(entry: &Descriptor, bytes: &[u8]) -> String {
    let said = serde_json::from_slice::<Value>(bytes)
        .ok()
        .and_then(|value| value["mediaType"].as_str().map(str::to_owned));
    said.unwrap_or_else(|| {
        if entry.media_type.is_empty() { IMAGE_MANIFEST.to_owned() } else { entry.media_type.clone() }
    })
}

/// Pushes a manifest after all that it needs, each by its digest.
async fn push_tree(
    client: &RegistryClient,
    dir: &Path,
    repository: &str,
    root: &Descriptor,
    repositories: &mut BTreeMap<ContentDigest, String>,
    stats: &mut TransferStats,
) -> Result<()> {
    // A manifest that names a digest was made after it, so there are no cycles.
    let (mut stack, mut done) = (vec![(root.clone(), false)], BTreeSet::new());
    while let Some((entry, has_children)) = stack.pop() {
        if done.contains(&entry.digest) {
            continue;
        }
        let bytes = read_manifest(dir, &entry.digest).await?;
        let manifest = Manifest::parse(&bytes)?;
        if !has_children {
            stack.push((entry, true));
            stack.extend(manifest.manifests.into_iter().map(|child| (child, false)));
            continue;
        }
        for blob in manifest.config.iter().chain(&manifest.layers) {
            push_blob(client, dir, repository, blob, stats).await?;
        }
        let media_type = media_type(&entry, &bytes);
        client.put_manifest(repository, None, &media_type, bytes.into()).await?;
        repositories.insert(entry.digest, repository.to_owned());
        done.insert(entry.digest);
        stats.manifests += 1;
    }
    Ok(())
}

async fn push_blob(
    client: &RegistryClient,
    dir: &Path,
    repository: &str,
    blob: &Descriptor,
    stats: &mut TransferStats,
) -> Result<()> {
    if client.has_blob(repository, &blob.digest).await? {
        return Ok(());
    }
    let path = blob_path(dir, &blob.digest);
    let file = match tokio::fs::File::open(&path).await {
        Ok(file) => file,
        Err(_) if !blob.urls.is_empty() => return Ok(()),
        Err(error) => return Err(Error::from(error).context(format!("cannot read {}", path.display()))),
    };
    let length = file.metadata().await?.len();
    let body = Body::from_stream(ReaderStream::with_capacity(file, 256 << 10));
    // The registry hashes what arrives: a file that is damaged is refused there.
    client.push_stream(repository, &blob.digest, length, body).await?;
    (stats.blobs, stats.bytes) = (stats.blobs + 1, stats.bytes + length);
    Ok(())
}
