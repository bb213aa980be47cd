//! Where components keep things: key-value stores in a file of their project, SQLite databases as files of their
//! own, all in the data folder and none beyond its reserve.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use eyot_core::config::{self, Config};
use eyot_core::{ByteCount, DEFAULT_PROJECT, Name, ProjectName, Result, ResultExt as _, ScopedName};
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
    /// Those of `default` from the start, those of other projects when they are first wanted.
    key_values: Arc<tokio::sync::Mutex<HashMap<ProjectName, KeyValueFile>>>,
    key_values_folder: PathBuf,
    key_values_limit: ByteCount,
    folder: PathBuf,
    database_limit: ByteCount,
    reserve: DiskReserve,
}

impl GuestStores {
    /// Opens what lies in the folder, and moves there what lay in the server's own database.
    pub(crate) async fn open(config: &Config, server: &eyot_meta::Database) -> Result<Self> {
        let config::DataSettings { dir, reserve, key_values, database, .. } = &config.data;
        let key_values_folder = dir.join("key-values");
        let path = key_values_folder.join(format!("{DEFAULT_PROJECT}.db"));
        let file = KeyValueFile::open(&path, *key_values).await?;
        file.take_over(server)
            .await
            .context(|| format!("cannot move key-value stores to {}", path.display()))?;
        let reserve = DiskReserve::new(dir, *reserve)?;
        Ok(Self {
            key_values: Arc::new(tokio::sync::Mutex::new([(ProjectName::default(), file)].into())),
            key_values_folder,
            key_values_limit: *key_values,
            folder: dir.join("sqlite"),
            database_limit: *database,
            reserve,
        })
    }

    /// A key-value store of that name in a project.
    pub(crate) async fn key_value(
        &self,
        project: &ProjectName,
        name: &Name,
    ) -> Result<Arc<dyn KeyValueStore>> {
        let mut files = self.key_values.lock().await;
        let file = match files.get(project) {
            Some(file) => file,
            None => {
                let path = self.key_values_folder.join(format!("{project}.db"));
                let file = KeyValueFile::open(&path, self.key_values_limit).await?;
                files.entry(project.clone()).or_insert(file)
            }
        };
        Ok(Arc::new(OpenStore { values: file.store(name.as_str()), reserve: self.reserve.clone() }))
    }

    /// A database of that name in a project, for a deployment that may be taken away.
    pub(crate) fn database(
        &self,
        project: &ProjectName,
        name: &Name,
        closing: Arc<StoreClosing>,
    ) -> Arc<dyn SqlDatabase> {
        let path = self.folder.join(format!("{}.db", ScopedName::new(project, name)));
        Arc::new(SqliteDatabase::new(path, self.database_limit, self.reserve.clone(), closing))
    }

    pub(crate) async fn close(&self) {
        for file in self.key_values.lock().await.values() {
            file.close().await;
        }
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
