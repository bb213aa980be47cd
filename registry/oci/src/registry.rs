mod admission;
mod audit_log;
mod backup;
mod blobs;
mod delete;
mod garbage;
mod maintenance;
mod pending_uploads;
mod policy;
mod push;
mod quota;
mod referrers;
mod stored_policy;
mod uploads;
mod upstream;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use eyot_access::AccessStore;
use eyot_core::config;
use eyot_core::{Clock, Digest, Error, Reference, Result, Selector, SystemClock};
use eyot_meta::{Database, Transaction, sql};
use eyot_store::{BlobStore, ContentDigest};
use serde::{Deserialize, Serialize};

pub use backup::{BackupSource, BlobPin, HeldSnapshot, read_pins, recorded_blobs};
pub(crate) use blobs::HeldBlob;
pub use garbage::{CollectionMode, CollectionReport, RetiredEntry, ScrubReport};
use pending_uploads::PendingBytes;
pub(crate) use pending_uploads::PendingUpload;
pub use policy::{PolicyRequirement, SignaturePolicy};
pub(crate) use push::{BlobSource, ManifestPush};
pub use quota::QuotaUsage;
pub(crate) use referrers::referrers_tag;
pub(crate) use upstream::{TagPage, UpstreamManifest, UpstreamRegistry};

use crate::layout::{self, LayoutIndex};
use crate::manifest::{ArtifactKind, DataLayer, Manifest};
use crate::route::ManifestRef;
use eyot_meta::EpochCache;

/// Names over a blob store. Cheap to clone.
#[derive(Clone)]
pub struct Registry(pub(crate) Arc<RegistryState>);

pub(crate) struct RegistryState {
    pub(crate) store: Arc<dyn BlobStore>,
    pub(crate) db: Database,
    pub(crate) settings: RegistrySettings,
    index: LayoutIndex,
    /// `REPOSITORY:TAG` and `REPOSITORY@DIGEST` → the manifest there.
    manifests: EpochCache<String, Arc<StoredManifest>>,
    /// `REPOSITORY@DIGEST` → the blob there.
    blobs: EpochCache<String, HeldBlob>,
    pending: PendingBytes,
    /// Small blobs, manifests among them, as they were last checked.
    bytes: EpochCache<Digest, Bytes>,
    pub(crate) access: AccessStore,
    upstreams: Vec<Arc<dyn UpstreamRegistry>>,
}

/// How a registry behaves.
#[derive(Clone)]
pub struct RegistrySettings {
    pub config: config::RegistrySettings,
    /// Whether clients speak TLS to it.
    pub is_secure: bool,
    /// By which leases, uploads and what is cached of upstreams end.
    pub clock: Arc<dyn Clock>,
}

impl RegistrySettings {
    /// As it is configured, for clients that do not speak TLS.
    pub fn new(config: &config::RegistrySettings) -> Self {
        Self { config: config.clone(), is_secure: false, clock: Arc::new(SystemClock) }
    }

    /// The same for one that speaks TLS.
    pub fn secure(self, is_secure: bool) -> Self {
        Self { is_secure, ..self }
    }

    /// The same with another clock.
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    pub(crate) fn lease(&self) -> i64 {
        milliseconds(self.config.lease.0)
    }
}

pub(crate) fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4)
}

/// A tagged or untagged manifest in the registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryEntry {
    pub repository: String,
    /// None for a manifest that no tag names.
    pub tag: Option<String>,
    /// The manifest.
    pub digest: Digest,
    pub kind: ArtifactKind,
    /// Bytes of the manifest's blobs.
    pub size: u64,
}

/// What a reference resolves to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolvedArtifact {
    pub repository: String,
    pub manifest: Digest,
    /// The component's or the model's own bytes; the manifest itself for anything else.
    pub content: Digest,
    pub kind: ArtifactKind,
    /// Bytes of the manifest's blobs.
    pub size: u64,
    /// The files that lie beside a model's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data: Vec<DataLayer>,
    /// The names by which a component says that it opens models.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
}

/// A manifest as it was pushed.
pub(crate) struct StoredManifest {
    /// The digest to answer with: that which was asked for, or under which it was pushed.
    pub(crate) digest: ContentDigest,
    pub(crate) media_type: String,
    pub(crate) bytes: Bytes,
}

/// Names that are cached.
const CACHED_NAME_COUNT: usize = 100_000;
/// Bytes of small blobs that are cached.
const CACHED_BYTES: usize = 64 << 20;
/// What an entry takes beside them.
const MIN_ENTRY_BYTES: usize = 256;

impl Registry {
    /// Over a store and a database, with the upstreams whose repositories are served from here. With `layout`, the
    /// directory's `index.json` names every tag, so that other tools can read the directory.
    pub(crate) async fn with_upstreams(
        store: Arc<dyn BlobStore>,
        db: Database,
        access: AccessStore,
        layout: Option<PathBuf>,
        settings: RegistrySettings,
        upstreams: Vec<Arc<dyn UpstreamRegistry>>,
    ) -> Result<Self> {
        let registry = Self(Arc::new(RegistryState {
            store,
            db,
            settings,
            index: LayoutIndex::new(layout),
            manifests: EpochCache::new(CACHED_NAME_COUNT, 1),
            blobs: EpochCache::new(CACHED_NAME_COUNT, 1),
            pending: PendingBytes::default(),
            bytes: EpochCache::new(CACHED_BYTES, MIN_ENTRY_BYTES),
            access,
            upstreams,
        }));
        registry.list_older_manifests().await?;
        registry.size_older_blobs().await?;
        registry.forget_lost_uploads().await?;
        Ok(registry)
    }

    /// Makes the layout's index true again where a process was killed before it could. A server does so
    /// beside answering, and need not be asked: with many tags it takes seconds.
    pub async fn refresh_layout(&self) -> Result<()> {
        self.0.index.write(&self.0.db).await
    }

    /// Stores a manifest whose blobs are in the store already, for the process itself. They are kept
    /// for as long as it is.
    ///
    /// Fails with `NotFound` when one of them is not there, with `Invalid` when the manifest cannot be
    /// read or is not what the digest that it is put under says, with `Conflict` when the tag names
    /// another manifest for ever.
    pub async fn put(&self, target: &Reference, media_type: &str, bytes: Bytes) -> Result<ResolvedArtifact> {
        let (digest, tags) = match &target.selector {
            Selector::Tag(tag) => (None, vec![tag.clone()]),
            Selector::Digest(digest) => (Some((*digest).into()), Vec::new()),
        };
        let repository = &target.repository;
        let push = ManifestPush { repository, digest, tags, media_type: Some(media_type), bytes };
        Ok(self.push(push, BlobSource::Store).await?.resolved)
    }

    /// Resolves a reference. What an upstream has is fetched, if it is not here.
    ///
    /// Fails with `NotFound`, naming what is there instead.
    pub async fn artifact(&self, reference: &Reference) -> Result<ResolvedArtifact> {
        let Some(upstream) = self.upstream(&reference.repository) else {
            return self.resolve_local(reference).await;
        };
        let target = match &reference.selector {
            Selector::Tag(tag) => ManifestRef::Tag(tag.clone()),
            Selector::Digest(digest) => ManifestRef::Digest((*digest).into()),
        };
        upstream.manifest(self, &reference.repository, &target).await?;
        let resolved = self.resolve_local(reference).await?;
        if resolved.content != resolved.manifest {
            let beside = resolved.data.iter().map(|layer| layer.digest);
            for digest in std::iter::once(resolved.content).chain(beside) {
                upstream.clone().blob(self, &reference.repository, &digest.into()).await?;
            }
        }
        Ok(resolved)
    }

    async fn resolve_local(&self, reference: &Reference) -> Result<ResolvedArtifact> {
        let row = match &reference.selector {
            Selector::Tag(tag) => sql(
                "SELECT m.digest, m.kind, m.content, m.size FROM tags t \
                 JOIN manifests m ON m.repository = t.repository AND m.digest = t.digest WHERE t.repository = $1 AND t.tag = $2",
            )
            .bind(&reference.repository)
            .bind(tag.clone()),
            Selector::Digest(digest) => {
                sql("SELECT digest, kind, content, size FROM manifests WHERE repository = $1 AND digest = $2")
                    .bind(&reference.repository)
                    .bind(digest.to_string())
            }
        };
        let row = row.fetch_optional(&self.0.db).await?;
        let Some(row) = row else {
            return Err(self.missing(&reference.repository, &reference.to_string()).await?);
        };
        let manifest: Digest = row.get::<String>("digest")?.parse()?;
        let content: Option<String> = row.get("content")?;
        let kind = ArtifactKind::parse(&row.get::<String>("kind")?);
        let (data, models) = match kind {
            ArtifactKind::Other => (Ok(Vec::new()), Vec::new()),
            _ => {
                let manifest = Manifest::parse(&self.0.store.get(&manifest).await?)?;
                (manifest.data_layers(), manifest.declared_models())
            }
        };
        Ok(ResolvedArtifact {
            repository: reference.repository.clone(),
            manifest,
            content: content.map_or(Ok(manifest), |content| content.parse())?,
            kind,
            size: row.get::<i64>("size")?.unsigned_abs(),
            data: data.map_err(|error| error.context(format!("the model '{reference}'")))?,
            models,
        })
    }

    async fn missing(&self, repository: &str, what: &str) -> Result<Error> {
        let tags = self.tags(repository, None, 10).await?;
        let error = Error::not_found(format!("there is no '{what}' in the registry"));
        Ok(error.hint(match tags.as_slice() {
            [] => "eyot ls shows what is there; eyot push adds to it".to_owned(),
            tags => format!("tags of {repository} are: {}", tags.join(", ")),
        }))
    }

    /// Every tagged manifest, and those that no tag names, by repository and tag.
    pub async fn list(&self) -> Result<Vec<RegistryEntry>> {
        let rows = sql(
            "SELECT m.repository, t.tag, m.digest, m.kind, m.size FROM manifests m \
             LEFT JOIN tags t ON t.repository = m.repository AND t.digest = m.digest ORDER BY m.repository, t.tag, m.digest",
        )
        .fetch_all(&self.0.db)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(RegistryEntry {
                    repository: row.get("repository")?,
                    tag: row.get("tag")?,
                    digest: row.get::<String>("digest")?.parse()?,
                    kind: ArtifactKind::parse(&row.get::<String>("kind")?),
                    size: row.get::<i64>("size")?.unsigned_abs(),
                })
            })
            .collect()
    }

    /// Up to `most` tags of a repository that come after `last`, in the order of their bytes.
    pub async fn tags(&self, repository: &str, last: Option<&str>, most: u32) -> Result<Vec<String>> {
        let rows = sql("SELECT tag FROM tags WHERE repository = $1 AND tag > $2 ORDER BY tag LIMIT $3")
            .bind(repository)
            .bind(last.unwrap_or_default())
            .bind(most);
        let rows = rows.fetch_all(&self.0.db).await?;
        rows.iter().map(|row| row.get("tag")).collect()
    }

    /// Up to `most` repositories that come after `last`, in the order of their bytes.
    pub(crate) async fn repositories(&self, last: &str, most: u32) -> Result<Vec<String>> {
        let rows = sql(
            "SELECT DISTINCT repository FROM manifests WHERE repository > $1 ORDER BY repository LIMIT $2",
        )
        .bind(last)
        .bind(most);
        let rows = rows.fetch_all(&self.0.db).await?;
        rows.iter().map(|row| row.get("repository")).collect()
    }

    /// The repositories that hold a blob.
    pub async fn repositories_of(&self, digest: &Digest) -> Result<Vec<String>> {
        let rows = sql("SELECT repository FROM repository_blobs WHERE digest = $1").bind(digest.to_string());
        rows.fetch_all(&self.0.db).await?.iter().map(|row| row.get("repository")).collect()
    }

    /// Whether something was ever pushed there and is still there.
    pub(crate) async fn has_repository(&self, repository: &str) -> Result<bool> {
        let row = sql("SELECT 1 FROM repository_blobs WHERE repository = $1 LIMIT 1").bind(repository);
        Ok(row.fetch_optional(&self.0.db).await?.is_some())
    }

    /// The upstream whose repository it is, if it is one's.
    pub(crate) fn upstream(&self, repository: &str) -> Option<&Arc<dyn UpstreamRegistry>> {
        self.0.upstreams.iter().find(|upstream| upstream.serves(repository))
    }

    /// The bytes of a manifest, as they were pushed.
    ///
    /// Fails with `NotFound`, naming what is there instead.
    pub(crate) async fn manifest(
        &self,
        repository: &str,
        target: &ManifestRef,
    ) -> Result<Arc<StoredManifest>> {
        match self.local_manifest(repository, target).await? {
            Some(stored) => Ok(stored),
            None => Err(self.missing(repository, &cache_key(repository, target)).await?),
        }
    }

    /// The same; none when it is not there.
    pub(crate) async fn local_manifest(
        &self,
        repository: &str,
        target: &ManifestRef,
    ) -> Result<Option<Arc<StoredManifest>>> {
        let key = cache_key(repository, target);
        match self.0.manifests.get(&key) {
            Some(stored) => Ok(Some(stored)),
            None => Box::pin(self.read_manifest(repository, target, key)).await,
        }
    }

    async fn read_manifest(
        &self,
        repository: &str,
        target: &ManifestRef,
        key: String,
    ) -> Result<Option<Arc<StoredManifest>>> {
        let epoch = self.0.manifests.epoch();
        let row = match target {
            ManifestRef::Tag(tag) => sql(
                "SELECT m.digest, m.media_type, m.pushed_as FROM tags t \
                 JOIN manifests m ON m.repository = t.repository AND m.digest = t.digest WHERE t.repository = $1 AND t.tag = $2",
            )
            .bind(repository)
            .bind(tag.clone()),
            ManifestRef::Digest(digest) => {
                let digest = self.sha256_of(digest).await?.map(|digest| digest.to_string());
                sql("SELECT digest, media_type, pushed_as FROM manifests WHERE repository = $1 AND digest = $2")
                    .bind(repository)
                    .bind(digest.unwrap_or_default())
            }
        };
        let row = row.fetch_optional(&self.0.db).await?;
        let Some(row) = row else { return Ok(None) };
        let digest: Digest = row.get::<String>("digest")?.parse()?;
        let pushed_as: Option<String> = row.get("pushed_as")?;
        let shown = match target {
            ManifestRef::Digest(asked) => *asked,
            ManifestRef::Tag(_) => pushed_as.map_or(Ok(digest.into()), |text| text.parse())?,
        };
        let media_type = row.get("media_type")?;
        let stored =
            Arc::new(StoredManifest { digest: shown, media_type, bytes: self.read_small(&digest).await? });
        self.0.manifests.insert(epoch, key, stored.clone(), 1);
        Ok(Some(stored))
    }

    /// The sha256 of what is known by this digest; none when nothing is.
    pub(crate) async fn sha256_of(&self, digest: &ContentDigest) -> Result<Option<Digest>> {
        match digest {
            ContentDigest::Sha256(digest) => Ok(Some(*digest)),
            ContentDigest::Sha512(_) => {
                let row = sql("SELECT digest FROM blobs WHERE sha512 = $1").bind(digest.to_string());
                let row = row.fetch_optional(&self.0.db).await?;
                row.map(|row| row.get::<String>("digest")?.parse()).transpose()
            }
        }
    }

    /// The bytes of a blob that is small, checked when they were read from the store.
    pub(crate) async fn read_small(&self, digest: &Digest) -> Result<Bytes> {
        if let Some(bytes) = self.0.bytes.get(digest) {
            return Ok(bytes);
        }
        let epoch = self.0.bytes.epoch();
        let bytes = self.0.store.get(digest).await?;
        self.0.bytes.insert(epoch, *digest, bytes.clone(), bytes.len().max(MIN_ENTRY_BYTES));
        Ok(bytes)
    }

    /// Milliseconds since 1970, by the registry's clock.
    pub(crate) fn now(&self) -> i64 {
        self.0.settings.clock.now().0
    }

    /// When a lease ends that begins now.
    fn lease_end(&self) -> i64 {
        self.now() + self.0.settings.lease()
    }

    /// Changes the state in memory when a transaction is committed.
    pub(crate) fn on_commit(
        &self,
        tx: &mut Transaction,
        consequence: impl FnOnce(&RegistryState) + Send + 'static,
    ) {
        let inner = self.0.clone();
        tx.then(move || consequence(&inner));
    }

    /// A name means something else with this transaction: the query that makes it so stands beside this.
    fn forget_manifest(&self, tx: &mut Transaction, repository: &str, target: &ManifestRef) {
        let key = cache_key(repository, target);
        self.on_commit(tx, move |inner| inner.manifests.forget(&key));
    }

    /// A repository no longer has some blob with this transaction.
    fn forget_blobs(&self, tx: &mut Transaction) {
        self.on_commit(tx, |inner| inner.blobs.clear());
    }

    /// Tags change with this transaction: the layout's index is out of date.
    async fn change_tags(&self, tx: &mut Transaction) -> Result<()> {
        self.on_commit(tx, |inner| inner.index.stale());
        layout::tags_change(tx).await
    }

    /// Commits. Without a server the layout's index is written too, as the process may end right after.
    async fn commit(&self, tx: Transaction) -> Result<()> {
        tx.commit().await?;
        self.0.index.settle(&self.0.db).await
    }
}

fn cache_key(repository: &str, target: &ManifestRef) -> String {
    match target {
        ManifestRef::Tag(tag) => format!("{repository}:{tag}"),
        ManifestRef::Digest(digest) => format!("{repository}@{digest}"),
    }
}
