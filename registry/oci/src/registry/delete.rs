use eyot_core::{Digest, Error, Result};
use eyot_meta::{Event, Transaction, fail};
use eyot_store::ContentDigest;
use serde_json::json;
use sqlx::Row as _;

use super::Registry;
use super::audit_log::NewLogEntry;
use super::blobs::find_blob;
use crate::route::ManifestRef;

impl Registry {
    /// Deletes a tag, or a manifest with all of its tags, from a repository.
    ///
    /// Fails with `NotFound`, and with `Conflict` while an index of the repository needs the manifest.
    pub(crate) async fn delete(&self, repository: &str, target: &ManifestRef, actor: &str) -> Result<()> {
        let mut tx = self.0.db.begin().await?;
        let absent = || Error::not_found(format!("there is no '{target}' in {repository}"));
        let was_there = match target {
            ManifestRef::Tag(tag) => self.untag(&mut tx, repository, tag, actor).await?,
            ManifestRef::Digest(digest) => {
                let digest = find_blob(&mut tx, repository, digest).await?.ok_or_else(absent)?;
                self.remove_manifest(&mut tx, repository, &digest, actor).await?
            }
        };
        if !was_there {
            return Err(absent());
        }
        let payload = json!({ "reference": target.to_string() });
        tx.emit(Event::new("artifact.deleted", repository, payload)).await?;
        self.commit(tx).await
    }

    /// Deletes a blob from a repository. Its bytes are garbage collected, if nothing else uses them.
    ///
    /// Fails with `NotFound`, and with `Conflict` while a manifest of the repository uses it.
    pub(crate) async fn delete_blob(
        &self,
        repository: &str,
        digest: &ContentDigest,
        actor: &str,
    ) -> Result<()> {
        let mut tx = self.0.db.begin().await?;
        let found = find_blob(&mut tx, repository, digest).await?;
        let found =
            found.ok_or_else(|| Error::not_found(format!("there is no blob {digest} in {repository}")))?;
        let user = sqlx::query("SELECT digest FROM manifest_blobs WHERE repository = ? AND blob = ? LIMIT 1");
        let user =
            user.bind(repository).bind(found.to_string()).fetch_optional(&mut *tx).await.map_err(fail)?;
        if let Some(row) = user {
            let user: String = row.try_get("digest").map_err(fail)?;
            return Err(Error::conflict(format!("the manifest {repository}@{user} uses blob {digest}"))
                .hint("delete the manifest first"));
        }
        let unlinked = sqlx::query("DELETE FROM repository_blobs WHERE repository = ? AND digest = ?");
        unlinked.bind(repository).bind(found.to_string()).execute(&mut *tx).await.map_err(fail)?;
        self.forget_blobs(&mut tx);
        let entry = NewLogEntry {
            actor,
            action: "delete",
            repository,
            reference: "blob",
            digest: &found.to_string(),
        };
        self.log_entry(&mut tx, entry).await?;
        tx.commit().await
    }

    /// Removes a tag; `false` when there was none.
    pub(super) async fn untag(
        &self,
        tx: &mut Transaction,
        repository: &str,
        tag: &str,
        actor: &str,
    ) -> Result<bool> {
        let row = sqlx::query("SELECT digest FROM tags WHERE repository = ? AND tag = ?")
            .bind(repository)
            .bind(tag);
        let Some(row) = row.fetch_optional(&mut **tx).await.map_err(fail)? else { return Ok(false) };
        self.forget_manifest(tx, repository, &ManifestRef::Tag(tag.to_owned()));
        let digest: String = row.try_get("digest").map_err(fail)?;
        sqlx::query("DELETE FROM tags WHERE repository = ? AND tag = ?")
            .bind(repository)
            .bind(tag)
            .execute(&mut **tx)
            .await
            .map_err(fail)?;
        if self.is_immutable(tag) {
            // Deleting and pushing again would be moving.
            sqlx::query("INSERT INTO retired_tags (repository, tag, digest, retired_at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING")
                .bind(repository)
                .bind(tag)
                .bind(&digest)
                .bind(self.now())
                .execute(&mut **tx)
                .await
                .map_err(fail)?;
        }
        self.change_tags(tx).await?;
        self.log_entry(
            tx,
            NewLogEntry { actor, action: "untag", repository, reference: tag, digest: &digest },
        )
        .await?;
        Ok(true)
    }

    /// Removes a manifest with its tags; `false` when there was none.
    pub(super) async fn remove_manifest(
        &self,
        tx: &mut Transaction,
        repository: &str,
        digest: &Digest,
        actor: &str,
    ) -> Result<bool> {
        let text = digest.to_string();
        let row = sqlx::query(
            "SELECT b.sha512 FROM manifests m LEFT JOIN blobs b ON b.digest = m.digest \
             WHERE m.repository = ? AND m.digest = ?",
        );
        let row = row.bind(repository).bind(&text).fetch_optional(&mut **tx).await.map_err(fail)?;
        let Some(row) = row else { return Ok(false) };
        let sha512: Option<String> = row.try_get("sha512").map_err(fail)?;
        let parent =
            sqlx::query("SELECT digest FROM manifest_children WHERE repository = ? AND child = ? LIMIT 1");
        let parent = parent.bind(repository).bind(&text).fetch_optional(&mut **tx).await.map_err(fail)?;
        if let Some(row) = parent {
            let parent: String = row.try_get("digest").map_err(fail)?;
            return Err(Error::conflict(format!("the index {repository}@{parent} needs {text}"))
                .hint("delete the index first"));
        }
        let tags = sqlx::query("SELECT tag FROM tags WHERE repository = ? AND digest = ?")
            .bind(repository)
            .bind(&text);
        let tags = tags.fetch_all(&mut **tx).await.map_err(fail)?;
        for row in tags {
            let tag: String = row.try_get("tag").map_err(fail)?;
            self.untag(tx, repository, &tag, actor).await?;
        }
        let known_as = sha512.and_then(|text| text.parse().ok());
        for known_as in [Some((*digest).into()), known_as].into_iter().flatten() {
            self.forget_manifest(tx, repository, &ManifestRef::Digest(known_as));
        }
        self.forget_blobs(tx);
        // What is used no longer stays for a lease: somebody may have been told that it is here.
        let freed = "UPDATE blobs SET uses = uses - 1, leased_until = CASE WHEN leased_until > ? THEN leased_until ELSE ? END \
             WHERE digest IN (SELECT blob FROM manifest_blobs WHERE repository = ? AND digest = ?)";
        let lease = self.lease_end();
        let freed = sqlx::query(freed).bind(lease).bind(lease).bind(repository).bind(&text);
        freed.execute(&mut **tx).await.map_err(fail)?;
        for query in [
            "DELETE FROM manifest_blobs WHERE repository = ? AND digest = ?",
            "DELETE FROM manifest_children WHERE repository = ? AND digest = ?",
            "DELETE FROM manifests WHERE repository = ? AND digest = ?",
            // A manifest's bytes are not for pulling as a blob once it is gone, unless another uses them.
            "DELETE FROM repository_blobs WHERE repository = ? AND digest = ? AND NOT EXISTS (SELECT 1 FROM manifest_blobs m \
             WHERE m.repository = repository_blobs.repository AND m.blob = repository_blobs.digest)",
        ] {
            sqlx::query(query).bind(repository).bind(&text).execute(&mut **tx).await.map_err(fail)?;
        }
        self.log_entry(tx, NewLogEntry { actor, action: "delete", repository, reference: "", digest: &text })
            .await?;
        Ok(true)
    }
}
