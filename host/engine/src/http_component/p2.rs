//! Components of `wasi:http/incoming-handler@0.2`: an instance works on one request at a time.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use eyot_core::{Error, Result};
use futures::FutureExt as _;
use tokio::sync::oneshot;
use wasmtime::Store;
use wasmtime::component::ResourceTable;
use wasmtime_wasi_http::p2::HttpError;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};
use wasmtime_wasi_http::p2::bindings::{Proxy, ProxyPre};
use wasmtime_wasi_http::p2::body::{HostOutgoingBody, StreamContext};
use wasmtime_wasi_http::{WasiBody, WasiHttpView as _};

use super::instance_end::InstanceEnd;
use super::{ResponseBody, StreamedBody, check_status, no_response};
use crate::background_executor::{PreemptibleCall, TimeSlice};
use crate::guest::{GuestState, SharedDeadline};
use crate::pool::{InstanceFactory, InstancePool};
use crate::{Component, GuestGrants, InstanceLimits, InstancePolicy, InstanceStats, fault};

/// Hands each request to an instance of its own, or to one that has done with its last.
pub(super) struct P2Component {
    pool: Arc<InstancePool<ProxyPre<GuestState>>>,
}

impl InstanceFactory for ProxyPre<GuestState> {
    type Exports = Proxy;

    async fn instantiate(&self, store: &mut Store<GuestState>) -> wasmtime::Result<Proxy> {
        self.instantiate_async(store).await
    }
}

/// What a component is called with.
struct P2Request {
    request: http::Request<WasiBody>,
    sender: oneshot::Sender<Result<http::Response<WasiBody>, ErrorCode>>,
    deadline: SharedDeadline,
    end: Arc<InstanceEnd>,
}

impl P2Component {
    pub(super) fn new(
        component: Component,
        pre: ProxyPre<GuestState>,
        grants: GuestGrants,
        limits: InstanceLimits,
        instances: InstancePolicy,
    ) -> Result<Self> {
        Ok(Self { pool: Arc::new(InstancePool::new(component, pre, grants, limits, instances)?) })
    }

    pub(super) fn component(&self) -> &Component {
        self.pool.component()
    }

    pub(super) fn stats(&self) -> InstanceStats {
        self.pool.stats()
    }

    pub(super) async fn answer(
        &self,
        request: http::Request<WasiBody>,
    ) -> Result<http::Response<StreamedBody>> {
        let (sender, given) = oneshot::channel();
        let (timeout, end) = (self.pool.limits().timeout, Arc::<InstanceEnd>::default());
        let deadline = SharedDeadline::new(Instant::now() + timeout);
        let p2_request = P2Request { request, sender, deadline: deadline.clone(), end: end.clone() };
        let mut work = self.pool.call(false, |pool, time_slice| work(pool, time_slice, p2_request));
        let (mut given, mut done) = (given.fuse(), Poll::Pending);
        let given = std::future::poll_fn(|context| {
            done = Pin::new(&mut work).poll(context);
            match Pin::new(&mut given).poll(context) {
                Poll::Ready(Ok(given)) => Poll::Ready(Some(given)),
                _ if done.is_ready() => Poll::Ready(None),
                _ => Poll::Pending,
            }
        });
        match (given.await, done) {
            (Some(Ok(response)), done) => {
                check_status(response.status(), &self.component().digest())?;
                let mut response = ResponseBody::of(response, deadline, timeout, end);
                let done = drain_ready(response.body_mut(), &mut work, done).await;
                let body_error = response.body_mut().take_error();
                match done {
                    // Nothing of the answer has gone out yet, so it can still be an error.
                    Poll::Ready(done) => done?,
                    // It goes on while its answer goes out, and after that.
                    Poll::Pending => drop(tokio::spawn(work.map(log_late_failure))),
                }
                match body_error {
                    Some(why) => Err(self.no_response(why)),
                    None => Ok(response.map(ResponseBody::streamed)),
                }
            }
            (_, Poll::Ready(Err(error))) => Err(error),
            (Some(Err(code)), _) => Err(self.no_response(HttpError::from(code))),
            (None, _) => Err(self.no_response("it never set its response-outparam")),
        }
    }

    fn no_response(&self, why: impl std::fmt::Display) -> Error {
        no_response(&self.component().digest(), why)
    }
}

/// Takes what comes of an answer without waiting for anything, so that `work` on a small one ends here and needs no
/// task of its own. Answers whether it has ended.
async fn drain_ready(
    answer: &mut ResponseBody,
    work: &mut PreemptibleCall<Result<()>>,
    mut done: Poll<Result<()>>,
) -> Poll<Result<()>> {
    std::future::poll_fn(|context| {
        while answer.take_ready(context) {
            if done.is_pending() {
                done = Pin::new(&mut *work).poll(context);
            }
        }
        Poll::Ready(())
    })
    .await;
    done
}

/// What went wrong once the answer had begun.
fn log_late_failure(done: Result<()>) {
    if let Err(error) = done {
        tracing::warn!(error = %error.chain(), "a component failed after it had begun to answer");
    }
}

/// A request from its start to what the component does after its answer.
///
/// Fails with why the instance was ended; the answer is marked as broken then.
async fn work(
    pool: Arc<InstancePool<ProxyPre<GuestState>>>,
    time_slice: TimeSlice,
    p2_request: P2Request,
) -> Result<()> {
    let mut warm = pool.take().await?;
    let P2Request { request, sender, deadline, end } = p2_request;
    let mut http = warm.store.data_mut().http();
    let request = http.new_incoming_request(Scheme::Http, request);
    let request = request.map_err(|error| Error::invalid(format!("{error:#}")))?;
    let out = http.new_response_outparam(sender).map_err(|error| Error::internal(format!("{error:#}")))?;
    let (_, busy) = pool.begin(&mut warm, time_slice, None);
    *warm.store.data_mut().running.get_or_insert_default().lock() = vec![deadline.clone()];
    let call = warm.exports.wasi_http_incoming_handler().call_handle(&mut warm.store, request, out);
    let called = until(&deadline, call).await;
    let unfinished = abort_bodies(warm.store.data_mut().http().table);
    // A program that ends itself once it has answered has done what it should.
    let exited = called.as_ref().is_err_and(fault::is_success) && !unfinished;
    let called = if exited { Ok(()) } else { called };
    // Before the instance goes, and with it its end of the body, which looks as if it were done.
    end.set_failed(called.is_err());
    let ((), warm) = pool.settle(called, warm, "handle", busy)?;
    // What it began and left has no use for another request.
    match exited || unfinished {
        true => pool.end(warm),
        false => pool.keep(warm),
    }
    Ok(())
}

/// Aborts bodies that were left unfinished: one dropped with its instance would look complete. Answers whether there
/// was one.
fn abort_bodies(table: &mut ResourceTable) -> bool {
    let mut left = 0;
    for body in table.iter_mut().filter_map(|one| one.downcast_mut::<HostOutgoingBody>()) {
        let (empty, _) = HostOutgoingBody::new(StreamContext::Response, None, 1, 1);
        std::mem::replace(body, empty).abort();
        left += 1;
    }
    left > 0
}

/// Waits for as long as the deadline moves on.
async fn until<T>(
    deadline: &SharedDeadline,
    call: impl Future<Output = wasmtime::Result<T>>,
) -> wasmtime::Result<T> {
    let mut call = pin!(call);
    loop {
        let end = deadline.get();
        match tokio::time::timeout_at(end.into(), &mut call).await {
            Ok(called) => return called,
            Err(_) if deadline.get() > end => {}
            Err(_) => return Err(wasmtime::Trap::Interrupt.into()),
        }
    }
}
