use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use eyot_core::{Clock, Error, Name, Result, Timestamp};
use eyot_meta::{Database, Event, fail};
use eyot_store::BlobStore;
use parking_lot::Mutex;
use sqlx::Row as _;

use crate::{Deployment, Spec, State};

/// What serves revisions: the gateway in the product, a fake in tests.
#[async_trait]
pub trait Host: Send + Sync + 'static {
    /// Loads, checks and probes a revision without serving it. Dropping the answer undoes it.
    async fn stage(&self, name: &Name, revision: u64, spec: &Spec) -> Result<Box<dyn Staged>>;

    /// Stops serving. Requests in flight end.
    fn deactivate(&self, name: &Name);
}

/// A revision that is ready to serve.
pub trait Staged: Send {
    /// Serves it in place of whatever served under that name. Cannot fail.
    fn activate(self: Box<Self>);
}

/// All deployments of a server. Cheap to clone.
#[derive(Clone)]
pub struct Deployments(Arc<Inner>);

struct Inner {
    db: Database,
    store: Arc<dyn BlobStore>,
    host: Arc<dyn Host>,
    clock: Arc<dyn Clock>,
    /// Changes to one name happen one after another.
    changing: Mutex<HashMap<Name, Arc<tokio::sync::Mutex<()>>>>,
    /// Deployments that a restart could not bring back, and why.
    failed: Mutex<HashMap<Name, String>>,
}

impl Deployments {
    /// Over a database and a store, serving through `host`.
    pub fn new(db: Database, store: Arc<dyn BlobStore>, host: Arc<dyn Host>, clock: Arc<dyn Clock>) -> Self {
        let (changing, failed) = (Mutex::default(), Mutex::default());
        Self(Arc::new(Inner { db, store, host, clock, changing, failed }))
    }

    /// Serves again what served when the process ended. One that cannot be brought back does not
    /// keep the others from serving: it is listed as failed, with the reason.
    pub async fn restore(&self) -> Result<()> {
        for deployment in self.list().await? {
            let staged = self.0.host.stage(&deployment.name, deployment.revision, &deployment.spec).await;
            match staged {
                Ok(staged) => staged.activate(),
                Err(error) => {
                    tracing::error!(deployment = %deployment.name, error = %error.chain(), "cannot be restored");
                    self.0.failed.lock().insert(deployment.name, error.chain());
                }
            }
        }
        Ok(())
    }

    /// Serves `spec` under `name` as a new revision; what served before goes on until then. The same
    /// spec again is no change: the revision that serves is answered.
    ///
    /// Fails, and changes nothing, when the revision cannot be loaded or written.
    pub async fn deploy(&self, name: &Name, spec: Spec) -> Result<Deployment> {
        if spec.component.is_none() && spec.models.len() != 1 {
            return Err(Error::invalid(format!(
                "deployment '{name}' has no component and {} models",
                spec.models.len()
            ))
            .hint("deploy a component, or exactly one model for the built-in handler"));
        }
        let turn = self.turn(name);
        let _turn = turn.lock().await;
        let before = self.find(name).await?;
        if let Some(before) = &before
            && before.spec == spec
            && before.state == State::Serving
        {
            return Ok(before.clone());
        }
        let revision = self.latest(name).await? + 1;
        let staged = self.0.host.stage(name, revision, &spec).await;
        let staged = staged.map_err(|error| error.context(format!("cannot deploy '{name}'")))?;
        for content in spec.contents() {
            self.0.store.pin(&content, &owner(name, revision)).await?;
        }
        let created = self.0.clock.now();
        self.record(name, revision, &spec, created).await?;
        staged.activate();
        self.0.failed.lock().remove(name);
        if let Some(before) = before {
            self.release(name, &before).await;
        }
        Ok(Deployment { name: name.clone(), revision, spec, created, state: State::Serving })
    }

    /// Stops serving `name`. Its history stays.
    pub async fn undeploy(&self, name: &Name) -> Result<()> {
        let turn = self.turn(name);
        let _turn = turn.lock().await;
        let deployment = self.get(name).await?;
        let mut tx = self.0.db.begin().await?;
        sqlx::query("UPDATE deployments SET serving = NULL, updated_at = ? WHERE name = ?")
            .bind(self.0.clock.now().0)
            .bind(name.as_str())
            .execute(&mut *tx)
            .await
            .map_err(fail)?;
        tx.emit(Event::new("deployment.removed", name.as_str(), serde_json::json!({}))).await?;
        tx.commit().await?;
        self.0.host.deactivate(name);
        self.0.failed.lock().remove(name);
        self.release(name, &deployment).await;
        Ok(())
    }

    /// Every deployment that serves or should, by name.
    pub async fn list(&self) -> Result<Vec<Deployment>> {
        let rows = sqlx::query(
            "SELECT d.name, r.revision, r.spec, r.created_at FROM deployments d \
             JOIN revisions r ON r.deployment = d.name AND r.revision = d.serving ORDER BY d.name",
        )
        .fetch_all(self.0.db.pool())
        .await
        .map_err(fail)?;
        rows.iter().map(|row| self.read(row)).collect()
    }

    /// One deployment; `NotFound` lists those there are.
    pub async fn get(&self, name: &Name) -> Result<Deployment> {
        if let Some(deployment) = self.find(name).await? {
            return Ok(deployment);
        }
        let names: Vec<_> =
            self.list().await?.into_iter().map(|deployment| deployment.name.to_string()).collect();
        Err(Error::not_found(format!("there is no deployment '{name}'")).hint(match names.as_slice() {
            [] => "nothing is deployed; eyot deploy makes an endpoint".to_owned(),
            names => format!("deployed are: {}", names.join(", ")),
        }))
    }

    async fn find(&self, name: &Name) -> Result<Option<Deployment>> {
        Ok(self.list().await?.into_iter().find(|deployment| deployment.name == *name))
    }

    async fn latest(&self, name: &Name) -> Result<u64> {
        let row = sqlx::query("SELECT latest FROM deployments WHERE name = ?")
            .bind(name.as_str())
            .fetch_optional(self.0.db.pool())
            .await
            .map_err(fail)?;
        row.map_or(Ok(0), |row| row.try_get::<i64, _>("latest").map(i64::unsigned_abs).map_err(fail))
    }

    async fn record(&self, name: &Name, revision: u64, spec: &Spec, now: Timestamp) -> Result<()> {
        let json = serde_json::to_value(spec)
            .map_err(|error| Error::internal("a spec has no JSON form").because(error))?;
        let number = i64::try_from(revision).unwrap_or(i64::MAX);
        let mut tx = self.0.db.begin().await?;
        sqlx::query(
            "INSERT INTO deployments (name, serving, latest, updated_at) VALUES (?, ?, ?, ?) \
             ON CONFLICT (name) DO UPDATE SET serving = excluded.serving, latest = excluded.latest, \
             updated_at = excluded.updated_at",
        )
        .bind(name.as_str())
        .bind(number)
        .bind(number)
        .bind(now.0)
        .execute(&mut *tx)
        .await
        .map_err(fail)?;
        sqlx::query("INSERT INTO revisions (deployment, revision, spec, created_at) VALUES (?, ?, ?, ?)")
            .bind(name.as_str())
            .bind(number)
            .bind(json.to_string())
            .bind(now.0)
            .execute(&mut *tx)
            .await
            .map_err(fail)?;
        tx.emit(Event::new(
            "deployment.changed",
            name.as_str(),
            serde_json::json!({ "revision": revision, "spec": json }),
        ))
        .await?;
        tx.commit().await
    }

    fn read(&self, row: &sqlx::sqlite::SqliteRow) -> Result<Deployment> {
        let name: String = row.try_get("name").map_err(fail)?;
        let spec: String = row.try_get("spec").map_err(fail)?;
        let revision: i64 = row.try_get("revision").map_err(fail)?;
        let spec = serde_json::from_str(&spec).map_err(|error| {
            Error::corrupt(format!("revision {revision} of '{name}' cannot be read")).because(error)
        })?;
        let name: Name = name.parse()?;
        let state = match self.0.failed.lock().get(&name) {
            Some(error) => State::Failed { error: error.clone() },
            None => State::Serving,
        };
        let created = Timestamp(row.try_get("created_at").map_err(fail)?);
        Ok(Deployment { revision: revision.unsigned_abs(), name, spec, created, state })
    }

    fn turn(&self, name: &Name) -> Arc<tokio::sync::Mutex<()>> {
        self.0.changing.lock().entry(name.clone()).or_default().clone()
    }

    /// Lets go of what an old revision kept in the store. Failing to keeps bytes, loses nothing.
    async fn release(&self, name: &Name, old: &Deployment) {
        for content in old.spec.contents() {
            if let Err(error) = self.0.store.unpin(&content, &owner(name, old.revision)).await {
                tracing::warn!(deployment = %name, %content, error = %error.chain(), "a pin is left over");
            }
        }
    }
}

fn owner(name: &Name, revision: u64) -> String {
    format!("deployment/{name}/{revision}")
}
