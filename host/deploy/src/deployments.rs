use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use eyot_core::{Clock, Error, ProjectName, Result, ScopedName};
use eyot_meta::{Changes, Database};
use eyot_store::{BlobStore, KeyedLocks};
use parking_lot::Mutex;

use crate::records::{self, DeploymentRecord, RevisionRecord};
use crate::{Deployment, DeploymentState, Revision, RevisionSpec, Traffic};

/// What serves revisions: the gateway in the product, a fake in tests.
#[async_trait]
pub trait DataPlane: Send + Sync + 'static {
    /// Loads, checks and probes a revision without serving it. Dropping the answer undoes it.
    async fn stage(
        &self,
        name: &ScopedName,
        revision: u64,
        spec: &RevisionSpec,
    ) -> Result<Box<dyn StagedRevision>>;

    /// Splits requests from now on. Revisions that are not among `live` are let go; requests that
    /// they have begun end.
    fn route(&self, name: &ScopedName, traffic: &Traffic, live: &BTreeSet<u64>);

    /// Where requests to a deployment go, as in `POST /v2/models/digits/infer`.
    fn endpoints(&self, _name: &ScopedName) -> Vec<String> {
        Vec::new()
    }

    /// Stops serving. Requests in flight end.
    fn deactivate(&self, name: &ScopedName);

    /// What really runs a revision's models, by the name under which each is granted.
    fn runs_on(&self, name: &ScopedName, revision: u64) -> BTreeMap<String, String>;

    /// What of a revision's component will fail when it is called, and why.
    fn warnings(&self, _name: &ScopedName, _revision: u64) -> Vec<String> {
        Vec::new()
    }

    /// Models of a revision whose calls are not joined with others', and why.
    fn not_joined(&self, _spec: &RevisionSpec) -> BTreeMap<String, String> {
        BTreeMap::new()
    }
}

/// A revision that is ready to serve.
#[async_trait]
pub trait StagedRevision: Send + Sync {
    /// Tries a revision that has never served, before anything is written of it: fails where every request would.
    async fn check(&self) -> Result<()> {
        Ok(())
    }

    /// Lets requests that name the revision reach it; others do once they are routed to it. Cannot fail.
    fn activate(self: Box<Self>);
}

/// All deployments of a server. Cheap to clone.
#[derive(Clone)]
pub struct Deployments(Arc<DeploymentsState>);

struct DeploymentsState {
    db: Database,
    store: Arc<dyn BlobStore>,
    host: Arc<dyn DataPlane>,
    clock: Arc<dyn Clock>,
    /// Changes to one name happen one after another.
    changing: KeyedLocks<ScopedName>,
    /// Changes that are under way.
    changes: Changes,
    /// The revisions that the host has.
    active: Mutex<HashMap<ScopedName, BTreeSet<u64>>>,
    /// Deployments that do not serve as they should, and why.
    failures: Mutex<HashMap<ScopedName, DeploymentState>>,
}

impl Deployments {
    /// Over a database and a store, serving through `host`.
    pub fn new(
        db: Database,
        store: Arc<dyn BlobStore>,
        host: Arc<dyn DataPlane>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (changing, active, failures) = (KeyedLocks::default(), Mutex::default(), Mutex::default());
        let changes = Changes::default();
        Self(Arc::new(DeploymentsState { db, store, host, clock, changing, changes, active, failures }))
    }

    /// The one way to change what is under a name: when the change before has ended, and to its own end,
    /// whether or not anybody still waits. Between its steps a deployment would be written and not serve.
    async fn with_name_lock<T, F>(
        &self,
        name: &ScopedName,
        change: impl FnOnce(Self, ScopedName) -> F,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let turn = self.0.changing.lock(name.clone()).await;
        let change = change(self.clone(), name.clone());
        let whole = async move {
            let done = change.await;
            drop(turn);
            done
        };
        self.0.changes.run(whole).await?
    }

    /// Returns once no change is under way.
    pub async fn settled(&self) {
        self.0.changes.ended().await;
    }

    /// Serves again what served when the process ended. One that cannot be brought back does not
    /// keep the others from serving: it is listed as failed, with the reason.
    pub async fn restore(&self) -> Result<()> {
        let records = records::list_all(&self.0.db).await?;
        self.unpin_unwritten(&records).await?;
        for record in records {
            // What fails is in the list already.
            let _ = self.bring_back(&record).await;
        }
        Ok(())
    }

    /// Takes away pins for revisions that do not serve: a process was killed between the pin and the
    /// row, or between the row and the unpin.
    async fn unpin_unwritten(&self, records: &[DeploymentRecord]) -> Result<()> {
        let live = records.iter().flat_map(|record| {
            record.live().into_iter().map(|revision| owner(&record.name, revision)).collect::<Vec<_>>()
        });
        let live: BTreeSet<String> = live.collect();
        for (digest, owner) in self.0.store.pins_of(OWNER).await? {
            if !live.contains(&owner) {
                self.0.store.unpin(&digest, &owner).await?;
            }
        }
        Ok(())
    }

    /// Loads everything a record names. Those of its revisions that load serve.
    async fn bring_back(&self, record: &DeploymentRecord) -> Result<()> {
        let name = &record.name;
        let specs = self.specs(name).await?;
        let (mut live, mut failure) = (BTreeSet::new(), None);
        for revision in record.live() {
            let staged = match specs.get(&revision) {
                Some(spec) => self.0.host.stage(name, revision, spec).await,
                None => Err(no_revision(name, revision)),
            };
            match staged {
                Ok(staged) => {
                    staged.activate();
                    live.insert(revision);
                }
                Err(error) => {
                    tracing::error!(deployment = %name, revision, error = %error.chain(), "cannot be loaded");
                    if record.traffic.revisions().contains(&revision) {
                        failure = Some(error);
                    }
                }
            }
        }
        let mut traffic = record.traffic.clone();
        traffic.weights.retain(|revision, _| live.contains(revision));
        if !live.is_empty() {
            self.0.host.route(name, &traffic, &live);
        }
        self.0.active.lock().insert(name.clone(), live);
        let mut failures = self.0.failures.lock();
        match failure {
            None => {
                failures.remove(name);
                Ok(())
            }
            Some(error) => {
                failures.insert(name.clone(), DeploymentState::Failed { error: error.chain() });
                Err(error)
            }
        }
    }

    /// Serves `spec` under `name` as a new revision that gets all requests; what served before goes on
    /// until then, and stays ready for a rollback. The same spec again is no new revision.
    ///
    /// Fails, and changes nothing, when the revision cannot be loaded or written.
    pub async fn deploy(&self, name: &ScopedName, spec: RevisionSpec) -> Result<Deployment> {
        spec.check(name)?;
        self.with_name_lock(name, async move |this: Self, name: ScopedName| {
            let record = records::find(&this.0.db, &name).await?;
            if let Some(record) = &record
                && record.spec == spec
                && this.state(&name) == DeploymentState::Serving
            {
                return this.change(&name, Some(record), None, Traffic::all(record.revision)).await;
            }
            let new = this.made(&name, spec).await?;
            let traffic = Traffic::all(new.revision);
            this.change(&name, record.as_ref(), Some(new), traffic).await
        })
        .await
    }

    /// Makes `spec` a new revision of `name` that gets no requests but those that name it.
    ///
    /// Fails with `NotFound` when nothing serves under the name yet, else as [`Deployments::deploy`].
    pub async fn prepare(&self, name: &ScopedName, spec: RevisionSpec) -> Result<Deployment> {
        spec.check(name)?;
        self.with_name_lock(name, async move |this: Self, name: ScopedName| {
            let record = this.record(&name).await?;
            let new = this.made(&name, spec).await?;
            let mut traffic = record.traffic.clone();
            traffic.weights.insert(new.revision, 0);
            this.change(&name, Some(&record), Some(new), traffic).await
        })
        .await
    }

    /// Splits the requests to `name` from now on; none is lost on the way. Revisions that were let go
    /// are loaded again.
    ///
    /// Fails, and changes nothing, when a revision does not exist or cannot be loaded.
    pub async fn split(&self, name: &ScopedName, traffic: Traffic) -> Result<Deployment> {
        traffic.check(name)?;
        self.with_name_lock(name, async move |this: Self, name: ScopedName| {
            let record = this.record(&name).await?;
            this.change(&name, Some(&record), None, traffic).await
        })
        .await
    }

    /// Splits requests as they were split before the last change; a second time goes forward again.
    ///
    /// Fails with `NotFound` when there was no change.
    pub async fn roll_back(&self, name: &ScopedName) -> Result<Deployment> {
        self.with_name_lock(name, async move |this: Self, name: ScopedName| {
            let record = this.record(&name).await?;
            let before = record.before.clone().ok_or_else(|| {
                Error::not_found(format!("nothing served under '{name}' before what does now"))
                    .hint(format!("eyot traffic {name} shows its revisions"))
            })?;
            this.change(&name, Some(&record), None, before).await
        })
        .await
    }

    /// The one way in which what serves changes: load, write, then serve.
    async fn change(
        &self,
        name: &ScopedName,
        record: Option<&DeploymentRecord>,
        new: Option<RevisionRecord>,
        traffic: Traffic,
    ) -> Result<Deployment> {
        let before = record.and_then(|record| match record.traffic.shares_like(&traffic) {
            true => record.before.clone(),
            false => Some(record.traffic.clone()),
        });
        let active = self.0.active.lock().get(name).cloned().unwrap_or_default();
        let specs = self.specs(name).await?;
        let mut live = traffic.revisions();
        let wanted = live.iter().copied().filter(|revision| !active.contains(revision));
        let mut fresh = BTreeMap::new();
        for revision in wanted {
            let made = new.as_ref().filter(|made| made.revision == revision).map(|made| &made.spec);
            let spec = made.or_else(|| specs.get(&revision)).ok_or_else(|| no_revision(name, revision))?;
            fresh.insert(revision, spec.clone());
        }
        // What served before stays ready as far as it is, so that a rollback needs no loading.
        live.extend(before.iter().flat_map(Traffic::revisions).filter(|revision| active.contains(revision)));
        let written = async {
            let staged = self.stage(name, &fresh, new.as_ref().map(|made| made.revision)).await?;
            let now = self.0.clock.now();
            records::write(&self.0.db, name, new.as_ref(), &traffic, before.as_ref(), now).await?;
            Ok::<_, Error>(staged)
        };
        let staged = match written.await {
            Ok(staged) => staged,
            Err(error) => {
                for (revision, spec) in &fresh {
                    self.release(name, *revision, Some(spec)).await;
                }
                return Err(error);
            }
        };
        staged.into_iter().for_each(StagedRevision::activate);
        self.0.host.route(name, &traffic, &live);
        self.0.active.lock().insert(name.clone(), live.clone());
        self.0.failures.lock().remove(name);
        for revision in active.difference(&live) {
            self.release(name, *revision, specs.get(revision)).await;
        }
        self.get(name).await
    }

    /// Loads revisions, and keeps what they are of in the store. The new one is tried as well.
    async fn stage(
        &self,
        name: &ScopedName,
        revisions: &BTreeMap<u64, RevisionSpec>,
        new: Option<u64>,
    ) -> Result<Vec<Box<dyn StagedRevision>>> {
        let mut staged = Vec::new();
        for (revision, spec) in revisions {
            let loaded = async {
                let loaded = self.0.host.stage(name, *revision, spec).await?;
                if Some(*revision) == new {
                    loaded.check().await?;
                }
                Ok::<_, Error>(loaded)
            };
            staged.push(loaded.await.map_err(|error| error.context(format!("cannot deploy '{name}'")))?);
            for content in spec.contents() {
                self.0.store.pin(&content, &owner(name, *revision)).await?;
            }
        }
        Ok(staged)
    }

    /// Stops serving `name`. Its history stays.
    pub async fn undeploy(&self, name: &ScopedName) -> Result<()> {
        self.with_name_lock(name, async move |this: Self, name: ScopedName| {
            let record = this.record(&name).await?;
            let specs = this.specs(&name).await?;
            records::remove(&this.0.db, &name, this.0.clock.now()).await?;
            this.0.host.deactivate(&name);
            this.0.active.lock().remove(&name);
            this.0.failures.lock().remove(&name);
            for revision in record.live() {
                this.release(&name, revision, specs.get(&revision)).await;
            }
            Ok(())
        })
        .await
    }

    /// Stops serving `name` until it is loaded again or the process starts anew.
    pub async fn unload(&self, name: &ScopedName) -> Result<()> {
        self.with_name_lock(name, async move |this: Self, name: ScopedName| {
            this.record(&name).await?;
            this.0.host.deactivate(&name);
            this.0.active.lock().remove(&name);
            this.0.failures.lock().insert(name, DeploymentState::Unloaded);
            Ok(())
        })
        .await
    }

    /// Serves `name` again after [`Deployments::unload`] or a failure; no change when it serves.
    pub async fn load(&self, name: &ScopedName) -> Result<()> {
        self.with_name_lock(name, async move |this: Self, name: ScopedName| {
            let record = this.record(&name).await?;
            match this.state(&name) {
                DeploymentState::Serving => Ok(()),
                DeploymentState::Failed { .. } | DeploymentState::Unloaded => this.bring_back(&record).await,
            }
        })
        .await
    }

    /// Every deployment of a project that serves or should, by name.
    pub async fn list(&self, project: &ProjectName) -> Result<Vec<Deployment>> {
        let records = records::list(&self.0.db, project).await?;
        Ok(records.into_iter().map(|record| self.deployment(record)).collect())
    }

    /// Every deployment of every project.
    pub async fn list_all(&self) -> Result<Vec<Deployment>> {
        let records = records::list_all(&self.0.db).await?;
        Ok(records.into_iter().map(|record| self.deployment(record)).collect())
    }

    /// One deployment; `NotFound` lists those there are.
    pub async fn get(&self, name: &ScopedName) -> Result<Deployment> {
        Ok(self.deployment(self.record(name).await?))
    }

    /// Every revision that was made under `name`, oldest first.
    pub async fn revisions(&self, name: &ScopedName) -> Result<Vec<Revision>> {
        let record = self.record(name).await?;
        let active = self.0.active.lock().get(name).cloned().unwrap_or_default();
        let made = records::revisions(&self.0.db, name).await?;
        let view = |RevisionRecord { revision, spec, created }| Revision {
            revision,
            spec,
            created,
            weight: record.traffic.weights.get(&revision).copied().unwrap_or_default(),
            ready: active.contains(&revision),
        };
        Ok(made.into_iter().map(view).collect())
    }

    fn deployment(&self, record: DeploymentRecord) -> Deployment {
        let state = self.state(&record.name);
        let DeploymentRecord { name: scoped, revision, spec, created, traffic, .. } = record;
        let host = &self.0.host;
        let (endpoints, runs_on) = (host.endpoints(&scoped), host.runs_on(&scoped, revision));
        let (not_joined, warnings) = (host.not_joined(&spec), host.warnings(&scoped, revision));
        let (project, name) = (scoped.project_name(), scoped.unscoped());
        Deployment {
            endpoints,
            project,
            name,
            revision,
            spec,
            runs_on,
            not_joined,
            warnings,
            created,
            traffic,
            state,
        }
    }

    fn state(&self, name: &ScopedName) -> DeploymentState {
        self.0.failures.lock().get(name).cloned().unwrap_or(DeploymentState::Serving)
    }

    async fn record(&self, name: &ScopedName) -> Result<DeploymentRecord> {
        if let Some(record) = records::find(&self.0.db, name).await? {
            return Ok(record);
        }
        let records = records::list(&self.0.db, &name.project_name()).await?;
        let names: Vec<_> = records.into_iter().map(|record| record.name.name().to_owned()).collect();
        Err(Error::not_found(format!("there is no deployment '{}'", name.name())).hint(
            match names.as_slice() {
                [] => "nothing is deployed; eyot deploy makes an endpoint".to_owned(),
                names => format!("deployed are: {}", names.join(", ")),
            },
        ))
    }

    async fn made(&self, name: &ScopedName, spec: RevisionSpec) -> Result<RevisionRecord> {
        let revision = records::latest(&self.0.db, name).await? + 1;
        Ok(RevisionRecord { revision, spec, created: self.0.clock.now() })
    }

    async fn specs(&self, name: &ScopedName) -> Result<BTreeMap<u64, RevisionSpec>> {
        let made = records::revisions(&self.0.db, name).await?;
        Ok(made.into_iter().map(|made| (made.revision, made.spec)).collect())
    }

    /// Lets go of what an old revision kept in the store. Failing to keeps bytes, loses nothing.
    async fn release(&self, name: &ScopedName, revision: u64, spec: Option<&RevisionSpec>) {
        for content in spec.into_iter().flat_map(RevisionSpec::contents) {
            if let Err(error) = self.0.store.unpin(&content, &owner(name, revision)).await {
                tracing::warn!(deployment = %name, %content, error = %error.chain(), "a pin is left over");
            }
        }
    }
}

fn no_revision(name: &ScopedName, revision: u64) -> Error {
    Error::not_found(format!("'{name}' has no revision {revision}"))
        .hint(format!("eyot traffic {name} shows its revisions"))
}

/// Whom what a deployment serves is pinned for, before its name.
const OWNER: &str = "deployment/";

fn owner(name: &ScopedName, revision: u64) -> String {
    format!("{OWNER}{name}/{revision}")
}
