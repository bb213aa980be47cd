//! A transaction, and what follows from it. It ends in a task of its own: whoever began it may go away at any
//! moment, and still it is either undone or made true with everything that follows from that.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use eyot_core::{Clock as _, Error, ProjectName, Result, SystemClock};
use sqlx::pool::PoolConnection;
use sqlx::{Postgres, Sqlite};
use tokio::runtime::Handle;
use tokio::sync::{OwnedMutexGuard, watch};
use tokio_util::task::TaskTracker;

use crate::audit::{AuditAction, AuditSource};
use crate::error::failure;
use crate::idempotency_claim::IdempotencyClaim;
use crate::origin::RequestOrigin;
use crate::statement::ConnectionTarget;
use crate::{ConnectionPool, Database, Event, SERVER_TERM, SqlConnection, SqlStatement, sql};

/// The turn of the whole installation, as PostgreSQL's advisory locks name it: "eyot" in ASCII.
const INSTALLATION_TURN_ID: i64 = 0x6579_6f74;

/// Statements run on `&mut transaction`. Dropped without a commit, nothing happened.
pub struct Transaction {
    /// None once its end has begun.
    open: Option<OpenTransaction>,
    events: Vec<Event>,
    /// Entries of audit logs, those of events among them.
    audited: Vec<AuditAction>,
    /// Who begins it.
    source: AuditSource,
    /// The request in which it begins, if that was sent with a key.
    claim: Option<Arc<IdempotencyClaim>>,
    consequences: Vec<Consequence>,
    /// Told of a commit with events.
    commits: watch::Sender<u64>,
    /// What ends transactions; the database waits for it before it closes.
    endings: TaskTracker,
}

/// What follows from a commit in this process: a cache forgets, a waiting task is woken.
type Consequence = Box<dyn FnOnce() + Send>;

struct OpenTransaction {
    connection: TransactionConnection,
    /// A statement was refused: PostgreSQL would answer a commit with success, and undo everything.
    failed: bool,
    /// Held until the transaction has ended and what follows from it is done: no other writer of this process
    /// comes between.
    _turn: OwnedMutexGuard<()>,
}

pub(crate) enum TransactionConnection {
    Sqlite(PoolConnection<Sqlite>),
    Postgres(PoolConnection<Postgres>),
}

impl Transaction {
    /// The next one begins when this one has ended.
    pub(crate) async fn begin(db: &Database) -> Result<Self> {
        let turn = db.writer.clone().lock_owned().await;
        let connection = TransactionConnection::acquire(db).await?;
        let statements = connection.beginning();
        let open = OpenTransaction { connection, failed: false, _turn: turn };
        // Owned before it begins: given up between the two, it is undone.
        let mut transaction = Self {
            open: Some(open),
            events: Vec::new(),
            audited: Vec::new(),
            source: AuditSource::current(),
            claim: RequestOrigin::current().and_then(|origin| origin.claim()),
            consequences: Vec::new(),
            commits: db.commits.clone(),
            endings: db.endings.clone(),
        };
        for statement in statements {
            statement.execute(&mut transaction).await?;
        }
        transaction.check_term(db.term.load(Ordering::Acquire)).await?;
        Ok(transaction)
    }

    /// Fails with `Conflict` when the database belongs to another server by now.
    async fn check_term(&mut self, term: i64) -> Result<()> {
        if term == 0 {
            return Ok(());
        }
        let now = sql("SELECT value FROM registry_state WHERE name = $1").bind(SERVER_TERM);
        match now.fetch_one(self).await?.get::<i64>("value")? == term {
            true => Ok(()),
            false => Err(Error::conflict("another server has taken over this database")
                .hint("end this server; name the other one with --server")),
        }
    }

    /// Adds an event to what this transaction makes true. The audit log of its project says who made it so.
    pub fn emit(&mut self, event: Event) {
        self.audited.push(AuditAction::of(&event));
        self.events.push(event);
    }

    /// Adds an entry to a project's audit log, for what is no event.
    pub fn audit(&mut self, action: AuditAction) {
        self.audited.push(action);
    }

    /// Has something done if and when this transaction is committed, before the next one of this process begins,
    /// whether or not anybody still waits for the commit. It must not block.
    ///
    /// Belongs beside the statement from which it follows, not beside the commit: then no caller can forget it.
    pub fn then(&mut self, consequence: impl FnOnce() + Send + 'static) {
        self.consequences.push(Box::new(consequence));
    }

    /// Makes everything true at once, durably, and has done what follows from it.
    ///
    /// Given up before it is first polled, nothing happened; given up later, it goes on by itself.
    pub async fn commit(mut self) -> Result<()> {
        let Some(mut open) = self.open.take() else { return Ok(()) };
        let (events, consequences) =
            (std::mem::take(&mut self.events), std::mem::take(&mut self.consequences));
        let audited = (std::mem::take(&mut self.audited), self.source.clone());
        let claim = self.claim.take().filter(|_| !audited.0.is_empty());
        let commits = (!events.is_empty()).then(|| self.commits.clone());
        let ended = self.endings.spawn(async move {
            if let Err(error) = open.finish(events, audited, claim.as_deref()).await {
                // What could not be finished is undone; that this fails as well changes nothing.
                let _ = end(open, "ROLLBACK").await;
                return Err(error);
            }
            let open = end(open, "COMMIT").await?;
            claim.iter().for_each(|claim| claim.set_written());
            consequences.into_iter().for_each(|consequence| consequence());
            drop(open);
            commits.iter().for_each(|commits| commits.send_modify(|count| *count += 1));
            Ok(())
        });
        ended.await.map_err(|error| Error::internal("a commit ended early").because(error))?
    }
}

impl OpenTransaction {
    /// What comes last before a commit.
    async fn finish(
        &mut self,
        events: Vec<Event>,
        (audited, source): (Vec<AuditAction>, AuditSource),
        claim: Option<&IdempotencyClaim>,
    ) -> Result<()> {
        if self.failed {
            return Err(Error::internal("a transaction of which a statement was refused is not committed"));
        }
        if let Some(claim) = claim.filter(|claim| !claim.is_written()) {
            claim.forget_old().execute(&mut *self).await?;
            if claim.insert().execute(&mut *self).await? == 0 {
                return Err(IdempotencyClaim::lost());
            }
        }
        // In the order of names, so that no two servers ever wait for each other's streams.
        let mut by_project = BTreeMap::<ProjectName, StreamAdditions>::new();
        for event in events {
            by_project.entry(event.project.clone()).or_default().events.push(event);
        }
        for action in audited {
            by_project.entry(action.project.clone()).or_default().audited.push(action);
        }
        for (project, additions) in by_project {
            write_stream(&project, additions, &source, self).await?;
        }
        Ok(())
    }
}

/// What a transaction adds to the stream of a project.
#[derive(Default)]
struct StreamAdditions {
    events: Vec<Event>,
    audited: Vec<AuditAction>,
}

/// Numbers events and entries of the audit log, and writes them. It is the last that a transaction does before it
/// commits: the row of the stream is locked until then, so that numbers rise in the order of commits, also between
/// servers. A sequence would not do: its number 1 may become visible after its number 2, and whoever reads on after 2
/// never sees 1.
async fn write_stream(
    project: &ProjectName,
    StreamAdditions { events, audited }: StreamAdditions,
    source: &AuditSource,
    open: &mut OpenTransaction,
) -> Result<()> {
    let count = i64::try_from(events.len()).unwrap_or(i64::MAX);
    let head = sql("INSERT INTO streams (name, last_id) VALUES ($1, $2) \
         ON CONFLICT (name) DO UPDATE SET last_id = streams.last_id + excluded.last_id \
         RETURNING last_id, audit_id, audit_hash");
    let head = head.bind(project.as_str()).bind(count).fetch_one(&mut *open).await?;
    let last: i64 = head.get("last_id")?;
    for (id, event) in (last - count + 1..).zip(events) {
        let insert = sql("INSERT INTO events (stream, id, topic, subject, payload, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6)");
        let insert = insert.bind(project.as_str()).bind(id).bind(event.topic).bind(event.subject);
        insert.bind(event.payload.to_string()).bind(event.created.0).execute(&mut *open).await?;
    }
    if audited.is_empty() {
        return Ok(());
    }
    let (mut last, mut hash): (i64, String) = (head.get("audit_id")?, head.get("audit_hash")?);
    let at = SystemClock.now();
    for action in audited {
        let entry = source.entry(action, at, (last, &hash))?;
        (last, hash) = (entry.id, entry.hash.clone());
        entry.insert().execute(&mut *open).await?;
    }
    let note = sql("UPDATE streams SET audit_id = $1, audit_hash = $2 WHERE name = $3");
    note.bind(last).bind(hash).bind(project.as_str()).execute(open).await.map(drop)
}

impl TransactionConnection {
    pub(crate) async fn acquire(db: &Database) -> Result<Self> {
        Ok(match &db.pool {
            ConnectionPool::Sqlite(pool) => Self::Sqlite(pool.acquire().await.map_err(failure)?),
            ConnectionPool::Postgres(pool) => Self::Postgres(pool.acquire().await.map_err(failure)?),
        })
    }

    /// What begins a transaction, and takes its turn among those of other servers.
    fn beginning(&self) -> Vec<SqlStatement> {
        match self {
            Self::Sqlite(_) => vec![sql("BEGIN IMMEDIATE")],
            Self::Postgres(_) => {
                vec![sql("BEGIN"), sql("SELECT pg_advisory_xact_lock($1)").bind(INSTALLATION_TURN_ID)]
            }
        }
    }

    pub(crate) fn target(&mut self) -> ConnectionTarget<'_> {
        match self {
            Self::Sqlite(connection) => ConnectionTarget::Sqlite(connection),
            Self::Postgres(connection) => ConnectionTarget::Postgres(connection),
        }
    }

    pub(crate) fn close_on_drop(&mut self) {
        match self {
            Self::Sqlite(connection) => connection.close_on_drop(),
            Self::Postgres(connection) => connection.close_on_drop(),
        }
    }
}

impl SqlConnection for &mut OpenTransaction {
    fn target(&mut self) -> ConnectionTarget<'_> {
        self.connection.target()
    }

    fn failed(&mut self) {
        self.failed = true;
    }
}

/// Why there is a connection wherever one is asked for.
const OPEN: &str = "a transaction is open until it is consumed";

impl SqlConnection for &mut Transaction {
    fn target(&mut self) -> ConnectionTarget<'_> {
        self.open.as_mut().expect(OPEN).connection.target()
    }

    fn failed(&mut self) {
        self.open.as_mut().expect(OPEN).failed = true;
    }
}

/// A connection of which it is not known where it stands is closed: in the pool it would fail whoever gets
/// it next. SQLite undoes by itself what a full disk cut off, for one, and then there is nothing to undo.
async fn end(mut open: OpenTransaction, how: &'static str) -> Result<OpenTransaction> {
    match sql(how).execute(&mut open).await {
        Ok(_) => Ok(open),
        Err(error) => {
            // Closing undoes what is open; that it cannot be closed nicely changes nothing.
            let _ = match open.connection {
                TransactionConnection::Sqlite(connection) => connection.close().await,
                TransactionConnection::Postgres(connection) => connection.close().await,
            };
            Err(error)
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use eyot_core::ErrorKind;

    use super::*;

    async fn open(dir: &tempfile::TempDir) -> Database {
        Database::open(&dir.path().join("eyot.db")).await.unwrap()
    }

    #[tokio::test]
    async fn a_connection_whose_transaction_failed_is_not_used_again() {
        let dir = tempfile::tempdir().unwrap();
        let db = open(&dir).await;
        let pages = sql("PRAGMA page_count").fetch_one(&db).await.unwrap();
        let pages: i64 = pages.get(0).unwrap();
        let large = |bytes: usize| Event::new("large", &"x".repeat(bytes), serde_json::Value::Null);
        for _ in 0..20 {
            // SQLite's own limit stands for the disk's: full is full.
            let mut tx = db.begin().await.unwrap();
            sql(format!("PRAGMA max_page_count = {pages}")).execute(&mut tx).await.unwrap();
            tx.emit(large(1 << 20));
            assert_eq!(tx.commit().await.unwrap_err().kind(), ErrorKind::Full);
        }
        let mut tx = db.begin().await.unwrap();
        sql("PRAGMA max_page_count = 1000000").execute(&mut tx).await.unwrap();
        tx.emit(large(1 << 20));
        tx.commit().await.unwrap();
        assert_eq!(db.events(&ProjectName::default(), 0, 10).await.unwrap().len(), 1);
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
            sql(query).execute(&mut tx).await.unwrap();
        }
        tx.commit().await.unwrap_err();
        for _ in 0..20 {
            let mut tx = db.begin().await.unwrap();
            tx.emit(Event::new("a", "x", serde_json::Value::Null));
            tx.commit().await.unwrap();
        }
        assert_eq!(db.events(&ProjectName::default(), 0, 100).await.unwrap().len(), 20);
    }
}
