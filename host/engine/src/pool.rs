//! Instances of one component: warm ones that wait for the next call, and fresh ones.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use eyot_core::{Error, Result};
use wasmtime::Store;
use wasmtime::component::{Instance, InstancePre};

use crate::guest::Guest;
use crate::instances::{Busy, Counts};
use crate::lane::{Class, Pace, Paced};
use crate::shelf::Shelf;
use crate::temper::Temper;
use crate::{Census, Component, Grants, Instances, Limits, Spent, fault};

/// What an instance is reached through once it runs.
pub(crate) trait Start: Send + Sync + 'static {
    type Started: Send + 'static;

    fn start(&self, store: &mut Store<Guest>)
    -> impl Future<Output = wasmtime::Result<Self::Started>> + Send;
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
    idle: Arc<Shelf<Warm<S::Started>>>,
    counts: Counts,
    temper: Temper,
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
        let (idle, counts, temper) = (component.shelves().add(), Counts::default(), Temper::default());
        Ok(Self { component, start, grants, limits, instances, idle, counts, temper })
    }

    pub(crate) fn component(&self) -> &Component {
        &self.component
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Its instances now, and why some ended.
    pub(crate) fn census(&self) -> Census {
        self.counts.census(self.idle.len())
    }

    /// A call from its start, with the pace for its guest: here, or on threads that stand back, if that is what is
    /// expected of it or `aside` says that it will take long.
    pub(crate) fn call<T: Send + 'static, W: Future<Output = T> + Send + 'static>(
        self: &Arc<Self>,
        aside: bool,
        call: impl FnOnce(Arc<Self>, Pace) -> W,
    ) -> Paced<T> {
        let mut call = Paced::new(self.component.lane().clone(), |pace| call(self.clone(), pace));
        if let Some(class) = self.temper.class().or(aside.then_some(Class::Long)) {
            call.leave(class);
        }
        call
    }

    /// An instance for one call: a warm one where there is one.
    pub(crate) async fn take(&self) -> Result<Warm<S::Started>> {
        match self.idle.take() {
            Some(warm) => Ok(warm),
            // In a box of its own: every call would have to carry the room that a start takes.
            None => Box::pin(self.fresh()).await,
        }
    }

    /// Sets the clock of the call that comes now; answers when it must have ended, and what counts it.
    pub(crate) fn begin(
        &self,
        warm: &mut Warm<S::Started>,
        pace: Pace,
        deadline: Option<Instant>,
    ) -> (Instant, Busy<'_>) {
        let limit = Instant::now() + self.limits.timeout;
        let deadline = deadline.map_or(limit, |asked| asked.min(limit));
        let guest = warm.store.data_mut();
        (guest.deadline, guest.pace, guest.spent) = (deadline, pace, Spent::default());
        guest.stdout.begin();
        guest.stderr.begin();
        guest.meter.begin();
        warm.store.set_epoch_deadline(1);
        warm.calls += 1;
        self.component.lane().stir();
        (deadline, self.counts.enter())
    }

    /// A fresh instance. Where there is no place for one, those that wait make room.
    pub(crate) async fn fresh(&self) -> Result<Warm<S::Started>> {
        loop {
            let guest = Guest::new(self.grants.clone(), &self.limits, None);
            let mut store = guest.into_store(self.component.wasmtime());
            match self.start.start(&mut store).await {
                Ok(exports) => {
                    self.counts.start();
                    return Ok(Warm { store, exports, calls: 0 });
                }
                Err(error) if error.is::<wasmtime::PoolConcurrencyLimitError>() => {
                    drop(store);
                    if !self.component.shelves().make_room() {
                        return Err(full());
                    }
                }
                Err(error) => {
                    return Err(fault::explain(
                        &error,
                        store.data(),
                        &self.component.digest(),
                        "instantiation",
                    ));
                }
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

    /// Ends an instance whose call went well and that can serve no other.
    pub(crate) fn end(&self, warm: Warm<S::Started>) {
        warm.store.data().stdout.finish();
        warm.store.data().stderr.finish();
    }

    /// Keeps an instance whose call went well for the next one, if it may serve more and has nothing
    /// under way.
    pub(crate) fn keep(&self, warm: Warm<S::Started>) {
        warm.store.data().stdout.finish();
        warm.store.data().stderr.finish();
        // What a call started and did not wait for ends with it, and must not be the next one's burden.
        if warm.calls < self.instances.reuse && warm.store.data().under_way() == 0 {
            self.idle.put(warm, self.instances.idle);
        }
    }

    /// What the call came to that `busy` counts, with its instance, which ends if the call failed.
    pub(crate) fn settle<T>(
        &self,
        called: wasmtime::Result<T>,
        warm: Warm<S::Started>,
        export: &str,
        busy: Busy<'_>,
    ) -> Result<(T, Warm<S::Started>)> {
        match called {
            Ok(answer) => {
                busy.answered();
                self.temper.calm();
                Ok((answer, warm))
            }
            Err(error) => {
                let cause = fault::cause(&error, warm.store.data());
                busy.ended(cause);
                self.temper.failed(cause);
                Err(self.explain(&error, &warm, export))
            }
        }
    }

    /// Why a call failed.
    pub(crate) fn explain(&self, error: &wasmtime::Error, warm: &Warm<S::Started>, export: &str) -> Error {
        warm.store.data().stdout.finish();
        warm.store.data().stderr.finish();
        fault::explain(error, warm.store.data(), &self.component.digest(), export)
    }
}

/// What a call gives, if it does before its deadline.
pub(crate) async fn in_time<T>(
    deadline: Instant,
    call: impl Future<Output = wasmtime::Result<T>>,
) -> wasmtime::Result<T> {
    let called = tokio::time::timeout_at(deadline.into(), call).await;
    called.unwrap_or_else(|_| Err(wasmtime::Trap::Interrupt.into()))
}

/// Every place for an instance is taken by one that is at work.
pub(crate) fn full() -> Error {
    Error::exhausted("every instance of this process is busy").hint("try again in a moment")
}
