//! Outcomes of steps by cache key, shared by all pipelines of a project.

use std::sync::Arc;

use eyot_core::{Clock as _, Digest, ProjectName, Result, SystemClock, read_stored, write_stored};
use eyot_meta::{Database, sql};
use eyot_store::{BlobStore, KeyedLock, KeyedLocks};

use crate::stored::{CachedStep, StoredOutcome};

/// Whom artifacts of cached outcomes are pinned for, before the key.
const PIN_OWNER: &str = "cache/";

#[derive(Clone)]
pub(crate) struct StepCache {
    db: Database,
    store: Arc<dyn BlobStore>,
    turns: KeyedLocks<Digest>,
}

impl StepCache {
    pub(crate) fn new(db: Database, store: Arc<dyn BlobStore>) -> Self {
        Self { db, store, turns: KeyedLocks::default() }
    }

    /// Whoever needs the same key waits here for the first to be done with it.
    pub(crate) async fn turn(&self, key: &Digest) -> KeyedLock<Digest> {
        self.turns.lock(*key).await
    }

    /// What a step gave before. An outcome of which a blob is gone is none.
    pub(crate) async fn get(&self, project: &ProjectName, key: &Digest) -> Result<Option<CachedStep>> {
        let row = sql("SELECT outcome FROM step_cache WHERE project = $1 AND cache_key = $2");
        let row = row.bind(project.as_str()).bind(key.to_string());
        let Some(row) = row.fetch_optional(&self.db).await? else { return Ok(None) };
        let json: String = row.get("outcome")?;
        let stored = read_stored::<StoredOutcome>(&json);
        let kept =
            CachedStep::from(stored.map_err(|error| error.context(format!("the cached outcome {key}")))?);
        for artifact in &kept.outcome.artifacts {
            if self.store.size(&artifact.digest).await? != Some(artifact.size) {
                return Ok(None);
            }
        }
        Ok(Some(kept))
    }

    /// Takes away pins for outcomes that were never written: a process was killed in between.
    pub(crate) async fn unpin_unwritten(&self) -> Result<()> {
        for (digest, owner) in self.store.pins_of(PIN_OWNER).await? {
            let key = format!("sha256:{}", owner.trim_start_matches(PIN_OWNER));
            let row = sql("SELECT 1 FROM step_cache WHERE cache_key = $1").bind(key);
            if row.fetch_optional(&self.db).await?.is_none() {
                self.store.unpin(&digest, &owner).await?;
            }
        }
        Ok(())
    }

    /// Keeps an outcome, and its artifacts for as long.
    pub(crate) async fn put(
        &self,
        project: &ProjectName,
        key: &Digest,
        run: &str,
        kept: &CachedStep,
    ) -> Result<()> {
        for artifact in &kept.outcome.artifacts {
            self.store.pin(&artifact.digest, &format!("{PIN_OWNER}{}", key.hex())).await?;
        }
        let json = write_stored(&StoredOutcome::from(kept.clone()))?;
        let mut tx = self.db.begin().await?;
        sql(
            "INSERT INTO step_cache (project, cache_key, outcome, run, created_at) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (project, cache_key) DO UPDATE SET outcome = excluded.outcome, run = excluded.run, created_at = excluded.created_at",
        )
        .bind(project.as_str())
        .bind(key.to_string())
        .bind(json)
        .bind(run)
        .bind(SystemClock.now().0)
        .execute(&mut tx)
        .await?;
        tx.commit().await
    }
}
