//! Components that answer HTTP themselves: `wasi:http/incoming-handler@0.2` and `wasi:http/handler@0.3`.
//!
//! What queues requests, reuses instances and runs several requests in one is wasmtime's own
//! [`ProxyHandler`]. Here is what an instance is made of, how long it may work, and why one failed.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use eyot_core::{Digest, Error, Result};
use futures::channel::oneshot;
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use parking_lot::Mutex;
use wasmtime::component::GuestTaskId;
use wasmtime::{Store, StoreContextMut};
use wasmtime_wasi_http::handler::{
    ExpirationError, HandlerState, Instance, InstantiationError, ProxyHandler, ProxyPre, ShouldAccept,
    WorkerExpiration, WorkerState, WorkerStatus,
};
use wasmtime_wasi_http::{WasiBody, WasiHttpView as _, p2, p3};

use crate::guest::{Deadline, Guest, Running};
use crate::instances::Counts;
use crate::pool::full;
use crate::{Census, Component, Grants, Instances, Limits, Mode, fault};

/// The body of a request or an answer as it streams.
pub type Streamed = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// A component that answers HTTP, with what it was granted.
pub struct Web {
    proxy: ProxyHandler<State>,
}

struct State {
    component: Component,
    pre: ProxyPre<Guest>,
    grants: Grants,
    limits: Limits,
    instances: Instances,
    /// Requests that one instance works on at the same time.
    together: usize,
    counts: Arc<Counts>,
    /// Instances that live, at work or not.
    alive: Arc<AtomicUsize>,
}

/// Requests that an instance of WASI 0.3 works on at the same time, while they wait for something.
const TOGETHER: usize = 16;

/// How long an instance waits for its next request before its memory is given back.
const IDLE: Duration = Duration::from_secs(5);

impl Web {
    /// Fails with `Invalid` when the component exports no handler of `wasi:http`.
    pub fn new(
        component: Component,
        grants: Grants,
        limits: Limits,
        instances: Instances,
    ) -> Result<Arc<Self>> {
        if component.mode() != Mode::Serving {
            return Err(Error::internal("an HTTP function was compiled for steps"));
        }
        grants.check(&component)?;
        let pre = component.instance().clone();
        let pre = match component.interface().has_export("wasi:http/handler", "0.3.") {
            true => p3::bindings::ServicePre::new(pre).map(ProxyPre::P3),
            false => p2::bindings::ProxyPre::new(pre).map(ProxyPre::P2),
        };
        let pre = pre.map_err(|error| {
            Error::invalid(format!("component {} answers no HTTP: {error:#}", component.digest()))
                .hint("it exports neither wasi:http/incoming-handler@0.2 nor wasi:http/handler@0.3")
        })?;
        let together = if matches!(pre, ProxyPre::P3(_)) { TOGETHER } else { 1 };
        let (counts, alive) = Default::default();
        let state = State { component, pre, grants, limits, instances, together, counts, alive };
        Ok(Arc::new(Self { proxy: ProxyHandler::new(state) }))
    }

    /// Whether a component is of this kind.
    pub fn is_one(component: &Component) -> bool {
        let interface = component.interface();
        interface.has_export("wasi:http/handler", "0.3.")
            || interface.has_export("wasi:http/incoming-handler", "0.2.")
    }

    /// Whether an instance may expect to answer one request: WASI 0.2 promises a component nothing else, and
    /// what JavaScript engines make of it fails at the second.
    pub fn answers_once(component: &Component) -> bool {
        !component.interface().has_export("wasi:http/handler", "0.3.")
    }

    /// The component.
    pub fn component(&self) -> &Component {
        &self.proxy.state().component
    }

    /// Its instances now, and why some ended. One that works on several requests counts as busy once for each.
    pub fn census(&self) -> Census {
        let state = self.proxy.state();
        let mut census = state.counts.census(0);
        census.idle = state.alive.load(Ordering::Relaxed).saturating_sub(census.busy);
        census
    }

    /// Answers a request. The component's time for it begins anew with each part of the answer.
    ///
    /// Fails with `Failed` when the component traps or answers no response, with `Timeout` when
    /// nothing comes in time.
    pub async fn answer(&self, request: http::Request<Streamed>) -> Result<http::Response<Streamed>> {
        let state = self.proxy.state();
        let (told, fault) = oneshot::channel();
        let deadline = Deadline::new(Instant::now() + state.limits.timeout);
        let broken = Arc::<AtomicBool>::default();
        let asked = Asked { told, deadline: deadline.clone(), broken: broken.clone() };
        let request = request.map(|body| body.map_err(in_its_words).boxed_unsync());
        let busy = state.counts.enter();
        match self.handle(asked, request).await {
            Ok(response) => {
                busy.answered();
                Ok(response.map(|inner| {
                    Answer { inner, deadline, timeout: state.limits.timeout, broken }.boxed_unsync()
                }))
            }
            Err(error) => {
                // Why an instance ended is counted where it ends.
                busy.answered();
                Err(self.explain(error, fault).await)
            }
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

    async fn explain(&self, error: wasmtime::Error, fault: oneshot::Receiver<Error>) -> Error {
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
        let unanswered = || Error::failed(format!("component {digest} answered no response: {error:#}"));
        // An instance that ends says why once its store is taken apart; one that lives lets go of the question
        // as soon as it has nothing to do.
        fault.await.unwrap_or_else(|_| unanswered())
    }
}

fn late(digest: &Digest) -> Error {
    Error::timeout(format!("component {digest}, export handle did not answer before its deadline"))
        .hint("raise the timeout, or make it do less in one call")
}

/// What ends a body early, in the words of `wasi:http`.
fn in_its_words(error: Box<dyn std::error::Error + Send + Sync>) -> wasmtime_wasi_http::Error {
    match error.downcast::<hyper::Error>() {
        Ok(error) => wasmtime_wasi_http::Error::Hyper(*error),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            wasmtime_wasi_http::Error::HttpRequestBodySize(None)
        }
        Err(error) if is_late(&*error) => wasmtime_wasi_http::Error::ConnectionReadTimeout,
        Err(error) => wasmtime_wasi_http::Error::InternalError(Some(error.to_string())),
    }
}

fn is_late(error: &(dyn std::error::Error + 'static)) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::TimedOut)
}

/// What goes with a request into the instance that works on it.
struct Asked {
    told: oneshot::Sender<Error>,
    deadline: Deadline,
    /// Set when the instance fails; an answer that has begun must not look whole then.
    broken: Arc<AtomicBool>,
}

/// An answer's body: the component has its time again with each part that it gives.
struct Answer {
    inner: wasmtime_wasi_http::WasiBody,
    deadline: Deadline,
    timeout: Duration,
    broken: Arc<AtomicBool>,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<http_body::Frame<Bytes>, Self::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        if let Poll::Ready(Some(Ok(_))) = &polled {
            self.deadline.set(Instant::now() + self.timeout);
        }
        match polled {
            // A component that fails takes its end of the body with it, which looks as if it were done.
            Poll::Ready(None) if self.broken.swap(false, Ordering::Relaxed) => {
                Poll::Ready(Some(Err("the component failed before its answer was whole".into())))
            }
            polled => polled.map(|frame| frame.map(|frame| frame.map_err(Into::into))),
        }
    }

    fn is_end_stream(&self) -> bool {
        !self.broken.load(Ordering::Relaxed) && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.inner.size_hint()
    }
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
            alive: self.alive.clone(),
            reuse: usize::try_from(self.instances.reuse).unwrap_or(usize::MAX),
            together: self.together,
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
    told: oneshot::Sender<Error>,
    broken: Arc<AtomicBool>,
}

/// An instance and the requests it works on.
struct Worker {
    counts: Arc<Counts>,
    alive: Arc<AtomicUsize>,
    reuse: usize,
    together: usize,
    digest: Digest,
    asked: Arc<Mutex<Vec<Waiting>>>,
}

impl WorkerState for Worker {
    type StoreData = Guest;
    type RequestData = Asked;

    fn should_accept_request(&self, concurrent: usize, total: usize) -> ShouldAccept {
        if total >= self.reuse {
            ShouldAccept::Never
        } else if concurrent >= self.together {
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
        waiting.retain(|other| Arc::strong_count(&other.broken) > 1);
        waiting.push(Waiting { told: asked.told, broken: asked.broken });
        let end = deadline.get();
        Box::pin(async move { tokio::time::sleep_until(end.into()).await })
    }

    fn drop(&self, store: Store<Guest>, result: std::result::Result<(), wasmtime::Error>) {
        store.data().stdout.finish();
        store.data().stderr.finish();
        self.alive.fetch_sub(1, Ordering::Relaxed);
        let Err(error) = result else { return };
        self.counts.enter().ended(fault::cause(&error, store.data()));
        let explained = fault::explain(&error, store.data(), &self.digest, "handle");
        for Waiting { told, broken } in self.asked.lock().drain(..) {
            let answering = Arc::strong_count(&broken) > 1;
            broken.store(true, Ordering::Relaxed);
            let again = Error::new(explained.kind(), explained.to_string());
            if told.send(again).is_err() && answering {
                tracing::warn!(error = %explained.chain(), "a component failed after it had begun to answer");
            }
        }
    }
}
