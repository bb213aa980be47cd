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
use super::{Answer, Streamed, check_status, unanswered};
use crate::guest::{Deadline, Guest, Running};
use crate::instances::Counts;
use crate::pool::full;
use crate::temper::Temper;
use crate::{Cause, Census, Component, Grants, Instances, Limits, fault};

/// Hands requests to instances, each of which works on several.
pub(super) struct Together {
    proxy: ProxyHandler<State>,
}

struct State {
    component: Component,
    pre: ProxyPre<Guest>,
    grants: Grants,
    limits: Limits,
    instances: Instances,
    counts: Arc<Counts>,
    temper: Arc<Temper>,
    /// Instances that live, at work or not.
    alive: Arc<AtomicUsize>,
}

/// Requests that an instance of WASI 0.3 works on at the same time, while they wait for something.
const TOGETHER: usize = 16;

/// How long an instance waits for its next request before its memory is given back.
const IDLE: Duration = Duration::from_secs(5);

impl Together {
    pub(super) fn new(
        component: Component,
        pre: ServicePre<Guest>,
        grants: Grants,
        limits: Limits,
        instances: Instances,
    ) -> Self {
        let (counts, temper, alive) = Default::default();
        let pre = ProxyPre::P3(pre);
        let state = State { component, pre, grants, limits, instances, counts, temper, alive };
        Self { proxy: ProxyHandler::new(state) }
    }

    pub(super) fn component(&self) -> &Component {
        &self.proxy.state().component
    }

    /// One that works on several requests counts as busy once for each.
    pub(super) fn census(&self) -> Census {
        let state = self.proxy.state();
        let mut census = state.counts.census(0);
        census.idle = state.alive.load(Ordering::Relaxed).saturating_sub(census.busy);
        census
    }

    pub(super) async fn answer(&self, request: http::Request<WasiBody>) -> Result<http::Response<Streamed>> {
        let state = self.proxy.state();
        let (told, mut fault) = oneshot::channel();
        let deadline = Deadline::new(Instant::now() + state.limits.timeout);
        let end = Arc::<InstanceEnd>::default();
        let asked = Asked { told, deadline: deadline.clone(), end: end.clone() };
        let busy = state.counts.enter();
        state.component.lane().stir();
        let handled = self.handle(asked, request);
        // An instance stays on the threads on which it started.
        let answered = match state.temper.class() {
            Some(class) => state.component.lane().spawning(class, handled).await,
            None => handled.await,
        };
        // Why an instance ended is counted where it ends.
        busy.answered();
        match answered {
            Ok(response) => {
                state.temper.calm();
                check_status(response.status(), &state.component.digest())?;
                let mut response = Answer::of(response, deadline, state.limits.timeout, end);
                std::future::poll_fn(|context| {
                    while response.body_mut().take_at_once(context) {}
                    Poll::Ready(())
                })
                .await;
                // Nothing of the answer has gone out yet, so it can still be an error.
                match (fault.try_recv(), response.body_mut().broken_early()) {
                    (Ok(Some(fault)), _) if !fault.exited => Err(fault.error),
                    (_, Some(why)) => Err(unanswered(&state.component.digest(), why)),
                    _ => Ok(response.map(Answer::streamed)),
                }
            }
            Err(error) => Err(self.explain(error, fault).await),
        }
    }

    /// Hands a request to an instance. Where there is no place for one, those that wait make room.
    async fn handle(
        &self,
        asked: Asked,
        request: http::Request<WasiBody>,
    ) -> wasmtime::Result<http::Response<WasiBody>> {
        let (mut asked, mut request) = (asked, request);
        loop {
            let error = match self.proxy.handle(asked, request).await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            let full =
                |error: &InstantiationError<Asked>| error.error.is::<wasmtime::PoolConcurrencyLimitError>();
            if !error.downcast_ref().is_some_and(full) || !self.component().shelves().make_room() {
                return Err(error);
            }
            let InstantiationError { request_data, request: again, .. } = error.downcast()?;
            (asked, request) =
                (request_data, again.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner));
        }
    }

    async fn explain(&self, error: wasmtime::Error, fault: oneshot::Receiver<Fault>) -> Error {
        let digest = self.component().digest();
        if let Some(error) = error.downcast_ref::<InstantiationError<Asked>>() {
            if error.error.is::<wasmtime::PoolConcurrencyLimitError>() {
                return full();
            }
            return Error::failed(format!("component {digest} does not start: {:#}", error.error));
        }
        if error.is::<ExpirationError>() {
            return late(&digest);
        }
        // An instance that ends says why once its store is taken apart; one that lives lets go of the question
        // as soon as it has nothing to do.
        let Ok(fault) = fault.await else { return unanswered(&digest, format_args!("{error:#}")) };
        if fault.exited {
            self.proxy.state().temper.failed(Cause::Exit);
            self.proxy.state().counts.enter().ended(Cause::Exit);
        }
        fault.error
    }
}

fn late(digest: &Digest) -> Error {
    Error::timeout(format!("component {digest}, export handle did not answer before its deadline"))
        .hint("raise the timeout, or make it do less in one call")
}

/// What goes with a request into the instance that works on it.
struct Asked {
    told: oneshot::Sender<Fault>,
    deadline: Deadline,
    end: Arc<InstanceEnd>,
}

/// Why an instance ended before it was done with a request.
struct Fault {
    error: Error,
    /// It ended itself and says that all went well, which is a fault for those only that have no answer.
    exited: bool,
}

impl HandlerState for State {
    type StoreData = Guest;
    type WorkerExpiration = Expiration;
    type WorkerState = Worker;

    async fn instantiate(&self) -> wasmtime::Result<Instance<Guest, Expiration, Worker>> {
        let asked = Arc::<Mutex<Vec<Waiting>>>::default();
        let mut guest = Guest::new(self.grants.clone(), &self.limits, None);
        let running = guest.running.insert(Running::default()).clone();
        let mut store = guest.into_store(self.component.wasmtime());
        let proxy = self.pre.instantiate_async(&mut store).await?;
        self.counts.start();
        self.alive.fetch_add(1, Ordering::Relaxed);
        let state = Worker {
            counts: self.counts.clone(),
            temper: self.temper.clone(),
            stands_back: self.temper.class().is_some(),
            alive: self.alive.clone(),
            reuse: usize::try_from(self.instances.reuse).unwrap_or(usize::MAX),
            digest: self.component.digest(),
            asked: asked.clone(),
        };
        let timer = Box::pin(tokio::time::sleep_until((Instant::now() + IDLE).into()));
        Ok(Instance {
            store,
            proxy,
            view: Guest::http,
            expiration: Expiration { running, asked, timer },
            state,
        })
    }
}

/// Ends an instance that has nothing to do for a while, or whose time is over. Polled from outside of
/// it, so that a guest which computes without end is ended too.
struct Expiration {
    running: Running,
    asked: Arc<Mutex<Vec<Waiting>>>,
    timer: Pin<Box<tokio::time::Sleep>>,
}

impl WorkerExpiration for Expiration {
    fn poll(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        status: WorkerStatus,
        start: Instant,
    ) -> Poll<()> {
        let end = match status {
            WorkerStatus::Idle => {
                self.asked.lock().clear();
                start + IDLE
            }
            // The last of its requests to end decides: each has its own share of time.
            WorkerStatus::Requests | WorkerStatus::PostReturn => {
                self.running.lock().iter().map(Deadline::get).max().unwrap_or(start + IDLE)
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

/// Who hears of an instance's end: the request, until its answer begins, and the answer, until it ends.
struct Waiting {
    told: oneshot::Sender<Fault>,
    end: Arc<InstanceEnd>,
}

/// An instance and the requests it works on.
struct Worker {
    counts: Arc<Counts>,
    temper: Arc<Temper>,
    /// Whether it is on threads that stand back.
    stands_back: bool,
    alive: Arc<AtomicUsize>,
    reuse: usize,
    digest: Digest,
    asked: Arc<Mutex<Vec<Waiting>>>,
}

impl WorkerState for Worker {
    type StoreData = Guest;
    type RequestData = Asked;

    fn should_accept_request(&self, concurrent: usize, total: usize) -> ShouldAccept {
        if total >= self.reuse || self.stands_back && self.temper.class().is_none() {
            ShouldAccept::Never
        } else if concurrent >= TOGETHER {
            ShouldAccept::No
        } else {
            ShouldAccept::Yes
        }
    }

    fn on_request_start(
        &self,
        mut store: StoreContextMut<'_, Guest>,
        asked: Asked,
        _: GuestTaskId,
    ) -> Pin<Box<dyn Future<Output = ()> + 'static + Send + Sync>> {
        let deadline = asked.deadline;
        let guest = store.data_mut();
        guest.stdout.begin();
        guest.stderr.begin();
        let mut running = guest.running.get_or_insert_default().lock();
        // What a request that is over has left to do has the time of this one.
        running.retain(Deadline::is_held);
        running.push(deadline.clone());
        drop(running);
        let mut waiting = self.asked.lock();
        waiting.retain(|other| Arc::strong_count(&other.end) > 1);
        waiting.push(Waiting { told: asked.told, end: asked.end });
        let end = deadline.get();
        Box::pin(async move { tokio::time::sleep_until(end.into()).await })
    }

    fn drop(&self, store: Store<Guest>, result: std::result::Result<(), wasmtime::Error>) {
        store.data().stdout.finish();
        store.data().stderr.finish();
        self.alive.fetch_sub(1, Ordering::Relaxed);
        let Err(error) = result else { return };
        let explained = fault::explain(&error, store.data(), &self.digest, "handle");
        let exited = fault::is_success(&error);
        if !exited {
            let cause = fault::cause(&error, store.data());
            self.temper.failed(cause);
            self.counts.enter().ended(cause);
        }
        // One that failed goes after all have heard of it: without it, an answer that broke off looks whole.
        let (instance, _failed) = match exited {
            true => (Some(Arc::new(Mutex::new(store))), None),
            false => (None, Some(store)),
        };
        for Waiting { told, end } in self.asked.lock().drain(..) {
            let answering = Arc::strong_count(&end) > 1;
            match &instance {
                Some(instance) if answering => end.set_exited(instance.clone()),
                Some(_) => {}
                None => end.set_failed(true),
            }
            let error = Error::new(explained.kind(), explained.to_string());
            if told.send(Fault { error, exited }).is_err() && answering && !exited {
                tracing::warn!(error = %explained.chain(), "a component failed after it had begun to answer");
            }
        }
    }
}
