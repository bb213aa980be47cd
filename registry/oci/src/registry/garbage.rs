use std::collections::BTreeMap;

use eyot_core::config::Retention;
use eyot_core::{Digest, ErrorKind, Result};
use eyot_meta::{Transaction, sql};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::audit_log::audit_blob;
use super::blobs::is_known;
use super::{Registry, milliseconds};
use eyot_core::glob;

/// Whether a garbage collection removes things or only reports what it would remove.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CollectionMode {
    Remove,
    DryRun,
}

/// What a garbage collection removed, or would remove.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectionReport {
    pub dry_run: bool,
    /// Tags and manifests, by the retention rules.
    pub retired: Vec<RetiredEntry>,
    pub blobs: u64,
    /// The blobs' bytes.
    pub bytes: u64,
    /// Uploads that nobody went on with.
    pub uploads: u64,
}

/// A tag, or an untagged manifest, that a retention rule removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetiredEntry {
    pub repository: String,
    pub tag: Option<String>,
    pub digest: Digest,
    pub rule: String,
}

/// What a scrub, which hashes blobs again, found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScrubReport {
    pub checked: u64,
    pub bytes: u64,
    /// Blobs whose bytes are not what their digest says; they lie in `quarantine/` now.
    pub quarantined: Vec<Digest>,
}

/// Blobs a transaction: pushes wait for no more than that.
const BATCH_BLOB_COUNT: u32 = 64;

impl Registry {
    /// Removes what the rules of retention say, blobs that nothing uses and whose lease has ended, and
    /// uploads that nobody goes on with; pushes and pulls go on meanwhile. What a manifest uses, and
    /// what somebody pins in the store, stays.
    pub async fn collect(&self, mode: CollectionMode) -> Result<CollectionReport> {
        let mut collection =
            CollectionReport { dry_run: mode == CollectionMode::DryRun, ..CollectionReport::default() };
        self.retire(mode, &mut collection).await?;
        match mode {
            CollectionMode::Remove => {
                self.prune_links().await?;
                let mut after = String::new();
                while let Some(last) = self.collect_batch(&after, &mut collection).await? {
                    after = last;
                }
                self.collect_orphans(&mut collection).await?;
                collection.uploads = self.expire_uploads().await?;
            }
            CollectionMode::DryRun => self.count_collectable(&mut collection).await?,
        }
        Ok(collection)
    }

    /// Blobs that a repository's manifests used once can no longer be pulled from it.
    async fn prune_links(&self) -> Result<()> {
        let mut tx = self.0.db.begin().await?;
        sql(
            "DELETE FROM repository_blobs WHERE NOT EXISTS (SELECT 1 FROM manifest_blobs m \
             WHERE m.repository = repository_blobs.repository AND m.blob = repository_blobs.digest) \
             AND NOT EXISTS (SELECT 1 FROM uploads u WHERE u.repository = repository_blobs.repository) \
             AND EXISTS (SELECT 1 FROM blobs b WHERE b.digest = repository_blobs.digest AND b.leased_until < $1)",
        )
        .bind(self.now())
        .execute(&mut tx)
        .await?;
        self.forget_blobs(&mut tx);
        tx.commit().await
    }

    /// Removes some blobs; answers the last one looked at, none when there are no more.
    ///
    /// Files are removed inside of the transaction: every push takes its lease in one too, so it either
    /// comes before, and is seen here, or after, and finds the blob gone.
    async fn collect_batch(&self, after: &str, collection: &mut CollectionReport) -> Result<Option<String>> {
        let mut tx = self.0.db.begin().await?;
        let candidates = candidates(&mut tx, after, self.now()).await?;
        self.forget_blobs(&mut tx);
        for digest in &candidates {
            let size = self.0.store.size(digest).await?.unwrap_or_default();
            if !self.remove_blob(digest).await? {
                continue;
            }
            for query in
                ["DELETE FROM repository_blobs WHERE digest = $1", "DELETE FROM blobs WHERE digest = $1"]
            {
                sql(query).bind(digest.to_string()).execute(&mut tx).await?;
            }
            audit_blob(&mut tx, "blob.collected", &digest.to_string());
            (collection.blobs, collection.bytes) = (collection.blobs + 1, collection.bytes + size);
        }
        tx.commit().await?;
        Ok(candidates.last().map(ToString::to_string))
    }

    /// Removes orphaned blobs, which have no row: a process was killed, or a request given up, between storing the blob
    /// and recording it.
    async fn collect_orphans(&self, collection: &mut CollectionReport) -> Result<()> {
        for orphans in self.orphans().await?.chunks(BATCH_BLOB_COUNT as usize) {
            let mut tx = self.0.db.begin().await?;
            for digest in orphans {
                let size = self.0.store.size(digest).await?;
                // It may have come again since the look.
                let (Some(size), false) = (size, is_known(&mut tx, digest).await?) else { continue };
                if self.remove_blob(digest).await? {
                    audit_blob(&mut tx, "blob.collected", &digest.to_string());
                    (collection.blobs, collection.bytes) = (collection.blobs + 1, collection.bytes + size);
                }
            }
            tx.commit().await?;
        }
        Ok(())
    }

    /// Blobs without a row that were written longer ago than a lease lasts. Whoever stores a blob without a row and goes
    /// on using it, as steps do, pins or holds it.
    async fn orphans(&self) -> Result<Vec<Digest>> {
        let mut old = self.0.store.older_than(self.0.settings.config.lease.0).await?.into_iter().peekable();
        let (mut orphans, mut after) = (Vec::new(), String::new());
        loop {
            let rows = sql("SELECT digest FROM blobs WHERE digest > $1 ORDER BY digest LIMIT 10000");
            let rows = rows.bind(&after).fetch_all(&self.0.db).await?;
            let known = rows.iter().map(|row| row.get::<String>("digest")?.parse());
            let known = known.collect::<Result<Vec<Digest>>>()?;
            let last = known.last().copied();
            while let Some(digest) = old.next_if(|digest| last.is_none_or(|last| *digest <= last)) {
                if known.binary_search(&digest).is_err() {
                    orphans.push(digest);
                }
            }
            let Some(last) = last else { return Ok(orphans) };
            after = last.to_string();
        }
    }

    /// `false` when something outside of the registry pins or holds it.
    pub(super) async fn remove_blob(&self, digest: &Digest) -> Result<bool> {
        for owner in self.0.store.pins(digest).await?.iter().filter(|owner| owner.starts_with("manifest/")) {
            // Before uses were counted, manifests pinned their blobs.
            self.0.store.unpin(digest, owner).await?;
        }
        match self.0.store.delete(digest).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::Conflict => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn count_collectable(&self, collection: &mut CollectionReport) -> Result<()> {
        let rows = sql(
            "SELECT digest FROM blobs WHERE uses = 0 AND leased_until < $1 AND NOT EXISTS (SELECT 1 FROM uploads u \
             JOIN repository_blobs r ON r.repository = u.repository WHERE r.digest = blobs.digest)",
        );
        let rows = rows.bind(self.now());
        let rows = rows.fetch_all(&self.0.db).await?;
        let unused = rows.iter().map(|row| row.get::<String>("digest")?.parse());
        for digest in unused.chain(self.orphans().await?.into_iter().map(Ok)) {
            let digest: Digest = digest?;
            let pins = self.0.store.pins(&digest).await?;
            if pins.iter().all(|owner| owner.starts_with("manifest/")) {
                collection.blobs += 1;
                collection.bytes += self.0.store.size(&digest).await?.unwrap_or_default();
            }
        }
        let since = self.now() - milliseconds(self.0.settings.config.upload_expiry.0);
        let row = sql("SELECT COUNT(*) AS count FROM uploads WHERE touched_at < $1").bind(since);
        let row = row.fetch_one(&self.0.db).await?;
        collection.uploads = row.get::<i64>("count")?.unsigned_abs();
        Ok(())
    }

    async fn retire(&self, mode: CollectionMode, collection: &mut CollectionReport) -> Result<()> {
        for rule in &self.0.settings.config.retention {
            let names = self.names().await?;
            for removed in plan_retention(rule, &names, self.now()) {
                if self.is_needed(&removed).await? {
                    continue;
                }
                if mode == CollectionMode::Remove && !self.remove(&removed).await? {
                    continue;
                }
                collection.retired.push(removed);
            }
        }
        Ok(())
    }

    /// Whether something outside of the registry pins the manifest or its content.
    async fn is_needed(&self, removed: &RetiredEntry) -> Result<bool> {
        if removed.tag.is_some() {
            return Ok(false);
        }
        let rows = sql("SELECT blob FROM manifest_blobs WHERE repository = $1 AND digest = $2");
        let rows = rows.bind(&removed.repository).bind(removed.digest.to_string());
        for row in rows.fetch_all(&self.0.db).await? {
            let blob: Digest = row.get::<String>("blob")?.parse()?;
            let pins = self.0.store.pins(&blob).await?;
            if pins.iter().any(|owner| !owner.starts_with("manifest/")) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn remove(&self, removed: &RetiredEntry) -> Result<bool> {
        let RetiredEntry { repository, tag, digest, .. } = removed;
        let mut tx = self.0.db.begin().await?;
        let is_removed = match tag {
            Some(tag) => self.untag(&mut tx, repository, tag).await?,
            // It may have been tagged since the look.
            None if has_tag(&mut tx, repository, digest).await? => false,
            None => match self.remove_manifest(&mut tx, repository, digest).await {
                Ok(is_removed) => is_removed,
                Err(error) if error.kind() == ErrorKind::Conflict => false,
                Err(error) => return Err(error),
            },
        };
        if is_removed {
            self.commit(tx).await?;
        }
        Ok(is_removed)
    }

    async fn names(&self) -> Result<Vec<RetentionCandidate>> {
        let rows = sql(
            "SELECT m.repository, m.digest, m.created_at, t.tag, t.updated_at, \
             EXISTS (SELECT 1 FROM manifest_children c WHERE c.repository = m.repository AND c.child = m.digest) AS is_child, \
             EXISTS (SELECT 1 FROM manifests s WHERE s.repository = m.repository AND s.digest = m.subject) AS is_referrer \
             FROM manifests m LEFT JOIN tags t ON t.repository = m.repository AND t.digest = m.digest",
        )
        .fetch_all(&self.0.db)
        .await?;
        rows.iter()
            .map(|row| {
                let tag: Option<String> = row.get("tag")?;
                let (created, updated): (i64, Option<i64>) = (row.get("created_at")?, row.get("updated_at")?);
                Ok(RetentionCandidate {
                    repository: row.get("repository")?,
                    tag,
                    digest: row.get::<String>("digest")?.parse()?,
                    since: updated.unwrap_or(created),
                    is_used: row.get::<bool>("is_child")? || row.get::<bool>("is_referrer")?,
                })
            })
            .collect()
    }

    /// Hashes the blobs again that were not checked since `since`, the oldest check first, and quarantines damaged ones.
    /// Ends early when `stop` is cancelled.
    pub async fn scrub(&self, since: i64, stop: &CancellationToken) -> Result<ScrubReport> {
        let mut scrub = ScrubReport::default();
        loop {
            let row =
                sql("SELECT digest FROM blobs WHERE checked_at < $1 ORDER BY checked_at LIMIT 1").bind(since);
            let row = row.fetch_optional(&self.0.db).await?;
            let Some(row) = row.filter(|_| !stop.is_cancelled()) else { return Ok(scrub) };
            let digest: Digest = row.get::<String>("digest")?.parse()?;
            scrub.checked += 1;
            scrub.bytes += self.0.store.size(&digest).await?.unwrap_or_default();
            let damaged = self.0.store.quarantine(&digest).await?;
            let mut tx = self.0.db.begin().await?;
            let noted = sql("UPDATE blobs SET checked_at = $1 WHERE digest = $2")
                .bind(self.now().max(since))
                .bind(digest.to_string());
            noted.execute(&mut tx).await?;
            if damaged {
                tracing::error!(%digest, "a blob is damaged and was moved to quarantine");
                audit_blob(&mut tx, "blob.quarantined", &digest.to_string());
                scrub.quarantined.push(digest);
                self.forget_blobs(&mut tx);
            }
            tx.commit().await?;
        }
    }
}

async fn candidates(tx: &mut Transaction, after: &str, now: i64) -> Result<Vec<Digest>> {
    // The blobs of a push keep their leases for as long as one of its uploads is under way.
    let rows = sql(
        "SELECT digest FROM blobs WHERE uses = 0 AND leased_until < $1 AND digest > $2 AND NOT EXISTS (SELECT 1 FROM uploads u \
         JOIN repository_blobs r ON r.repository = u.repository WHERE r.digest = blobs.digest) ORDER BY digest LIMIT $3",
    );
    let rows = rows.bind(now).bind(after).bind(BATCH_BLOB_COUNT).fetch_all(&mut *tx).await?;
    rows.iter().map(|row| row.get::<String>("digest")?.parse()).collect()
}

async fn has_tag(tx: &mut Transaction, repository: &str, digest: &Digest) -> Result<bool> {
    let row = sql("SELECT 1 FROM tags WHERE repository = $1 AND digest = $2 LIMIT 1");
    let row = row.bind(repository).bind(digest.to_string()).fetch_optional(&mut *tx).await?;
    Ok(row.is_some())
}

/// A tag, or an untagged manifest, that retention rules are applied to.
#[derive(Clone, Debug)]
struct RetentionCandidate {
    repository: String,
    tag: Option<String>,
    digest: Digest,
    /// When the tag was last pushed, or the manifest.
    since: i64,
    /// By an index, or because its subject is there.
    is_used: bool,
}

/// What a retention rule removes at a time.
fn plan_retention(rule: &Retention, names: &[RetentionCandidate], now: i64) -> Vec<RetiredEntry> {
    let removed = |name: &RetentionCandidate, reason: String| RetiredEntry {
        repository: name.repository.clone(),
        tag: name.tag.clone(),
        digest: name.digest,
        rule: reason,
    };
    let mut tagged: BTreeMap<&str, Vec<&RetentionCandidate>> = BTreeMap::new();
    let mut plan = Vec::new();
    for name in names.iter().filter(|name| glob::matches(&rule.repository, &name.repository)) {
        match &name.tag {
            Some(tag) if glob::matches(&rule.tags, tag) => {
                tagged.entry(&name.repository).or_default().push(name)
            }
            Some(_) => {}
            None => {
                let after = milliseconds(rule.untagged_after.0);
                if after > 0 && !name.is_used && name.since < now - after {
                    plan.push(removed(name, format!("untagged for more than {}", rule.untagged_after)));
                }
            }
        }
    }
    for mut names in tagged.into_values().filter(|_| rule.keep_tags > 0) {
        names.sort_by(|one, other| other.since.cmp(&one.since).then_with(|| other.tag.cmp(&one.tag)));
        let surplus = names.into_iter().skip(rule.keep_tags);
        plan.extend(surplus.map(|name| removed(name, format!("more than {} tags", rule.keep_tags))));
    }
    plan
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn name(repository: &str, tag: Option<&str>, since: i64, is_used: bool) -> RetentionCandidate {
        let tag = tag.map(str::to_owned);
        RetentionCandidate {
            repository: repository.to_owned(),
            tag,
            digest: Digest::of(since.to_string()),
            since,
            is_used,
        }
    }

    #[test]
    fn rules_remove_what_they_say_and_nothing_that_is_used() {
        let names = [
            name("models/a", Some("1.0.0"), 1000, false),
            name("models/a", Some("1.1.0"), 3000, false),
            name("models/a", Some("1.2.0"), 2000, false),
            name("models/a", Some("latest"), 1, false),
            name("models/a", None, 100, false),
            name("models/a", None, 99, true),
            name("models/a", None, 1_000_000, false),
            name("other", Some("1.0.0"), 1, false),
            name("other", None, 1, false),
        ];
        let rule = |repository: &str, tags: &str, keep_tags, untagged_after: &str| Retention {
            repository: repository.to_owned(),
            tags: tags.to_owned(),
            keep_tags,
            untagged_after: untagged_after.parse().unwrap(),
        };
        for (rule, expected) in [
            (rule("*", "*", 0, "0s"), vec![]),
            (rule("models/*", "1.*", 2, "0s"), vec![Some("1.0.0")]),
            (rule("models/*", "1.*", 1, "0s"), vec![Some("1.2.0"), Some("1.0.0")]),
            (rule("models/*", "*", 0, "10s"), vec![None]),
            (rule("nothing", "*", 1, "1s"), vec![]),
        ] {
            let found: Vec<_> =
                plan_retention(&rule, &names, 20_000).into_iter().map(|removed| removed.tag).collect();
            assert_eq!(
                found,
                expected.into_iter().map(|tag| tag.map(str::to_owned)).collect::<Vec<_>>(),
                "{rule:?}"
            );
        }
    }
}
