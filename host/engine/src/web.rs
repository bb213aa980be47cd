//! Components that answer HTTP themselves: `wasi:http/incoming-handler@0.2` and `wasi:http/handler@0.3`.

use std::fmt::Display;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use alone::Alone;
use bytes::Bytes;
use eyot_core::{Digest, Error, Result};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use together::Together;
use wasmtime_wasi_http::{WasiBody, p2, p3};

use crate::guest::Deadline;
use crate::{Census, Component, Grants, Instances, Limits, Mode};

mod alone;
mod together;

/// The body of a request or an answer as it streams.
pub type Streamed = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// A component that answers HTTP, with what it was granted.
pub struct Web {
    kind: Kind,
}

enum Kind {
    Alone(Alone),
    Together(Together),
}

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
        let invalid = |error: wasmtime::Error| {
            Error::invalid(format!("component {} answers no HTTP: {error:#}", component.digest()))
                .hint("it exports neither wasi:http/incoming-handler@0.2 nor wasi:http/handler@0.3")
        };
        let pre = component.instance().clone();
        let kind = if Self::answers_once(&component) {
            let pre = p2::bindings::ProxyPre::new(pre).map_err(invalid)?;
            Kind::Alone(Alone::new(component, pre, grants, limits, instances)?)
        } else {
            grants.check(&component)?;
            let pre = p3::bindings::ServicePre::new(pre).map_err(invalid)?;
            Kind::Together(Together::new(component, pre, grants, limits, instances))
        };
        Ok(Arc::new(Self { kind }))
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
        match &self.kind {
            Kind::Alone(alone) => alone.component(),
            Kind::Together(together) => together.component(),
        }
    }

    /// Its instances now, and why some ended.
    pub fn census(&self) -> Census {
        match &self.kind {
            Kind::Alone(alone) => alone.census(),
            Kind::Together(together) => together.census(),
        }
    }

    /// Answers a request. The component's time for it begins anew with each part of the answer.
    ///
    /// Fails with `Failed` when the component traps or answers no response, with `Timeout` when
    /// nothing comes in time.
    pub async fn answer(&self, request: http::Request<Streamed>) -> Result<http::Response<Streamed>> {
        let request = request.map(|body| body.map_err(in_its_words).boxed_unsync());
        match &self.kind {
            Kind::Alone(alone) => alone.answer(request).await,
            Kind::Together(together) => together.answer(request).await,
        }
    }
}

fn unanswered(digest: &Digest, why: impl Display) -> Error {
    Error::failed(format!("component {digest} answered no response: {why}"))
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

/// An answer's body: the component has its time again with each part that it gives.
struct Answer {
    inner: WasiBody,
    deadline: Deadline,
    timeout: Duration,
    /// Set when the instance fails; an answer that has begun must not look whole then.
    broken: Arc<AtomicBool>,
}

impl Answer {
    /// `response`, of a component that works until `deadline`, which moves by `timeout` with each part.
    fn of(
        response: http::Response<WasiBody>,
        deadline: Deadline,
        timeout: Duration,
        broken: Arc<AtomicBool>,
    ) -> http::Response<Streamed> {
        response.map(|inner| Self { inner, deadline, timeout, broken }.boxed_unsync())
    }
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
