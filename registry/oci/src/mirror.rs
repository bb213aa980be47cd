//! A pull-through cache of another registry: its repositories are fetched on demand, stored by digest, and served stale
//! while it is down.

mod lists;
mod upstream;

#[cfg(any(test, fuzzing))]
pub(crate) use upstream::read_challenge;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use eyot_access::AccessStore;
use eyot_core::config::Mirror as Config;
use eyot_core::{Clock, Error, ErrorKind, Reference, Result, glob};
use eyot_meta::{Database, EpochCache};
use eyot_store::{BlobStore, ContentDigest, KeyedLock, KeyedLocks, UploadId};
use futures::StreamExt as _;
use http::{Method, header};

use crate::manifest::{DOCKER_LIST, DOCKER_MANIFEST, IMAGE_INDEX, IMAGE_MANIFEST};
use crate::registry::{
    BlobSource, HeldBlob, ManifestPush, PendingUpload, Registry, RegistrySettings, StoredManifest, TagPage,
    UpstreamManifest, UpstreamRegistry, milliseconds,
};
use crate::response::{CONTENT_DIGEST, read_body, stale_warning};
use crate::route::ManifestRef;
use upstream::UpstreamClient;

/// A mirror of one upstream registry.
pub(crate) struct RegistryMirror {
    config: Config,
    upstream: UpstreamClient,
    /// When a tag was last compared with the upstream's.
    compared: EpochCache<String, i64>,
    /// A lock for each fetch under way, so that concurrent requests fetch once.
    fetching: KeyedLocks<String>,
}

/// Tags of which the time of their last comparison is remembered.
const COMPARED_TAG_COUNT: usize = 10_000;
/// The largest manifest.
const MAX_MANIFEST_BYTES: usize = 4 << 20;

impl RegistryMirror {
    /// Fails with `Invalid` when the configuration cannot be.
    pub(crate) fn new(config: &Config, clock: Arc<dyn Clock>) -> Result<Self> {
        let prefix = config.prefix.strip_suffix('/').unwrap_or_default();
        Reference::check_repository(prefix).map_err(|error| {
            error
                .context(format!("registry.mirror: '{}' is no prefix", config.prefix))
                .hint("write the beginning of repositories' names with a slash at the end, as in ghcr/")
        })?;
        Ok(Self {
            upstream: UpstreamClient::new(config, clock)?,
            config: config.clone(),
            compared: EpochCache::new(COMPARED_TAG_COUNT, 1),
            fetching: KeyedLocks::default(),
        })
    }

    /// The upstream's name of a repository here; none for one that this mirror does not serve.
    fn name<'a>(&self, repository: &'a str) -> Option<&'a str> {
        repository.strip_prefix(&self.config.prefix).filter(|name| !name.is_empty())
    }

    /// Fails with `Denied` for a repository that the configuration does not list.
    fn upstream_name<'a>(&self, repository: &'a str) -> Result<&'a str> {
        let name = self.name(repository).unwrap_or_default();
        if self.config.repositories.iter().any(|pattern| glob::matches(pattern, name)) {
            return Ok(name);
        }
        let error = Error::denied(format!("{} is not mirrored from {}", name, self.config.upstream));
        Err(error.hint("repositories in the mirror's section lists those that are"))
    }

    /// Waits until no other request fetches the same thing.
    async fn lock_key(&self, key: &str) -> KeyedLock<String> {
        self.fetching.lock(key.to_owned()).await
    }

    /// Fetches a manifest from the upstream; none when the local one is the same.
    async fn fetch_manifest(
        &self,
        registry: &Registry,
        repository: &str,
        name: &str,
        target: &ManifestRef,
        here: Option<&StoredManifest>,
    ) -> Result<Option<Arc<StoredManifest>>> {
        let accept = [IMAGE_MANIFEST, IMAGE_INDEX, DOCKER_MANIFEST, DOCKER_LIST].join(", ");
        let path = format!("/v2/{name}/manifests/{target}");
        if let Some(here) = here {
            // A look costs upstreams less than a pull, and some count pulls.
            let head = self.upstream.request(Method::HEAD, name, &path, &accept).await?;
            let said = head.headers().get(CONTENT_DIGEST).and_then(|value| value.to_str().ok());
            if said == Some(here.digest.to_string().as_str()) {
                return Ok(None);
            }
        }
        let response = self.upstream.request(Method::GET, name, &path, &accept).await?;
        let media_type = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media_type = media_type.map(|text| text.split(';').next().unwrap_or_default().trim().to_owned());
        let bytes = read_body(response.into_body(), MAX_MANIFEST_BYTES).await.map_err(|error| {
            error
                .context(format!("{} sent no manifest", self.config.upstream))
                .with_kind(ErrorKind::Unavailable)
        })?;
        let (digest, tags) = match target {
            ManifestRef::Digest(digest) => (Some(*digest), Vec::new()),
            ManifestRef::Tag(tag) => (None, vec![tag.clone()]),
        };
        let push = ManifestPush { repository, digest, tags, media_type: media_type.as_deref(), bytes };
        registry.push(push, BlobSource::Upstream).await.map_err(|error| match error.kind() {
            // What the upstream sent is not what was asked for: nobody's request is wrong.
            ErrorKind::Invalid => error.with_kind(ErrorKind::Unavailable),
            _ => error,
        })?;
        registry.local_manifest(repository, target).await
    }

    async fn fetch_blob(
        &self,
        registry: &Registry,
        repository: &str,
        name: &str,
        digest: &ContentDigest,
    ) -> Result<()> {
        let path = format!("/v2/{name}/blobs/{digest}");
        let response = self.upstream.request(Method::GET, name, &path, "*/*").await?;
        registry.extend_lease(digest).await?;
        let id = UploadId::random();
        let mut pending = registry.track_upload(repository, id, 0).await?;
        let mut upload = registry.0.store.start_upload(id, digest.algorithm()).await?;
        if let Err(error) = receive(&mut *upload, response.into_body(), &mut pending).await {
            upload.discard().await?;
            return Err(error);
        }
        registry.commit_upload(repository, upload, digest).await.map_err(|error| match error.kind() {
            ErrorKind::Invalid => error
                .context(format!("{} sent other bytes than those of {digest}", self.config.upstream))
                .with_kind(ErrorKind::Unavailable),
            _ => error,
        })
    }
}

#[async_trait]
impl UpstreamRegistry for RegistryMirror {
    fn serves(&self, repository: &str) -> bool {
        self.name(repository).is_some()
    }

    async fn manifest(
        &self,
        registry: &Registry,
        repository: &str,
        target: &ManifestRef,
    ) -> Result<UpstreamManifest> {
        let name = self.upstream_name(repository)?;
        let key = format!("{repository} {target}");
        let is_fresh = || match target {
            ManifestRef::Digest(_) => true,
            ManifestRef::Tag(_) => {
                let compared = self.compared.get(&key).unwrap_or_default();
                registry.now() < compared + milliseconds(self.config.fresh.0)
            }
        };
        let _turn = match registry.local_manifest(repository, target).await? {
            Some(stored) if is_fresh() => return Ok(UpstreamManifest { manifest: stored, warning: None }),
            _ => self.lock_key(&key).await,
        };
        // Somebody else may have fetched it meanwhile.
        let here = registry.local_manifest(repository, target).await?;
        if let Some(stored) = here.clone().filter(|_| is_fresh()) {
            return Ok(UpstreamManifest { manifest: stored, warning: None });
        }
        let fetched = self.fetch_manifest(registry, repository, name, target, here.as_deref()).await;
        match (fetched, here) {
            (Ok(stored), here) => {
                let epoch = self.compared.epoch();
                self.compared.insert(epoch, key, registry.now(), 1);
                stored
                    .or(here)
                    .map(|stored| UpstreamManifest { manifest: stored, warning: None })
                    .ok_or_else(|| absent(repository, target))
            }
            (Err(error), Some(stored)) if error.kind() != ErrorKind::NotFound => {
                tracing::warn!(error = %error.chain(), repository, %target, "an upstream is not asked: what is here is served");
                Ok(UpstreamManifest { manifest: stored, warning: Some(stale_warning(&error)) })
            }
            (Err(error), _) => Err(error),
        }
    }

    async fn blob(
        self: Arc<Self>,
        registry: &Registry,
        repository: &str,
        digest: &ContentDigest,
    ) -> Result<Option<HeldBlob>> {
        let name = self.upstream_name(repository)?.to_owned();
        if let Some(held) = registry.blob(repository, digest).await? {
            return Ok(Some(held));
        }
        let (mirror, registry, repository, digest) = (self, registry.clone(), repository.to_owned(), *digest);
        // A task of its own: the fetch goes on when the client disconnects, and the next request finds more of it done.
        let work = tokio::spawn(async move {
            let _turn = mirror.lock_key(&digest.to_string()).await;
            if let Some(held) = registry.blob(&repository, &digest).await? {
                return Ok(Some(held));
            }
            mirror.fetch_blob(&registry, &repository, &name, &digest).await?;
            registry.blob(&repository, &digest).await
        });
        work.await.map_err(|error| Error::internal("fetching ended early").because(error))?
    }

    async fn tags(&self, repository: &str, last: Option<&str>, most: u32) -> Result<TagPage> {
        self.list_tags(repository, last, most).await
    }

    async fn fetch_referrers(
        &self,
        registry: &Registry,
        repository: &str,
        subject: &ContentDigest,
    ) -> Result<Option<String>> {
        self.fetch_missing_referrers(registry, repository, subject).await
    }
}

impl Registry {
    /// Over a store and a database, with the mirrors of its configuration. With `layout`, the directory's `index.json`
    /// names every tag, so that other tools can read the directory.
    ///
    /// Fails with `Invalid` when a mirror's configuration cannot be.
    pub async fn new(
        store: Arc<dyn BlobStore>,
        db: Database,
        access: AccessStore,
        layout: Option<PathBuf>,
        settings: RegistrySettings,
    ) -> Result<Self> {
        let mirrors = settings.config.mirror.iter();
        let upstreams = mirrors.map(|mirror| {
            let mirror = RegistryMirror::new(mirror, settings.clock.clone())?;
            Ok(Arc::new(mirror) as Arc<dyn UpstreamRegistry>)
        });
        let upstreams = upstreams.collect::<Result<Vec<_>>>()?;
        Self::with_upstreams(store, db, access, layout, settings, upstreams).await
    }
}

/// An upstream that sends nothing for this long has gone.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes that are handed to the disk at once.
const WRITE_BATCH_BYTES: usize = 128 << 10;

async fn receive(
    upload: &mut dyn eyot_store::BlobUpload,
    body: Body,
    pending: &mut PendingUpload,
) -> Result<()> {
    let mut frames = body.into_data_stream();
    let (mut batch, mut length) = (Vec::new(), 0);
    let stalled = |_| Error::timeout("the upstream stopped in the middle of a blob");
    while let Some(frame) = tokio::time::timeout(STALL_TIMEOUT, frames.next()).await.map_err(stalled)? {
        let frame = frame.map_err(|error| Error::unavailable("the blob ended early").because(error))?;
        length += frame.len();
        batch.push(frame);
        pending.grow(upload.received() + length as u64)?;
        if length >= WRITE_BATCH_BYTES {
            upload.append(std::mem::take(&mut batch)).await?;
            length = 0;
        }
    }
    upload.append(batch).await
}

fn absent(repository: &str, target: &ManifestRef) -> Error {
    Error::not_found(format!("there is no '{target}' in {repository}"))
}
