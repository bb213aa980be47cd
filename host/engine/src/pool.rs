//! Instances of one component: warm ones that wait for the next call, and fresh ones.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use eyot_core::{Error, Result};
use eyot_world::handler::{ModelHandler, ModelHandlerPre};
use parking_lot::Mutex;
use wasmtime::Store;
use wasmtime::component::{Instance, InstancePre};

use crate::guest::Guest;
use crate::{Component, Grants, Limits, Spent, fault};

/// How instances are kept.
#[derive(Clone, Copy, Debug)]
pub struct Instances {
    /// Calls that one instance serves; 1 gives every request an instance of its own.
    pub reuse: u64,
    /// Instances that wait for the next request.
    pub idle: usize,
}

/// What an instance is reached through once it runs.
pub(crate) trait Start: Send + Sync + 'static {
    type Started: Send + 'static;

    fn start(&self, store: &mut Store<Guest>)
    -> impl Future<Output = wasmtime::Result<Self::Started>> + Send;
}

impl Start for ModelHandlerPre<Guest> {
    type Started = ModelHandler;

    async fn start(&self, store: &mut Store<Guest>) -> wasmtime::Result<ModelHandler> {
        self.instantiate_async(store).await
    }
}

impl Start for InstancePre<Guest> {
    type Started = Instance;

    async fn start(&self, store: &mut Store<Guest>) -> wasmtime::Result<Instance> {
        self.instantiate_async(store).await
    }
}

/// An instance that runs, and its store.
pub(crate) struct Warm<T> {
    pub(crate) store: Store<Guest>,
    pub(crate) exports: T,
    calls: u64,
}

/// Hands out instances of one component with what it was granted.
pub(crate) struct Pool<S: Start> {
    component: Component,
    start: S,
    grants: Grants,
    limits: Limits,
    instances: Instances,
    idle: Mutex<Vec<Warm<S::Started>>>,
    started: AtomicU64,
}

impl<S: Start> Pool<S> {
    /// Fails with `Denied` when the component imports what `grants` do not hold.
    pub(crate) fn new(
        component: Component,
        start: S,
        grants: Grants,
        limits: Limits,
        instances: Instances,
    ) -> Result<Self> {
        grants.check(&component)?;
        let (idle, started) = (Mutex::new(Vec::new()), AtomicU64::new(0));
        Ok(Self { component, start, grants, limits, instances, idle, started })
    }

    pub(crate) fn component(&self) -> &Component {
        &self.component
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Instances started so far.
    pub(crate) fn started(&self) -> u64 {
        self.started.load(Ordering::Relaxed)
    }

    /// An instance for one call: a warm one where there is one.
    pub(crate) async fn take(&self) -> Result<Warm<S::Started>> {
        let reused = self.idle.lock().pop();
        match reused {
            Some(warm) => Ok(warm),
            None => self.fresh().await,
        }
    }

    /// Sets the clock of the call that comes now; answers when it must have ended.
    pub(crate) fn begin(&self, warm: &mut Warm<S::Started>, deadline: Option<Instant>) -> Instant {
        let limit = Instant::now() + self.limits.timeout;
        let deadline = deadline.map_or(limit, |asked| asked.min(limit));
        let guest = warm.store.data_mut();
        (guest.deadline, guest.spent) = (deadline, Spent::default());
        guest.stdout.begin();
        guest.stderr.begin();
        warm.calls += 1;
        deadline
    }

    /// A fresh instance.
    pub(crate) async fn fresh(&self) -> Result<Warm<S::Started>> {
        let guest = Guest::new(self.grants.clone(), &self.limits, None);
        let mut store = guest.into_store(self.component.wasmtime());
        match self.start.start(&mut store).await {
            Ok(exports) => {
                self.started.fetch_add(1, Ordering::Relaxed);
                Ok(Warm { store, exports, calls: 0 })
            }
            Err(error) if error.is::<wasmtime::PoolConcurrencyLimitError>() => {
                Err(Error::exhausted("every instance of this process is busy").hint("try again in a moment"))
            }
            Err(error) => {
                Err(fault::explain(&error, store.data(), &self.component.digest(), "instantiation"))
            }
        }
    }

    /// Starts an instance ahead of the first request that needs it; with none kept idle, only shows
    /// that one starts.
    pub(crate) async fn prepare(&self) -> Result<()> {
        let warm = self.fresh().await?;
        self.keep(warm);
        Ok(())
    }

    /// Starts an instance, ends it, and answers how long the start took.
    pub(crate) async fn instantiate(&self) -> Result<Duration> {
        let started = Instant::now();
        let warm = self.fresh().await?;
        let took = started.elapsed();
        drop(warm);
        Ok(took)
    }

    /// Keeps an instance whose call went well for the next one, if it may serve more.
    pub(crate) fn keep(&self, warm: Warm<S::Started>) {
        warm.store.data().stdout.finish();
        warm.store.data().stderr.finish();
        if warm.calls >= self.instances.reuse {
            return;
        }
        let mut idle = self.idle.lock();
        if idle.len() < self.instances.idle {
            idle.push(warm);
        }
    }

    /// Why a call failed; its instance is not used again.
    pub(crate) fn explain(&self, error: &wasmtime::Error, warm: &Warm<S::Started>, export: &str) -> Error {
        warm.store.data().stdout.finish();
        warm.store.data().stderr.finish();
        fault::explain(error, warm.store.data(), &self.component.digest(), export)
    }
}
