use eyot_core::{Digest, Error, Result};
use eyot_meta::{Event, Transaction, sql};
use eyot_store::ContentDigest;
use serde_json::json;

use super::Registry;
use super::blobs::find_blob;
use crate::route::ManifestRef;

impl Registry {
    /// Deletes a tag, or a manifest with all of its tags, from a repository.
    ///
    /// Fails with `NotFound`, and with `Conflict` while an index of the repository needs the manifest.
    pub(crate) async fn delete(&self, repository: &str, target: &ManifestRef) -> Result<()> {
        let mut tx = self.0.db.begin().await?;
        let absent = || Error::not_found(format!("there is no '{target}' in {repository}"));
        let was_there = match target {
            ManifestRef::Tag(tag) => self.untag(&mut tx, repository, tag).await?,
            ManifestRef::Digest(digest) => {
                let digest = find_blob(&mut tx, repository, digest).await?.ok_or_else(absent)?;
                self.remove_manifest(&mut tx, repository, &digest).await?
            }
        };
        if !was_there {
            return Err(absent());
        }
        let payload = json!({ "reference": target.to_string() });
        let project = self.0.access.project_of(repository);
        tx.emit(Event::new("artifact.deleted", repository, payload).in_project(&project));
        self.commit(tx).await
    }

    /// Deletes a blob from a repository. Its bytes are garbage collected, if nothing else uses them.
    ///
    /// Fails with `NotFound`, and with `Conflict` while a manifest of the repository uses it.
    pub(crate) async fn delete_blob(&self, repository: &str, digest: &ContentDigest) -> Result<()> {
        let mut tx = self.0.db.begin().await?;
        let found = find_blob(&mut tx, repository, digest).await?;
        let found =
            found.ok_or_else(|| Error::not_found(format!("there is no blob {digest} in {repository}")))?;
        let user = sql("SELECT digest FROM manifest_blobs WHERE repository = $1 AND blob = $2 LIMIT 1");
        let user = user.bind(repository).bind(found.to_string()).fetch_optional(&mut tx).await?;
        if let Some(row) = user {
            let user: String = row.get("digest")?;
            return Err(Error::conflict(format!("the manifest {repository}@{user} uses blob {digest}"))
                .hint("delete the manifest first"));
        }
        let unlinked = sql("DELETE FROM repository_blobs WHERE repository = $1 AND digest = $2");
        unlinked.bind(repository).bind(found.to_string()).execute(&mut tx).await?;
        self.forget_blobs(&mut tx);
        self.audit(&mut tx, "blob.unlinked", repository, json!({ "digest": found }));
        tx.commit().await
    }

    /// Removes a tag; `false` when there was none.
    pub(super) async fn untag(&self, tx: &mut Transaction, repository: &str, tag: &str) -> Result<bool> {
        let row =
            sql("SELECT digest FROM tags WHERE repository = $1 AND tag = $2").bind(repository).bind(tag);
        let Some(row) = row.fetch_optional(&mut *tx).await? else { return Ok(false) };
        self.forget_manifest(tx, repository, &ManifestRef::Tag(tag.to_owned()));
        let digest: String = row.get("digest")?;
        sql("DELETE FROM tags WHERE repository = $1 AND tag = $2")
            .bind(repository)
            .bind(tag)
            .execute(&mut *tx)
            .await?;
        if self.is_immutable(tag) {
            // Deleting and pushing again would be moving.
            sql("INSERT INTO retired_tags (repository, tag, digest, retired_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING")
                .bind(repository)
                .bind(tag)
                .bind(&digest)
                .bind(self.now())
                .execute(&mut *tx)
                .await?;
        }
        self.change_tags(tx).await?;
        self.audit(tx, "tag.removed", repository, json!({ "tag": tag, "digest": digest }));
        Ok(true)
    }

    /// Removes a manifest with its tags; `false` when there was none.
    pub(super) async fn remove_manifest(
        &self,
        tx: &mut Transaction,
        repository: &str,
        digest: &Digest,
    ) -> Result<bool> {
        let text = digest.to_string();
        let row = sql("SELECT b.sha512 FROM manifests m LEFT JOIN blobs b ON b.digest = m.digest \
             WHERE m.repository = $1 AND m.digest = $2");
        let row = row.bind(repository).bind(&text).fetch_optional(&mut *tx).await?;
        let Some(row) = row else { return Ok(false) };
        let sha512: Option<String> = row.get("sha512")?;
        let parent = sql("SELECT digest FROM manifest_children WHERE repository = $1 AND child = $2 LIMIT 1");
        let parent = parent.bind(repository).bind(&text).fetch_optional(&mut *tx).await?;
        if let Some(row) = parent {
            let parent: String = row.get("digest")?;
            return Err(Error::conflict(format!("the index {repository}@{parent} needs {text}"))
                .hint("delete the index first"));
        }
        let tags =
            sql("SELECT tag FROM tags WHERE repository = $1 AND digest = $2").bind(repository).bind(&text);
        let tags = tags.fetch_all(&mut *tx).await?;
        for row in tags {
            let tag: String = row.get("tag")?;
            self.untag(tx, repository, &tag).await?;
        }
        let known_as = sha512.and_then(|text| text.parse().ok());
        for known_as in [Some((*digest).into()), known_as].into_iter().flatten() {
            self.forget_manifest(tx, repository, &ManifestRef::Digest(known_as));
        }
        self.forget_blobs(tx);
        // What is used no longer stays for a lease: somebody may have been told that it is here.
        let freed = "UPDATE blobs SET uses = uses - 1, leased_until = CASE WHEN leased_until > $1 THEN leased_until ELSE $2 END \
             WHERE digest IN (SELECT blob FROM manifest_blobs WHERE repository = $3 AND digest = $4)";
        let lease = self.lease_end();
        let freed = sql(freed).bind(lease).bind(lease).bind(repository).bind(&text);
        freed.execute(&mut *tx).await?;
        for query in [
            "DELETE FROM manifest_blobs WHERE repository = $1 AND digest = $2",
            "DELETE FROM manifest_children WHERE repository = $1 AND digest = $2",
            "DELETE FROM manifests WHERE repository = $1 AND digest = $2",
            // A manifest's bytes are not for pulling as a blob once it is gone, unless another uses them.
            "DELETE FROM repository_blobs WHERE repository = $1 AND digest = $2 AND NOT EXISTS (SELECT 1 FROM manifest_blobs m \
             WHERE m.repository = repository_blobs.repository AND m.blob = repository_blobs.digest)",
        ] {
            sql(query).bind(repository).bind(&text).execute(&mut *tx).await?;
        }
        self.audit(tx, "manifest.removed", repository, json!({ "digest": text }));
        Ok(true)
    }
}
