//! Where components keep things: key-value stores as rows of the node's database, SQLite databases as
//! files of their own in the data folder.

use std::sync::Arc;

use async_trait::async_trait;
use eyot_core::{Name, Result};
use eyot_engine::KeyValue;
use eyot_meta::KeyValues;

mod closing;
mod sqlite;
mod threads;

pub(crate) use closing::{Closing, Closings};
pub(crate) use sqlite::Sqlite;

/// A key-value store of that name.
pub(crate) fn key_value(db: &eyot_meta::Database, name: &Name) -> Arc<dyn KeyValue> {
    Arc::new(Kept(KeyValues::new(db.clone(), name.as_str())))
}

#[derive(Debug)]
struct Kept(KeyValues);

#[async_trait]
impl KeyValue for Kept {
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        self.0.get(key).await
    }

    async fn set(&self, pairs: Vec<(String, Vec<u8>)>) -> Result<()> {
        self.0.set(&pairs).await
    }

    async fn delete(&self, keys: Vec<String>) -> Result<()> {
        self.0.delete(&keys).await
    }

    async fn keys(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>> {
        self.0.keys(after, limit).await
    }

    async fn increment(&self, key: &str, by: i64) -> Result<i64> {
        self.0.increment(key, by).await
    }

    async fn swap(&self, key: &str, expected: Option<Vec<u8>>, value: Vec<u8>) -> Result<bool> {
        self.0.swap(key, expected.as_deref(), &value).await
    }
}
