//! A transaction, and what follows from it. It ends in a task of its own: whoever began it may go away at any
//! moment, and still it is either undone or made true with everything that follows from that.

use std::ops::{Deref, DerefMut};

use eyot_core::{Error, Result};
use sqlx::Sqlite;
use sqlx::pool::PoolConnection;
use tokio::runtime::Handle;
use tokio::sync::OwnedMutexGuard;
use tokio_util::task::TaskTracker;

use crate::{Database, Event, fail};

/// Queries run on `&mut *transaction`. Dropped without a commit, nothing happened.
pub struct Transaction {
    /// None once its end has begun.
    open: Option<Open>,
    consequences: Vec<Consequence>,
    /// What ends transactions; the database waits for it before it closes.
    endings: TaskTracker,
}

/// What follows from a commit in this process: a cache forgets, a waiting task is woken.
type Consequence = Box<dyn FnOnce() + Send>;

struct Open {
    connection: PoolConnection<Sqlite>,
    /// Held until the transaction has ended and what follows from it is done: no other writer comes between.
    _turn: OwnedMutexGuard<()>,
}

impl Transaction {
    /// The next one begins when this one has ended.
    pub(crate) async fn begin(db: &Database) -> Result<Self> {
        let turn = db.writer.clone().lock_owned().await;
        let connection = db.pool.acquire().await.map_err(fail)?;
        let open = Open { connection, _turn: turn };
        // Owned before it begins: given up between the two, it is undone.
        let mut transaction =
            Self { open: Some(open), consequences: Vec::new(), endings: db.endings.clone() };
        sqlx::query("BEGIN IMMEDIATE").execute(&mut *transaction).await.map_err(fail)?;
        Ok(transaction)
    }

    /// Adds an event to what this transaction makes true.
    pub async fn emit(&mut self, event: Event) -> Result<()> {
        sqlx::query("INSERT INTO events (topic, subject, payload, created_at) VALUES (?, ?, ?, ?)")
            .bind(event.topic)
            .bind(event.subject)
            .bind(event.payload.to_string())
            .bind(event.created.0)
            .execute(&mut **self)
            .await
            .map(drop)
            .map_err(fail)
    }

    /// Has something done if and when this transaction is committed, before the next one begins, whether or
    /// not anybody still waits for the commit. It must not block.
    ///
    /// Belongs beside the query from which it follows, not beside the commit: then no caller can forget it.
    pub fn then(&mut self, consequence: impl FnOnce() + Send + 'static) {
        self.consequences.push(Box::new(consequence));
    }

    /// Makes everything true at once, durably, and has done what follows from it.
    ///
    /// Given up before it is first polled, nothing happened; given up later, it goes on by itself.
    pub async fn commit(mut self) -> Result<()> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let consequences = std::mem::take(&mut self.consequences);
        let ended = self.endings.spawn(async move {
            let open = end(open, "COMMIT").await?;
            consequences.into_iter().for_each(|consequence| consequence());
            drop(open);
            Ok(())
        });
        ended.await.map_err(|error| Error::internal("a commit ended early").because(error))?
    }
}

/// A connection of which it is not known where it stands is closed: in the pool it would fail whoever gets
/// it next. SQLite undoes by itself what a full disk cut off, for one, and then there is nothing to undo.
async fn end(mut open: Open, how: &'static str) -> Result<Open> {
    match sqlx::query(how).execute(&mut *open.connection).await {
        Ok(_) => Ok(open),
        Err(error) => {
            // Closing undoes what is open; that it cannot be closed nicely changes nothing.
            let _ = open.connection.close().await;
            Err(fail(error))
        }
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        let Some(mut open) = self.open.take() else { return };
        if Handle::try_current().is_ok() {
            self.endings.spawn(async move { end(open, "ROLLBACK").await.map(drop) });
        } else {
            open.connection.close_on_drop();
        }
    }
}

/// Why there is a connection wherever one is asked for.
const OPEN: &str = "a transaction is open until it is consumed";

impl Deref for Transaction {
    type Target = sqlx::SqliteConnection;

    fn deref(&self) -> &Self::Target {
        &self.open.as_ref().expect(OPEN).connection
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.open.as_mut().expect(OPEN).connection
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Poll;

    use eyot_core::Kind;

    use super::*;

    async fn open(dir: &tempfile::TempDir) -> Database {
        Database::open(&dir.path().join("eyot.db")).await.unwrap()
    }

    /// Polls a future so many times, then gives it up.
    async fn give_up_after<F: Future>(polls: usize, future: F) -> Option<F::Output> {
        let (mut future, mut left) = (pin!(future), polls);
        std::future::poll_fn(|context| {
            if left == 0 {
                return Poll::Ready(None);
            }
            left -= 1;
            future.as_mut().poll(context).map(Some)
        })
        .await
    }

    #[tokio::test]
    async fn what_follows_from_a_commit_is_done_whenever_its_future_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let db = open(&dir).await;
        for polls in 0.. {
            let done = Arc::new(AtomicUsize::new(0));
            let before = db.events(0, 1000).await.unwrap().len();
            let work = async {
                let mut tx = db.begin().await?;
                tx.emit(Event::new("a", "x", serde_json::Value::Null)).await?;
                let done = done.clone();
                tx.then(move || {
                    done.fetch_add(1, Ordering::SeqCst);
                });
                tx.commit().await
            };
            let ended = give_up_after(polls, work).await;
            // The next transaction begins when the last one has ended.
            drop(db.begin().await.unwrap());
            let written = db.events(0, 1000).await.unwrap().len() - before;
            assert_eq!(written, done.load(Ordering::SeqCst), "given up after {polls} polls");
            if let Some(ended) = ended {
                ended.unwrap();
                assert_eq!(written, 1);
                assert!(polls > 1, "it was given up in the middle");
                return;
            }
        }
    }

    #[tokio::test]
    async fn nothing_follows_from_what_is_not_committed() {
        let dir = tempfile::tempdir().unwrap();
        let db = open(&dir).await;
        let mut tx = db.begin().await.unwrap();
        tx.then(|| panic!("it did not happen"));
        drop(tx);
        db.close().await;
    }

    #[tokio::test]
    async fn a_connection_whose_transaction_failed_is_not_used_again() {
        let dir = tempfile::tempdir().unwrap();
        let db = open(&dir).await;
        let pages = sqlx::query("PRAGMA page_count").fetch_one(db.pool()).await.unwrap();
        let pages: i64 = sqlx::Row::get(&pages, 0);
        let large = |bytes: usize| Event::new("large", &"x".repeat(bytes), serde_json::Value::Null);
        for _ in 0..20 {
            // SQLite's own limit stands for the disk's: full is full.
            let mut tx = db.begin().await.unwrap();
            let limit = sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {pages}"));
            sqlx::query(limit).execute(&mut *tx).await.unwrap();
            let error = tx.emit(large(1 << 20)).await.unwrap_err();
            assert_eq!(error.kind(), Kind::Full);
            drop(tx);
        }
        let mut tx = db.begin().await.unwrap();
        sqlx::query("PRAGMA max_page_count = 1000000").execute(&mut *tx).await.unwrap();
        tx.emit(large(1 << 20)).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(db.events(0, 10).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_commit_that_fails_is_told_and_the_next_one_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let db = open(&dir).await;
        let mut tx = db.begin().await.unwrap();
        tx.then(|| panic!("it did not happen"));
        for query in [
            "CREATE TABLE parents (id INTEGER PRIMARY KEY)",
            "CREATE TABLE children (parent INTEGER REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED)",
            "INSERT INTO children VALUES (7)",
        ] {
            sqlx::query(query).execute(&mut *tx).await.unwrap();
        }
        tx.commit().await.unwrap_err();
        for _ in 0..20 {
            let mut tx = db.begin().await.unwrap();
            tx.emit(Event::new("a", "x", serde_json::Value::Null)).await.unwrap();
            tx.commit().await.unwrap();
        }
        assert_eq!(db.events(0, 100).await.unwrap().len(), 20);
    }
}
