use std::collections::HashMap;
use std::sync::Arc;

use eyot_core::{Digest, Error, ProjectName, Result, new_id, write_stored};
use eyot_meta::{Changes, Database, RequestOrigin};
use eyot_store::{BlobHold, BlobReader, BlobStore, HoldingStore};
use eyot_tracking::{RunOutcome, TrackingStore};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, broadcast, watch};

use crate::cache::StepCache;
use crate::pins;
use crate::plan::{ComponentInterfaces, PipelinePlan, PlanRequest, ResolvedComponent, plan};
use crate::run::ActiveRun;
use crate::runner::{ModelPublisher, StepRunner};
use crate::state::{ExecutorState, RunningRun};
use crate::store::RunRecords;
use crate::stored::StoredRequest;
use crate::{LineageEdge, PipelineRun, RunEvent};

/// Runs pipelines. Cheap to clone.
#[derive(Clone)]
pub struct PipelineExecutor(Arc<ExecutorState>);

/// Events that a slow listener may lag behind before it misses some.
const MAX_LAG_EVENTS: usize = 4096;

impl PipelineExecutor {
    /// Over a database and a store; `parallel` steps run at the same time.
    pub fn new(
        db: Database,
        store: Arc<dyn BlobStore>,
        tracking: TrackingStore,
        runner: Arc<dyn StepRunner>,
        publisher: Arc<dyn ModelPublisher>,
        parallel: usize,
    ) -> Self {
        let (events, _) = broadcast::channel(MAX_LAG_EVENTS);
        let (records, cache) = (RunRecords::new(db.clone()), StepCache::new(db, store.clone()));
        let (slots, running, changes) =
            (Semaphore::new(parallel.max(1)), Mutex::default(), Changes::default());
        Self(Arc::new(ExecutorState {
            records,
            cache,
            store,
            tracking,
            runner,
            publisher,
            slots,
            events,
            running,
            changes,
        }))
    }

    /// Ends, as failed, the runs that a killed process left running. What their finished steps gave
    /// stays in the cache. What runs of an earlier version wrote is pinned, before anybody collects it;
    /// what was pinned for an outcome that was never written is let go.
    pub async fn recover(&self) -> Result<()> {
        for run in self.0.records.recover().await? {
            self.0.tracking.end_run(&run, RunOutcome::Failed).await?;
        }
        for (project, id) in self.0.records.unpinned().await? {
            pins::pin_outputs(self.0.store.as_ref(), &self.0.records.get(&project, &id).await?).await?;
            self.0.records.pinned(&id).await?;
        }
        self.0.cache.unpin_unwritten().await
    }

    /// Plans a pipeline and starts it in a project; answers the run's id.
    ///
    /// Fails with `Invalid`, and starts nothing, when anything is wrong with it.
    pub async fn submit(&self, project: &ProjectName, request: PlanRequest) -> Result<String> {
        let interfaces = self.interfaces(&request).await;
        let plan = plan(&request, &interfaces)?;
        let (this, record) = (self.clone(), write_stored(&StoredRequest::of(&request))?);
        let project = project.clone();
        let found = request.components.values().filter_map(|pinned| match pinned {
            ResolvedComponent::Found(digest) => Some(digest),
            ResolvedComponent::Missing(_) => None,
        });
        // Nobody else may have a use for them, and the run may take longer than their lease.
        let held = request.inputs.values().chain(found).map(|digest| self.0.store.hold(digest)).collect();
        self.0.changes.run(async move { this.start(project, plan, record, held).await }).await?
    }

    /// Writes a run and starts it. Cut in two, there would be a run that is on its way for ever.
    async fn start(
        &self,
        project: ProjectName,
        plan: PipelinePlan,
        record: String,
        held: Vec<BlobHold>,
    ) -> Result<String> {
        let id = new_id();
        let tracking_run = self.track(&project, &plan, &id).await?;
        self.0.records.start(&project, &id, &plan, &record, Some(&tracking_run)).await?;
        let (cancel, cancelled) = watch::channel(false);
        let run = ActiveRun {
            inner: self.0.clone(),
            id: id.clone(),
            project,
            plan,
            tracking_run: Some(tracking_run),
            cancelled,
            store: Arc::new(HoldingStore::new(self.0.store.clone())),
            _inputs: held,
        };
        // Entered under the lock: a run that ends at once must find itself to take out.
        let mut running = self.0.running.lock();
        let task = tokio::spawn(RequestOrigin::carry(run.execute()));
        running.insert(id.clone(), RunningRun { cancel, task });
        Ok(id)
    }

    async fn interfaces(&self, request: &PlanRequest) -> ComponentInterfaces {
        let mut interfaces = HashMap::new();
        for pinned in request.components.values() {
            if let ResolvedComponent::Found(digest) = pinned
                && !interfaces.contains_key(digest)
            {
                interfaces.insert(*digest, self.0.runner.interface(digest).await);
            }
        }
        interfaces
    }

    async fn track(&self, project: &ProjectName, plan: &PipelinePlan, id: &str) -> Result<String> {
        let run = self.0.tracking.create_run(project, plan.pipeline.as_str(), id).await?;
        for (name, value) in &plan.params {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            self.0.tracking.log_param(&run, name, &text).await?;
        }
        self.0.tracking.set_tag(&run, "eyot.pipeline-run", id).await?;
        Ok(run)
    }

    /// What happens in all runs from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<RunEvent> {
        self.0.events.subscribe()
    }

    /// Every run of a project, newest first.
    pub async fn runs(&self, project: &ProjectName) -> Result<Vec<PipelineRun>> {
        self.0.records.all(project).await
    }

    /// The run of a project whose id is, or begins with, `id`.
    pub async fn get(&self, project: &ProjectName, id: &str) -> Result<PipelineRun> {
        self.0.records.get(project, id).await
    }

    /// An artifact that a step of a run gave under `output`: its digest, size and bytes.
    ///
    /// Fails with `NotFound` naming the outputs there are, and as the store does.
    pub async fn artifact(
        &self,
        project: &ProjectName,
        id: &str,
        step: &str,
        output: &str,
    ) -> Result<(Digest, u64, BlobReader)> {
        let run = self.get(project, id).await?;
        let digest = run.artifact(step, output)?;
        let size = self.0.store.size(&digest).await?;
        let size = size.ok_or_else(|| {
            Error::not_found(format!("artifact {digest} of step '{step}' is not in the store any more")).hint(
                "run the pipeline again: a step whose artifact is gone is run, not taken from the cache",
            )
        })?;
        Ok((digest, size, self.0.store.open(&digest).await?))
    }

    /// Stops a run: its steps are stopped and what they did not finish is gone.
    ///
    /// Fails with `Conflict` when it is over.
    pub async fn cancel(&self, project: &ProjectName, id: &str) -> Result<()> {
        let id = self.get(project, id).await?.id;
        let running = self.0.running.lock();
        let run = running.get(&id).ok_or_else(|| Error::conflict(format!("run {id} is over")))?;
        // The receiver lives as long as the run does.
        let _ = run.cancel.send(true);
        Ok(())
    }

    /// Which code read what and wrote what.
    pub async fn lineage(&self, project: &ProjectName, id: &str) -> Result<Vec<LineageEdge>> {
        Ok(self.get(project, id).await?.lineage())
    }

    /// Returns once nothing is being submitted or kept any more.
    pub async fn settled(&self) {
        self.0.changes.ended().await;
    }

    /// Cancels every run and waits until each has written its end.
    pub async fn close(&self) {
        let running: Vec<RunningRun> = self.0.running.lock().drain().map(|(_, running)| running).collect();
        for run in running {
            let _ = run.cancel.send(true);
            if let Err(error) = run.task.await {
                tracing::error!(%error, "a run's task ended early");
            }
        }
        self.settled().await;
    }
}
