use eyot_core::config::Quota;
use eyot_core::{ByteCount, Digest, Error, Result};
use eyot_meta::{SqlRow, Transaction, sql};
use serde::{Deserialize, Serialize};

use super::Registry;
use eyot_core::glob;

/// What the repositories of a quota use of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaUsage {
    /// Which repositories, `*` standing for any text.
    pub repository: String,
    pub bytes: u64,
    /// What they may hold.
    pub limit: u64,
}

const USAGE_QUERY: &str = "SELECT CAST(COALESCE(SUM(bytes), 0) AS BIGINT) AS bytes FROM repository_usage WHERE repository LIKE $1 ESCAPE '\\'";

impl Registry {
    /// What each quota allows and what is used of it.
    pub async fn usage(&self) -> Result<Vec<QuotaUsage>> {
        let mut found = Vec::new();
        for quota in &self.0.settings.config.quota {
            let row = sql(USAGE_QUERY).bind(glob::like(&quota.repository));
            let bytes = used_bytes(&row.fetch_one(&self.0.db).await?)?;
            found.push(QuotaUsage { repository: quota.repository.clone(), bytes, limit: quota.size.0 });
        }
        Ok(found)
    }

    /// How many more bytes a repository may hold; none where there is no quota.
    pub(crate) async fn available_bytes(&self, repository: &str) -> Result<Option<u64>> {
        Ok(self.remaining_bytes(repository).await?.into_iter().map(|(_, left)| left).min())
    }

    /// The bytes that each quota of a repository has left.
    pub(super) async fn remaining_bytes(&self, repository: &str) -> Result<Vec<(Quota, u64)>> {
        let mut found = Vec::new();
        for quota in self.quotas(repository) {
            let row = sql(USAGE_QUERY).bind(glob::like(&quota.repository));
            let bytes = used_bytes(&row.fetch_one(&self.0.db).await?)?;
            found.push((quota.clone(), quota.size.0.saturating_sub(bytes)));
        }
        Ok(found)
    }

    /// Fails with `Full` when a transaction has brought a repository over its quota.
    pub(super) async fn check_quota(&self, tx: &mut Transaction, repository: &str) -> Result<()> {
        for quota in self.quotas(repository) {
            let row = sql(USAGE_QUERY).bind(glob::like(&quota.repository));
            let bytes = used_bytes(&row.fetch_one(&mut *tx).await?)?;
            if bytes > quota.size.0 {
                return Err(quota_error(repository, quota));
            }
        }
        Ok(())
    }

    /// The error for more bytes than [`Registry::available_bytes`] answers.
    pub(crate) fn quota_exceeded(&self, repository: &str) -> Error {
        match self.quotas(repository).min_by_key(|quota| quota.size) {
            Some(quota) => quota_error(repository, quota),
            None => Error::full(format!("there is no room for more in {repository}")),
        }
    }

    fn quotas<'a>(&'a self, repository: &'a str) -> impl Iterator<Item = &'a Quota> + 'a {
        let quotas = self.0.settings.config.quota.iter();
        quotas.filter(move |quota| glob::matches(&quota.repository, repository))
    }

    /// Records the sizes of blobs that were stored before sizes were recorded.
    pub(super) async fn size_older_blobs(&self) -> Result<()> {
        loop {
            let rows = sql("SELECT digest FROM blobs WHERE size IS NULL LIMIT 1000");
            let rows = rows.fetch_all(&self.0.db).await?;
            if rows.is_empty() {
                return Ok(());
            }
            let mut tx = self.0.db.begin().await?;
            for row in rows {
                let digest: Digest = row.get::<String>("digest")?.parse()?;
                let size = self.0.store.size(&digest).await?.unwrap_or_default();
                let sized = sql("UPDATE blobs SET size = $1 WHERE digest = $2");
                let sized = sized.bind(i64::try_from(size).unwrap_or(i64::MAX)).bind(digest.to_string());
                sized.execute(&mut tx).await?;
            }
            tx.commit().await?;
        }
    }
}

fn used_bytes(row: &SqlRow) -> Result<u64> {
    Ok(u64::try_from(row.get::<i64>("bytes")?).unwrap_or_default())
}

fn quota_error(repository: &str, quota: &Quota) -> Error {
    let Quota { repository: which, size: ByteCount(limit) } = quota;
    Error::full(format!("{repository} is full: the repositories {which} may hold {limit} bytes in all")).hint(
        "delete something and collect garbage (eyot gc), or raise the quota: registry.quota in eyot.toml; \
         uploads that nobody goes on with count until registry.upload-expiry has passed",
    )
}
