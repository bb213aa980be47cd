//! The outbox: what happened, in the order in which it was committed.

use eyot_core::{Clock as _, Error, ProjectName, Result, SystemClock, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Database, SqlRow, sql};

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Rises by commit, without gaps in its project; 0 until the event is written.
    pub id: i64,
    /// Where it happened.
    pub project: ProjectName,
    /// `deployment.changed`, `model.registered`, …
    pub topic: String,
    /// The name or id of what it happened to.
    pub subject: String,
    pub payload: Value,
    pub created: Timestamp,
}

impl Event {
    /// An event in the project `default` that happens when the transaction commits it.
    pub fn new(topic: &str, subject: &str, payload: Value) -> Self {
        let (topic, subject) = (topic.to_owned(), subject.to_owned());
        Self { id: 0, project: ProjectName::default(), topic, subject, payload, created: SystemClock.now() }
    }

    /// The same event in another project.
    pub fn in_project(self, project: &ProjectName) -> Self {
        Self { project: project.clone(), ..self }
    }
}

impl Database {
    /// Up to `limit` events of a project after the one numbered `after`, oldest first.
    pub async fn events(&self, project: &ProjectName, after: i64, limit: u32) -> Result<Vec<Event>> {
        let rows = sql("SELECT stream, id, topic, subject, payload, created_at FROM events \
             WHERE stream = $1 AND id > $2 ORDER BY id LIMIT $3");
        let rows = rows.bind(project.as_str()).bind(after).bind(limit).fetch_all(self).await?;
        rows.iter().map(read).collect()
    }
}

impl Database {
    /// The number of the newest event there ever was in a project; 0 before the first.
    pub async fn last_event_id(&self, project: &ProjectName) -> Result<i64> {
        let row = sql("SELECT last_id FROM streams WHERE name = $1").bind(project.as_str());
        row.fetch_optional(self).await?.map_or(Ok(0), |row| row.get("last_id"))
    }

    /// The number of the newest event of every project in which something ever happened.
    pub(crate) async fn last_event_ids(&self) -> Result<Vec<(ProjectName, i64)>> {
        let rows = sql("SELECT name, last_id FROM streams").fetch_all(self).await?;
        let heads = rows.iter().map(|row| Ok((row.get::<String>("name")?.parse()?, row.get("last_id")?)));
        heads.collect()
    }

    /// The number of the oldest event of a project that is kept.
    pub(crate) async fn first_event_id(&self, project: &ProjectName) -> Result<Option<i64>> {
        let row = sql("SELECT MIN(id) AS id FROM events WHERE stream = $1").bind(project.as_str());
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
        project: row.get::<String>("stream")?.parse()?,
        topic: row.get("topic")?,
        subject: row.get("subject")?,
        payload: serde_json::from_str(&payload)
            .map_err(|error| Error::corrupt("an event has no JSON").because(error))?,
        created: Timestamp(row.get("created_at")?),
    })
}
