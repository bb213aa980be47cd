//! SQLite: how its file is opened.

use std::path::Path;
use std::time::Duration;

use eyot_core::{Error, Result};
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Row as _, SqlitePool};

use crate::error::failure;
use crate::migrations;

const MAX_CONNECTIONS: u32 = 8;
/// For other processes; within one, writers wait in a queue of Eyot's own.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// Opens a file, making it if it is not there, of so many pages at most, and brings its schema up to date.
pub(crate) async fn open(path: &Path, migrator: &Migrator, max_pages: Option<u64>) -> Result<SqlitePool> {
    let mut options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // What was answered to a user must survive a power cut, not only a crash.
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT);
    if let Some(pages) = max_pages {
        options = options.pragma("max_page_count", pages.to_string());
    }
    migrate(&options, migrator, &path.display().to_string())
        .await
        .map_err(|error| error.context(format!("cannot open the database {}", path.display())))?;
    let opened = SqlitePoolOptions::new().max_connections(MAX_CONNECTIONS).connect_with(options).await;
    let pool = opened
        .map_err(|error| failure(error).context(format!("cannot open the database {}", path.display())))?;
    Ok(pool)
}

/// Brings the schema up to date. SQLite changes the key of a table only by making another and dropping it, which takes
/// with it what refers to it as long as foreign keys are enforced: that is what they are checked for after it.
async fn migrate(options: &SqliteConnectOptions, migrator: &Migrator, place: &str) -> Result<()> {
    let once = SqlitePoolOptions::new().max_connections(1);
    let pool = once.connect_with(options.clone().foreign_keys(false)).await.map_err(failure)?;
    migrator.run(&pool).await.map_err(|error| migrations::failure(error, place))?;
    let broken = sqlx::query("PRAGMA foreign_key_check").fetch_optional(&pool).await;
    if let Some(row) = broken.map_err(failure)? {
        let table: String = row.try_get(0).map_err(failure)?;
        return Err(Error::corrupt(format!(
            "a row of the table '{table}' in {place} names one that is not there"
        )));
    }
    pool.close().await;
    Ok(())
}

/// A new database with a schema, for as long as its one connection is open.
pub(crate) async fn open_in_memory(migrator: &Migrator) -> Result<SqlitePool> {
    let options = SqliteConnectOptions::new().in_memory(true).foreign_keys(true);
    let pool = SqlitePoolOptions::new().max_connections(1).idle_timeout(None).max_lifetime(None);
    let pool = pool.connect_with(options).await.map_err(failure)?;
    migrator.run(&pool).await.map_err(|error| migrations::failure(error, "a database in memory"))?;
    Ok(pool)
}
