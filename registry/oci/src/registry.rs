use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use eyot_core::{Clock as _, Digest, Error, Reference, Result, Selector, SystemClock};
use eyot_meta::{Database, Event, Transaction, fail};
use eyot_store::BlobStore;
use serde::{Deserialize, Serialize};
use sqlx::Row as _;

use crate::layout;
use crate::manifest::{ArtifactKind, Descriptor, Manifest};
use crate::uploads::Uploads;

/// Names over a blob store. Cheap to clone.
#[derive(Clone)]
pub struct Registry(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) store: Arc<dyn BlobStore>,
    db: Database,
    /// The image layout directory whose `index.json` is kept up to date, if the blobs lie in one.
    layout: Option<PathBuf>,
    pub(crate) uploads: Uploads,
}

/// A name in the registry and what is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub repository: String,
    /// None for a manifest that no tag names.
    pub tag: Option<String>,
    /// The manifest.
    pub digest: Digest,
    pub kind: ArtifactKind,
    /// Bytes of the manifest's blobs.
    pub size: u64,
}

/// What a reference means now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolved {
    pub repository: String,
    pub manifest: Digest,
    /// The component's or the model's own bytes; the manifest itself for anything else.
    pub content: Digest,
    pub kind: ArtifactKind,
    /// Bytes of the manifest's blobs.
    pub size: u64,
}

/// A manifest as it was pushed.
pub(crate) struct Stored {
    pub(crate) digest: Digest,
    pub(crate) media_type: String,
    pub(crate) bytes: Bytes,
}

impl Registry {
    /// Over a store and a database. With `layout`, the directory's `index.json` names every tag, so
    /// that other tools can read the directory.
    pub async fn new(store: Arc<dyn BlobStore>, db: Database, layout: Option<PathBuf>) -> Result<Self> {
        let registry = Self(Arc::new(Inner { store, db, layout, uploads: Uploads::default() }));
        registry.write_index().await?;
        Ok(registry)
    }

    /// Stores a manifest. Its blobs must be here already; they are kept for as long as it is.
    ///
    /// Fails with `Invalid` when it cannot be read, names a blob that is not here, or is not what the
    /// digest that it is put under says.
    pub async fn put(&self, target: &Reference, media_type: &str, bytes: Bytes) -> Result<Resolved> {
        let digest = Digest::of(&bytes);
        if let Selector::Digest(expected) = &target.selector
            && *expected != digest
        {
            return Err(Error::invalid(format!("the manifest's digest is {digest}, not {expected}")));
        }
        let manifest = Manifest::parse(&bytes)?;
        let (kind, content) = manifest.content()?;
        let content = content.map(|layer| layer.digest);
        let blobs = self.present(&target.repository, &manifest).await?;
        let size = blobs.iter().map(|blob| blob.size).sum::<u64>() + bytes.len() as u64;
        self.0.store.put(bytes).await?;
        let owner = format!("manifest/{}@{digest}", target.repository);
        for blob in blobs.iter().map(|blob| &blob.digest).chain([&digest]) {
            self.0.store.pin(blob, &owner).await?;
        }
        let mut tx = self.0.db.begin().await?;
        record(&mut tx, &target.repository, &digest, media_type, size, kind, content.as_ref(), &blobs)
            .await?;
        if let Selector::Tag(tag) = &target.selector {
            point(&mut tx, &target.repository, tag, &digest).await?;
        }
        let payload = serde_json::json!({ "reference": target, "digest": digest, "kind": kind });
        tx.emit(Event::new("artifact.pushed", &target.repository, payload)).await?;
        tx.commit().await?;
        self.write_index().await?;
        Ok(Resolved {
            repository: target.repository.clone(),
            manifest: digest,
            content: content.unwrap_or(digest),
            kind,
            size,
        })
    }

    /// The blobs that a manifest names, all of which must be here.
    async fn present(&self, repository: &str, manifest: &Manifest) -> Result<Vec<Descriptor>> {
        let mut blobs = Vec::new();
        for blob in manifest.config.iter().chain(&manifest.layers) {
            match self.0.store.size(&blob.digest).await? {
                Some(size) if size == blob.size => blobs.push(blob.clone()),
                Some(size) => {
                    let message =
                        format!("blob {} has {size} bytes, the manifest says {}", blob.digest, blob.size);
                    return Err(Error::invalid(message));
                }
                None if !blob.urls.is_empty() => {}
                None => return Err(unknown_blob(repository, &blob.digest)),
            }
        }
        for child in &manifest.manifests {
            let reference =
                Reference { repository: repository.to_owned(), selector: Selector::Digest(child.digest) };
            self.artifact(&reference).await.map_err(|_| unknown_blob(repository, &child.digest))?;
        }
        Ok(blobs)
    }

    /// What a reference means now.
    ///
    /// Fails with `NotFound`, naming what is there instead.
    pub async fn artifact(&self, reference: &Reference) -> Result<Resolved> {
        let row = match &reference.selector {
            Selector::Tag(tag) => sqlx::query(
                "SELECT m.digest, m.kind, m.content, m.size FROM tags t \
                 JOIN manifests m ON m.repository = t.repository AND m.digest = t.digest WHERE t.repository = ? AND t.tag = ?",
            )
            .bind(&reference.repository)
            .bind(tag.clone()),
            Selector::Digest(digest) => {
                sqlx::query("SELECT digest, kind, content, size FROM manifests WHERE repository = ? AND digest = ?")
                    .bind(&reference.repository)
                    .bind(digest.to_string())
            }
        };
        let row = row.fetch_optional(self.0.db.pool()).await.map_err(fail)?;
        let Some(row) = row else { return Err(self.missing(reference).await?) };
        let manifest: Digest = row.try_get::<String, _>("digest").map_err(fail)?.parse()?;
        let content: Option<String> = row.try_get("content").map_err(fail)?;
        Ok(Resolved {
            repository: reference.repository.clone(),
            manifest,
            content: content.map_or(Ok(manifest), |content| content.parse())?,
            kind: ArtifactKind::parse(&row.try_get::<String, _>("kind").map_err(fail)?),
            size: row.try_get::<i64, _>("size").map_err(fail)?.unsigned_abs(),
        })
    }

    async fn missing(&self, reference: &Reference) -> Result<Error> {
        let tags = self.tags(&reference.repository).await?;
        let error = Error::not_found(format!("there is no '{reference}' in the registry"));
        Ok(error.hint(match tags.as_slice() {
            [] => "eyot ls shows what is there; eyot push adds to it".to_owned(),
            tags => format!("tags of {} are: {}", reference.repository, tags.join(", ")),
        }))
    }

    /// Every tagged manifest, and those that no tag names, by repository and tag.
    pub async fn list(&self) -> Result<Vec<Entry>> {
        let rows = sqlx::query(
            "SELECT m.repository, t.tag, m.digest, m.kind, m.size FROM manifests m \
             LEFT JOIN tags t ON t.repository = m.repository AND t.digest = m.digest ORDER BY m.repository, t.tag, m.digest",
        )
        .fetch_all(self.0.db.pool())
        .await
        .map_err(fail)?;
        rows.iter()
            .map(|row| {
                Ok(Entry {
                    repository: row.try_get("repository").map_err(fail)?,
                    tag: row.try_get("tag").map_err(fail)?,
                    digest: row.try_get::<String, _>("digest").map_err(fail)?.parse()?,
                    kind: ArtifactKind::parse(&row.try_get::<String, _>("kind").map_err(fail)?),
                    size: row.try_get::<i64, _>("size").map_err(fail)?.unsigned_abs(),
                })
            })
            .collect()
    }

    /// The tags of a repository, in alphabetical order.
    pub async fn tags(&self, repository: &str) -> Result<Vec<String>> {
        let rows = sqlx::query("SELECT tag FROM tags WHERE repository = ? ORDER BY tag").bind(repository);
        let rows = rows.fetch_all(self.0.db.pool()).await.map_err(fail)?;
        rows.iter().map(|row| row.try_get("tag").map_err(fail)).collect()
    }

    /// The bytes of a manifest, as they were pushed.
    pub(crate) async fn manifest(&self, reference: &Reference) -> Result<Stored> {
        let digest = self.artifact(reference).await?.manifest;
        let row = sqlx::query("SELECT media_type FROM manifests WHERE repository = ? AND digest = ?")
            .bind(&reference.repository)
            .bind(digest.to_string())
            .fetch_one(self.0.db.pool())
            .await
            .map_err(fail)?;
        let media_type = row.try_get("media_type").map_err(fail)?;
        Ok(Stored { digest, media_type, bytes: self.0.store.get(&digest).await? })
    }

    async fn write_index(&self) -> Result<()> {
        let Some(dir) = &self.0.layout else { return Ok(()) };
        let rows = sqlx::query(
            "SELECT t.repository, t.tag, m.digest, m.media_type FROM tags t \
             JOIN manifests m ON m.repository = t.repository AND m.digest = t.digest ORDER BY t.repository, t.tag",
        )
        .fetch_all(self.0.db.pool())
        .await
        .map_err(fail)?;
        let mut named = Vec::with_capacity(rows.len());
        for row in rows {
            let digest: Digest = row.try_get::<String, _>("digest").map_err(fail)?.parse()?;
            let size = self.0.store.size(&digest).await?.unwrap_or_default();
            let (repository, tag): (String, String) =
                (row.try_get("repository").map_err(fail)?, row.try_get("tag").map_err(fail)?);
            let annotations = [(layout::REFERENCE.to_owned(), format!("{repository}:{tag}"))].into();
            let media_type = row.try_get("media_type").map_err(fail)?;
            named.push(Descriptor { media_type, digest, size, annotations, urls: Vec::new() });
        }
        layout::write(dir, named).await
    }
}

fn unknown_blob(repository: &str, digest: &Digest) -> Error {
    Error::not_found(format!("the manifest names {digest}, which is not in {repository}"))
        .hint("push its blobs first")
}

#[allow(clippy::too_many_arguments)]
async fn record(
    tx: &mut Transaction,
    repository: &str,
    digest: &Digest,
    media_type: &str,
    size: u64,
    kind: ArtifactKind,
    content: Option<&Digest>,
    blobs: &[Descriptor],
) -> Result<()> {
    sqlx::query(
        "INSERT INTO manifests (repository, digest, media_type, size, kind, content, created_at) VALUES (?, ?, ?, ?, ?, ?, ?) \
         ON CONFLICT (repository, digest) DO NOTHING",
    )
    .bind(repository)
    .bind(digest.to_string())
    .bind(media_type)
    .bind(i64::try_from(size).unwrap_or(i64::MAX))
    .bind(kind.as_str())
    .bind(content.map(ToString::to_string))
    .bind(SystemClock.now().0)
    .execute(&mut **tx)
    .await
    .map_err(fail)?;
    for blob in blobs {
        sqlx::query(
            "INSERT INTO manifest_blobs (repository, digest, blob) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        )
        .bind(repository)
        .bind(digest.to_string())
        .bind(blob.digest.to_string())
        .execute(&mut **tx)
        .await
        .map_err(fail)?;
    }
    Ok(())
}

async fn point(tx: &mut Transaction, repository: &str, tag: &str, digest: &Digest) -> Result<()> {
    sqlx::query(
        "INSERT INTO tags (repository, tag, digest, updated_at) VALUES (?, ?, ?, ?) \
         ON CONFLICT (repository, tag) DO UPDATE SET digest = excluded.digest, updated_at = excluded.updated_at",
    )
    .bind(repository)
    .bind(tag)
    .bind(digest.to_string())
    .bind(SystemClock.now().0)
    .execute(&mut **tx)
    .await
    .map(drop)
    .map_err(fail)
}
