//! The outbox: what happened, in the order in which it was committed.

use eyot_core::{Clock as _, Error, Result, SystemClock, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Database, SqlRow, sql};

/// The stream of what happens in the project `default`.
pub(crate) const DEFAULT_STREAM: &str = "default";

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Rises by commit, without gaps; 0 until the event is written.
    pub id: i64,
    /// `deployment.changed`, `model.registered`, …
    pub topic: String,
    /// The name or id of what it happened to.
    pub subject: String,
    pub payload: Value,
    pub created: Timestamp,
}

impl Event {
    /// An event that happens when the transaction commits it.
    pub fn new(topic: &str, subject: &str, payload: Value) -> Self {
        let (topic, subject) = (topic.to_owned(), subject.to_owned());
        Self { id: 0, topic, subject, payload, created: SystemClock.now() }
    }
}

impl Database {
    /// Up to `limit` events after the one numbered `after`, oldest first.
    pub async fn events(&self, after: i64, limit: u32) -> Result<Vec<Event>> {
        let rows = sql("SELECT id, topic, subject, payload, created_at FROM events \
             WHERE stream = $1 AND id > $2 ORDER BY id LIMIT $3");
        let rows = rows.bind(DEFAULT_STREAM).bind(after).bind(limit).fetch_all(self).await?;
        rows.iter().map(read).collect()
    }
}

impl Database {
    /// The number of the newest event there ever was; 0 before the first.
    pub async fn last_event_id(&self) -> Result<i64> {
        let row = sql("SELECT last_id FROM streams WHERE name = $1").bind(DEFAULT_STREAM);
        row.fetch_optional(self).await?.map_or(Ok(0), |row| row.get("last_id"))
    }

    /// The number of the oldest event that is kept.
    pub(crate) async fn first_event_id(&self) -> Result<Option<i64>> {
        let row = sql("SELECT MIN(id) AS id FROM events WHERE stream = $1").bind(DEFAULT_STREAM);
        row.fetch_one(self).await?.get("id")
    }

    /// Forgets events from before a time. Their numbers are not given again.
    pub async fn forget_events(&self, before: Timestamp) -> Result<()> {
        let mut tx = self.begin().await?;
        sql("DELETE FROM events WHERE created_at < $1").bind(before.0).execute(&mut tx).await?;
        tx.commit().await
    }
}

fn read(row: &SqlRow) -> Result<Event> {
    let payload: String = row.get("payload")?;
    Ok(Event {
        id: row.get("id")?,
        topic: row.get("topic")?,
        subject: row.get("subject")?,
        payload: serde_json::from_str(&payload)
            .map_err(|error| Error::corrupt("an event has no JSON").because(error))?,
        created: Timestamp(row.get("created_at")?),
    })
}
