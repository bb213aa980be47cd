//! All rows of one moment in a file of their own, which is SQLite's whatever the database is.

use std::path::Path;

use eyot_core::{Error, Result};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};

use crate::error::failure;
use crate::table_plan::TablePlan;
use crate::{ConnectionPool, Database, TableSummary, postgres_catalog, sqlite_catalog};

impl Database {
    /// Writes all rows, as they are at one moment, into a SQLite file that is not there yet. Others read and write
    /// meanwhile.
    pub async fn snapshot(&self, file: &Path) -> Result<()> {
        match &self.pool {
            ConnectionPool::Sqlite(_) => sqlite_catalog::copy_into_file(self, file).await,
            ConnectionPool::Postgres(_) => {
                let target = Self::open(file).await?;
                let copied = self.copy_into(&target).await;
                target.close().await;
                copied.map(drop)
            }
        }
    }

    /// About as many bytes as a snapshot takes.
    pub async fn bytes(&self) -> Result<u64> {
        match &self.pool {
            ConnectionPool::Sqlite(_) => sqlite_catalog::bytes(self).await,
            ConnectionPool::Postgres(_) => postgres_catalog::bytes(self).await,
        }
    }
}

/// A file that [`Database::snapshot`] wrote, as it is: neither the schema nor anything else of it is changed.
pub struct RowSnapshot(Database);

impl RowSnapshot {
    /// Opens the file, which nobody writes to.
    pub async fn open(file: &Path) -> Result<Self> {
        let options = SqliteConnectOptions::new().filename(file).read_only(true).immutable(true);
        let pool = SqlitePoolOptions::new().max_connections(2).connect_with(options).await;
        let pool = pool.map_err(|error| {
            let error = failure(error);
            Error::corrupt(format!("{} cannot be opened", file.display())).because(error)
        })?;
        Ok(Self(Database::of(ConnectionPool::Sqlite(pool))))
    }

    /// Its rows, for reading.
    pub fn database(&self) -> &Database {
        &self.0
    }

    /// What each table holds, as the schema of whoever wrote it has them.
    ///
    /// Fails with `Corrupt` where the file is damaged.
    pub async fn summaries(&self) -> Result<Vec<TableSummary>> {
        sqlite_catalog::check_pages(&self.0).await?;
        self.0.summaries_of(&TablePlan::of(&self.0).await?).await
    }

    /// Lets go of the file.
    pub async fn close(self) {
        self.0.close().await;
    }
}
