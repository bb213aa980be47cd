//! Runs and step runs in the database.

use eyot_core::{Clock as _, Error, Name, Result, SystemClock, Timestamp};
use eyot_meta::{Database, Event, Transaction, fail};
use indexmap::IndexMap;
use serde_json::Value;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use crate::plan::{PipelinePlan, PlannedWork};
use crate::{PipelineRun, RunStatus, StepRun, StepStatus};

#[derive(Clone)]
pub(crate) struct RunRecords(Database);

impl RunRecords {
    pub(crate) fn new(db: Database) -> Self {
        Self(db)
    }

    /// Writes a run that starts, with all of its steps.
    pub(crate) async fn start(
        &self,
        id: &str,
        plan: &PipelinePlan,
        request: &str,
        tracking_run: Option<&str>,
    ) -> Result<()> {
        let mut tx = self.0.begin().await?;
        sqlx::query(
            "INSERT INTO pipeline_runs (id, pipeline, status, request, tracking_run, started_at) VALUES (?, ?, 'running', ?, ?, ?)",
        )
        .bind(id)
        .bind(plan.pipeline.as_str())
        .bind(request)
        .bind(tracking_run)
        .bind(SystemClock.now().0)
        .execute(&mut *tx)
        .await
        .map_err(fail)?;
        for (position, step) in plan.steps.iter().enumerate() {
            let (component, export) = match &step.work {
                PlannedWork::Call(call) => (Some(call.component), Some(call.function.name.clone())),
                PlannedWork::Register { .. } => (None, None),
            };
            let step = StepRun {
                step: step.name.clone(),
                status: StepStatus::Waiting,
                component,
                export,
                cache_key: None,
                inputs: IndexMap::new(),
                outputs: IndexMap::new(),
                error: None,
                milliseconds: 0,
            };
            insert(&mut tx, id, position, &step).await?;
        }
        tx.emit(Event::new("run.started", id, serde_json::json!({ "pipeline": plan.pipeline }))).await?;
        tx.commit().await
    }

    /// Writes where a step stands.
    pub(crate) async fn step(&self, run: &str, step: &StepRun) -> Result<()> {
        let mut tx = self.0.begin().await?;
        update(&mut tx, run, step).await?;
        tx.commit().await
    }

    /// Writes a run's end, together with the steps that did not come to theirs.
    pub(crate) async fn finish(
        &self,
        run: &str,
        status: RunStatus,
        error: Option<&str>,
        steps: &[StepRun],
    ) -> Result<()> {
        let mut tx = self.0.begin().await?;
        for step in steps {
            update(&mut tx, run, step).await?;
        }
        end(&mut tx, run, status, error).await?;
        tx.commit().await
    }

    /// Ends the runs that a killed process left running; answers their tracking runs.
    pub(crate) async fn recover(&self) -> Result<Vec<String>> {
        let mut tx = self.0.begin().await?;
        let rows = sqlx::query("SELECT id, tracking_run FROM pipeline_runs WHERE status = 'running'")
            .fetch_all(&mut *tx)
            .await;
        let mut tracking_runs = Vec::new();
        let error = "the server stopped while it ran";
        for row in rows.map_err(fail)? {
            let id: String = row.try_get("id").map_err(fail)?;
            tracking_runs.extend(row.try_get::<Option<String>, _>("tracking_run").map_err(fail)?);
            sqlx::query(
                "UPDATE step_runs SET status = 'failed', error = ? WHERE run = ? AND status = 'running'",
            )
            .bind(error)
            .bind(&id)
            .execute(&mut *tx)
            .await
            .map_err(fail)?;
            sqlx::query("UPDATE step_runs SET status = 'skipped' WHERE run = ? AND status = 'waiting'")
                .bind(&id)
                .execute(&mut *tx)
                .await
                .map_err(fail)?;
            end(&mut tx, &id, RunStatus::Failed, Some(error)).await?;
        }
        tx.commit().await?;
        Ok(tracking_runs)
    }

    /// The runs of an earlier version whose outputs nothing pins yet.
    pub(crate) async fn unpinned(&self) -> Result<Vec<String>> {
        let rows = sqlx::query("SELECT run FROM unpinned_runs ORDER BY run").fetch_all(self.0.pool()).await;
        rows.map_err(fail)?.iter().map(|row| row.try_get("run").map_err(fail)).collect()
    }

    /// What the run wrote is pinned now.
    pub(crate) async fn pinned(&self, run: &str) -> Result<()> {
        let mut tx = self.0.begin().await?;
        let query = sqlx::query("DELETE FROM unpinned_runs WHERE run = ?").bind(run);
        query.execute(&mut *tx).await.map_err(fail)?;
        tx.commit().await
    }

    /// Every run, newest first.
    pub(crate) async fn all(&self) -> Result<Vec<PipelineRun>> {
        let rows = sqlx::query("SELECT * FROM pipeline_runs ORDER BY started_at DESC, id")
            .fetch_all(self.0.pool())
            .await;
        let mut runs = Vec::new();
        for row in rows.map_err(fail)? {
            runs.push(self.whole(&row).await?);
        }
        Ok(runs)
    }

    /// The run whose id is, or begins with, `id`.
    pub(crate) async fn get(&self, id: &str) -> Result<PipelineRun> {
        let plain = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        let missing = || Error::not_found(format!("there is no run '{id}'")).hint("eyot runs lists them");
        if !plain {
            return Err(missing());
        }
        let rows = sqlx::query("SELECT * FROM pipeline_runs WHERE id LIKE ? || '%' LIMIT 2").bind(id);
        let rows = rows.fetch_all(self.0.pool()).await.map_err(fail)?;
        match rows.as_slice() {
            [] => Err(missing()),
            [row] => self.whole(row).await,
            _ => Err(Error::invalid(format!("several runs begin with '{id}'")).hint("write more of the id")),
        }
    }

    async fn whole(&self, row: &SqliteRow) -> Result<PipelineRun> {
        let id: String = row.try_get("id").map_err(fail)?;
        let steps = sqlx::query("SELECT * FROM step_runs WHERE run = ? ORDER BY position").bind(&id);
        let steps = steps.fetch_all(self.0.pool()).await.map_err(fail)?;
        Ok(PipelineRun {
            pipeline: row.try_get::<String, _>("pipeline").map_err(fail)?.parse()?,
            status: RunStatus::parse(&row.try_get::<String, _>("status").map_err(fail)?)?,
            error: row.try_get("error").map_err(fail)?,
            steps: steps.iter().map(read_step).collect::<Result<_>>()?,
            started: Timestamp(row.try_get("started_at").map_err(fail)?),
            ended: row.try_get::<Option<i64>, _>("ended_at").map_err(fail)?.map(Timestamp),
            tracking_run: row.try_get("tracking_run").map_err(fail)?,
            id,
        })
    }
}

async fn end(tx: &mut Transaction, run: &str, status: RunStatus, error: Option<&str>) -> Result<()> {
    sqlx::query("UPDATE pipeline_runs SET status = ?, error = ?, ended_at = ? WHERE id = ?")
        .bind(status.as_str())
        .bind(error)
        .bind(SystemClock.now().0)
        .bind(run)
        .execute(&mut **tx)
        .await
        .map_err(fail)?;
    tx.emit(Event::new("run.finished", run, serde_json::json!({ "status": status, "error": error }))).await
}

async fn insert(tx: &mut Transaction, run: &str, position: usize, step: &StepRun) -> Result<()> {
    sqlx::query(
        "INSERT INTO step_runs (run, step, position, status, component, export, inputs, outputs, milliseconds) \
         VALUES (?, ?, ?, ?, ?, ?, '{}', '{}', 0)",
    )
    .bind(run)
    .bind(step.step.as_str())
    .bind(i64::try_from(position).unwrap_or(i64::MAX))
    .bind(step.status.as_str())
    .bind(step.component.map(|digest| digest.to_string()))
    .bind(&step.export)
    .execute(&mut **tx)
    .await
    .map(drop)
    .map_err(fail)
}

async fn update(tx: &mut Transaction, run: &str, step: &StepRun) -> Result<()> {
    sqlx::query(
        "UPDATE step_runs SET status = ?, cache_key = ?, inputs = ?, outputs = ?, error = ?, milliseconds = ? \
         WHERE run = ? AND step = ?",
    )
    .bind(step.status.as_str())
    .bind(step.cache_key.map(|key| key.to_string()))
    .bind(object(&step.inputs))
    .bind(object(&step.outputs))
    .bind(&step.error)
    .bind(i64::try_from(step.milliseconds).unwrap_or(i64::MAX))
    .bind(run)
    .bind(step.step.as_str())
    .execute(&mut **tx)
    .await
    .map(drop)
    .map_err(fail)
}

fn object(values: &IndexMap<String, Value>) -> String {
    Value::Object(values.iter().map(|(name, value)| (name.clone(), value.clone())).collect()).to_string()
}

fn read_step(row: &SqliteRow) -> Result<StepRun> {
    let text = |column: &str| row.try_get::<String, _>(column).map_err(fail);
    let digest = |column: &str| {
        let found = row.try_get::<Option<String>, _>(column).map_err(fail)?;
        found.map(|text| text.parse()).transpose()
    };
    let values = |column: &str| {
        serde_json::from_str(&text(column)?)
            .map_err(|error| Error::corrupt("a step run has no JSON").because(error))
    };
    Ok(StepRun {
        step: text("step")?.parse::<Name>()?,
        status: StepStatus::parse(&text("status")?)?,
        component: digest("component")?,
        export: row.try_get("export").map_err(fail)?,
        cache_key: digest("cache_key")?,
        inputs: values("inputs")?,
        outputs: values("outputs")?,
        error: row.try_get("error").map_err(fail)?,
        milliseconds: row.try_get::<i64, _>("milliseconds").map_err(fail)?.unsigned_abs(),
    })
}
