//! The schema, step by step. SQLite has its steps since the first version of Eyot; PostgreSQL begins with one that
//! makes what those lead to; a test compares the two.

use eyot_core::Error;
use sqlx::migrate::Migrator;

pub(crate) static SQLITE: Migrator = sqlx::migrate!("./migrations/sqlite");
pub(crate) static POSTGRES: Migrator = sqlx::migrate!("./migrations/postgres");

/// Of the file where the key-value stores of components are.
pub(crate) static KEY_VALUES: Migrator = sqlx::migrate!("./migrations/key-values");

/// Why a schema could not be brought up to date.
pub(crate) fn failure(error: sqlx::migrate::MigrateError, place: &str) -> Error {
    match error {
        sqlx::migrate::MigrateError::VersionMissing(version) => {
            Error::conflict(format!("{place} was written by a newer Eyot (schema {version})"))
                .hint("use that version of Eyot, or another data folder with --data")
        }
        error => {
            Error::internal(format!("the schema of {place} cannot be brought up to date")).because(error)
        }
    }
}
