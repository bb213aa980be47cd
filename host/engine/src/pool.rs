//! Instances of one component: warm ones, which are idle until the next call, and fresh ones.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use eyot_core::{Error, Result};
use wasmtime::Store;
use wasmtime::component::{Instance, InstancePre};

use crate::background_executor::{PreemptibleCall, ThreadPriority, TimeSlice};
use crate::fault_history::FaultHistory;
use crate::guest::GuestState;
use crate::idle_pool::IdleInstances;
use crate::instances::{BusyInstance, InstanceCounters};
use crate::{Component, GuestGrants, InferenceUsage, InstanceLimits, InstancePolicy, InstanceStats, fault};

/// How instances are made, and the exports through which they are called.
pub(crate) trait InstanceFactory: Send + Sync + 'static {
    type Exports: Send + 'static;

    fn instantiate(
        &self,
        store: &mut Store<GuestState>,
    ) -> impl Future<Output = wasmtime::Result<Self::Exports>> + Send;
}

impl InstanceFactory for InstancePre<GuestState> {
    type Exports = Instance;

    async fn instantiate(&self, store: &mut Store<GuestState>) -> wasmtime::Result<Instance> {
        self.instantiate_async(store).await
    }
}

/// A running instance with its store.
pub(crate) struct WarmInstance<T> {
    pub(crate) store: Store<GuestState>,
    pub(crate) exports: T,
    calls: u64,
}

/// Hands out instances of one component with what it was granted.
pub(crate) struct InstancePool<S: InstanceFactory> {
    component: Component,
    factory: S,
    grants: GuestGrants,
    limits: InstanceLimits,
    instances: InstancePolicy,
    idle: Arc<IdleInstances<WarmInstance<S::Exports>>>,
    counters: InstanceCounters,
    fault_history: FaultHistory,
}

impl<S: InstanceFactory> InstancePool<S> {
    /// Fails with `Denied` when the component imports what `grants` do not hold.
    pub(crate) fn new(
        component: Component,
        factory: S,
        grants: GuestGrants,
        limits: InstanceLimits,
        instances: InstancePolicy,
    ) -> Result<Self> {
        let (idle, counters, fault_history) =
            (component.idle_pool().add(), InstanceCounters::default(), FaultHistory::default());
        Ok(Self { component, factory, grants, limits, instances, idle, counters, fault_history })
    }

    pub(crate) fn component(&self) -> &Component {
        &self.component
    }

    pub(crate) fn limits(&self) -> &InstanceLimits {
        &self.limits
    }

    /// Its instances now, and why some ended.
    pub(crate) fn stats(&self) -> InstanceStats {
        self.counters.stats(self.idle.len())
    }

    /// Starts a call, which gets a time slice for its guest. It starts on background threads if the fault history of
    /// the component asks for that, or if `in_background` says that it will take long.
    pub(crate) fn call<T: Send + 'static, W: Future<Output = T> + Send + 'static>(
        self: &Arc<Self>,
        in_background: bool,
        call: impl FnOnce(Arc<Self>, TimeSlice) -> W,
    ) -> PreemptibleCall<T> {
        let mut call = PreemptibleCall::new(self.component.background_executor().clone(), |time_slice| {
            call(self.clone(), time_slice)
        });
        if let Some(priority) =
            self.fault_history.priority().or(in_background.then_some(ThreadPriority::Background))
        {
            call.migrate(priority);
        }
        call
    }

    /// An instance for one call: a warm one where there is one.
    pub(crate) async fn take(&self) -> Result<WarmInstance<S::Exports>> {
        match self.idle.take() {
            Some(warm) => Ok(warm),
            // In a box of its own: every call would have to carry the room that a start takes.
            None => Box::pin(self.fresh()).await,
        }
    }

    /// Prepares an instance for a call; answers its deadline, and the guard that counts it as busy.
    pub(crate) fn begin(
        &self,
        warm: &mut WarmInstance<S::Exports>,
        time_slice: TimeSlice,
        deadline: Option<Instant>,
    ) -> (Instant, BusyInstance<'_>) {
        let limit = Instant::now() + self.limits.timeout;
        let deadline = deadline.map_or(limit, |asked| asked.min(limit));
        let guest = warm.store.data_mut();
        (guest.deadline, guest.time_slice, guest.usage) = (deadline, time_slice, InferenceUsage::default());
        guest.stdout.begin();
        guest.stderr.begin();
        guest.meter.begin();
        warm.store.set_epoch_deadline(1);
        warm.calls += 1;
        self.component.background_executor().mark_active();
        (deadline, self.counters.begin_call())
    }

    /// A fresh instance. Where there is no free slot for one, idle instances are evicted.
    pub(crate) async fn fresh(&self) -> Result<WarmInstance<S::Exports>> {
        loop {
            let guest = GuestState::new(self.grants.clone(), &self.limits, None);
            let mut store = guest.into_store(self.component.wasmtime());
            match self.factory.instantiate(&mut store).await {
                Ok(exports) => {
                    self.counters.start();
                    return Ok(WarmInstance { store, exports, calls: 0 });
                }
                Err(error) if error.is::<wasmtime::PoolConcurrencyLimitError>() => {
                    drop(store);
                    if !self.component.idle_pool().evict_idle() {
                        return Err(no_free_slot());
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

    /// Ends an instance whose call succeeded and that can serve no other.
    pub(crate) fn end(&self, warm: WarmInstance<S::Exports>) {
        warm.store.data().stdout.finish();
        warm.store.data().stderr.finish();
    }

    /// Keeps an instance whose call succeeded for the next one, if it may serve more and has no inference in
    /// flight.
    pub(crate) fn keep(&self, warm: WarmInstance<S::Exports>) {
        warm.store.data().stdout.finish();
        warm.store.data().stderr.finish();
        // What a call started and did not wait for ends with it, and must not be the next one's burden.
        if warm.calls < self.instances.max_calls && warm.store.data().in_flight() == 0 {
            self.idle.put(warm, self.instances.max_idle);
        }
    }

    /// The result of the call that `busy` counts, with its instance, which ends if the call failed.
    pub(crate) fn settle<T>(
        &self,
        called: wasmtime::Result<T>,
        warm: WarmInstance<S::Exports>,
        export: &str,
        busy: BusyInstance<'_>,
    ) -> Result<(T, WarmInstance<S::Exports>)> {
        match called {
            Ok(answer) => {
                busy.answered();
                self.fault_history.record_success();
                Ok((answer, warm))
            }
            Err(error) => {
                let cause = fault::cause(&error, warm.store.data());
                busy.ended(cause);
                self.fault_history.record_fault(cause, Instant::now());
                Err(self.explain(&error, &warm, export))
            }
        }
    }

    /// Why a call failed.
    pub(crate) fn explain(
        &self,
        error: &wasmtime::Error,
        warm: &WarmInstance<S::Exports>,
        export: &str,
    ) -> Error {
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

/// Every slot for an instance is taken by a busy one.
pub(crate) fn no_free_slot() -> Error {
    Error::exhausted("every instance of this process is busy").hint("try again in a moment")
}
