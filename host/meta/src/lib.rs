//! The metadata database: one connection pool, migrations, transactions, and an outbox of events that
//! is written in the transaction that makes an event true.

mod changes;
mod key_values;
mod transaction;

use std::path::Path;
use std::time::Duration;

use eyot_core::{Clock as _, Error, Kind, Result, SystemClock, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Row as _, SqlitePool};
use tokio_util::task::TaskTracker;

pub use changes::Changes;
pub use key_values::{KeyValueFile, KeyValues};
pub use transaction::Transaction;

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");

/// An open database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Database {
    pool: SqlitePool,
    /// SQLite has one writer. Waiting here is fair and has no deadline; waiting inside of SQLite is
    /// polling and ends in `database is locked`.
    writer: std::sync::Arc<tokio::sync::Mutex<()>>,
    /// Transactions that are ending, whether or not anybody waits for that.
    endings: TaskTracker,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Rises by commit; 0 until the event is written.
    pub id: i64,
    /// `deployment.changed`, `model.registered`, …
    pub topic: String,
    /// The name or id of what it happened to.
    pub subject: String,
    pub payload: Value,
    pub created: Timestamp,
}

impl Event {
    /// An event that happens when the transaction commits it.
    pub fn new(topic: &str, subject: &str, payload: Value) -> Self {
        let (topic, subject) = (topic.to_owned(), subject.to_owned());
        Self { id: 0, topic, subject, payload, created: SystemClock.now() }
    }
}

impl Database {
    /// Opens the file, making it if it is not there, and brings its schema up to date.
    ///
    /// Fails with `Conflict` when a newer Eyot wrote it.
    pub async fn open(path: &Path) -> Result<Self> {
        Self::open_file(path, &MIGRATIONS, None).await
    }

    /// Opens a file with tables of its own, of so many pages at most.
    async fn open_file(
        path: &Path,
        migrations: &sqlx::migrate::Migrator,
        max_pages: Option<u64>,
    ) -> Result<Self> {
        let mut options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // What was answered to a user must survive a power cut, not only a crash.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(30));
        if let Some(pages) = max_pages {
            options = options.pragma("max_page_count", pages.to_string());
        }
        let opened = SqlitePoolOptions::new().max_connections(8).connect_with(options).await;
        let pool = opened
            .map_err(|error| fail(error).context(format!("cannot open the database {}", path.display())))?;
        migrations.run(&pool).await.map_err(|error| migration(error, path))?;
        Ok(Self { pool, writer: std::sync::Arc::default(), endings: TaskTracker::new() })
    }

    /// For reading. Writing goes through [`Database::begin`].
    pub fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    /// Starts a transaction; the next one starts when this one ends. Dropped without a commit, nothing
    /// happened.
    pub async fn begin(&self) -> Result<Transaction> {
        Transaction::begin(self).await
    }

    /// Up to `limit` events after the one numbered `after`, oldest first.
    pub async fn events(&self, after: i64, limit: u32) -> Result<Vec<Event>> {
        let rows = sqlx::query(
            "SELECT id, topic, subject, payload, created_at FROM events WHERE id > ? ORDER BY id LIMIT ?",
        )
        .bind(after)
        .bind(limit)
        .fetch_all(&self.pool)
        .await
        .map_err(fail)?;
        rows.iter().map(read).collect()
    }

    /// Ends all connections once what they do is done.
    pub async fn close(&self) {
        self.endings.close();
        self.endings.wait().await;
        self.pool.close().await;
    }
}

fn read(row: &sqlx::sqlite::SqliteRow) -> Result<Event> {
    let payload: String = row.try_get("payload").map_err(fail)?;
    Ok(Event {
        id: row.try_get("id").map_err(fail)?,
        topic: row.try_get("topic").map_err(fail)?,
        subject: row.try_get("subject").map_err(fail)?,
        payload: serde_json::from_str(&payload)
            .map_err(|error| Error::corrupt("an event has no JSON").because(error))?,
        created: Timestamp(row.try_get("created_at").map_err(fail)?),
    })
}

/// SQLITE_FULL, and SQLITE_IOERR_SHMSIZE: no room for the file, or for what readers and writers share.
const FULL: [&str; 2] = ["13", "4874"];

/// An error of the database, with the kind that callers branch on.
pub fn fail(error: sqlx::Error) -> Error {
    let kind = match &error {
        sqlx::Error::RowNotFound => Kind::NotFound,
        sqlx::Error::Database(cause) if cause.is_unique_violation() => Kind::Conflict,
        sqlx::Error::Database(cause) if cause.code().is_some_and(|code| FULL.contains(&&*code)) => Kind::Full,
        sqlx::Error::PoolTimedOut => Kind::Unavailable,
        _ => Kind::Internal,
    };
    Error::new(kind, "the database refused").because(error)
}

fn migration(error: sqlx::migrate::MigrateError, path: &Path) -> Error {
    match error {
        sqlx::migrate::MigrateError::VersionMissing(version) => {
            Error::conflict(format!("{} was written by a newer Eyot (schema {version})", path.display()))
                .hint("use that version of Eyot, or another data folder with --data")
        }
        error => Error::internal(format!("the schema of {} cannot be brought up to date", path.display()))
            .because(error),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    async fn open(dir: &tempfile::TempDir) -> Database {
        Database::open(&dir.path().join("eyot.db")).await.unwrap()
    }

    fn topics(events: &[Event]) -> Vec<&str> {
        events.iter().map(|event| event.topic.as_str()).collect()
    }

    #[tokio::test]
    async fn events_happen_only_with_their_transaction_and_survive() {
        let dir = tempfile::tempdir().unwrap();
        let db = open(&dir).await;
        let mut kept = db.begin().await.unwrap();
        kept.emit(Event::new("a", "x", serde_json::json!({"n": 1}))).await.unwrap();
        kept.emit(Event::new("b", "x", Value::Null)).await.unwrap();
        kept.commit().await.unwrap();
        let mut dropped = db.begin().await.unwrap();
        dropped.emit(Event::new("c", "x", Value::Null)).await.unwrap();
        drop(dropped);
        db.close().await;

        let db = open(&dir).await;
        let events = db.events(0, 10).await.unwrap();
        assert_eq!(topics(&events), ["a", "b"]);
        assert_eq!(events[0].payload, serde_json::json!({"n": 1}));
        assert_eq!(topics(&db.events(events[0].id, 10).await.unwrap()), ["b"]);
        assert_eq!(topics(&db.events(0, 1).await.unwrap()), ["a"]);
    }

    #[tokio::test]
    async fn writers_queue_up_instead_of_failing() {
        let dir = tempfile::tempdir().unwrap();
        let db = open(&dir).await;
        let writers = (0..40).map(|number| {
            let db = db.clone();
            tokio::spawn(async move {
                let mut tx = db.begin().await?;
                tx.emit(Event::new("n", &number.to_string(), Value::Null)).await?;
                tx.commit().await
            })
        });
        for writer in writers.collect::<Vec<_>>() {
            writer.await.unwrap().unwrap();
        }
        assert_eq!(db.events(0, 100).await.unwrap().len(), 40);
    }

    #[tokio::test]
    async fn settings_promise_what_the_page_says() {
        let dir = tempfile::tempdir().unwrap();
        let db = open(&dir).await;
        let text = |query: &'static str| {
            let pool = db.pool().clone();
            async move { sqlx::query(query).fetch_one(&pool).await.unwrap() }
        };
        assert_eq!(text("PRAGMA journal_mode").await.get::<String, _>(0), "wal");
        assert_eq!(text("PRAGMA synchronous").await.get::<i64, _>(0), 2, "FULL");
        assert_eq!(text("PRAGMA foreign_keys").await.get::<i64, _>(0), 1);
    }

    #[tokio::test]
    async fn a_newer_database_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let db = open(&dir).await;
        sqlx::query("INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, 'later', 1, x'00', 0)")
            .execute(db.pool())
            .await
            .unwrap();
        db.close().await;
        let error = Database::open(&dir.path().join("eyot.db")).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Conflict);
        assert!(error.chain().contains("newer Eyot"), "{error:?}");
    }
}
