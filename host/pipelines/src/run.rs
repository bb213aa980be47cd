//! One run: starts steps when what they need is there, and writes down how each ends.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use eyot_core::interface::below;
use eyot_core::{Clock as _, Digest, Error, Name, ProjectName, Result, ScopedName, SystemClock};
use eyot_store::{BlobHold, BlobStore};
use eyot_tracking::RunOutcome;
use indexmap::IndexMap;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::key::cache_key;
use crate::pins;
use crate::plan::{ArgumentSource, PipelinePlan, PlannedCall, PlannedStep, PlannedWork};
use crate::reports::{ReportForwarder, drain, write};
use crate::runner::{StepArtifact, StepWork};
use crate::state::ExecutorState;
use crate::stored::CachedStep;
use crate::{RunEvent, RunStatus, StepRun, StepStatus};

/// A run on its way.
pub(crate) struct ActiveRun {
    pub(crate) inner: Arc<ExecutorState>,
    pub(crate) id: String,
    pub(crate) project: ProjectName,
    pub(crate) plan: PipelinePlan,
    pub(crate) tracking_run: Option<String>,
    pub(crate) cancelled: watch::Receiver<bool>,
    /// What its steps write stays until the run is over: the steps after them need it.
    pub(crate) store: Arc<dyn BlobStore>,
    /// What it began with.
    pub(crate) _inputs: Vec<BlobHold>,
}

/// The artifacts that the steps before gave.
type StepArtifacts = HashMap<Name, Vec<StepArtifact>>;

/// What one step came to.
struct StepEnd {
    record: StepRun,
    artifacts: Vec<StepArtifact>,
}

impl ActiveRun {
    /// Runs to the end, whichever it is.
    pub(crate) async fn execute(self) {
        let mut cancelled = self.cancelled.clone();
        let mut records: IndexMap<Name, StepRun> =
            self.plan.steps.iter().map(|step| (step.name.clone(), fresh(step))).collect();
        let mut given = StepArtifacts::new();
        let mut running: JoinSet<StepEnd> = JoinSet::new();
        let mut started: Vec<Name> = Vec::new();
        let mut stop = false;
        while !stop {
            self.start_ready(&mut records, &given, &mut running, &mut started).await;
            if running.is_empty() {
                break;
            }
            tokio::select! {
                ended = running.join_next() => match ended {
                    Some(Ok(end)) => {
                        given.insert(end.record.step.clone(), end.artifacts);
                        self.finished(&end.record).await;
                        records.insert(end.record.step.clone(), end.record);
                    }
                    Some(Err(error)) => {
                        tracing::error!(run = self.id, %error, "a step's task ended early");
                        stop = true;
                    }
                    None => {}
                },
                () = asked(&mut cancelled) => stop = true,
            }
        }
        running.shutdown().await;
        self.conclude(records).await;
    }

    /// Starts every step whose needs are met; skips those whose needs cannot be met any more.
    async fn start_ready(
        &self,
        records: &mut IndexMap<Name, StepRun>,
        given: &StepArtifacts,
        running: &mut JoinSet<StepEnd>,
        started: &mut Vec<Name>,
    ) {
        for step in &self.plan.steps {
            let waiting = records.get(&step.name).is_some_and(|record| record.status == StepStatus::Waiting);
            if !waiting || started.contains(&step.name) {
                continue;
            }
            let states: Vec<_> =
                step.needs.iter().filter_map(|need| records.get(need)).map(|record| record.status).collect();
            if states.iter().all(|state| matches!(state, StepStatus::Succeeded | StepStatus::Cached)) {
                started.push(step.name.clone());
                running.spawn(self.step(step, records, given));
            } else if states.iter().any(|state| matches!(state, StepStatus::Failed | StepStatus::Skipped)) {
                let mut record = fresh(step);
                record.status = StepStatus::Skipped;
                self.finished(&record).await;
                records.insert(step.name.clone(), record);
            }
        }
    }

    /// The work of one step, with its arguments filled in.
    fn step(
        &self,
        step: &PlannedStep,
        records: &IndexMap<Name, StepRun>,
        given: &StepArtifacts,
    ) -> impl Future<Output = StepEnd> + Send + 'static {
        let value = |argument: &ArgumentSource| match argument {
            ArgumentSource::Value(value) => value.clone(),
            ArgumentSource::File { digest, .. } => Value::String(digest.to_string()),
            ArgumentSource::Output { step, output } => {
                records.get(step).and_then(|record| record.outputs.get(output)).cloned().unwrap_or_default()
            }
        };
        let mut record = fresh(step);
        let task = StepTask {
            inner: self.inner.clone(),
            store: self.store.clone(),
            run: self.id.clone(),
            project: self.project.clone(),
            tracking_run: self.tracking_run.clone(),
            media_types: media_types(&step.work, given),
        };
        match &step.work {
            PlannedWork::Call(call) => {
                record.inputs =
                    call.arguments.iter().map(|(name, argument)| (name.clone(), value(argument))).collect();
            }
            PlannedWork::Register { weights, .. } => {
                record.inputs.insert("model".to_owned(), value(weights));
            }
        }
        let work = step.work.clone();
        async move {
            let ended = match &work {
                PlannedWork::Call(call) => task.call(&mut record, call).await,
                PlannedWork::Register { model, alias, .. } => {
                    task.register(&mut record, model, alias.as_ref()).await
                }
            };
            let artifacts = ended.unwrap_or_else(|error| {
                record.status = StepStatus::Failed;
                let hint = error.hint_text().map_or_else(String::new, |hint| format!("; {hint}"));
                record.error = Some(format!("{}{hint}", error.chain()));
                Vec::new()
            });
            StepEnd { record, artifacts }
        }
    }

    /// Writes a step's end, then tells of it.
    async fn finished(&self, record: &StepRun) {
        if let Err(error) = self.inner.records.step(&self.id, record).await {
            tracing::error!(run = self.id, step = %record.step, error = %error.chain(), "a step's end was not recorded");
        }
        self.inner.tell(RunEvent::StepFinished {
            run: self.id.clone(),
            step: record.step.clone(),
            status: record.status,
            error: record.error.clone(),
            milliseconds: record.milliseconds,
        });
    }

    /// Writes the run's end: what did not come to its own is cancelled.
    async fn conclude(&self, mut records: IndexMap<Name, StepRun>) {
        let mut cut_off = Vec::new();
        for record in records.values_mut() {
            if matches!(record.status, StepStatus::Waiting | StepStatus::Running) {
                record.status = StepStatus::Cancelled;
                cut_off.push(record.clone());
            }
        }
        let failed = records.values().find(|record| record.status == StepStatus::Failed);
        let (status, outcome) = match (failed, cut_off.is_empty()) {
            (_, false) => (RunStatus::Cancelled, RunOutcome::Killed),
            (Some(_), _) => (RunStatus::Failed, RunOutcome::Failed),
            (None, true) => (RunStatus::Succeeded, RunOutcome::Finished),
        };
        let error =
            failed.and_then(|record| Some(format!("step '{}': {}", record.step, record.error.as_deref()?)));
        if let Some(run) = &self.tracking_run
            && let Err(error) = self.inner.tracking.end_run(run, outcome).await
        {
            tracing::error!(run, error = %error.chain(), "a tracking run's end was not recorded");
        }
        if status == RunStatus::Succeeded {
            self.attest(&records).await;
        }
        if let Err(error) = self.inner.records.finish(&self.id, status, error.as_deref(), &cut_off).await {
            tracing::error!(run = self.id, error = %error.chain(), "a run's end was not recorded");
        }
        self.inner.running.lock().remove(&self.id);
        self.inner.tell(RunEvent::RunFinished { run: self.id.clone(), status, error });
    }
}

impl ActiveRun {
    /// Publishes the provenance of the models that were registered, before the run ends.
    async fn attest(&self, records: &IndexMap<Name, StepRun>) {
        let registers = |step: &&PlannedStep| matches!(step.work, PlannedWork::Register { .. });
        let registered = self.plan.steps.iter().filter(registers).filter_map(|step| records.get(&step.name));
        // Models that were registered before have theirs.
        let new: Vec<_> = registered.filter(|record| record.status == StepStatus::Succeeded).collect();
        if new.is_empty() {
            return;
        }
        let told = async {
            let predicate =
                self.inner.records.get(&self.project, &self.id).await?.provenance(SystemClock.now());
            for record in new {
                let source = record.outputs.get("source").and_then(Value::as_str).unwrap_or_default();
                self.inner.publisher.attest(source, predicate.clone()).await?;
            }
            Ok::<_, Error>(())
        };
        if let Err(error) = told.await {
            tracing::error!(run = self.id, error = %error.chain(), "no provenance was written");
        }
    }
}

/// Waits until the run is cancelled. The value lent by `wait_for` must not live across an await.
async fn asked(cancelled: &mut watch::Receiver<bool>) {
    let _ = cancelled.wait_for(|cancelled| *cancelled).await.map(drop);
}

fn fresh(step: &PlannedStep) -> StepRun {
    let (component, export) = match &step.work {
        PlannedWork::Call(call) => (Some(call.component), Some(call.function.name.clone())),
        PlannedWork::Register { .. } => (None, None),
    };
    StepRun {
        step: step.name.clone(),
        status: StepStatus::Waiting,
        component,
        export,
        cache_key: None,
        inputs: IndexMap::new(),
        outputs: IndexMap::new(),
        error: None,
        milliseconds: 0,
    }
}

/// What a step's own task holds.
struct StepTask {
    inner: Arc<ExecutorState>,
    store: Arc<dyn BlobStore>,
    run: String,
    project: ProjectName,
    tracking_run: Option<String>,
    /// Media types of the artifacts among its arguments, by their places.
    media_types: BTreeMap<String, String>,
}

impl StepTask {
    async fn call(&self, record: &mut StepRun, call: &PlannedCall) -> Result<Vec<StepArtifact>> {
        let semantics = self.inner.runner.semantics(&call.interface);
        let called = called(call)?;
        let key = cache_key(&call.component, &called, &semantics, &record.inputs, &self.media_types);
        record.cache_key = Some(key);
        let _turn = self.inner.cache.turn(&key).await;
        if call.cache
            && let Some(kept) = self.inner.cache.get(&self.project, &key).await?
        {
            for report in &kept.reports {
                write(&self.inner.tracking, self.tracking_run.as_deref(), &record.step, report).await;
            }
            record.status = StepStatus::Cached;
            record.outputs = kept.outcome.outputs;
            return Ok(kept.outcome.artifacts);
        }
        let _slot = self
            .inner
            .slots
            .acquire()
            .await
            .map_err(|error| Error::cancelled("the executor stopped").because(error))?;
        self.begin(record).await?;
        let started = Instant::now();
        let ran = self.run_step(record, call, key).await;
        record.milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut kept = ran?;
        if call.cache {
            let (cache, project, run) = (self.inner.cache.clone(), self.project.clone(), self.run.clone());
            // To its end, also in a run that is cancelled: what was pinned for it would be pinned for ever.
            let put = async move { cache.put(&project, &key, &run, &kept).await.map(|()| kept) };
            kept = self.inner.changes.run(put).await??;
        } else {
            // Whoever looks at the run later finds it.
            for artifact in &kept.outcome.artifacts {
                self.inner.store.pin(&artifact.digest, &pins::owner(&self.run)).await?;
            }
        }
        record.status = StepStatus::Succeeded;
        record.outputs = kept.outcome.outputs;
        Ok(kept.outcome.artifacts)
    }

    async fn begin(&self, record: &mut StepRun) -> Result<()> {
        record.status = StepStatus::Running;
        self.inner.records.step(&self.run, record).await?;
        self.inner.tell(RunEvent::StepStarted { run: self.run.clone(), step: record.step.clone() });
        Ok(())
    }

    async fn run_step(&self, record: &StepRun, call: &PlannedCall, key: Digest) -> Result<CachedStep> {
        let (reporter, reports) = ReportForwarder::new(&self.run, &record.step, self.inner.events.clone());
        let drained = tokio::spawn(drain(
            self.inner.tracking.clone(),
            self.tracking_run.clone(),
            record.step.clone(),
            reports,
        ));
        let work = StepWork {
            component: call.component,
            function: call.function.name.clone(),
            arguments: record.inputs.clone(),
            command: call.command.clone(),
            media_types: self.media_types.clone(),
            seed: *key.as_bytes(),
            timeout: call.timeout,
            memory: call.memory,
            store: self.store.clone(),
        };
        let outcome = self.inner.runner.run(work, reporter.clone()).await;
        reporter.close();
        let reports = drained
            .await
            .map_err(|error| Error::internal("the reports of a step were lost").because(error))?;
        Ok(CachedStep { outcome: outcome?, reports })
    }

    /// Registers a model. The same weights under the same alias are registered already.
    async fn register(
        &self,
        record: &mut StepRun,
        model: &Name,
        alias: Option<&Name>,
    ) -> Result<Vec<StepArtifact>> {
        let started = Instant::now();
        let weights = record.inputs.get("model").and_then(Value::as_str).unwrap_or_default().parse()?;
        let (publisher, name) = (self.inner.publisher.clone(), ScopedName::new(&self.project, model));
        let publish = async move { publisher.publish(&name, &weights).await };
        let source = self.inner.changes.run(publish).await??;
        let tracking = &self.inner.tracking;
        let before = tracking.find_version(&self.project, model.as_str(), &source).await?;
        let has_alias =
            |aliases: &[String]| alias.is_none_or(|alias| aliases.iter().any(|one| one == alias.as_str()));
        let (version, status) = match before {
            Some(version) if has_alias(&version.aliases) => (version, StepStatus::Cached),
            _ => {
                self.begin(record).await?;
                let (tracking, run) = (tracking.clone(), self.tracking_run.clone());
                let project = self.project.clone();
                let (model, source, alias) = (model.clone(), source.clone(), alias.cloned());
                let register = async move {
                    let version =
                        tracking.register(&project, model.as_str(), &source, run.as_deref()).await?;
                    if let Some(alias) = alias {
                        tracking.set_alias(&project, model.as_str(), alias.as_str(), version.version).await?;
                    }
                    Ok::<_, Error>(version)
                };
                (self.inner.changes.run(register).await??, StepStatus::Succeeded)
            }
        };
        record.milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        record.status = status;
        record.outputs = [
            ("model".to_owned(), Value::from(model.as_str())),
            ("version".to_owned(), Value::from(version.version)),
            ("source".to_owned(), Value::from(source)),
        ]
        .into_iter()
        .collect();
        Ok(Vec::new())
    }
}

/// The export that is called; of a command, also how.
fn called(call: &PlannedCall) -> Result<String> {
    let Some(command) = &call.command else { return Ok(call.function.name.clone()) };
    let how = serde_json::to_string(command);
    let how = how.map_err(|error| Error::internal("a command cannot be written").because(error))?;
    Ok(format!("{} {how}", call.function.name))
}

/// The media types of the artifacts among a step's arguments, by their places in them.
fn media_types(work: &PlannedWork, given: &StepArtifacts) -> BTreeMap<String, String> {
    let PlannedWork::Call(call) = work else { return BTreeMap::new() };
    let mut found = BTreeMap::new();
    for (name, argument) in &call.arguments {
        let at = below("", name);
        match argument {
            ArgumentSource::Value(_) => {}
            ArgumentSource::File { media_type, .. } => drop(found.insert(at, media_type.clone())),
            ArgumentSource::Output { step, output } => {
                let from = below("", output);
                for artifact in given.get(step).into_iter().flatten() {
                    let inside = artifact.at.strip_prefix(&from);
                    if let Some(inside) = inside.filter(|rest| rest.is_empty() || rest.starts_with('/')) {
                        found.insert(format!("{at}{inside}"), artifact.media_type.clone());
                    }
                }
            }
        }
    }
    found
}
