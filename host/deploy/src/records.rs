//! Deployments in the database.

use eyot_core::{Error, Name, Result, Timestamp, read_stored, write_stored};
use eyot_meta::{Database, Event, SqlRow, sql};

use crate::stored::{StoredSpec, StoredTraffic};
use crate::{RevisionSpec, Traffic};

/// A deployment as it is written down.
#[derive(Clone, Debug)]
pub(crate) struct DeploymentRecord {
    pub(crate) name: Name,
    /// The revision with the largest share.
    pub(crate) revision: u64,
    pub(crate) spec: RevisionSpec,
    pub(crate) created: Timestamp,
    pub(crate) traffic: Traffic,
    /// How requests were split before: what a rollback goes back to.
    pub(crate) before: Option<Traffic>,
}

impl DeploymentRecord {
    /// Every revision that is kept ready: those that answer, and those that did before.
    pub(crate) fn live(&self) -> std::collections::BTreeSet<u64> {
        let before = self.before.iter().flat_map(Traffic::revisions);
        self.traffic.revisions().into_iter().chain(before).collect()
    }
}

/// A revision that was once made.
#[derive(Clone, Debug)]
pub(crate) struct RevisionRecord {
    pub(crate) revision: u64,
    pub(crate) spec: RevisionSpec,
    pub(crate) created: Timestamp,
}

pub(crate) async fn list(db: &Database) -> Result<Vec<DeploymentRecord>> {
    let rows = sql("SELECT d.name, r.revision, r.spec, r.created_at, t.split, t.before FROM deployments d \
         JOIN revisions r ON r.deployment = d.name AND r.revision = d.serving \
         LEFT JOIN traffic t ON t.deployment = d.name ORDER BY d.name")
    .fetch_all(db)
    .await?;
    rows.iter().map(record).collect()
}

pub(crate) async fn find(db: &Database, name: &Name) -> Result<Option<DeploymentRecord>> {
    let row = sql("SELECT d.name, r.revision, r.spec, r.created_at, t.split, t.before FROM deployments d \
         JOIN revisions r ON r.deployment = d.name AND r.revision = d.serving \
         LEFT JOIN traffic t ON t.deployment = d.name WHERE d.name = $1")
    .bind(name.as_str())
    .fetch_optional(db)
    .await?;
    row.as_ref().map(record).transpose()
}

/// Every revision that was made under a name, oldest first.
pub(crate) async fn revisions(db: &Database, name: &Name) -> Result<Vec<RevisionRecord>> {
    let query = "SELECT revision, spec, created_at FROM revisions WHERE deployment = $1 ORDER BY revision";
    let rows = sql(query).bind(name.as_str()).fetch_all(db).await?;
    rows.iter().map(|row| made(row, name)).collect()
}

/// The number of the newest revision; 0 before the first.
pub(crate) async fn latest(db: &Database, name: &Name) -> Result<u64> {
    let row =
        sql("SELECT latest FROM deployments WHERE name = $1").bind(name.as_str()).fetch_optional(db).await?;
    row.map_or(Ok(0), |row| row.get::<i64>("latest").map(i64::unsigned_abs))
}

/// Writes how requests are split from now on, and the revision that is new with it, if one is.
pub(crate) async fn write(
    db: &Database,
    name: &Name,
    new: Option<&RevisionRecord>,
    traffic: &Traffic,
    before: Option<&Traffic>,
    now: Timestamp,
) -> Result<()> {
    let main = traffic.main().ok_or_else(|| Error::internal("no revision would answer"))?;
    let mut tx = db.begin().await?;
    let latest = new.map(|made| number(made.revision));
    sql("INSERT INTO deployments (name, serving, latest, updated_at) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (name) DO UPDATE SET serving = excluded.serving, \
         latest = COALESCE($5, deployments.latest), updated_at = excluded.updated_at")
    .bind(name.as_str())
    .bind(number(main))
    .bind(latest.unwrap_or_else(|| number(main)))
    .bind(now.0)
    .bind(latest)
    .execute(&mut tx)
    .await?;
    if let Some(made) = new {
        sql("INSERT INTO revisions (deployment, revision, spec, created_at) VALUES ($1, $2, $3, $4)")
            .bind(name.as_str())
            .bind(number(made.revision))
            .bind(write_stored(&StoredSpec::from(made.spec.clone()))?)
            .bind(made.created.0)
            .execute(&mut tx)
            .await?;
    }
    sql("INSERT INTO traffic (deployment, split, before, updated_at) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (deployment) DO UPDATE SET split = excluded.split, before = excluded.before, \
         updated_at = excluded.updated_at")
    .bind(name.as_str())
    .bind(split(traffic)?)
    .bind(before.map(split).transpose()?)
    .bind(now.0)
    .execute(&mut tx)
    .await?;
    let spec = new.map(|made| &made.spec);
    let payload = serde_json::json!({ "revision": main, "spec": spec, "traffic": traffic });
    tx.emit(Event::new("deployment.changed", name.as_str(), payload));
    tx.commit().await
}

/// Writes that nothing serves under a name. The revisions stay, so that numbers never repeat.
pub(crate) async fn remove(db: &Database, name: &Name, now: Timestamp) -> Result<()> {
    let mut tx = db.begin().await?;
    sql("UPDATE deployments SET serving = NULL, updated_at = $1 WHERE name = $2")
        .bind(now.0)
        .bind(name.as_str())
        .execute(&mut tx)
        .await?;
    let forget = sql("DELETE FROM traffic WHERE deployment = $1").bind(name.as_str());
    forget.execute(&mut tx).await?;
    tx.emit(Event::new("deployment.removed", name.as_str(), serde_json::json!({})));
    tx.commit().await
}

fn number(revision: u64) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}

fn split(traffic: &Traffic) -> Result<String> {
    write_stored(&StoredTraffic::from(traffic.clone()))
}

fn record(row: &SqlRow) -> Result<DeploymentRecord> {
    let name: String = row.get("name")?;
    let name: Name = name.parse()?;
    let RevisionRecord { revision, spec, created } = made(row, &name)?;
    let parse = |column: &str| {
        let text: Option<String> = row.get(column)?;
        let stored = text.map(|text| read_stored::<StoredTraffic>(&text)).transpose();
        let traffic = stored.map(|stored| stored.map(Traffic::from));
        traffic.map_err(|error: Error| error.context(format!("the traffic of '{name}'")))
    };
    let (traffic, before) = (parse("split")?, parse("before")?);
    let traffic = traffic.unwrap_or_else(|| Traffic::all(revision));
    Ok(DeploymentRecord { name, revision, spec, created, traffic, before })
}

fn made(row: &SqlRow, name: &Name) -> Result<RevisionRecord> {
    let revision: i64 = row.get("revision")?;
    let spec: String = row.get("spec")?;
    let spec = read_stored::<StoredSpec>(&spec)
        .map_err(|error| error.context(format!("revision {revision} of '{name}'")))?
        .into();
    let created = Timestamp(row.get("created_at")?);
    Ok(RevisionRecord { revision: revision.unsigned_abs(), spec, created })
}
