//! Key-value stores as rows: what components keep from call to call. They lie in a file of their own, which has
//! a size: what a component writes neither fills the server's database nor makes it wait.

use std::path::Path;

use eyot_core::{ByteCount, Error, ErrorKind, Result, ResultExt as _};

use crate::{ConnectionPool, Database, migrations, sql, sqlite};

/// SQLite's own size of a page.
const PAGE_BYTES: u64 = 4096;
/// Bytes of one value: one who asks for it needs the room.
const MAX_VALUE_BYTES: usize = 32 << 20;

/// The key-value stores of a project. Cheap to clone.
#[derive(Clone, Debug)]
pub struct KeyValueFile {
    db: Database,
    limit: ByteCount,
}

impl KeyValueFile {
    /// Opens the file, making it and its folder if they are not there, for so many bytes at most.
    pub async fn open(path: &Path, limit: ByteCount) -> Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).context(|| format!("cannot make {}", folder.display()))?;
        }
        let pages = (limit.0 / PAGE_BYTES).max(1);
        let pool = sqlite::open(path, &migrations::KEY_VALUES, Some(pages)).await?;
        Ok(Self { db: Database::of(ConnectionPool::Sqlite(pool)), limit })
    }

    /// The store of that name, which begins empty.
    pub fn store(&self, name: &str) -> KeyValues {
        KeyValues { file: self.clone(), store: name.to_owned() }
    }

    /// Takes over the rows that the server's database had before stores had a file of their own. Whoever calls
    /// it again after a crash takes over the same ones again.
    pub async fn take_over(&self, old: &Database) -> Result<()> {
        let mut after = (String::new(), String::new());
        loop {
            let rows = sql("SELECT store, key, value FROM key_values WHERE (store, key) > ($1, $2) \
                 ORDER BY store, key LIMIT 20");
            let rows = rows.bind(&after.0).bind(&after.1).fetch_all(old).await?;
            let Some(last) = rows.last() else { break };
            let last = (last.get("store")?, last.get("key")?);
            let mut transaction = self.db.begin().await?;
            for row in &rows {
                let query = sql("INSERT OR REPLACE INTO key_values (store, key, value) VALUES ($1, $2, $3)");
                let query = query
                    .bind(row.get::<String>("store")?)
                    .bind(row.get::<String>("key")?)
                    .bind(row.get::<Vec<u8>>("value")?);
                query.execute(&mut transaction).await.map_err(|error| self.refused(error))?;
            }
            transaction.commit().await?;
            after = last;
        }
        if after.0.is_empty() {
            return Ok(());
        }
        let mut transaction = old.begin().await?;
        sql("DELETE FROM key_values").execute(&mut transaction).await?;
        transaction.commit().await
    }

    /// Ends all connections once what they do is done.
    pub async fn close(&self) {
        self.db.close().await;
    }

    /// A file that is as large as it may be is no full disk.
    fn refused(&self, error: Error) -> Error {
        if error.kind() != ErrorKind::Full {
            return error;
        }
        Error::exhausted(format!("the key-value stores hold {}, as much as they may", self.limit))
            .hint("delete keys, or raise data.key-values")
            .because(error)
    }
}

/// One store, by its name. Cheap to clone.
#[derive(Clone, Debug)]
pub struct KeyValues {
    file: KeyValueFile,
    store: String,
}

impl KeyValues {
    /// The value of a key.
    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        let query = sql("SELECT value FROM key_values WHERE store = $1 AND key = $2");
        let row = query.bind(&self.store).bind(key).fetch_optional(&self.file.db).await?;
        row.map(|row| row.get("value")).transpose()
    }

    /// Whether a key has a value.
    pub async fn exists(&self, key: &str) -> Result<bool> {
        let query = sql("SELECT 1 FROM key_values WHERE store = $1 AND key = $2");
        let row = query.bind(&self.store).bind(key).fetch_optional(&self.file.db).await;
        row.map(|row| row.is_some())
    }

    /// Sets every pair, or none.
    ///
    /// Fails with `Exhausted` when the project's stores hold as much as they may.
    pub async fn set(&self, pairs: &[(String, Vec<u8>)]) -> Result<()> {
        let mut transaction = self.file.db.begin().await?;
        for (key, value) in pairs {
            self.put(&mut transaction, key, value).await?;
        }
        transaction.commit().await
    }

    async fn put(&self, transaction: &mut crate::Transaction, key: &str, value: &[u8]) -> Result<()> {
        let query = sql("INSERT INTO key_values (store, key, value) VALUES ($1, $2, $3) \
             ON CONFLICT (store, key) DO UPDATE SET value = excluded.value");
        if value.len() > MAX_VALUE_BYTES {
            let (length, most) = (ByteCount(value.len() as u64), ByteCount(MAX_VALUE_BYTES as u64));
            return Err(Error::too_large(format!("the value of '{key}' is {length}"))
                .hint(format!("a value has at most {most}")));
        }
        let put = query.bind(&self.store).bind(key).bind(value).execute(transaction).await;
        put.map(|_| ()).map_err(|error| self.file.refused(error))
    }

    async fn current(&self, transaction: &mut crate::Transaction, key: &str) -> Result<Option<Vec<u8>>> {
        let query = sql("SELECT value FROM key_values WHERE store = $1 AND key = $2");
        let row = query.bind(&self.store).bind(key).fetch_optional(transaction).await?;
        row.map(|row| row.get("value")).transpose()
    }

    /// Deletes every key, or none.
    pub async fn delete(&self, keys: &[String]) -> Result<()> {
        let mut transaction = self.file.db.begin().await?;
        for key in keys {
            let query = sql("DELETE FROM key_values WHERE store = $1 AND key = $2");
            query.bind(&self.store).bind(key).execute(&mut transaction).await?;
        }
        transaction.commit().await
    }

    /// Up to `limit` keys after `after`, in order.
    pub async fn keys(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = match after {
            None => {
                sql("SELECT key FROM key_values WHERE store = $1 ORDER BY key LIMIT $2").bind(&self.store)
            }
            Some(after) => {
                let query = "SELECT key FROM key_values WHERE store = $1 AND key > $2 ORDER BY key LIMIT $3";
                sql(query).bind(&self.store).bind(after.to_owned())
            }
        };
        let rows = rows.bind(limit).fetch_all(&self.file.db).await?;
        rows.iter().map(|row| row.get("key")).collect()
    }

    /// Adds to a number that is written in decimal, and 0 before it is written.
    ///
    /// Fails with `Invalid` where the value is no number, or the sum none that fits.
    pub async fn increment(&self, key: &str, by: i64) -> Result<i64> {
        let mut transaction = self.file.db.begin().await?;
        let current = match self.current(&mut transaction, key).await? {
            None => 0,
            Some(bytes) => {
                let number = std::str::from_utf8(&bytes).ok().and_then(|text| text.parse::<i64>().ok());
                number.ok_or_else(|| Error::invalid(format!("the value of '{key}' is no number")))?
            }
        };
        let sum = current.checked_add(by);
        let sum = sum.ok_or_else(|| Error::invalid(format!("'{key}' would be more than 64 bits hold")))?;
        self.put(&mut transaction, key, sum.to_string().as_bytes()).await?;
        transaction.commit().await?;
        Ok(sum)
    }

    /// Sets a value if it still is `expected`; `false` where it is not.
    pub async fn swap(&self, key: &str, expected: Option<&[u8]>, value: &[u8]) -> Result<bool> {
        let mut transaction = self.file.db.begin().await?;
        if self.current(&mut transaction, key).await?.as_deref() != expected {
            return Ok(false);
        }
        self.put(&mut transaction, key, value).await?;
        transaction.commit().await?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    async fn open(dir: &tempfile::TempDir, limit: u64) -> KeyValueFile {
        KeyValueFile::open(&dir.path().join("stores/default.db"), ByteCount(limit)).await.unwrap()
    }

    #[tokio::test]
    async fn stores_are_full_at_their_limit_and_take_again_what_was_freed() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(&dir, 1 << 20).await.store("s");
        let value = vec![7; 100_000];
        let mut written = Vec::new();
        let full = loop {
            let key = format!("key-{}", written.len());
            match store.set(&[(key.clone(), value.clone())]).await {
                Ok(()) => written.push(key),
                Err(error) => break error,
            }
            assert!(written.len() < 20, "there is no limit");
        };
        assert!(full.kind() == ErrorKind::Exhausted && full.chain().contains("1 MiB"), "{full:?}");
        assert!(written.len() > 5, "{}", written.len());
        assert!(store.exists("key-0").await.unwrap() && !store.exists("nobody").await.unwrap());
        store.delete(&written).await.unwrap();
        store.set(&[("again".to_owned(), value)]).await.unwrap();
        let large = store.set(&[("large".to_owned(), vec![0; MAX_VALUE_BYTES + 1])]).await.unwrap_err();
        assert_eq!(large.kind(), ErrorKind::TooLarge, "{large:?}");
    }

    #[tokio::test]
    async fn rows_of_an_earlier_version_are_taken_over_once() {
        let dir = tempfile::tempdir().unwrap();
        let old = Database::open(&dir.path().join("eyot.db")).await.unwrap();
        for number in 0..250 {
            let query = sql("INSERT INTO key_values (store, key, value) VALUES ($1, $2, $3)");
            let query = query.bind(format!("s{}", number % 3)).bind(format!("key-{number}"));
            query.bind(number.to_string().into_bytes()).execute(&old).await.unwrap();
        }
        let file = open(&dir, 1 << 20).await;
        file.take_over(&old).await.unwrap();
        for number in 0..250 {
            let value = file.store(&format!("s{}", number % 3)).get(&format!("key-{number}")).await.unwrap();
            assert_eq!(value, Some(number.to_string().into_bytes()));
        }
        file.store("s0").set(&[("key-0".to_owned(), b"new".to_vec())]).await.unwrap();
        file.take_over(&old).await.unwrap();
        assert_eq!(file.store("s0").get("key-0").await.unwrap(), Some(b"new".to_vec()));
    }

    /// Four components that wrote without a pause made a push wait for 210 ms: all wrote into one file.
    #[tokio::test]
    async fn what_components_write_keeps_nobody_elses_change_waiting() {
        let dir = tempfile::tempdir().unwrap();
        let server = Database::open(&dir.path().join("eyot.db")).await.unwrap();
        let file = open(&dir, 1 << 20).await;
        let store = file.store("s");
        store.set(&[("key".to_owned(), b"1".to_vec())]).await.unwrap();
        // A writer in the middle of its change holds its file for as long as it likes.
        let writing = file.db.begin().await.unwrap();
        let mut push = server.begin().await.unwrap();
        let query = sql("INSERT INTO key_values (store, key, value) VALUES ('p', 'q', x'00')");
        query.execute(&mut push).await.unwrap();
        drop(writing);
        // And the other way round.
        store.set(&[("key".to_owned(), b"2".to_vec())]).await.unwrap();
        push.commit().await.unwrap();
        assert_eq!(store.get("key").await.unwrap(), Some(b"2".to_vec()));
    }

    #[tokio::test]
    async fn stores_are_apart_and_change_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let file = open(&dir, 1 << 20).await;
        let (one, other) = (file.store("one"), file.store("other"));
        let pairs = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()))
                .collect::<Vec<_>>()
        };
        one.set(&pairs(&[("b", "2"), ("a", "1"), ("c", "x")])).await.unwrap();
        assert_eq!(one.get("a").await.unwrap(), Some(b"1".to_vec()));
        assert_eq!(other.get("a").await.unwrap(), None);
        assert_eq!(one.keys(None, 2).await.unwrap(), ["a", "b"]);
        assert_eq!(one.keys(Some("b"), 2).await.unwrap(), ["c"]);
        assert_eq!(one.increment("a", 41).await.unwrap(), 42);
        assert_eq!(one.increment("new", -1).await.unwrap(), -1);
        assert!(one.increment("c", 1).await.is_err());
        one.set(&pairs(&[("large", &i64::MAX.to_string())])).await.unwrap();
        assert!(one.increment("large", 1).await.is_err());
        assert!(!one.swap("a", Some(b"1"), b"y").await.unwrap());
        assert!(one.swap("a", Some(b"42"), b"y").await.unwrap());
        assert!(
            one.swap("fresh", None, b"z").await.unwrap() && !one.swap("fresh", None, b"w").await.unwrap()
        );
        one.delete(&["a".to_owned(), "nobody".to_owned()]).await.unwrap();
        assert_eq!(one.get("a").await.unwrap(), None);
    }

    #[tokio::test]
    async fn those_who_count_at_once_lose_no_count() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(&dir, 1 << 20).await.store("s");
        let mut counts = tokio::task::JoinSet::new();
        for _ in 0..50 {
            let store = store.clone();
            counts.spawn(async move { store.increment("n", 1).await });
        }
        assert!(counts.join_all().await.iter().all(Result::is_ok));
        assert_eq!(store.get("n").await.unwrap(), Some(b"50".to_vec()));
    }
}
