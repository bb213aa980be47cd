//! Deployments in the database.

use eyot_core::{Error, ProjectName, Result, ScopedName, Timestamp, read_stored, write_stored};
use eyot_meta::{Database, Event, SqlRow, sql};

use crate::stored::{StoredSpec, StoredTraffic};
use crate::{RevisionSpec, Traffic};

/// A deployment as it is written down.
#[derive(Clone, Debug)]
pub(crate) struct DeploymentRecord {
    pub(crate) name: ScopedName,
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

/// What serves, or should, in every project.
pub(crate) async fn list_all(db: &Database) -> Result<Vec<DeploymentRecord>> {
    let rows = sql(
        "SELECT d.project, d.name, r.revision, r.spec, r.created_at, t.split, t.before FROM deployments d \
         JOIN revisions r ON r.project = d.project AND r.deployment = d.name AND r.revision = d.serving \
         LEFT JOIN traffic t ON t.project = d.project AND t.deployment = d.name ORDER BY d.project, d.name",
    );
    rows.fetch_all(db).await?.iter().map(record).collect()
}

pub(crate) async fn list(db: &Database, project: &ProjectName) -> Result<Vec<DeploymentRecord>> {
    let rows = sql(
        "SELECT d.project, d.name, r.revision, r.spec, r.created_at, t.split, t.before FROM deployments d \
         JOIN revisions r ON r.project = d.project AND r.deployment = d.name AND r.revision = d.serving \
         LEFT JOIN traffic t ON t.project = d.project AND t.deployment = d.name \
         WHERE d.project = $1 ORDER BY d.name",
    );
    rows.bind(project.as_str()).fetch_all(db).await?.iter().map(record).collect()
}

pub(crate) async fn find(db: &Database, name: &ScopedName) -> Result<Option<DeploymentRecord>> {
    let row = sql(
        "SELECT d.project, d.name, r.revision, r.spec, r.created_at, t.split, t.before FROM deployments d \
         JOIN revisions r ON r.project = d.project AND r.deployment = d.name AND r.revision = d.serving \
         LEFT JOIN traffic t ON t.project = d.project AND t.deployment = d.name \
         WHERE d.project = $1 AND d.name = $2",
    );
    let row = row.bind(name.project()).bind(name.name()).fetch_optional(db).await?;
    row.as_ref().map(record).transpose()
}

/// Every revision that was made under a name, oldest first.
pub(crate) async fn revisions(db: &Database, name: &ScopedName) -> Result<Vec<RevisionRecord>> {
    let query = "SELECT revision, spec, created_at FROM revisions \
         WHERE project = $1 AND deployment = $2 ORDER BY revision";
    let rows = sql(query).bind(name.project()).bind(name.name()).fetch_all(db).await?;
    rows.iter().map(|row| made(row, name)).collect()
}

/// The number of the newest revision; 0 before the first.
pub(crate) async fn latest(db: &Database, name: &ScopedName) -> Result<u64> {
    let row = sql("SELECT latest FROM deployments WHERE project = $1 AND name = $2");
    let row = row.bind(name.project()).bind(name.name()).fetch_optional(db).await?;
    row.map_or(Ok(0), |row| row.get::<i64>("latest").map(i64::unsigned_abs))
}

/// Writes how requests are split from now on, and the revision that is new with it, if one is.
pub(crate) async fn write(
    db: &Database,
    name: &ScopedName,
    new: Option<&RevisionRecord>,
    traffic: &Traffic,
    before: Option<&Traffic>,
    now: Timestamp,
) -> Result<()> {
    let main = traffic.main().ok_or_else(|| Error::internal("no revision would answer"))?;
    let mut tx = db.begin().await?;
    let latest = new.map(|made| number(made.revision));
    sql("INSERT INTO deployments (project, name, serving, latest, updated_at) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (project, name) DO UPDATE SET serving = excluded.serving, \
         latest = COALESCE($6, deployments.latest), updated_at = excluded.updated_at")
    .bind(name.project())
    .bind(name.name())
    .bind(number(main))
    .bind(latest.unwrap_or_else(|| number(main)))
    .bind(now.0)
    .bind(latest)
    .execute(&mut tx)
    .await?;
    if let Some(made) = new {
        sql("INSERT INTO revisions (project, deployment, revision, spec, created_at) VALUES ($1, $2, $3, $4, $5)")
            .bind(name.project())
    .bind(name.name())
            .bind(number(made.revision))
            .bind(write_stored(&StoredSpec::from(made.spec.clone()))?)
            .bind(made.created.0)
            .execute(&mut tx)
            .await?;
    }
    sql("INSERT INTO traffic (project, deployment, split, before, updated_at) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (project, deployment) DO UPDATE SET split = excluded.split, before = excluded.before, \
         updated_at = excluded.updated_at")
    .bind(name.project())
    .bind(name.name())
    .bind(split(traffic)?)
    .bind(before.map(split).transpose()?)
    .bind(now.0)
    .execute(&mut tx)
    .await?;
    let spec = new.map(|made| &made.spec);
    let payload = serde_json::json!({ "revision": main, "spec": spec, "traffic": traffic });
    tx.emit(Event::new("deployment.changed", name.name(), payload).in_project(&name.project_name()));
    tx.commit().await
}

/// Writes that nothing serves under a name. The revisions stay, so that numbers never repeat.
pub(crate) async fn remove(db: &Database, name: &ScopedName, now: Timestamp) -> Result<()> {
    let mut tx = db.begin().await?;
    sql("UPDATE deployments SET serving = NULL, updated_at = $1 WHERE project = $2 AND name = $3")
        .bind(now.0)
        .bind(name.project())
        .bind(name.name())
        .execute(&mut tx)
        .await?;
    let forget = sql("DELETE FROM traffic WHERE project = $1 AND deployment = $2");
    forget.bind(name.project()).bind(name.name()).execute(&mut tx).await?;
    let event = Event::new("deployment.removed", name.name(), serde_json::json!({}));
    tx.emit(event.in_project(&name.project_name()));
    tx.commit().await
}

fn number(revision: u64) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}

fn split(traffic: &Traffic) -> Result<String> {
    write_stored(&StoredTraffic::from(traffic.clone()))
}

fn record(row: &SqlRow) -> Result<DeploymentRecord> {
    let (project, name): (String, String) = (row.get("project")?, row.get("name")?);
    let name = ScopedName::new(&project.parse()?, &name.parse()?);
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

fn made(row: &SqlRow, name: &ScopedName) -> Result<RevisionRecord> {
    let revision: i64 = row.get("revision")?;
    let spec: String = row.get("spec")?;
    let spec = read_stored::<StoredSpec>(&spec)
        .map_err(|error| error.context(format!("revision {revision} of '{name}'")))?
        .into();
    let created = Timestamp(row.get("created_at")?);
    Ok(RevisionRecord { revision: revision.unsigned_abs(), spec, created })
}
