//! Components that answer HTTP in instances which work on one request at a time.
//!
//! Here is what does not depend on the version of `wasi:http`: the instance, its time, and the answer as it comes.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Instant;

use eyot_core::{Error, Result};
use futures::FutureExt as _;
use tokio::sync::oneshot;
use wasmtime::Store;
use wasmtime_wasi_http::WasiBody;

use super::{Answer, Streamed, unanswered};
use crate::guest::{Deadline, Guest};
use crate::lane::{Pace, Paced};
use crate::pool::{Pool, Start};
use crate::{Census, Component, Grants, Instances, Limits};

/// Hands each request to an instance of its own, or to one that has done with its last.
pub(super) struct Alone<H: Handle> {
    pool: Arc<Pool<H>>,
}

/// How a component is called that exports a version of `wasi:http`.
pub(super) trait Handle: Start {
    /// A request that the component can be called with.
    type Asked: Send + 'static;

    /// Makes a request the component's.
    ///
    /// Fails with `Invalid` when the request cannot be put in terms of `wasi:http`.
    fn ask(store: &mut Store<Guest>, request: http::Request<WasiBody>, give: Give) -> Result<Self::Asked>;

    /// Calls the component until it has done with the request, answer and all. Answers whether its instance can be
    /// called again.
    fn call(
        exports: &Self::Started,
        store: &mut Store<Guest>,
        asked: Self::Asked,
    ) -> impl Future<Output = wasmtime::Result<bool>> + Send;
}

/// Takes a component's answer, or why it gives none in the words of `wasi:http`.
pub(super) type Give = oneshot::Sender<std::result::Result<http::Response<WasiBody>, String>>;

/// A request on its way to an instance.
struct Asked {
    request: http::Request<WasiBody>,
    give: Give,
    deadline: Deadline,
    broken: Arc<AtomicBool>,
}

impl<H: Handle> Alone<H> {
    pub(super) fn new(
        component: Component,
        pre: H,
        grants: Grants,
        limits: Limits,
        instances: Instances,
    ) -> Result<Self> {
        Ok(Self { pool: Arc::new(Pool::new(component, pre, grants, limits, instances)?) })
    }

    pub(super) fn component(&self) -> &Component {
        self.pool.component()
    }

    pub(super) fn census(&self) -> Census {
        self.pool.census()
    }

    /// Instances at work.
    pub(super) fn busy(&self) -> usize {
        self.pool.busy()
    }

    pub(super) async fn answer(&self, request: http::Request<WasiBody>) -> Result<http::Response<Streamed>> {
        let (give, given) = oneshot::channel();
        let (timeout, broken) = (self.pool.limits().timeout, Arc::<AtomicBool>::default());
        let deadline = Deadline::new(Instant::now() + timeout);
        let asked = Asked { request, give, deadline: deadline.clone(), broken: broken.clone() };
        let mut work = self.pool.call(false, |pool, pace| work(pool, pace, asked));
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
                let mut response = response.map(|inner| Answer::new(inner, deadline, timeout, broken));
                match at_once(response.body_mut(), &mut work, done).await {
                    // Nothing of the answer has gone out yet, so it can still be an error.
                    Poll::Ready(done) => done?,
                    // It goes on while its answer goes out, and after that.
                    Poll::Pending => drop(tokio::spawn(work.map(note))),
                }
                Ok(response.map(Answer::streamed))
            }
            (_, Poll::Ready(Err(error))) => Err(error),
            (Some(Err(code)), _) => Err(self.unanswered(code)),
            (None, _) => Err(self.unanswered("it never gave one")),
        }
    }

    fn unanswered(&self, why: impl std::fmt::Display) -> Error {
        unanswered(&self.component().digest(), why)
    }
}

/// Takes what comes of an answer without waiting for anything, so that `work` on a small one ends here and needs no
/// task of its own. Answers whether it has ended.
async fn at_once(
    answer: &mut Answer,
    work: &mut Paced<Result<()>>,
    done: Poll<Result<()>>,
) -> Poll<Result<()>> {
    let mut done = Some(done);
    std::future::poll_fn(|context| {
        let mut goes_on = true;
        while goes_on {
            goes_on = answer.take_at_once(context);
            if let Some(Poll::Pending) = done {
                done = Some(Pin::new(&mut *work).poll(context));
                // What had not come yet may have now.
                goes_on |= answer.take_at_once(context);
            }
        }
        Poll::Ready(done.take().unwrap_or(Poll::Pending))
    })
    .await
}

/// What went wrong once the answer had begun.
fn note(done: Result<()>) {
    if let Err(error) = done {
        tracing::warn!(error = %error.chain(), "a component failed after it had begun to answer");
    }
}

/// A request from its start to what the component does after its answer.
///
/// Fails with why the instance was ended; the answer is marked as broken then.
async fn work<H: Handle>(pool: Arc<Pool<H>>, pace: Pace, asked: Asked) -> Result<()> {
    let mut warm = pool.take().await?;
    let Asked { request, give, deadline, broken } = asked;
    let asked = H::ask(&mut warm.store, request, give)?;
    let (_, busy) = pool.begin(&mut warm, pace, None);
    *warm.store.data_mut().running.get_or_insert_default().lock() = vec![deadline.clone()];
    let called = until(&deadline, H::call(&warm.exports, &mut warm.store, asked)).await;
    // Before the instance goes, and with it its end of the body, which looks as if it were done.
    broken.store(called.is_err(), Ordering::Relaxed);
    let (again, warm) = pool.settle(called, warm, "handle", busy)?;
    if again {
        pool.keep(warm);
    }
    Ok(())
}

/// Waits for as long as the deadline moves on.
async fn until<T>(
    deadline: &Deadline,
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
