//! `index.json` of an OCI image layout directory.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use eyot_core::{Digest, Error, Result, ResultExt as _};
use eyot_meta::{Database, Transaction, sql};
use serde::Serialize;
use tokio::sync::{Mutex, Notify};

use crate::manifest::IMAGE_INDEX;

/// The annotation under which tools look for a name in a layout.
pub(crate) const REFERENCE_ANNOTATION: &str = "org.opencontainers.image.ref.name";

/// Keeps a layout's index consistent with the tags.
///
/// Writing it costs time by the number of tags, so a server does not do it for each push: it writes
/// after the first change, and what changes meanwhile goes into the next writing. Without a server
/// every change is written before it is answered, as the process may end right after.
pub(crate) struct LayoutIndex {
    dir: Option<PathBuf>,
    /// Whether a task waits for changes.
    served: AtomicBool,
    changed: Notify,
    writing: Mutex<()>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct IndexDocument {
    schema_version: u32,
    media_type: &'static str,
    manifests: Vec<IndexEntry>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct IndexEntry {
    media_type: String,
    digest: String,
    size: i64,
    annotations: std::collections::BTreeMap<&'static str, String>,
}

impl LayoutIndex {
    pub(crate) fn new(dir: Option<PathBuf>) -> Self {
        Self { dir, served: AtomicBool::new(false), changed: Notify::new(), writing: Mutex::new(()) }
    }

    /// Writes what is true now, unless a task does that anyway.
    pub(crate) async fn settle(&self, db: &Database) -> Result<()> {
        if self.served.load(Ordering::Acquire) { Ok(()) } else { self.write(db).await }
    }

    /// Says that tags changed, or that nobody knows whether the index is true.
    pub(crate) fn stale(&self) {
        self.changed.notify_one();
    }

    /// Waits for a change; from now on `settle` leaves the writing to whoever waits.
    pub(crate) async fn changed(&self) {
        self.served.store(true, Ordering::Release);
        self.changed.notified().await;
    }

    /// Nobody waits any more.
    pub(crate) fn unserved(&self) {
        self.served.store(false, Ordering::Release);
    }

    /// Writes what is true now.
    pub(crate) async fn write(&self, db: &Database) -> Result<()> {
        let Some(dir) = &self.dir else { return Ok(()) };
        let _turn = self.writing.lock().await;
        // Read before the tags: what changes after this is written again.
        let (changed, written) = (state(db, "tags").await?, state(db, "index").await?);
        if changed == written && dir.join("index.json").is_file() {
            return Ok(());
        }
        let manifests = named(db).await?;
        replace(dir, IndexDocument { schema_version: 2, media_type: IMAGE_INDEX, manifests }).await?;
        let mut tx = db.begin().await?;
        let noted = sql("UPDATE registry_state SET value = $1 WHERE name = 'index'").bind(changed);
        noted.execute(&mut tx).await?;
        tx.commit().await
    }
}

async fn state(db: &Database, name: &str) -> Result<i64> {
    let row = sql("SELECT value FROM registry_state WHERE name = $1").bind(name);
    row.fetch_one(db).await?.get("value")
}

/// Notes that tags change with this transaction.
pub(crate) async fn tags_change(tx: &mut Transaction) -> Result<()> {
    let noted = sql("UPDATE registry_state SET value = value + 1 WHERE name = 'tags'");
    noted.execute(&mut *tx).await.map(drop)
}

async fn named(db: &Database) -> Result<Vec<IndexEntry>> {
    let rows = sql(
        "SELECT t.repository, t.tag, m.digest, m.media_type, m.bytes FROM tags t \
         JOIN manifests m ON m.repository = t.repository AND m.digest = t.digest ORDER BY t.repository, t.tag",
    )
    .fetch_all(db)
    .await?;
    rows.iter()
        .map(|row| {
            let (repository, tag): (String, String) = (row.get("repository")?, row.get("tag")?);
            let digest: String = row.get("digest")?;
            Ok(IndexEntry {
                media_type: row.get("media_type")?,
                digest: digest.parse::<Digest>()?.to_string(),
                size: row.get("bytes")?,
                annotations: [(REFERENCE_ANNOTATION, format!("{repository}:{tag}"))].into(),
            })
        })
        .collect()
}

/// Replaces the index in one step: a reader sees the old one or the new one.
async fn replace(dir: &Path, document: IndexDocument) -> Result<()> {
    let dir = dir.to_owned();
    let work = move || {
        let mut file = tempfile::NamedTempFile::new_in(&dir)?;
        let text =
            serde_json::to_vec(&document).map_err(|error| Error::internal("no JSON").because(error))?;
        file.write_all(&text)?;
        file.as_file().sync_all()?;
        file.persist(dir.join("index.json")).map_err(|error| error.error)?;
        std::fs::File::open(&dir)?.sync_all()?;
        Ok::<_, Error>(())
    };
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.map_err(|error| Error::internal("file work ended early").because(error))?;
    done.context(|| "cannot write the registry's index.json".to_owned())
}
