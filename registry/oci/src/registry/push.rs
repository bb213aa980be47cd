use bytes::Bytes;
use eyot_core::config::ImmutableTags;
use eyot_core::{Digest, Error, Result};
use eyot_meta::{Event, Transaction, sql};
use eyot_store::{BlobHold, ContentDigest};
use serde_json::json;

use super::blobs::{find_blob, link_blob};
use super::{Registry, ResolvedArtifact};
use crate::manifest::{ArtifactKind, Descriptor, Manifest};
use crate::route::ManifestRef;

/// A manifest that is being pushed.
pub(crate) struct ManifestPush<'a> {
    pub(crate) repository: &'a str,
    /// The digest that it must have.
    pub(crate) digest: Option<ContentDigest>,
    pub(crate) tags: Vec<String>,
    pub(crate) media_type: Option<&'a str>,
    pub(crate) bytes: Bytes,
}

/// Where a manifest's blobs may come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BlobSource {
    /// Clients may refer only to what the repository holds: else they could read what other repositories hold.
    Repository,
    /// The process itself may refer to anything in the store.
    Store,
    /// A mirror refers to blobs that are fetched on demand.
    Upstream,
}

/// A manifest that was pushed.
pub(crate) struct PushedManifest {
    pub(crate) resolved: ResolvedArtifact,
    /// The digest to answer with.
    pub(crate) digest: ContentDigest,
    pub(crate) subject: Option<ContentDigest>,
}

/// What is derived from a pushed manifest before anything is written.
struct PushPlan {
    digest: Digest,
    /// Of the manifest itself.
    length: u64,
    media_type: String,
    manifest: Manifest,
    kind: ArtifactKind,
    content: Option<ContentDigest>,
}

impl Registry {
    /// Pushes a manifest: its row, tags, references, uses of blobs, event and log entries are committed in one
    /// transaction.
    pub(crate) async fn push(&self, push: ManifestPush<'_>, source: BlobSource) -> Result<PushedManifest> {
        let plan = plan_push(&push)?;
        if !push.tags.is_empty() && source != BlobSource::Upstream {
            self.check_local_policy(push.repository, &plan.digest).await?;
        }
        if self.0.store.size(&plan.digest).await?.is_none() {
            // What is refused must not be stored: a dry run in a transaction that is rolled back.
            let mut rehearsal = self.0.db.begin().await?;
            self.record_manifest(&mut rehearsal, &push, &plan, None, source).await?;
        }
        let mut held_blobs = vec![(plan.digest, self.0.store.hold(&plan.digest))];
        let pushed = self.store_manifest(push, plan, source, &mut held_blobs).await;
        if pushed.is_err() {
            let digests: Vec<_> = held_blobs.into_iter().map(|(digest, _)| digest).collect();
            self.discard_unreferenced(&digests).await;
        }
        pushed
    }

    /// Stores a manifest and what is unpacked for it, and records them. Their blobs are held until that is committed.
    async fn store_manifest(
        &self,
        push: ManifestPush<'_>,
        plan: PushPlan,
        source: BlobSource,
        held_blobs: &mut Vec<(Digest, BlobHold)>,
    ) -> Result<PushedManifest> {
        let unpacked = self.inspect(push.repository, &plan, source).await?;
        if let Some((digest, _)) = &unpacked {
            held_blobs.push((*digest, self.0.store.hold(digest)));
        }
        // Over what is here already too: its bytes may have been damaged since.
        self.0.store.put(push.bytes.clone()).await?;
        let mut tx = self.0.db.begin().await?;
        let resolved = self.record_manifest(&mut tx, &push, &plan, unpacked, source).await?;
        self.commit(tx).await?;
        let subject = plan.manifest.subject.map(|subject| subject.digest);
        Ok(PushedManifest { resolved, digest: push.digest.unwrap_or(plan.digest.into()), subject })
    }

    /// Writes the rows of a manifest: itself, its tags, its references and uses of blobs.
    async fn record_manifest(
        &self,
        tx: &mut Transaction,
        push: &ManifestPush<'_>,
        plan: &PushPlan,
        unpacked: Option<(Digest, u64)>,
        source: BlobSource,
    ) -> Result<ResolvedArtifact> {
        let mut uses = self.check_references(tx, push.repository, &plan.manifest, source).await?;
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
        self.record_blob(tx, &plan.digest, push.digest.as_ref(), push.bytes.len() as u64).await?;
        let is_new = self.insert(tx, push, plan, content.as_ref(), size).await?;
        if is_new {
            self.count_uses(tx, push.repository, plan, &uses).await?;
            self.check_quota(tx, push.repository).await?;
        }
        for tag in &push.tags {
            self.move_tag(tx, push.repository, tag, &plan.digest).await?;
        }
        self.announce(tx, push, plan, is_new);
        Ok(ResolvedArtifact {
            repository: push.repository.to_owned(),
            manifest: plan.digest,
            content: content.unwrap_or(plan.digest),
            kind: if content.is_some() { plan.kind } else { ArtifactKind::Other },
            size,
            // Anything may be stored; that two files have one name is an error where they are used.
            data: plan.manifest.data_layers().unwrap_or_default(),
            models: plan.manifest.declared_models(),
        })
    }

    /// Checks the content of a manifest before it is admitted; answers what was unpacked for it. The content of a
    /// mirrored one is not here yet.
    async fn inspect(
        &self,
        repository: &str,
        plan: &PushPlan,
        source: BlobSource,
    ) -> Result<Option<(Digest, u64)>> {
        if source == BlobSource::Upstream {
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

    /// The blobs that a manifest refers to, by the digest that it uses and by sha256, with sizes: all must be here.
    async fn check_references(
        &self,
        tx: &mut Transaction,
        repository: &str,
        manifest: &Manifest,
        source: BlobSource,
    ) -> Result<Vec<(ContentDigest, Digest, u64)>> {
        let mut uses = Vec::new();
        for blob in manifest.config.iter().chain(&manifest.layers) {
            let held = match source {
                BlobSource::Repository => find_blob(tx, repository, &blob.digest).await?,
                BlobSource::Store | BlobSource::Upstream => known_digest(tx, &blob.digest).await?,
            };
            let size = match held {
                Some(digest) => self.0.store.size(&digest).await?,
                None => None,
            };
            let size = size.or_else(|| (source == BlobSource::Upstream).then_some(blob.size));
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
            let may_lack = source == BlobSource::Upstream || !child.urls.is_empty();
            match find_child(tx, repository, child).await? {
                Some((_, bytes)) if bytes != child.size && source != BlobSource::Upstream => {
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

    async fn count_uses(
        &self,
        tx: &mut Transaction,
        repository: &str,
        plan: &PushPlan,
        uses: &[(ContentDigest, Digest, u64)],
    ) -> Result<()> {
        let own = (&plan.digest, plan.length);
        for (blob, size) in uses.iter().map(|(_, digest, size)| (digest, *size)).chain([own]) {
            self.record_blob(tx, blob, None, size).await?;
            link_blob(tx, repository, blob).await?;
            let used = sql("INSERT INTO manifest_blobs (repository, digest, blob) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
                .bind(repository)
                .bind(plan.digest.to_string())
                .bind(blob.to_string())
                .execute(&mut *tx)
                .await?;
            if used == 1 {
                let counted =
                    sql("UPDATE blobs SET uses = uses + 1 WHERE digest = $1").bind(blob.to_string());
                counted.execute(&mut *tx).await?;
            }
        }
        for child in &plan.manifest.manifests {
            let Some((child, _)) = find_child(tx, repository, child).await? else { continue };
            sql("INSERT INTO manifest_children (repository, digest, child) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
                .bind(repository)
                .bind(plan.digest.to_string())
                .bind(child.to_string())
                .execute(&mut *tx)
                .await?;
        }
        Ok(())
    }

    /// Writes the manifest's row; `false` when it was there. Absence is never cached.
    async fn insert(
        &self,
        tx: &mut Transaction,
        push: &ManifestPush<'_>,
        plan: &PushPlan,
        content: Option<&Digest>,
        size: u64,
    ) -> Result<bool> {
        let pushed_as = push
            .digest
            .filter(|digest| matches!(digest, ContentDigest::Sha512(_)))
            .map(|digest| digest.to_string());
        let (digest, length) = (plan.digest.to_string(), i64::try_from(push.bytes.len()).unwrap_or(i64::MAX));
        let shown = push.digest.unwrap_or(plan.digest.into());
        let descriptor = super::referrers::referrer_descriptor(
            &plan.manifest,
            &plan.media_type,
            shown,
            push.bytes.len() as u64,
        )?;
        let kind = if content.is_some() { plan.kind } else { ArtifactKind::Other };
        let inserted = sql(
            "INSERT INTO manifests (repository, digest, media_type, size, kind, content, created_at, pushed_as, subject, \
             artifact_type, descriptor, bytes) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT (repository, digest) DO NOTHING",
        )
        .bind(push.repository)
        .bind(&digest)
        .bind(&plan.media_type)
        .bind(i64::try_from(size).unwrap_or(i64::MAX))
        .bind(kind.as_str())
        .bind(content.map(ToString::to_string))
        .bind(self.now())
        .bind(&pushed_as)
        .bind(plan.manifest.subject.as_ref().map(|subject| subject.digest.to_string()))
        .bind(plan.manifest.kind_of_artifact())
        .bind(&descriptor)
        .bind(length)
        .execute(&mut *tx)
        .await?;
        if inserted == 0 && pushed_as.is_some() {
            let renamed = sql(
                "UPDATE manifests SET pushed_as = $1, descriptor = $2 WHERE repository = $3 AND digest = $4",
            );
            let renamed = renamed.bind(&pushed_as).bind(&descriptor).bind(push.repository).bind(&digest);
            renamed.execute(&mut *tx).await?;
            // Its tags answer with the other digest from now on.
            self.on_commit(tx, |inner| inner.manifests.clear());
        }
        Ok(inserted == 1)
    }

    /// Whether a tag is immutable once it is set.
    pub(super) fn is_immutable(&self, tag: &str) -> bool {
        match self.0.settings.config.immutable_tags {
            ImmutableTags::All => true,
            ImmutableTags::None => false,
            ImmutableTags::Semver => semver::Version::parse(tag.strip_prefix('v').unwrap_or(tag)).is_ok(),
        }
    }

    /// Points a tag to a manifest. No other function sets tags.
    async fn move_tag(
        &self,
        tx: &mut Transaction,
        repository: &str,
        tag: &str,
        digest: &Digest,
    ) -> Result<()> {
        if self.is_immutable(tag) {
            let query = "SELECT digest FROM tags WHERE repository = $1 AND tag = $2 \
                 UNION ALL SELECT digest FROM retired_tags WHERE repository = $3 AND tag = $4";
            let row = sql(query).bind(repository).bind(tag).bind(repository).bind(tag);
            let row = row.fetch_optional(&mut *tx).await?;
            let named: Option<String> = row.map(|row| row.get("digest")).transpose()?;
            if named.as_ref().is_some_and(|named| *named != digest.to_string()) {
                return Err(Error::conflict(format!(
                    "the tag {repository}:{tag} names {} for ever",
                    named.unwrap_or_default()
                ))
                .hint("push under another version; registry.immutable-tags says which tags may move"));
            }
        }
        self.forget_manifest(tx, repository, &ManifestRef::Tag(tag.to_owned()));
        self.change_tags(tx).await?;
        sql(
            "INSERT INTO tags (repository, tag, digest, updated_at) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (repository, tag) DO UPDATE SET digest = excluded.digest, updated_at = excluded.updated_at",
        )
        .bind(repository)
        .bind(tag)
        .bind(digest.to_string())
        .bind(self.now())
        .execute(&mut *tx)
        .await
        .map(drop)
    }
}

fn plan_push(push: &ManifestPush<'_>) -> Result<PushPlan> {
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
    Ok(PushPlan { digest, length: push.bytes.len() as u64, media_type, manifest, kind, content })
}

fn unknown(repository: &str, digest: &ContentDigest) -> Error {
    Error::not_found(format!("the manifest names {digest}, which is not in {repository}"))
        .hint("push its blobs first")
}

/// The sha256 of a blob of the whole store, by its digest.
async fn known_digest(tx: &mut Transaction, digest: &ContentDigest) -> Result<Option<Digest>> {
    if let ContentDigest::Sha256(digest) = digest {
        return Ok(Some(*digest));
    }
    let row = sql("SELECT digest FROM blobs WHERE sha512 = $1").bind(digest.to_string());
    let row = row.fetch_optional(&mut *tx).await?;
    row.map(|row| row.get::<String>("digest")?.parse()).transpose()
}

/// The manifest of a repository that an index refers to, and its length.
async fn find_child(
    tx: &mut Transaction,
    repository: &str,
    child: &Descriptor,
) -> Result<Option<(Digest, u64)>> {
    let Some(digest) = known_digest(tx, &child.digest).await? else { return Ok(None) };
    let row = sql("SELECT bytes FROM manifests WHERE repository = $1 AND digest = $2")
        .bind(repository)
        .bind(digest.to_string());
    let row = row.fetch_optional(&mut *tx).await?;
    let bytes = row.map(|row| row.get::<i64>("bytes")).transpose()?;
    Ok(bytes.map(|bytes| (digest, bytes.unsigned_abs())))
}

impl Registry {
    /// Emits the event, and says in the audit log what it does not tell.
    fn announce(&self, tx: &mut Transaction, push: &ManifestPush<'_>, plan: &PushPlan, is_new: bool) {
        let digest = plan.digest.to_string();
        let is_signature = plan.manifest.kind_of_artifact() == Some(crate::attestation::BUNDLE_TYPE);
        if is_new && is_signature {
            let subject = plan.manifest.subject.as_ref().map(|subject| subject.digest.to_string());
            self.audit(
                tx,
                "artifact.signed",
                push.repository,
                json!({ "digest": subject, "signature": digest }),
            );
        }
        for tag in &push.tags {
            self.audit(tx, "tag.set", push.repository, json!({ "tag": tag, "digest": digest }));
        }
        let reference = match push.tags.first() {
            Some(tag) => format!("{}:{tag}", push.repository),
            None => format!("{}@{digest}", push.repository),
        };
        let payload = json!({ "reference": reference, "digest": digest, "kind": plan.kind });
        let project = self.0.access.project_of(push.repository);
        tx.emit(Event::new("artifact.pushed", push.repository, payload).in_project(&project));
    }
}
