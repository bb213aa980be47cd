//! Statements: the SQL that both databases read, with `$1`, `$2` … for its values.

use std::borrow::Cow;

use eyot_core::Result;
use sqlx::postgres::{PgConnection, Postgres};
use sqlx::query::Query;
use sqlx::sqlite::{Sqlite, SqliteConnection};
use sqlx::{AssertSqlSafe, PgPool, SqlitePool};

use crate::error::failure;
use crate::{ConnectionPool, Database, Row, Value};

/// A statement and the values for its parameters.
#[derive(Clone, Debug)]
#[must_use = "a statement does nothing until it is run"]
pub struct Statement {
    text: Cow<'static, str>,
    values: Vec<Value>,
}

/// A statement with `$1`, `$2` … where its values go, in the SQL that SQLite and PostgreSQL share: a test
/// prepares each on both.
pub fn sql(text: impl Into<Cow<'static, str>>) -> Statement {
    Statement { text: text.into(), values: Vec::new() }
}

/// Where a statement runs: on a connection of a pool, or in a transaction.
pub trait Connection {
    /// What the statement is run on.
    fn target(&mut self) -> Target<'_>;

    /// A statement was refused.
    fn failed(&mut self) {}
}

/// A database behind [`Connection`].
pub enum Target<'c> {
    SqlitePool(&'c SqlitePool),
    Sqlite(&'c mut SqliteConnection),
    PostgresPool(&'c PgPool),
    Postgres(&'c mut PgConnection),
}

impl Connection for &Database {
    fn target(&mut self) -> Target<'_> {
        match &self.pool {
            ConnectionPool::Sqlite(pool) => Target::SqlitePool(pool),
            ConnectionPool::Postgres(pool) => Target::PostgresPool(pool),
        }
    }
}

/// Runs a statement by the method of that name, wherever it is to run, and turns what is answered into one type.
macro_rules! run {
    ($statement:expr, $on:expr, $method:ident, $sqlite:expr, $postgres:expr) => {{
        let (Statement { text, values }, mut on) = ($statement, $on);
        let answer = match on.target() {
            Target::SqlitePool(pool) => sqlite_query(text, values).$method(pool).await.map($sqlite),
            Target::Sqlite(connection) => sqlite_query(text, values).$method(connection).await.map($sqlite),
            Target::PostgresPool(pool) => postgres_query(text, values).$method(pool).await.map($postgres),
            Target::Postgres(connection) => {
                postgres_query(text, values).$method(connection).await.map($postgres)
            }
        };
        if answer.is_err() {
            on.failed();
        }
        answer.map_err(failure)
    }};
}

impl Statement {
    /// The value of the next parameter.
    pub fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Runs it; answers how many rows it changed.
    pub async fn execute(self, on: impl Connection) -> Result<u64> {
        run!(self, on, execute, |done| done.rows_affected(), |done| done.rows_affected())
    }

    /// Runs it; answers every row.
    pub async fn fetch_all(self, on: impl Connection) -> Result<Vec<Row>> {
        run!(self, on, fetch_all, |rows| rows.into_iter().map(Row::from).collect(), |rows| rows
            .into_iter()
            .map(Row::from)
            .collect())
    }

    /// Runs it; answers its first row, if it has any.
    pub async fn fetch_optional(self, on: impl Connection) -> Result<Option<Row>> {
        run!(self, on, fetch_optional, |row| row.map(Row::from), |row| row.map(Row::from))
    }

    /// Runs it; answers its first row.
    ///
    /// Fails with `NotFound` when it has none.
    pub async fn fetch_one(self, on: impl Connection) -> Result<Row> {
        run!(self, on, fetch_one, Row::from, Row::from)
    }
}

/// The same for both databases, which sqlx has one type of arguments each for.
macro_rules! query {
    ($name:ident, $database:ty, $arguments:ty) => {
        fn $name(text: Cow<'static, str>, values: Vec<Value>) -> Query<'static, $database, $arguments> {
            // Statements are written in the crates of this workspace; what strangers write is bound.
            let query = match text {
                Cow::Borrowed(text) => sqlx::query(text),
                Cow::Owned(text) => sqlx::query(AssertSqlSafe(text)),
            };
            values.into_iter().fold(query, |query, value| match value {
                Value::Integer(value) => query.bind(value),
                Value::Real(value) => query.bind(value),
                Value::Text(value) => query.bind(value),
                Value::Bytes(value) => query.bind(value),
            })
        }
    };
}

query!(sqlite_query, Sqlite, sqlx::sqlite::SqliteArguments);
query!(postgres_query, Postgres, sqlx::postgres::PgArguments);
