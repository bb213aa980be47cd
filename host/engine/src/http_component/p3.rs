//! Components of `wasi:http/handler@0.3`: an instance works on several requests at the same time.
//!
//! What queues requests, reuses instances and runs several requests in one is wasmtime's own
//! [`ProxyHandler`]. Here is what an instance is made of, how long it may work, and why one failed.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use eyot_core::{Digest, Error, Result};
use futures::channel::oneshot;
use parking_lot::Mutex;
use wasmtime::component::GuestTaskId;
use wasmtime::{Store, StoreContextMut};
use wasmtime_wasi_http::handler::{
    ExpirationError, HandlerState, Instance, InstantiationError, ProxyHandler, ProxyPre, ShouldAccept,
    WorkerExpiration, WorkerState, WorkerStatus,
};
use wasmtime_wasi_http::p3::bindings::ServicePre;
use wasmtime_wasi_http::{WasiBody, WasiHttpView as _};

use super::instance_end::InstanceEnd;
use super::{ResponseBody, StreamedBody, check_status, no_response};
use crate::fault_history::FaultHistory;
use crate::guest::{GuestState, RunningRequests, SharedDeadline};
use crate::instances::InstanceCounters;
use crate::pool::no_free_slot;
use crate::{Component, FailureCause, GuestGrants, InstanceLimits, InstancePolicy, InstanceStats, fault};

/// Hands requests to instances, each of which works on several.
pub(super) struct P3Component {
    proxy: ProxyHandler<P3State>,
}

struct P3State {
    component: Component,
    pre: ProxyPre<GuestState>,
    grants: GuestGrants,
    limits: InstanceLimits,
    instances: InstancePolicy,
    counters: Arc<InstanceCounters>,
    fault_history: Arc<FaultHistory>,
    /// Live instances, busy or idle.
    alive: Arc<AtomicUsize>,
}

/// Requests that an instance of WASI 0.3 works on at the same time, while they wait for something.
const MAX_CONCURRENT_REQUESTS: usize = 16;

/// How long an instance waits for its next request before its memory is given back.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5);

impl P3Component {
    pub(super) fn new(
        component: Component,
        pre: ServicePre<GuestState>,
        grants: GuestGrants,
        limits: InstanceLimits,
        instances: InstancePolicy,
    ) -> Self {
        let (counters, fault_history, alive) = Default::default();
        let pre = ProxyPre::P3(pre);
        let state = P3State { component, pre, grants, limits, instances, counters, fault_history, alive };
        Self { proxy: ProxyHandler::new(state) }
    }

    pub(super) fn component(&self) -> &Component {
        &self.proxy.state().component
    }

    /// One that works on several requests counts as busy once for each.
    pub(super) fn stats(&self) -> InstanceStats {
        let state = self.proxy.state();
        let mut stats = state.counters.stats(0);
        stats.idle = state.alive.load(Ordering::Relaxed).saturating_sub(stats.busy);
        stats
    }

    pub(super) async fn answer(
        &self,
        request: http::Request<WasiBody>,
    ) -> Result<http::Response<StreamedBody>> {
        let state = self.proxy.state();
        let (fault_sender, mut fault) = oneshot::channel();
        let deadline = SharedDeadline::new(Instant::now() + state.limits.timeout);
        let end = Arc::<InstanceEnd>::default();
        let request_data = P3Request { fault_sender, deadline: deadline.clone(), end: end.clone() };
        let busy = state.counters.begin_call();
        state.component.background_executor().mark_active();
        let handled = self.handle(request_data, request);
        // An instance stays on the threads on which it started.
        let answered = match state.fault_history.priority() {
            Some(priority) => state.component.background_executor().run_spawning(priority, handled).await,
            None => handled.await,
        };
        // Why an instance ended is counted where it ends.
        busy.answered();
        match answered {
            Ok(response) => {
                state.fault_history.record_success();
                check_status(response.status(), &state.component.digest())?;
                let mut response = ResponseBody::of(response, deadline, state.limits.timeout, end);
                std::future::poll_fn(|context| {
                    while response.body_mut().take_ready(context) {}
                    Poll::Ready(())
                })
                .await;
                // Nothing of the answer has gone out yet, so it can still be an error.
                match (fault.try_recv(), response.body_mut().take_error()) {
                    (Ok(Some(fault)), _) if !fault.exited => Err(fault.error),
                    (_, Some(why)) => Err(no_response(&state.component.digest(), why)),
                    _ => Ok(response.map(ResponseBody::streamed)),
                }
            }
            Err(error) => Err(self.explain(error, fault).await),
        }
    }

    /// Hands a request to an instance. Where there is no free slot for one, idle instances are evicted.
    async fn handle(
        &self,
        request_data: P3Request,
        request: http::Request<WasiBody>,
    ) -> wasmtime::Result<http::Response<WasiBody>> {
        let (mut request_data, mut request) = (request_data, request);
        loop {
            let error = match self.proxy.handle(request_data, request).await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            let no_free_slot = |error: &InstantiationError<P3Request>| {
                error.error.is::<wasmtime::PoolConcurrencyLimitError>()
            };
            if !error.downcast_ref().is_some_and(no_free_slot) || !self.component().idle_pool().evict_idle() {
                return Err(error);
            }
            let InstantiationError { request_data: same_data, request: again, .. } = error.downcast()?;
            (request_data, request) =
                (same_data, again.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner));
        }
    }

    async fn explain(&self, error: wasmtime::Error, fault: oneshot::Receiver<InstanceFault>) -> Error {
        let digest = self.component().digest();
        if let Some(error) = error.downcast_ref::<InstantiationError<P3Request>>() {
            if error.error.is::<wasmtime::PoolConcurrencyLimitError>() {
                return no_free_slot();
            }
            return Error::failed(format!("component {digest} does not start: {:#}", error.error));
        }
        if error.is::<ExpirationError>() {
            return timed_out(&digest);
        }
        // An instance that ends says why once its store is taken apart; one that lives lets go of the question
        // as soon as it has nothing to do.
        let Ok(fault) = fault.await else { return no_response(&digest, format_args!("{error:#}")) };
        if fault.exited {
            self.proxy.state().fault_history.record_fault(FailureCause::Exit, Instant::now());
            self.proxy.state().counters.begin_call().ended(FailureCause::Exit);
        }
        fault.error
    }
}

fn timed_out(digest: &Digest) -> Error {
    Error::timeout(format!("component {digest}, export handle did not answer before its deadline"))
        .hint("raise the timeout, or make it do less in one call")
}

/// What goes with a request into the instance that works on it.
struct P3Request {
    fault_sender: oneshot::Sender<InstanceFault>,
    deadline: SharedDeadline,
    end: Arc<InstanceEnd>,
}

/// Why an instance ended before it was done with a request.
struct InstanceFault {
    error: Error,
    /// It ended itself and says that all went well, which is a fault for those only that have no answer.
    exited: bool,
}

impl HandlerState for P3State {
    type StoreData = GuestState;
    type WorkerExpiration = InstanceExpiration;
    type WorkerState = InstanceWorker;

    async fn instantiate(
        &self,
    ) -> wasmtime::Result<Instance<GuestState, InstanceExpiration, InstanceWorker>> {
        let request_data = Arc::<Mutex<Vec<PendingRequest>>>::default();
        let mut guest = GuestState::new(self.grants.clone(), &self.limits, None);
        let running = guest.running.insert(RunningRequests::default()).clone();
        let mut store = guest.into_store(self.component.wasmtime());
        let proxy = self.pre.instantiate_async(&mut store).await?;
        self.counters.start();
        self.alive.fetch_add(1, Ordering::Relaxed);
        let state = InstanceWorker {
            counters: self.counters.clone(),
            fault_history: self.fault_history.clone(),
            is_background: self.fault_history.priority().is_some(),
            alive: self.alive.clone(),
            max_calls: usize::try_from(self.instances.max_calls).unwrap_or(usize::MAX),
            digest: self.component.digest(),
            request_data: request_data.clone(),
        };
        let timer = Box::pin(tokio::time::sleep_until((Instant::now() + IDLE_TIMEOUT).into()));
        Ok(Instance {
            store,
            proxy,
            view: GuestState::http,
            expiration: InstanceExpiration { running, request_data, timer },
            state,
        })
    }
}

/// Ends an instance that has nothing to do for a while, or whose time is over. Polled from outside of
/// it, so that a guest which computes without end is ended too.
struct InstanceExpiration {
    running: RunningRequests,
    request_data: Arc<Mutex<Vec<PendingRequest>>>,
    timer: Pin<Box<tokio::time::Sleep>>,
}

impl WorkerExpiration for InstanceExpiration {
    fn poll(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        status: WorkerStatus,
        start: Instant,
    ) -> Poll<()> {
        let end = match status {
            WorkerStatus::Idle => {
                self.request_data.lock().clear();
                start + IDLE_TIMEOUT
            }
            // The last of its requests to end decides: each has its own share of time.
            WorkerStatus::Requests | WorkerStatus::PostReturn => {
                self.running.lock().iter().map(SharedDeadline::get).max().unwrap_or(start + IDLE_TIMEOUT)
            }
        };
        if Instant::now() >= end {
            return Poll::Ready(());
        }
        if self.timer.deadline() > end.into() {
            self.timer.as_mut().reset(end.into());
        }
        // An end that has moved on since the timer was set is looked at again when the timer ends.
        std::task::ready!(self.timer.as_mut().poll(context));
        self.timer.as_mut().reset(end.into());
        self.timer.as_mut().poll(context)
    }
}

/// A request that is told of its instance's end: until its answer begins, and then the answer until it ends.
struct PendingRequest {
    fault_sender: oneshot::Sender<InstanceFault>,
    end: Arc<InstanceEnd>,
}

/// An instance and the requests it works on.
struct InstanceWorker {
    counters: Arc<InstanceCounters>,
    fault_history: Arc<FaultHistory>,
    /// Whether it runs on background threads.
    is_background: bool,
    alive: Arc<AtomicUsize>,
    max_calls: usize,
    digest: Digest,
    request_data: Arc<Mutex<Vec<PendingRequest>>>,
}

impl WorkerState for InstanceWorker {
    type StoreData = GuestState;
    type RequestData = P3Request;

    fn should_accept_request(&self, concurrent: usize, total: usize) -> ShouldAccept {
        if total >= self.max_calls || self.is_background && self.fault_history.priority().is_none() {
            ShouldAccept::Never
        } else if concurrent >= MAX_CONCURRENT_REQUESTS {
            ShouldAccept::No
        } else {
            ShouldAccept::Yes
        }
    }

    fn on_request_start(
        &self,
        mut store: StoreContextMut<'_, GuestState>,
        request_data: P3Request,
        _: GuestTaskId,
    ) -> Pin<Box<dyn Future<Output = ()> + 'static + Send + Sync>> {
        let deadline = request_data.deadline;
        let guest = store.data_mut();
        guest.stdout.begin();
        guest.stderr.begin();
        let mut running = guest.running.get_or_insert_default().lock();
        // What a request that is over has left to do has the time of this one.
        running.retain(SharedDeadline::is_held);
        running.push(deadline.clone());
        drop(running);
        let mut waiting = self.request_data.lock();
        waiting.retain(|other| Arc::strong_count(&other.end) > 1);
        waiting.push(PendingRequest { fault_sender: request_data.fault_sender, end: request_data.end });
        let end = deadline.get();
        Box::pin(async move { tokio::time::sleep_until(end.into()).await })
    }

    fn drop(&self, store: Store<GuestState>, result: std::result::Result<(), wasmtime::Error>) {
        store.data().stdout.finish();
        store.data().stderr.finish();
        self.alive.fetch_sub(1, Ordering::Relaxed);
        let Err(error) = result else { return };
        let explained = fault::explain(&error, store.data(), &self.digest, "handle");
        let exited = fault::is_success(&error);
        if !exited {
            let cause = fault::cause(&error, store.data());
            self.fault_history.record_fault(cause, Instant::now());
            self.counters.begin_call().ended(cause);
        }
        // One that failed goes after all have heard of it: without it, an answer that broke off looks whole.
        let (instance, _failed) = match exited {
            true => (Some(Arc::new(Mutex::new(store))), None),
            false => (None, Some(store)),
        };
        for PendingRequest { fault_sender, end } in self.request_data.lock().drain(..) {
            let answering = Arc::strong_count(&end) > 1;
            match &instance {
                Some(instance) if answering => end.set_exited(instance.clone()),
                Some(_) => {}
                None => end.set_failed(true),
            }
            let error = Error::new(explained.kind(), explained.to_string());
            if fault_sender.send(InstanceFault { error, exited }).is_err() && answering && !exited {
                tracing::warn!(error = %explained.chain(), "a component failed after it had begun to answer");
            }
        }
    }
}
