//! What keeps things for components beyond one call: key-value stores and databases. The node decides
//! where they lie; here is what they must do.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use eyot_core::Result;

use crate::memory::HeldMemory;

/// A key-value store. What is written is durable when the call returns.
#[async_trait]
pub trait KeyValueStore: Send + Sync + std::fmt::Debug + 'static {
    /// The value of a key.
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>>;

    /// Whether a key has a value.
    async fn exists(&self, key: &str) -> Result<bool>;

    /// Sets every pair, or none.
    async fn set(&self, pairs: Vec<(String, Vec<u8>)>) -> Result<()>;

    /// Deletes every key, or none; one that is not there is gone already.
    async fn delete(&self, keys: Vec<String>) -> Result<()>;

    /// Up to `limit` keys after `after`, in the order of their bytes.
    async fn keys(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>>;

    /// Adds to a number, which is 0 before, and answers the sum.
    ///
    /// Fails with `Invalid` where the value is no number, or the sum none that fits.
    async fn increment(&self, key: &str, by: i64) -> Result<i64>;

    /// Sets a value if it still is `expected`; `false` where it is not.
    async fn swap(&self, key: &str, expected: Option<Vec<u8>>, value: Vec<u8>) -> Result<bool>;
}

/// A value of a database.
#[derive(Clone, Debug, PartialEq)]
pub enum SqlValue {
    Null,
    Integer(i64),
    Real(f64),
    Text(String),
    Blob(Vec<u8>),
}

/// What a statement gave.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SqlRows {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<SqlValue>>,
    /// The last row that was inserted on this connection.
    pub last: i64,
    /// Rows that the last statement changed.
    pub changed: u64,
}

/// A SQL database of SQLite's dialect.
#[async_trait]
pub trait SqlDatabase: Send + Sync + std::fmt::Debug + 'static {
    /// A connection of its own.
    async fn connect(&self) -> Result<Box<dyn SqlConnection>>;
}

/// What one statement may take.
#[derive(Clone, Debug)]
pub struct StatementLimits {
    /// When it must have ended, however much is left of it.
    pub deadline: Instant,
    /// Where its answer is counted while it is built, and for as long as it is kept.
    pub answer: Arc<HeldMemory>,
}

/// One connection to a database.
#[async_trait]
pub trait SqlConnection: Send + Sync + 'static {
    /// Runs one statement. Dropping the future ends it.
    ///
    /// Fails with `Invalid` where SQLite refuses it, `Exhausted` where the database is full, `Timeout` at its
    /// deadline, `TooLarge` where its answer is larger than it may be.
    async fn execute(
        &self,
        statement: String,
        parameters: Vec<SqlValue>,
        limits: StatementLimits,
    ) -> Result<SqlRows>;
}
