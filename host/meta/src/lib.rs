//! The metadata database, SQLite or PostgreSQL: connections, migrations, statements, transactions, and an outbox of
//! events that is written in the transaction that makes an event true.

mod audit;
mod changes;
#[cfg(test)]
mod contract;
mod copy;
mod epoch_cache;
mod error;
mod events;
mod feed;
mod idempotency;
mod idempotency_claim;
mod key_values;
mod migrations;
mod origin;
mod postgres;
mod postgres_catalog;
mod read_transaction;
mod row;
mod snapshot;
mod sqlite;
mod sqlite_catalog;
mod statement;
mod table_plan;
mod transaction;
mod value;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use eyot_core::Result;
use sqlx::{PgPool, SqlitePool};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

pub use audit::{AuditAction, AuditEntry, AuditFormat, AuditOutcome, AuditState, CheckedAudit};
pub use changes::Changes;
pub use copy::TableSummary;
pub use epoch_cache::{CacheEpoch, EpochCache};
pub use error::is_missing_reference;
pub use events::Event;
pub use feed::{EventFeed, EventListener, FeedItem};
pub use idempotency::{ClaimedRequest, IdempotencyState, IdempotentRequests, KeptAnswer};
pub use idempotency_claim::IdempotentRequest;
pub use key_values::{KeyValueFile, KeyValues};
pub use origin::{RequestOrigin, SERVER_ACTOR};
pub use postgres::DatabaseClaim;
pub use row::{ColumnName, ColumnValue, SqlRow};
pub use snapshot::RowSnapshot;
pub use statement::{SqlConnection, SqlStatement, sql};
pub use transaction::Transaction;
pub use value::SqlValue;

/// An open database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Database {
    pool: ConnectionPool,
    /// Whoever writes waits here. SQLite has one writer, and waiting inside of it is polling that ends in
    /// `database is locked`; on PostgreSQL the turn is taken in the database as well, for other servers.
    writer: Arc<tokio::sync::Mutex<()>>,
    /// Counts commits with events of this process, for who waits for some.
    commits: watch::Sender<u64>,
    /// The term in which this process has a PostgreSQL database to itself; 0 where it has not claimed one.
    term: Arc<AtomicI64>,
    /// Transactions that are ending, whether or not anybody waits for that.
    endings: TaskTracker,
}

/// The row of `registry_state` that counts which server a PostgreSQL database belongs to.
const SERVER_TERM: &str = "server-term";

#[derive(Clone, Debug)]
enum ConnectionPool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

impl Database {
    /// Opens the SQLite file, making it if it is not there, and brings its schema up to date.
    ///
    /// Fails with `Conflict` when a newer Eyot wrote it.
    pub async fn open(path: &Path) -> Result<Self> {
        let pool = sqlite::open(path, &migrations::SQLITE, None).await?;
        Ok(Self::of(ConnectionPool::Sqlite(pool)))
    }

    /// Connects to a PostgreSQL database, `postgres://USER:PASSWORD@HOST/DATABASE`, and brings its schema up to
    /// date.
    ///
    /// Fails with `Invalid` when text is not ordered by its bytes there, with `Conflict` when a newer Eyot wrote it,
    /// and with `Unavailable` when nobody answers.
    pub async fn connect(url: &str) -> Result<Self> {
        Ok(Self::of(ConnectionPool::Postgres(postgres::connect(url, &migrations::POSTGRES).await?)))
    }

    /// A new one without a file, of one connection: gone when it is dropped.
    pub(crate) async fn in_memory() -> Result<Self> {
        Ok(Self::of(ConnectionPool::Sqlite(sqlite::open_in_memory(&migrations::SQLITE).await?)))
    }

    fn of(pool: ConnectionPool) -> Self {
        Self {
            pool,
            writer: Arc::default(),
            commits: watch::Sender::new(0),
            term: Arc::default(),
            endings: TaskTracker::new(),
        }
    }

    /// Keeps other servers out of a PostgreSQL database for as long as what it answers lives; none for a file, whose
    /// folder is locked. Where the database restarts, or cannot be reached for a while, another server may come first;
    /// then transactions of this one fail with `Conflict`, so that there are never two that write.
    ///
    /// Fails with `Conflict` where another server has it.
    pub async fn claim(&self) -> Result<Option<DatabaseClaim>> {
        match &self.pool {
            ConnectionPool::Sqlite(_) => Ok(None),
            ConnectionPool::Postgres(pool) => {
                let claim = postgres::claim(pool).await?;
                let mut tx = self.begin().await?;
                let begin = sql("INSERT INTO registry_state (name, value) VALUES ($1, 1) \
                     ON CONFLICT (name) DO UPDATE SET value = registry_state.value + 1 RETURNING value");
                let term: i64 = begin.bind(SERVER_TERM).fetch_one(&mut tx).await?.get("value")?;
                tx.commit().await?;
                self.term.store(term, Ordering::Release);
                Ok(Some(claim))
            }
        }
    }

    /// Starts a transaction; the next one starts when this one ends. Dropped without a commit, nothing
    /// happened.
    pub async fn begin(&self) -> Result<Transaction> {
        Transaction::begin(self).await
    }

    /// Changes with every commit of this process that makes an event true.
    pub(crate) fn commits(&self) -> watch::Receiver<u64> {
        self.commits.subscribe()
    }

    /// Whether other servers may write to it.
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self.pool, ConnectionPool::Postgres(_))
    }

    /// Ends all connections once what they do is done.
    pub async fn close(&self) {
        self.endings.close();
        self.endings.wait().await;
        match &self.pool {
            ConnectionPool::Sqlite(pool) => pool.close().await,
            ConnectionPool::Postgres(pool) => pool.close().await,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use eyot_core::ErrorKind;

    use super::*;

    async fn open(dir: &tempfile::TempDir) -> Database {
        Database::open(&dir.path().join("eyot.db")).await.unwrap()
    }

    #[tokio::test]
    async fn settings_promise_what_the_page_says() {
        let dir = tempfile::tempdir().unwrap();
        let db = open(&dir).await;
        let text = |query: &'static str| {
            let db = db.clone();
            async move { sql(query).fetch_one(&db).await.unwrap() }
        };
        assert_eq!(text("PRAGMA journal_mode").await.get::<String>(0).unwrap(), "wal");
        assert_eq!(text("PRAGMA synchronous").await.get::<i64>(0).unwrap(), 2, "FULL");
        assert_eq!(text("PRAGMA foreign_keys").await.get::<i64>(0).unwrap(), 1);
    }

    #[tokio::test]
    async fn a_newer_database_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let db = open(&dir).await;
        sql("INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, 'later', 1, x'00', 0)")
            .execute(&db)
            .await
            .unwrap();
        db.close().await;
        let error = Database::open(&dir.path().join("eyot.db")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(error.chain().contains("newer Eyot"), "{error:?}");
    }
}
