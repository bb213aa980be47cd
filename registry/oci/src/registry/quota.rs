use eyot_core::config::Quota;
use eyot_core::{ByteCount, Digest, Error, Result};
use eyot_meta::{Transaction, fail};
use serde::{Deserialize, Serialize};
use sqlx::Row as _;

use super::Registry;
use crate::glob;

/// What the repositories of a quota hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Which repositories, `*` standing for any text.
    pub repository: String,
    pub bytes: u64,
    /// What they may hold.
    pub limit: u64,
}

const QUERY: &str =
    "SELECT COALESCE(SUM(bytes), 0) AS bytes FROM repository_usage WHERE repository LIKE ? ESCAPE '\\'";

impl Registry {
    /// What each quota allows and what is used of it.
    pub async fn usage(&self) -> Result<Vec<Usage>> {
        let mut found = Vec::new();
        for quota in &self.0.settings.config.quota {
            let row = sqlx::query(QUERY).bind(glob::like(&quota.repository));
            let bytes = used(&row.fetch_one(self.0.db.pool()).await.map_err(fail)?)?;
            found.push(Usage { repository: quota.repository.clone(), bytes, limit: quota.size.0 });
        }
        Ok(found)
    }

    /// How many bytes more a repository may take in; none for any number.
    pub(crate) async fn room(&self, repository: &str) -> Result<Option<u64>> {
        Ok(self.left(repository).await?.into_iter().map(|(_, left)| left).min())
    }

    /// What each quota of a repository has left.
    pub(super) async fn left(&self, repository: &str) -> Result<Vec<(Quota, u64)>> {
        let mut found = Vec::new();
        for quota in self.quotas(repository) {
            let row = sqlx::query(QUERY).bind(glob::like(&quota.repository));
            let bytes = used(&row.fetch_one(self.0.db.pool()).await.map_err(fail)?)?;
            found.push((quota.clone(), quota.size.0.saturating_sub(bytes)));
        }
        Ok(found)
    }

    /// Fails with `Full` when a transaction has brought a repository over what it may hold.
    pub(super) async fn check_quota(&self, tx: &mut Transaction, repository: &str) -> Result<()> {
        for quota in self.quotas(repository) {
            let row = sqlx::query(QUERY).bind(glob::like(&quota.repository));
            let bytes = used(&row.fetch_one(&mut **tx).await.map_err(fail)?)?;
            if bytes > quota.size.0 {
                return Err(exceeded(repository, quota));
            }
        }
        Ok(())
    }

    /// The refusal of more bytes than [`Registry::room`] said.
    pub(crate) fn no_room(&self, repository: &str) -> Error {
        match self.quotas(repository).min_by_key(|quota| quota.size) {
            Some(quota) => exceeded(repository, quota),
            None => Error::full(format!("there is no room for more in {repository}")),
        }
    }

    fn quotas<'a>(&'a self, repository: &'a str) -> impl Iterator<Item = &'a Quota> + 'a {
        let quotas = self.0.settings.config.quota.iter();
        quotas.filter(move |quota| glob::matches(&quota.repository, repository))
    }

    /// Blobs that came before their sizes were kept are counted now.
    pub(super) async fn size_older_blobs(&self) -> Result<()> {
        loop {
            let rows = sqlx::query("SELECT digest FROM blobs WHERE size IS NULL LIMIT 1000");
            let rows = rows.fetch_all(self.0.db.pool()).await.map_err(fail)?;
            if rows.is_empty() {
                return Ok(());
            }
            let mut tx = self.0.db.begin().await?;
            for row in rows {
                let digest: Digest = row.try_get::<String, _>("digest").map_err(fail)?.parse()?;
                let size = self.0.store.size(&digest).await?.unwrap_or_default();
                let sized = sqlx::query("UPDATE blobs SET size = ? WHERE digest = ?");
                let sized = sized.bind(i64::try_from(size).unwrap_or(i64::MAX)).bind(digest.to_string());
                sized.execute(&mut *tx).await.map_err(fail)?;
            }
            tx.commit().await?;
        }
    }
}

fn used(row: &sqlx::sqlite::SqliteRow) -> Result<u64> {
    Ok(u64::try_from(row.try_get::<i64, _>("bytes").map_err(fail)?).unwrap_or_default())
}

fn exceeded(repository: &str, quota: &Quota) -> Error {
    let Quota { repository: which, size: ByteCount(limit) } = quota;
    Error::full(format!("{repository} is full: the repositories {which} may hold {limit} bytes in all")).hint(
        "delete something and collect garbage (eyot gc), or raise the quota: registry.quota in eyot.toml; \
         uploads that nobody goes on with count until registry.upload-expiry has passed",
    )
}
