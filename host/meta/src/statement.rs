//! Statements: the SQL that both databases read, with `$1`, `$2` … for its values.

use std::borrow::Cow;

use eyot_core::Result;
use sqlx::postgres::{PgConnection, Postgres};
use sqlx::query::Query;
use sqlx::sqlite::{Sqlite, SqliteConnection};
use sqlx::{AssertSqlSafe, PgPool, SqlitePool};

use crate::error::failure;
use crate::{ConnectionPool, Database, SqlRow, SqlValue};

/// A statement and the values for its parameters.
#[derive(Clone, Debug)]
#[must_use = "a statement does nothing until it is run"]
pub struct SqlStatement {
    text: Cow<'static, str>,
    values: Vec<SqlValue>,
}

/// A statement with `$1`, `$2` … where its values go, in the SQL that SQLite and PostgreSQL share: a test
/// prepares each on both.
pub fn sql(text: impl Into<Cow<'static, str>>) -> SqlStatement {
    SqlStatement { text: text.into(), values: Vec::new() }
}

/// Where a statement runs: on a connection of a pool, or in a transaction.
pub trait SqlConnection {
    /// What the statement is run on.
    fn target(&mut self) -> ConnectionTarget<'_>;

    /// A statement was refused.
    fn failed(&mut self) {}
}

/// A database behind [`SqlConnection`].
pub enum ConnectionTarget<'c> {
    SqlitePool(&'c SqlitePool),
    Sqlite(&'c mut SqliteConnection),
    PostgresPool(&'c PgPool),
    Postgres(&'c mut PgConnection),
}

impl SqlConnection for &Database {
    fn target(&mut self) -> ConnectionTarget<'_> {
        match &self.pool {
            ConnectionPool::Sqlite(pool) => ConnectionTarget::SqlitePool(pool),
            ConnectionPool::Postgres(pool) => ConnectionTarget::PostgresPool(pool),
        }
    }
}

impl SqlConnection for &mut (dyn SqlConnection + Send + '_) {
    fn target(&mut self) -> ConnectionTarget<'_> {
        (**self).target()
    }

    fn failed(&mut self) {
        (**self).failed();
    }
}

/// Runs a statement by the method of that name, wherever it is to run, and turns what is answered into one type.
///
/// The futures of both databases lie on the heap: they are of kilobytes, and every future in which a statement runs
/// would else be as large, up to the one of a request, which is moved whole before it begins.
macro_rules! run {
    ($statement:expr, $on:expr, $method:ident, $sqlite:expr, $postgres:expr) => {{
        let (SqlStatement { text, values }, mut on) = ($statement, $on);
        let answer = match on.target() {
            ConnectionTarget::SqlitePool(pool) => {
                Box::pin(sqlite_query(text, values).$method(pool)).await.map($sqlite)
            }
            ConnectionTarget::Sqlite(connection) => {
                Box::pin(sqlite_query(text, values).$method(connection)).await.map($sqlite)
            }
            ConnectionTarget::PostgresPool(pool) => {
                Box::pin(postgres_query(text, values).$method(pool)).await.map($postgres)
            }
            ConnectionTarget::Postgres(connection) => {
                Box::pin(postgres_query(text, values).$method(connection)).await.map($postgres)
            }
        };
        if answer.is_err() {
            on.failed();
        }
        answer.map_err(failure)
    }};
}

impl SqlStatement {
    /// The value of the next parameter.
    pub fn bind(mut self, value: impl Into<SqlValue>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Runs it; answers how many rows it changed.
    pub async fn execute(self, on: impl SqlConnection) -> Result<u64> {
        run!(self, on, execute, |done| done.rows_affected(), |done| done.rows_affected())
    }

    /// Runs it; answers every row.
    pub async fn fetch_all(self, on: impl SqlConnection) -> Result<Vec<SqlRow>> {
        run!(self, on, fetch_all, |rows| rows.into_iter().map(SqlRow::from).collect(), |rows| rows
            .into_iter()
            .map(SqlRow::from)
            .collect())
    }

    /// Runs it; answers its first row, if it has any.
    pub async fn fetch_optional(self, on: impl SqlConnection) -> Result<Option<SqlRow>> {
        run!(self, on, fetch_optional, |row| row.map(SqlRow::from), |row| row.map(SqlRow::from))
    }

    /// Runs it; answers its first row.
    ///
    /// Fails with `NotFound` when it has none.
    pub async fn fetch_one(self, on: impl SqlConnection) -> Result<SqlRow> {
        run!(self, on, fetch_one, SqlRow::from, SqlRow::from)
    }
}

/// The same for both databases, which sqlx has one type of arguments each for.
macro_rules! query {
    ($name:ident, $database:ty, $arguments:ty) => {
        fn $name(text: Cow<'static, str>, values: Vec<SqlValue>) -> Query<'static, $database, $arguments> {
            // Statements are written in the crates of this workspace; what strangers write is bound.
            let query = match text {
                Cow::Borrowed(text) => sqlx::query(text),
                Cow::Owned(text) => sqlx::query(AssertSqlSafe(text)),
            };
            values.into_iter().fold(query, |query, value| match value {
                SqlValue::Integer(value) => query.bind(value),
                SqlValue::Real(value) => query.bind(value),
                SqlValue::Text(value) => query.bind(value),
                SqlValue::Bytes(value) => query.bind(value),
            })
        }
    };
}

query!(sqlite_query, Sqlite, sqlx::sqlite::SqliteArguments);
query!(postgres_query, Postgres, sqlx::postgres::PgArguments);
