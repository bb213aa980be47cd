//! A PostgreSQL database that a command has to itself, as a server has.

use eyot_core::Result;
use eyot_core::config::DatabaseUrl;
use eyot_meta::{Database, DatabaseClaim};

/// Kept from others until this is dropped.
pub(crate) struct ClaimedDatabase {
    pub(crate) db: Database,
    _claim: Option<DatabaseClaim>,
}

impl ClaimedDatabase {
    /// Fails with `Conflict` where a server has it.
    pub(crate) async fn connect(url: &DatabaseUrl) -> Result<Self> {
        let db = Database::connect(url.with_password()).await?;
        let claim = db.claim().await?;
        Ok(Self { db, _claim: claim })
    }

    /// A SQLite database of a folder that is locked.
    pub(crate) fn of_folder(db: Database) -> Self {
        Self { db, _claim: None }
    }
}
