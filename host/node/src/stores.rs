//! Where components keep things: key-value stores in a file of their project, SQLite databases as files of their
//! own, all in the data folder and none beyond its reserve.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use eyot_core::config::{self, Config};
use eyot_core::{ByteCount, Name, Result, ResultExt as _};
use eyot_engine::{KeyValueStore, SqlDatabase};
use eyot_meta::{KeyValueFile, KeyValues};
use eyot_store::DiskReserve;

mod closing;
mod sqlite;
mod threads;

pub(crate) use closing::{StoreClosing, StoreClosings};
pub(crate) use sqlite::SqliteDatabase;

/// The stores of a data folder. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct GuestStores {
    key_values: KeyValueFile,
    folder: PathBuf,
    database_limit: ByteCount,
    reserve: DiskReserve,
}

/// The project of everything, as long as there is one.
const PROJECT: &str = "default";

impl GuestStores {
    /// Opens what lies in the folder, and moves there what lay in the server's own database.
    pub(crate) async fn open(config: &Config, server: &eyot_meta::Database) -> Result<Self> {
        let config::Data { dir, reserve, key_values, database, .. } = &config.data;
        let path = dir.join("key-values").join(format!("{PROJECT}.db"));
        let file = KeyValueFile::open(&path, *key_values).await?;
        file.take_over(server)
            .await
            .context(|| format!("cannot move key-value stores to {}", path.display()))?;
        let reserve = DiskReserve::new(dir, *reserve)?;
        Ok(Self { key_values: file, folder: dir.join("sqlite"), database_limit: *database, reserve })
    }

    /// A key-value store of that name.
    pub(crate) fn key_value(&self, name: &Name) -> Arc<dyn KeyValueStore> {
        Arc::new(OpenStore { values: self.key_values.store(name.as_str()), reserve: self.reserve.clone() })
    }

    /// A database of that name, for a deployment that may be taken away.
    pub(crate) fn database(&self, name: &Name, closing: Arc<StoreClosing>) -> Arc<dyn SqlDatabase> {
        let path = self.folder.join(format!("{name}.db"));
        Arc::new(SqliteDatabase::new(path, self.database_limit, self.reserve.clone(), closing))
    }

    pub(crate) async fn close(&self) {
        self.key_values.close().await;
    }
}

#[derive(Debug)]
struct OpenStore {
    values: KeyValues,
    reserve: DiskReserve,
}

impl OpenStore {
    /// What is written lies in the journal before it lies in the file.
    fn check_room(&self, bytes: usize) -> Result<()> {
        self.reserve.check(2 * bytes as u64)
    }
}

#[async_trait]
impl KeyValueStore for OpenStore {
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        self.values.get(key).await
    }

    async fn exists(&self, key: &str) -> Result<bool> {
        self.values.exists(key).await
    }

    async fn set(&self, pairs: Vec<(String, Vec<u8>)>) -> Result<()> {
        self.check_room(pairs.iter().map(|(key, value)| key.len() + value.len()).sum())?;
        self.values.set(&pairs).await
    }

    async fn delete(&self, keys: Vec<String>) -> Result<()> {
        self.values.delete(&keys).await
    }

    async fn keys(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>> {
        self.values.keys(after, limit).await
    }

    async fn increment(&self, key: &str, by: i64) -> Result<i64> {
        self.check_room(key.len())?;
        self.values.increment(key, by).await
    }

    async fn swap(&self, key: &str, expected: Option<Vec<u8>>, value: Vec<u8>) -> Result<bool> {
        self.check_room(key.len() + value.len())?;
        self.values.swap(key, expected.as_deref(), &value).await
    }
}
