//! Key-value stores as rows: what components keep from call to call.

use eyot_core::{Error, Result};
use sqlx::Row as _;

use crate::{Database, fail};

/// One store, by its name. Cheap to clone.
#[derive(Clone, Debug)]
pub struct KeyValues {
    db: Database,
    store: String,
}

impl KeyValues {
    /// The store of that name, which begins empty.
    pub fn new(db: Database, store: &str) -> Self {
        Self { db, store: store.to_owned() }
    }

    /// The value of a key.
    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        let query = sqlx::query("SELECT value FROM key_values WHERE store = ? AND key = ?");
        let row = query.bind(&self.store).bind(key).fetch_optional(self.db.pool()).await.map_err(fail)?;
        row.map(|row| row.try_get("value").map_err(fail)).transpose()
    }

    /// Sets every pair, or none.
    pub async fn set(&self, pairs: &[(String, Vec<u8>)]) -> Result<()> {
        let mut transaction = self.db.begin().await?;
        for (key, value) in pairs {
            self.put(&mut transaction, key, value).await?;
        }
        transaction.commit().await
    }

    async fn put(&self, transaction: &mut crate::Transaction, key: &str, value: &[u8]) -> Result<()> {
        let query = sqlx::query(
            "INSERT INTO key_values (store, key, value) VALUES (?, ?, ?) \
             ON CONFLICT (store, key) DO UPDATE SET value = excluded.value",
        );
        query.bind(&self.store).bind(key).bind(value).execute(&mut **transaction).await.map_err(fail)?;
        Ok(())
    }

    async fn current(&self, transaction: &mut crate::Transaction, key: &str) -> Result<Option<Vec<u8>>> {
        let query = sqlx::query("SELECT value FROM key_values WHERE store = ? AND key = ?");
        let row = query.bind(&self.store).bind(key).fetch_optional(&mut **transaction).await.map_err(fail)?;
        row.map(|row| row.try_get("value").map_err(fail)).transpose()
    }

    /// Deletes every key, or none.
    pub async fn delete(&self, keys: &[String]) -> Result<()> {
        let mut transaction = self.db.begin().await?;
        for key in keys {
            let query = sqlx::query("DELETE FROM key_values WHERE store = ? AND key = ?");
            query.bind(&self.store).bind(key).execute(&mut *transaction).await.map_err(fail)?;
        }
        transaction.commit().await
    }

    /// Up to `limit` keys after `after`, in order.
    pub async fn keys(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = match after {
            None => sqlx::query("SELECT key FROM key_values WHERE store = ? ORDER BY key LIMIT ?")
                .bind(&self.store),
            Some(after) => {
                let query = "SELECT key FROM key_values WHERE store = ? AND key > ? ORDER BY key LIMIT ?";
                sqlx::query(query).bind(&self.store).bind(after.to_owned())
            }
        };
        let rows = rows.bind(limit).fetch_all(self.db.pool()).await.map_err(fail)?;
        rows.iter().map(|row| row.try_get("key").map_err(fail)).collect()
    }

    /// Adds to a number that is written in decimal, and 0 before it is written.
    ///
    /// Fails with `Invalid` where the value is no number, or the sum none that fits.
    pub async fn increment(&self, key: &str, by: i64) -> Result<i64> {
        let mut transaction = self.db.begin().await?;
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
        let mut transaction = self.db.begin().await?;
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

    #[tokio::test]
    async fn stores_are_apart_and_change_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let db = Database::open(&dir.path().join("meta.db")).await.unwrap();
        let (one, other) = (KeyValues::new(db.clone(), "one"), KeyValues::new(db, "other"));
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
        let store = KeyValues::new(Database::open(&dir.path().join("meta.db")).await.unwrap(), "s");
        let mut counts = tokio::task::JoinSet::new();
        for _ in 0..50 {
            let store = store.clone();
            counts.spawn(async move { store.increment("n", 1).await });
        }
        assert!(counts.join_all().await.iter().all(Result::is_ok));
        assert_eq!(store.get("n").await.unwrap(), Some(b"50".to_vec()));
    }
}
