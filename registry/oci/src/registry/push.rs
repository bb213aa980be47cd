use bytes::Bytes;
use eyot_core::config::ImmutableTags;
use eyot_core::{Digest, Error, Result};
use eyot_meta::{Event, Transaction, fail};
use eyot_store::{ContentDigest, Hold};
use serde_json::json;
use sqlx::Row as _;

use super::blobs::{held, link, take_in};
use super::log::{Entry, record};
use super::{Registry, Resolved, now};
use crate::manifest::{ArtifactKind, Descriptor, Manifest};
use crate::place::Target;

/// A manifest on its way in.
pub(crate) struct Push<'a> {
    pub(crate) repository: &'a str,
    /// The digest that it must have.
    pub(crate) digest: Option<ContentDigest>,
    pub(crate) tags: Vec<String>,
    pub(crate) media_type: Option<&'a str>,
    pub(crate) bytes: Bytes,
    /// Who pushes, for the log.
    pub(crate) actor: &'a str,
}

/// Where a manifest's blobs may come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Clients name only what the repository holds: by naming what others hold they would get at it.
    Repository,
    /// The process itself may name whatever is in the store.
    Store,
    /// A mirror names what it fetches when somebody asks for it.
    Upstream,
}

/// A manifest that is in.
pub(crate) struct Pushed {
    pub(crate) resolved: Resolved,
    /// The digest to answer with.
    pub(crate) digest: ContentDigest,
    pub(crate) subject: Option<ContentDigest>,
}

/// What a manifest is, worked out before anything is written.
struct Plan {
    digest: Digest,
    /// Of the manifest itself.
    length: u64,
    media_type: String,
    manifest: Manifest,
    kind: ArtifactKind,
    content: Option<ContentDigest>,
}

impl Registry {
    /// Takes a manifest in: it, its tags, what it refers to, what it uses and what is told of it become
    /// true in one transaction.
    pub(crate) async fn push(&self, push: Push<'_>, source: Source) -> Result<Pushed> {
        let plan = plan(&push)?;
        if !push.tags.is_empty() && source != Source::Upstream {
            self.check_own_policy(push.repository, &plan.digest).await?;
        }
        if self.0.store.size(&plan.digest).await?.is_none() {
            // What is refused is not stored: all is gone through once, and undone.
            let mut rehearsal = self.0.db.begin().await?;
            self.enter(&mut rehearsal, &push, &plan, None, source).await?;
        }
        let mut brought = vec![(plan.digest, self.0.store.hold(&plan.digest))];
        let pushed = self.bring(push, plan, source, &mut brought).await;
        if pushed.is_err() {
            let digests: Vec<_> = brought.into_iter().map(|(digest, _)| digest).collect();
            self.let_go(&digests).await;
        }
        pushed
    }

    /// Stores a manifest, and what is unpacked for it, and writes down that they are there. What it brought
    /// is held until that is written.
    async fn bring(
        &self,
        push: Push<'_>,
        plan: Plan,
        source: Source,
        brought: &mut Vec<(Digest, Hold)>,
    ) -> Result<Pushed> {
        let unpacked = self.examine(push.repository, &plan, source).await?;
        if let Some((digest, _)) = &unpacked {
            brought.push((*digest, self.0.store.hold(digest)));
        }
        // Over what is here already too: its bytes may have been damaged since.
        self.0.store.put(push.bytes.clone()).await?;
        let mut tx = self.0.db.begin().await?;
        let resolved = self.enter(&mut tx, &push, &plan, unpacked, source).await?;
        self.commit(tx).await?;
        let subject = plan.manifest.subject.map(|subject| subject.digest);
        Ok(Pushed { resolved, digest: push.digest.unwrap_or(plan.digest.into()), subject })
    }

    /// Writes a manifest down with all that follows from it: it, its tags, what it refers to and uses.
    async fn enter(
        &self,
        tx: &mut Transaction,
        push: &Push<'_>,
        plan: &Plan,
        unpacked: Option<(Digest, u64)>,
        source: Source,
    ) -> Result<Resolved> {
        let mut uses = self.present(tx, push.repository, &plan.manifest, source).await?;
        let content = plan.content.and_then(|content| uses.iter().find(|(named, ..)| *named == content));
        let content = content.map(|(_, digest, _)| *digest).or(unpacked.map(|(digest, _)| digest));
        if let Some((digest, size)) = unpacked {
            if self.0.store.size(&digest).await?.is_none() {
                return Err(Error::unavailable(format!("blob {digest} was collected while it arrived"))
                    .hint("push the manifest again"));
            }
            uses.push((digest.into(), digest, size));
        }
        let size = uses.iter().map(|(.., size)| size).sum::<u64>() + push.bytes.len() as u64;
        take_in(
            tx,
            &plan.digest,
            push.digest.as_ref(),
            push.bytes.len() as u64,
            now() + self.0.settings.lease(),
        )
        .await?;
        let is_new = self.insert(tx, push, plan, content.as_ref(), size).await?;
        if is_new {
            self.use_blobs(tx, push.repository, plan, &uses).await?;
            self.check_quota(tx, push.repository).await?;
        }
        for tag in &push.tags {
            self.point(tx, push.repository, tag, &plan.digest).await?;
        }
        tell(tx, push, plan, is_new).await?;
        Ok(Resolved {
            repository: push.repository.to_owned(),
            manifest: plan.digest,
            content: content.unwrap_or(plan.digest),
            kind: if content.is_some() { plan.kind } else { ArtifactKind::Other },
            size,
            // Anything may be kept; that two files have one name is said to who wants to use them.
            data: plan.manifest.data_layers().unwrap_or_default(),
            models: plan.manifest.declared_models(),
        })
    }

    /// Looks at what a manifest is of before it comes in; answers what was unpacked for it. What a mirror
    /// names is not here yet.
    async fn examine(&self, repository: &str, plan: &Plan, source: Source) -> Result<Option<(Digest, u64)>> {
        if source == Source::Upstream {
            return Ok(None);
        }
        if let (ArtifactKind::Component, Some(layer)) = (plan.kind, &plan.content) {
            self.check_component(&plan.manifest, layer).await?;
        }
        match plan.manifest.packed() {
            Some((layer, packing)) if plan.content.is_none() => self.unpack(repository, layer, packing).await,
            _ => Ok(None),
        }
    }

    /// What a manifest names, by the name that it uses and by sha256, with sizes: all of it must be here.
    async fn present(
        &self,
        tx: &mut Transaction,
        repository: &str,
        manifest: &Manifest,
        source: Source,
    ) -> Result<Vec<(ContentDigest, Digest, u64)>> {
        let mut uses = Vec::new();
        for blob in manifest.config.iter().chain(&manifest.layers) {
            let held = match source {
                Source::Repository => held(tx, repository, &blob.digest).await?,
                Source::Store | Source::Upstream => known(tx, &blob.digest).await?,
            };
            let size = match held {
                Some(digest) => self.0.store.size(&digest).await?,
                None => None,
            };
            let size = size.or_else(|| (source == Source::Upstream).then_some(blob.size));
            match held.zip(size) {
                Some((digest, size)) if size == blob.size => uses.push((blob.digest, digest, size)),
                Some((_, size)) => {
                    let message =
                        format!("blob {} has {size} bytes, the manifest says {}", blob.digest, blob.size);
                    return Err(Error::invalid(message));
                }
                // A layer that may not be handed on is fetched from where it says.
                None if !blob.urls.is_empty() => {}
                None => return Err(unknown(repository, &blob.digest)),
            }
        }
        for child in &manifest.manifests {
            let may_lack = source == Source::Upstream || !child.urls.is_empty();
            match child_of(tx, repository, child).await? {
                Some((_, bytes)) if bytes != child.size && source != Source::Upstream => {
                    let (digest, said) = (&child.digest, child.size);
                    return Err(Error::invalid(format!(
                        "manifest {digest} has {bytes} bytes, the index says {said}"
                    )));
                }
                None if !may_lack => return Err(unknown(repository, &child.digest)),
                _ => {}
            }
        }
        Ok(uses)
    }

    async fn use_blobs(
        &self,
        tx: &mut Transaction,
        repository: &str,
        plan: &Plan,
        uses: &[(ContentDigest, Digest, u64)],
    ) -> Result<()> {
        let lease = now() + self.0.settings.lease();
        let own = (&plan.digest, plan.length);
        for (blob, size) in uses.iter().map(|(_, digest, size)| (digest, *size)).chain([own]) {
            take_in(tx, blob, None, size, lease).await?;
            link(tx, repository, blob).await?;
            let used = sqlx::query("INSERT INTO manifest_blobs (repository, digest, blob) VALUES (?, ?, ?) ON CONFLICT DO NOTHING")
                .bind(repository)
                .bind(plan.digest.to_string())
                .bind(blob.to_string())
                .execute(&mut **tx)
                .await
                .map_err(fail)?;
            if used.rows_affected() == 1 {
                let counted =
                    sqlx::query("UPDATE blobs SET uses = uses + 1 WHERE digest = ?").bind(blob.to_string());
                counted.execute(&mut **tx).await.map_err(fail)?;
            }
        }
        for child in &plan.manifest.manifests {
            let Some((child, _)) = child_of(tx, repository, child).await? else { continue };
            sqlx::query("INSERT INTO manifest_children (repository, digest, child) VALUES (?, ?, ?) ON CONFLICT DO NOTHING")
                .bind(repository)
                .bind(plan.digest.to_string())
                .bind(child.to_string())
                .execute(&mut **tx)
                .await
                .map_err(fail)?;
        }
        Ok(())
    }

    /// Writes the manifest's row; `false` when it was there. That it was not there is never kept in memory.
    async fn insert(
        &self,
        tx: &mut Transaction,
        push: &Push<'_>,
        plan: &Plan,
        content: Option<&Digest>,
        size: u64,
    ) -> Result<bool> {
        let pushed_as = push
            .digest
            .filter(|digest| matches!(digest, ContentDigest::Sha512(_)))
            .map(|digest| digest.to_string());
        let (digest, length) = (plan.digest.to_string(), i64::try_from(push.bytes.len()).unwrap_or(i64::MAX));
        let shown = push.digest.unwrap_or(plan.digest.into());
        let descriptor =
            super::referrers::describe(&plan.manifest, &plan.media_type, shown, push.bytes.len() as u64)?;
        let kind = if content.is_some() { plan.kind } else { ArtifactKind::Other };
        let inserted = sqlx::query(
            "INSERT INTO manifests (repository, digest, media_type, size, kind, content, created_at, pushed_as, subject, \
             artifact_type, descriptor, bytes) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (repository, digest) DO NOTHING",
        )
        .bind(push.repository)
        .bind(&digest)
        .bind(&plan.media_type)
        .bind(i64::try_from(size).unwrap_or(i64::MAX))
        .bind(kind.as_str())
        .bind(content.map(ToString::to_string))
        .bind(now())
        .bind(&pushed_as)
        .bind(plan.manifest.subject.as_ref().map(|subject| subject.digest.to_string()))
        .bind(plan.manifest.kind_of_artifact())
        .bind(&descriptor)
        .bind(length)
        .execute(&mut **tx)
        .await
        .map_err(fail)?;
        if inserted.rows_affected() == 0 && pushed_as.is_some() {
            let renamed = sqlx::query(
                "UPDATE manifests SET pushed_as = ?, descriptor = ? WHERE repository = ? AND digest = ?",
            );
            let renamed = renamed.bind(&pushed_as).bind(&descriptor).bind(push.repository).bind(&digest);
            renamed.execute(&mut **tx).await.map_err(fail)?;
            // Its tags answer with the other digest from now on.
            self.then(tx, |inner| inner.manifests.clear());
        }
        Ok(inserted.rows_affected() == 1)
    }

    /// Whether a tag, once it names something, names it for ever.
    pub(super) fn is_immutable(&self, tag: &str) -> bool {
        match self.0.settings.config.immutable_tags {
            ImmutableTags::All => true,
            ImmutableTags::None => false,
            ImmutableTags::Semver => semver::Version::parse(tag.strip_prefix('v').unwrap_or(tag)).is_ok(),
        }
    }

    /// Points a tag to a manifest. This is the only place where a tag comes to name something.
    async fn point(&self, tx: &mut Transaction, repository: &str, tag: &str, digest: &Digest) -> Result<()> {
        if self.is_immutable(tag) {
            let query = "SELECT digest FROM tags WHERE repository = ? AND tag = ? \
                 UNION ALL SELECT digest FROM retired_tags WHERE repository = ? AND tag = ?";
            let row = sqlx::query(query).bind(repository).bind(tag).bind(repository).bind(tag);
            let row = row.fetch_optional(&mut **tx).await.map_err(fail)?;
            let named: Option<String> = row.map(|row| row.try_get("digest").map_err(fail)).transpose()?;
            if named.as_ref().is_some_and(|named| *named != digest.to_string()) {
                return Err(Error::conflict(format!(
                    "the tag {repository}:{tag} names {} for ever",
                    named.unwrap_or_default()
                ))
                .hint("push under another version; registry.immutable-tags says which tags may move"));
            }
        }
        self.forget_manifest(tx, repository, &Target::Tag(tag.to_owned()));
        self.change_tags(tx).await?;
        sqlx::query(
            "INSERT INTO tags (repository, tag, digest, updated_at) VALUES (?, ?, ?, ?) \
             ON CONFLICT (repository, tag) DO UPDATE SET digest = excluded.digest, updated_at = excluded.updated_at",
        )
        .bind(repository)
        .bind(tag)
        .bind(digest.to_string())
        .bind(now())
        .execute(&mut **tx)
        .await
        .map(drop)
        .map_err(fail)
    }
}

fn plan(push: &Push<'_>) -> Result<Plan> {
    let digest = Digest::of(&push.bytes);
    if let Some(expected) = push.digest {
        let found = expected.of_same_algorithm(&push.bytes);
        if found != expected {
            return Err(Error::invalid(format!("the manifest's digest is {found}, not {expected}")));
        }
    }
    let (manifest, media_type) = Manifest::admit(&push.bytes, push.media_type)?;
    let (kind, content) = manifest.content()?;
    let content = content.map(|layer| layer.digest);
    Ok(Plan { digest, length: push.bytes.len() as u64, media_type, manifest, kind, content })
}

fn unknown(repository: &str, digest: &ContentDigest) -> Error {
    Error::not_found(format!("the manifest names {digest}, which is not in {repository}"))
        .hint("push its blobs first")
}

/// The blob of the whole store that goes by a digest.
async fn known(tx: &mut Transaction, digest: &ContentDigest) -> Result<Option<Digest>> {
    if let ContentDigest::Sha256(digest) = digest {
        return Ok(Some(*digest));
    }
    let row = sqlx::query("SELECT digest FROM blobs WHERE sha512 = ?").bind(digest.to_string());
    let row = row.fetch_optional(&mut **tx).await.map_err(fail)?;
    row.map(|row| row.try_get::<String, _>("digest").map_err(fail)?.parse()).transpose()
}

/// The manifest of a repository that an index names, and its length.
async fn child_of(
    tx: &mut Transaction,
    repository: &str,
    child: &Descriptor,
) -> Result<Option<(Digest, u64)>> {
    let Some(digest) = known(tx, &child.digest).await? else { return Ok(None) };
    let row = sqlx::query("SELECT bytes FROM manifests WHERE repository = ? AND digest = ?")
        .bind(repository)
        .bind(digest.to_string());
    let row = row.fetch_optional(&mut **tx).await.map_err(fail)?;
    let bytes = row.map(|row| row.try_get::<i64, _>("bytes").map_err(fail)).transpose()?;
    Ok(bytes.map(|bytes| (digest, bytes.unsigned_abs())))
}

/// Writes the event and the log.
async fn tell(tx: &mut Transaction, push: &Push<'_>, plan: &Plan, is_new: bool) -> Result<()> {
    let digest = plan.digest.to_string();
    let entry = |action, reference| Entry {
        actor: push.actor,
        action,
        repository: push.repository,
        reference,
        digest: &digest,
    };
    let subject =
        plan.manifest.subject.as_ref().map(|subject| subject.digest.to_string()).unwrap_or_default();
    if is_new {
        let is_signature = plan.manifest.kind_of_artifact() == Some(crate::trust::BUNDLE);
        record(tx, entry(if is_signature { "sign" } else { "push" }, &subject)).await?;
    }
    for tag in &push.tags {
        record(tx, entry("tag", tag)).await?;
    }
    let reference = match push.tags.first() {
        Some(tag) => format!("{}:{tag}", push.repository),
        None => format!("{}@{digest}", push.repository),
    };
    let payload = json!({ "reference": reference, "digest": digest, "kind": plan.kind });
    tx.emit(Event::new("artifact.pushed", push.repository, payload)).await
}
