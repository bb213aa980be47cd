//! What a statement answers.

use eyot_core::Result;
use sqlx::postgres::{PgRow, Postgres};
use sqlx::sqlite::{Sqlite, SqliteRow};
use sqlx::{ColumnIndex, Decode, Row as _, Type};

use crate::error::failure;

/// A row of an answer.
pub struct SqlRow(DatabaseRow);

enum DatabaseRow {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl From<SqliteRow> for SqlRow {
    fn from(row: SqliteRow) -> Self {
        Self(DatabaseRow::Sqlite(row))
    }
}

impl From<PgRow> for SqlRow {
    fn from(row: PgRow) -> Self {
        Self(DatabaseRow::Postgres(row))
    }
}

impl SqlRow {
    /// A column, by its name or its place. An `Option` where it may be NULL.
    ///
    /// Fails when there is no such column, or one of another type.
    pub fn get<T: ColumnValue>(&self, column: impl ColumnName) -> Result<T> {
        match &self.0 {
            DatabaseRow::Sqlite(row) => row.try_get(column),
            DatabaseRow::Postgres(row) => row.try_get(column),
        }
        .map_err(failure)
    }
}

/// What a column can be read as: `i64`, `f64`, `String`, `Vec<u8>`, each optional.
pub trait ColumnValue:
    for<'r> Decode<'r, Sqlite> + Type<Sqlite> + for<'r> Decode<'r, Postgres> + Type<Postgres>
{
}

impl<T> ColumnValue for T where
    T: for<'r> Decode<'r, Sqlite> + Type<Sqlite> + for<'r> Decode<'r, Postgres> + Type<Postgres>
{
}

/// What a column is asked for by.
pub trait ColumnName: ColumnIndex<SqliteRow> + ColumnIndex<PgRow> {}

impl<T: ColumnIndex<SqliteRow> + ColumnIndex<PgRow>> ColumnName for T {}
