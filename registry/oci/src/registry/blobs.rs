use eyot_core::{Digest, Error, Result};
use eyot_meta::{Transaction, sql};
use eyot_store::{BlobUpload, ContentDigest};

use super::Registry;

/// A blob that a repository holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeldBlob {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    /// Until when this may be answered from the cache; none until a manifest is deleted.
    fresh_until: Option<i64>,
}

impl Registry {
    /// The blob of a repository by its digest. A client that is told that it is here may refer to it in a manifest for
    /// half a lease at least.
    pub(crate) async fn blob(&self, repository: &str, digest: &ContentDigest) -> Result<Option<HeldBlob>> {
        let key = format!("{repository}@{digest}");
        if let Some(held) =
            self.0.blobs.get(&key).filter(|held| held.fresh_until.is_none_or(|until| self.now() < until))
        {
            return Ok(Some(held));
        }
        Box::pin(self.find_blob(repository, digest, key)).await
    }

    async fn find_blob(
        &self,
        repository: &str,
        digest: &ContentDigest,
        key: String,
    ) -> Result<Option<HeldBlob>> {
        let epoch = self.0.blobs.epoch();
        let row = sql(
            "SELECT b.digest, b.uses, b.leased_until FROM blobs b JOIN repository_blobs r ON r.digest = b.digest \
             WHERE r.repository = $1 AND (b.digest = $2 OR b.sha512 = $3)",
        )
        .bind(repository)
        .bind(digest.to_string())
        .bind(digest.to_string());
        let Some(row) = row.fetch_optional(&self.0.db).await? else { return Ok(None) };
        let found: Digest = row.get::<String>("digest")?.parse()?;
        let uses: i64 = row.get("uses")?;
        let mut leased: i64 = row.get("leased_until")?;
        let half = self.0.settings.lease() / 2;
        if uses == 0 && leased < self.now() + half {
            leased = self.lease_end();
            let mut tx = self.0.db.begin().await?;
            let renewed = sql("UPDATE blobs SET leased_until = $1 WHERE digest = $2")
                .bind(leased)
                .bind(found.to_string());
            let renewed = renewed.execute(&mut tx).await?;
            tx.commit().await?;
            if renewed == 0 {
                return Ok(None);
            }
        }
        let Some(size) = self.0.store.size(&found).await? else { return Ok(None) };
        let held = HeldBlob { digest: found, size, fresh_until: (uses == 0).then_some(leased - half) };
        self.0.blobs.insert(epoch, key, held, 1);
        Ok(Some(held))
    }

    /// Extends the lease of an unused blob that is about to be uploaded again, so that it is not collected meanwhile.
    pub(crate) async fn extend_lease(&self, digest: &ContentDigest) -> Result<()> {
        let row = sql("SELECT digest FROM blobs WHERE (digest = $1 OR sha512 = $2) AND uses = 0")
            .bind(digest.to_string())
            .bind(digest.to_string());
        let Some(row) = row.fetch_optional(&self.0.db).await? else { return Ok(()) };
        let digest: String = row.get("digest")?;
        let mut tx = self.0.db.begin().await?;
        let renewed = sql("UPDATE blobs SET leased_until = $1 WHERE digest = $2");
        renewed.bind(self.lease_end()).bind(digest).execute(&mut tx).await?;
        tx.commit().await
    }

    /// Completes an upload: its bytes become a blob of the repository.
    ///
    /// Fails with `Invalid` when the digest does not match, with `Full` when that exceeds the repository's quota; nothing
    /// is stored then.
    pub(crate) async fn commit_upload(
        &self,
        repository: &str,
        upload: Box<dyn BlobUpload>,
        known_as: &ContentDigest,
    ) -> Result<()> {
        let before = match known_as {
            ContentDigest::Sha256(digest) => Some(self.0.store.hold(digest)),
            ContentDigest::Sha512(_) => None,
        };
        let digest = upload.finish(known_as).await?.digest;
        let hold = self.0.store.hold(&digest);
        drop(before);
        let linked = self.link_upload(repository, &digest, known_as).await;
        drop(hold);
        if linked.is_err() {
            self.discard_unreferenced(&[digest]).await;
        }
        linked
    }

    async fn link_upload(&self, repository: &str, digest: &Digest, known_as: &ContentDigest) -> Result<()> {
        let mut tx = self.0.db.begin().await?;
        let Some(size) = self.0.store.size(digest).await? else {
            return Err(Error::unavailable(format!("blob {digest} was collected while it arrived"))
                .hint("push it again"));
        };
        self.record_blob(&mut tx, digest, Some(known_as), size).await?;
        link_blob(&mut tx, repository, digest).await?;
        self.check_quota(&mut tx, repository).await?;
        tx.commit().await
    }

    /// Deletes the blobs of a request that was refused, unless the registry has them from elsewhere. What cannot be
    /// deleted is left to garbage collection.
    pub(super) async fn discard_unreferenced(&self, digests: &[Digest]) {
        let gone = async {
            let mut tx = self.0.db.begin().await?;
            for digest in digests {
                if !is_known(&mut tx, digest).await? {
                    self.remove_blob(digest).await?;
                }
            }
            Ok::<_, Error>(())
        };
        if let Err(error) = gone.await {
            tracing::warn!(error = %error.chain(), "what a refused request brought is left over");
        }
    }

    /// Mounts a blob of another repository here; `false` when it is not there. With no other repository given, those are
    /// searched that `may_pull` permits.
    pub(crate) async fn mount(
        &self,
        repository: &str,
        digest: &ContentDigest,
        from: Option<&str>,
        may_pull: impl Fn(&str) -> bool + Send,
    ) -> Result<bool> {
        let mut tx = self.0.db.begin().await?;
        let found = match from {
            Some(from) if may_pull(from) => find_blob(&mut tx, from, digest).await?,
            Some(_) => None,
            None => find_anywhere(&mut tx, digest, may_pull).await?,
        };
        let Some(found) = found else { return Ok(false) };
        let Some(size) = self.0.store.size(&found).await? else { return Ok(false) };
        self.record_blob(&mut tx, &found, None, size).await?;
        link_blob(&mut tx, repository, &found).await?;
        self.check_quota(&mut tx, repository).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Records a blob, or extends its lease.
    pub(super) async fn record_blob(
        &self,
        tx: &mut Transaction,
        digest: &Digest,
        known_as: Option<&ContentDigest>,
        size: u64,
    ) -> Result<()> {
        let sha512 =
            known_as.filter(|digest| matches!(digest, ContentDigest::Sha512(_))).map(ToString::to_string);
        sql(
        "INSERT INTO blobs (digest, sha512, size, uses, leased_until, checked_at) VALUES ($1, $2, $3, 0, $4, $5) \
         ON CONFLICT (digest) DO UPDATE SET leased_until = CASE WHEN excluded.leased_until > blobs.leased_until \
         THEN excluded.leased_until ELSE blobs.leased_until END, sha512 = COALESCE(blobs.sha512, excluded.sha512)",
    )
    .bind(digest.to_string())
    .bind(sha512)
    .bind(i64::try_from(size).unwrap_or(i64::MAX))
    .bind(self.lease_end())
    .bind(self.now())
    .execute(&mut *tx)
    .await
    .map(drop)
    }
}

/// Whether the registry has a row for a blob.
pub(super) async fn is_known(tx: &mut Transaction, digest: &Digest) -> Result<bool> {
    let row = sql("SELECT 1 FROM blobs WHERE digest = $1").bind(digest.to_string());
    Ok(row.fetch_optional(&mut *tx).await?.is_some())
}

async fn find_anywhere(
    tx: &mut Transaction,
    digest: &ContentDigest,
    may_pull: impl Fn(&str) -> bool + Send,
) -> Result<Option<Digest>> {
    let rows =
        sql("SELECT b.digest, r.repository FROM blobs b JOIN repository_blobs r ON r.digest = b.digest \
         WHERE b.digest = $1 OR b.sha512 = $2")
        .bind(digest.to_string())
        .bind(digest.to_string())
        .fetch_all(&mut *tx)
        .await?;
    for row in rows {
        if may_pull(&row.get::<String>("repository")?) {
            return row.get::<String>("digest")?.parse().map(Some);
        }
    }
    Ok(None)
}

pub(super) async fn link_blob(tx: &mut Transaction, repository: &str, digest: &Digest) -> Result<()> {
    sql("INSERT INTO repository_blobs (repository, digest) VALUES ($1, $2) ON CONFLICT DO NOTHING")
        .bind(repository)
        .bind(digest.to_string())
        .execute(&mut *tx)
        .await
        .map(drop)
}

/// The blob of a repository by its digest.
pub(super) async fn find_blob(
    tx: &mut Transaction,
    repository: &str,
    digest: &ContentDigest,
) -> Result<Option<Digest>> {
    let query = match digest {
        ContentDigest::Sha256(_) => {
            "SELECT digest FROM repository_blobs WHERE repository = $1 AND digest = $2"
        }
        ContentDigest::Sha512(_) => {
            "SELECT r.digest FROM blobs b JOIN repository_blobs r ON r.digest = b.digest WHERE r.repository = $1 AND b.sha512 = $2"
        }
    };
    let row = sql(query).bind(repository).bind(digest.to_string()).fetch_optional(&mut *tx).await?;
    row.map(|row| row.get::<String>("digest")?.parse()).transpose()
}
