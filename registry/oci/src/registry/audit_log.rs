use eyot_core::{Digest, Error, Result, Timestamp};
use eyot_meta::{Database, SqlRow, Transaction, sql};
use serde::{Deserialize, Serialize};

use super::Registry;

/// An entry that is to be appended to the audit log.
pub(super) struct NewLogEntry<'a> {
    pub(super) actor: &'a str,
    pub(super) action: &'a str,
    pub(super) repository: &'a str,
    pub(super) reference: &'a str,
    pub(super) digest: &'a str,
}

/// An entry of the registry's audit log, a hash chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogEntry {
    /// 1 for the first, then without gaps.
    pub id: i64,
    pub at: Timestamp,
    /// `local`, `anonymous` or `token:NAME`.
    pub actor: String,
    /// `push`, `tag`, `untag`, `delete`, `sign`, `collect` or `quarantine`.
    pub action: String,
    pub repository: String,
    pub reference: String,
    pub digest: String,
    /// The sha256 of the entry before and of all other fields of this one.
    pub hash: String,
}

impl LogEntry {
    /// Its hash, if it follows an entry with the hash `previous`; the empty string before the first.
    ///
    /// The hash is over a JSON array: no field's text can be taken for the next field.
    pub fn chained(&self, previous: &str) -> String {
        let fields = serde_json::json!([
            "eyot-registry-log-1",
            previous,
            self.id,
            self.at.0,
            self.actor,
            self.action,
            self.repository,
            self.reference,
            self.digest,
        ]);
        Digest::of(fields.to_string()).hex()
    }

    /// Checks that this entry follows one with the number and hash that are given.
    ///
    /// Fails with `Corrupt` naming the entry.
    pub fn check(&self, after: i64, previous: &str) -> Result<()> {
        let id = self.id;
        if id != after + 1 {
            return Err(Error::corrupt(format!(
                "the registry's log goes on with entry {id} after entry {after}: some are missing"
            )));
        }
        if self.chained(previous) != self.hash {
            return Err(Error::corrupt(format!(
                "entry {id} of the registry's log, or the one before it, was changed"
            )));
        }
        Ok(())
    }
}

impl Registry {
    /// Appends an entry to the audit log, in the transaction that makes it true.
    pub(super) async fn log_entry(&self, tx: &mut Transaction, entry: NewLogEntry<'_>) -> Result<()> {
        append(tx, entry, Timestamp(self.now())).await
    }
}

/// Transactions that write are serialized, so the chain has no forks.
async fn append(tx: &mut Transaction, entry: NewLogEntry<'_>, at: Timestamp) -> Result<()> {
    let last = sql("SELECT id, hash FROM registry_log ORDER BY id DESC LIMIT 1");
    let last = last.fetch_optional(&mut *tx).await?;
    let (id, previous) = match last {
        Some(row) => (row.get::<i64>("id")?, row.get::<String>("hash")?),
        None => (0, String::new()),
    };
    let mut logged = LogEntry {
        id: id + 1,
        at,
        actor: entry.actor.to_owned(),
        action: entry.action.to_owned(),
        repository: entry.repository.to_owned(),
        reference: entry.reference.to_owned(),
        digest: entry.digest.to_owned(),
        hash: String::new(),
    };
    logged.hash = logged.chained(&previous);
    sql(
        "INSERT INTO registry_log (id, at, actor, action, repository, reference, digest, hash) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(logged.id)
    .bind(logged.at.0)
    .bind(logged.actor)
    .bind(logged.action)
    .bind(logged.repository)
    .bind(logged.reference)
    .bind(logged.digest)
    .bind(logged.hash)
    .execute(&mut *tx)
    .await
    .map(drop)
}

impl Registry {
    /// Up to `limit` entries of the log after the one numbered `after`, oldest first.
    pub async fn log(&self, after: i64, limit: u32) -> Result<Vec<LogEntry>> {
        page(&self.0.db, after, limit).await
    }
}

/// Entries that are read at once.
const PAGE_ENTRIES: u32 = 1000;

/// Checks the whole log of a database; answers how many entries it has.
///
/// Fails with `Corrupt` naming the first entry that was changed or is missing.
pub async fn check_log(rows: &Database) -> Result<i64> {
    let (mut entries, mut head) = (0, String::new());
    loop {
        let page = page(rows, entries, PAGE_ENTRIES).await?;
        if page.is_empty() {
            return Ok(entries);
        }
        for entry in page {
            entry.check(entries, &head)?;
            (entries, head) = (entry.id, entry.hash);
        }
    }
}

async fn page(rows: &Database, after: i64, limit: u32) -> Result<Vec<LogEntry>> {
    let page = sql("SELECT * FROM registry_log WHERE id > $1 ORDER BY id LIMIT $2").bind(after).bind(limit);
    page.fetch_all(rows).await?.iter().map(read).collect()
}

fn read(row: &SqlRow) -> Result<LogEntry> {
    let text = |name: &str| row.get::<String>(name);
    Ok(LogEntry {
        id: row.get("id")?,
        at: Timestamp(row.get("at")?),
        actor: text("actor")?,
        action: text("action")?,
        repository: text("repository")?,
        reference: text("reference")?,
        digest: text("digest")?,
        hash: text("hash")?,
    })
}
