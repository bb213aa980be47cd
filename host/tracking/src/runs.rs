use std::collections::BTreeMap;

use eyot_core::{Clock as _, Error, ProjectName, Result, SystemClock, Timestamp, new_id};
use eyot_meta::{Event, SqlRow, is_missing_reference, sql};
use serde::{Deserialize, Serialize};

use crate::TrackingStore;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum RunOutcome {
    Finished,
    Failed,
    Killed,
}

impl RunOutcome {
    fn as_str(self) -> &'static str {
        match self {
            RunOutcome::Finished => "FINISHED",
            RunOutcome::Failed => "FAILED",
            RunOutcome::Killed => "KILLED",
        }
    }
}

/// One point of a metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricPoint {
    pub key: String,
    pub value: f64,
    pub step: i64,
    pub timestamp: Timestamp,
}

/// A run with its parameters, metrics and tags; of each metric the last point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrackedRun {
    pub id: String,
    pub experiment: String,
    pub name: String,
    /// RUNNING, FINISHED, FAILED or KILLED.
    pub status: String,
    pub started: Timestamp,
    pub ended: Option<Timestamp>,
    pub params: BTreeMap<String, String>,
    pub metrics: Vec<MetricPoint>,
    pub tags: BTreeMap<String, String>,
}

impl TrackingStore {
    /// Starts a run in an experiment of a project, which is made if it is not there; answers the run's id.
    pub async fn create_run(&self, project: &ProjectName, experiment: &str, name: &str) -> Result<String> {
        let (id, now) = (new_id(), SystemClock.now().0);
        let mut tx = self.db.begin().await?;
        sql("INSERT INTO experiments (id, project, name, created_at) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (project, name) DO NOTHING")
        .bind(new_id())
        .bind(project.as_str())
        .bind(experiment)
        .bind(now)
        .execute(&mut tx)
        .await?;
        sql("INSERT INTO runs (id, experiment, name, status, started_at) \
             SELECT $1, id, $2, 'RUNNING', $3 FROM experiments WHERE project = $4 AND name = $5")
        .bind(&id)
        .bind(name)
        .bind(now)
        .bind(project.as_str())
        .bind(experiment)
        .execute(&mut tx)
        .await?;
        tx.commit().await?;
        Ok(id)
    }

    /// Records a parameter. The first value stays.
    ///
    /// Fails with `Conflict` when the run has another value for it.
    pub async fn log_param(&self, run: &str, key: &str, value: &str) -> Result<()> {
        let mut tx = self.db.begin().await?;
        sql("INSERT INTO params (run, key, value) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
            .bind(run)
            .bind(key)
            .bind(value)
            .execute(&mut tx)
            .await
            .map_err(|error| unknown(run, error))?;
        let row = sql("SELECT value FROM params WHERE run = $1 AND key = $2").bind(run).bind(key);
        let kept: String = row.fetch_one(&mut tx).await.and_then(|row| row.get("value"))?;
        tx.commit().await?;
        if kept == value {
            return Ok(());
        }
        Err(Error::conflict(format!("parameter '{key}' of run {run} is '{kept}' already, not '{value}'")))
    }

    /// Records one point of a metric.
    pub async fn log_metric(&self, run: &str, key: &str, value: f64, step: i64, at: Timestamp) -> Result<()> {
        let mut tx = self.db.begin().await?;
        sql("INSERT INTO metrics (run, key, value, step, logged_at) VALUES ($1, $2, $3, $4, $5)")
            .bind(run)
            .bind(key)
            .bind(value.to_string())
            .bind(step)
            .bind(at.0)
            .execute(&mut tx)
            .await
            .map_err(|error| unknown(run, error))?;
        tx.commit().await
    }

    /// Sets a tag, replacing an earlier value.
    pub async fn set_tag(&self, run: &str, key: &str, value: &str) -> Result<()> {
        let mut tx = self.db.begin().await?;
        sql("INSERT INTO run_tags (run, key, value) VALUES ($1, $2, $3) \
             ON CONFLICT (run, key) DO UPDATE SET value = excluded.value")
        .bind(run)
        .bind(key)
        .bind(value)
        .execute(&mut tx)
        .await
        .map_err(|error| unknown(run, error))?;
        tx.commit().await
    }

    /// Ends a run.
    pub async fn end_run(&self, run: &str, outcome: RunOutcome) -> Result<()> {
        let mut tx = self.db.begin().await?;
        let row =
            sql("SELECT e.project FROM runs r JOIN experiments e ON e.id = r.experiment WHERE r.id = $1");
        let row = row.bind(run).fetch_optional(&mut tx).await?.ok_or_else(|| missing(run))?;
        let project: ProjectName = row.get::<String>("project")?.parse()?;
        sql("UPDATE runs SET status = $1, ended_at = $2 WHERE id = $3")
            .bind(outcome.as_str())
            .bind(SystemClock.now().0)
            .bind(run)
            .execute(&mut tx)
            .await?;
        let payload = serde_json::json!({ "status": outcome });
        tx.emit(Event::new("tracking.run-ended", run, payload).in_project(&project));
        tx.commit().await
    }

    /// A run of a project with its parameters, metrics and tags.
    pub async fn run(&self, project: &ProjectName, id: &str) -> Result<TrackedRun> {
        let pool = &self.db;
        let row = sql("SELECT r.name, e.name AS experiment, r.status, r.started_at, r.ended_at FROM runs r \
             JOIN experiments e ON e.id = r.experiment WHERE r.id = $1 AND e.project = $2")
        .bind(id)
        .bind(project.as_str())
        .fetch_optional(pool)
        .await?;
        let row = row.ok_or_else(|| missing(id))?;
        let params = sql("SELECT key, value FROM params WHERE run = $1").bind(id).fetch_all(pool).await?;
        let tags = sql("SELECT key, value FROM run_tags WHERE run = $1").bind(id).fetch_all(pool).await?;
        Ok(TrackedRun {
            id: id.to_owned(),
            experiment: row.get("experiment")?,
            name: row.get("name")?,
            status: row.get("status")?,
            started: Timestamp(row.get("started_at")?),
            ended: row.get::<Option<i64>>("ended_at")?.map(Timestamp),
            params: pairs(&params)?,
            metrics: self.last_metrics(id).await?,
            tags: pairs(&tags)?,
        })
    }

    /// The last point of each metric: that of the highest step, the one logged last among equals.
    async fn last_metrics(&self, run: &str) -> Result<Vec<MetricPoint>> {
        let rows = sql(
            "SELECT key, value, step, logged_at FROM metrics WHERE run = $1 ORDER BY key, step, logged_at, id",
        )
        .bind(run)
        .fetch_all(&self.db)
        .await?;
        let mut last = BTreeMap::new();
        for row in &rows {
            let metric = metric(row)?;
            last.insert(metric.key.clone(), metric);
        }
        Ok(last.into_values().collect())
    }

    /// Every point of a metric, by step and time.
    pub async fn metric_history(&self, run: &str, key: &str) -> Result<Vec<MetricPoint>> {
        let rows = sql(
            "SELECT key, value, step, logged_at FROM metrics WHERE run = $1 AND key = $2 ORDER BY step, logged_at, id",
        )
        .bind(run)
        .bind(key)
        .fetch_all(&self.db)
        .await?;
        rows.iter().map(metric).collect()
    }
}

fn metric(row: &SqlRow) -> Result<MetricPoint> {
    let value: String = row.get("value")?;
    Ok(MetricPoint {
        key: row.get("key")?,
        value: value.parse().map_err(|_| Error::corrupt(format!("'{value}' is no value of a metric")))?,
        step: row.get("step")?,
        timestamp: Timestamp(row.get("logged_at")?),
    })
}

fn pairs(rows: &[SqlRow]) -> Result<BTreeMap<String, String>> {
    let pair = |row: &SqlRow| Ok((row.get("key")?, row.get("value")?));
    rows.iter().map(pair).collect()
}

fn missing(run: &str) -> Error {
    Error::not_found(format!("there is no run '{run}'"))
}

/// A foreign key that does not hold means that there is no such run.
fn unknown(run: &str, error: Error) -> Error {
    if is_missing_reference(&error) { missing(run) } else { error }
}
