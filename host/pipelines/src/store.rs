//! Runs and step runs in the database.

use eyot_core::{Clock as _, Error, Name, ProjectName, Result, SystemClock, Timestamp};
use eyot_meta::{Database, Event, SqlRow, Transaction, sql};
use indexmap::IndexMap;
use serde_json::Value;

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
        project: &ProjectName,
        id: &str,
        plan: &PipelinePlan,
        request: &str,
        tracking_run: Option<&str>,
    ) -> Result<()> {
        let mut tx = self.0.begin().await?;
        sql("INSERT INTO pipeline_runs (id, project, pipeline, status, request, tracking_run, started_at) \
             VALUES ($1, $2, $3, 'running', $4, $5, $6)")
        .bind(id)
        .bind(project.as_str())
        .bind(plan.pipeline.as_str())
        .bind(request)
        .bind(tracking_run)
        .bind(SystemClock.now().0)
        .execute(&mut tx)
        .await?;
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
        let payload = serde_json::json!({ "pipeline": plan.pipeline });
        tx.emit(Event::new("run.started", id, payload).in_project(project));
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
        let rows = sql("SELECT id, tracking_run FROM pipeline_runs WHERE status = 'running'")
            .fetch_all(&mut tx)
            .await;
        let mut tracking_runs = Vec::new();
        let error = "the server stopped while it ran";
        for row in rows? {
            let id: String = row.get("id")?;
            tracking_runs.extend(row.get::<Option<String>>("tracking_run")?);
            sql("UPDATE step_runs SET status = 'failed', error = $1 WHERE run = $2 AND status = 'running'")
                .bind(error)
                .bind(&id)
                .execute(&mut tx)
                .await?;
            sql("UPDATE step_runs SET status = 'skipped' WHERE run = $1 AND status = 'waiting'")
                .bind(&id)
                .execute(&mut tx)
                .await?;
            end(&mut tx, &id, RunStatus::Failed, Some(error)).await?;
        }
        tx.commit().await?;
        Ok(tracking_runs)
    }

    /// The runs of an earlier version whose outputs nothing pins yet.
    pub(crate) async fn unpinned(&self) -> Result<Vec<(ProjectName, String)>> {
        let rows = sql(
            "SELECT u.run, p.project FROM unpinned_runs u JOIN pipeline_runs p ON p.id = u.run ORDER BY u.run",
        );
        let rows = rows.fetch_all(&self.0).await?;
        rows.iter().map(|row| Ok((row.get::<String>("project")?.parse()?, row.get("run")?))).collect()
    }

    /// What the run wrote is pinned now.
    pub(crate) async fn pinned(&self, run: &str) -> Result<()> {
        let mut tx = self.0.begin().await?;
        let query = sql("DELETE FROM unpinned_runs WHERE run = $1").bind(run);
        query.execute(&mut tx).await?;
        tx.commit().await
    }

    /// Every run of a project, newest first.
    pub(crate) async fn all(&self, project: &ProjectName) -> Result<Vec<PipelineRun>> {
        let rows = sql("SELECT * FROM pipeline_runs WHERE project = $1 ORDER BY started_at DESC, id");
        let mut runs = Vec::new();
        for row in rows.bind(project.as_str()).fetch_all(&self.0).await? {
            runs.push(self.whole(&row).await?);
        }
        Ok(runs)
    }

    /// The run of a project whose id is, or begins with, `id`.
    pub(crate) async fn get(&self, project: &ProjectName, id: &str) -> Result<PipelineRun> {
        let plain = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        let missing = || Error::not_found(format!("there is no run '{id}'")).hint("eyot runs lists them");
        if !plain {
            return Err(missing());
        }
        let rows = sql("SELECT * FROM pipeline_runs WHERE project = $1 AND id LIKE $2 || '%' LIMIT 2");
        let rows = rows.bind(project.as_str()).bind(id).fetch_all(&self.0).await?;
        match rows.as_slice() {
            [] => Err(missing()),
            [row] => self.whole(row).await,
            _ => Err(Error::invalid(format!("several runs begin with '{id}'")).hint("write more of the id")),
        }
    }

    async fn whole(&self, row: &SqlRow) -> Result<PipelineRun> {
        let id: String = row.get("id")?;
        let steps = sql("SELECT * FROM step_runs WHERE run = $1 ORDER BY position").bind(&id);
        let steps = steps.fetch_all(&self.0).await?;
        Ok(PipelineRun {
            pipeline: row.get::<String>("pipeline")?.parse()?,
            status: RunStatus::parse(&row.get::<String>("status")?)?,
            error: row.get("error")?,
            steps: steps.iter().map(read_step).collect::<Result<_>>()?,
            started: Timestamp(row.get("started_at")?),
            ended: row.get::<Option<i64>>("ended_at")?.map(Timestamp),
            tracking_run: row.get("tracking_run")?,
            id,
        })
    }
}

async fn end(tx: &mut Transaction, run: &str, status: RunStatus, error: Option<&str>) -> Result<()> {
    let project = sql(
        "UPDATE pipeline_runs SET status = $1, error = $2, ended_at = $3 WHERE id = $4 RETURNING project",
    )
    .bind(status.as_str())
    .bind(error)
    .bind(SystemClock.now().0)
    .bind(run)
    .fetch_one(&mut *tx)
    .await?;
    let project: ProjectName = project.get::<String>("project")?.parse()?;
    let payload = serde_json::json!({ "status": status, "error": error });
    tx.emit(Event::new("run.finished", run, payload).in_project(&project));
    Ok(())
}

async fn insert(tx: &mut Transaction, run: &str, position: usize, step: &StepRun) -> Result<()> {
    sql(
        "INSERT INTO step_runs (run, step, position, status, component, export, inputs, outputs, milliseconds) \
         VALUES ($1, $2, $3, $4, $5, $6, '{}', '{}', 0)",
    )
    .bind(run)
    .bind(step.step.as_str())
    .bind(i64::try_from(position).unwrap_or(i64::MAX))
    .bind(step.status.as_str())
    .bind(step.component.map(|digest| digest.to_string()))
    .bind(&step.export)
    .execute(&mut *tx)
    .await
    .map(drop)
}

async fn update(tx: &mut Transaction, run: &str, step: &StepRun) -> Result<()> {
    sql(
        "UPDATE step_runs SET status = $1, cache_key = $2, inputs = $3, outputs = $4, error = $5, milliseconds = $6 \
         WHERE run = $7 AND step = $8",
    )
    .bind(step.status.as_str())
    .bind(step.cache_key.map(|key| key.to_string()))
    .bind(object(&step.inputs))
    .bind(object(&step.outputs))
    .bind(&step.error)
    .bind(i64::try_from(step.milliseconds).unwrap_or(i64::MAX))
    .bind(run)
    .bind(step.step.as_str())
    .execute(&mut *tx)
    .await
    .map(drop)
}

fn object(values: &IndexMap<String, Value>) -> String {
    Value::Object(values.iter().map(|(name, value)| (name.clone(), value.clone())).collect()).to_string()
}

fn read_step(row: &SqlRow) -> Result<StepRun> {
    let text = |column: &str| row.get::<String>(column);
    let digest = |column: &str| {
        let found = row.get::<Option<String>>(column)?;
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
        export: row.get("export")?,
        cache_key: digest("cache_key")?,
        inputs: values("inputs")?,
        outputs: values("outputs")?,
        error: row.get("error")?,
        milliseconds: row.get::<i64>("milliseconds")?.unsigned_abs(),
    })
}
