//! Components that answer HTTP themselves: `wasi:http/incoming-handler@0.2` and `wasi:http/handler@0.3`.

use std::collections::VecDeque;
use std::fmt::Display;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use eyot_core::{Digest, Error, Result};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use instance_end::InstanceEnd;
use p2::P2Component;
use p3::P3Component;
use wasmtime_wasi_http::WasiBody;
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p3::bindings::ServicePre;

use crate::guest::SharedDeadline;
use crate::{Component, ExecutionMode, GuestGrants, InstanceLimits, InstancePolicy, InstanceStats};

mod instance_end;
mod p2;
mod p3;

/// The body of a request or an answer as it streams.
pub type StreamedBody = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// A component that answers HTTP, with its grants.
pub struct HttpComponent {
    interface: HttpInterface,
}

enum HttpInterface {
    P2(P2Component),
    P3(P3Component),
}

impl HttpComponent {
    /// Fails with `Invalid` when the component exports no handler of `wasi:http`.
    pub fn new(
        component: Component,
        grants: GuestGrants,
        limits: InstanceLimits,
        instances: InstancePolicy,
    ) -> Result<Arc<Self>> {
        if component.mode() != ExecutionMode::Serving {
            return Err(Error::internal("an HTTP function was compiled for steps"));
        }
        let invalid = |error: wasmtime::Error| {
            Error::invalid(format!("component {} answers no HTTP: {error:#}", component.digest()))
                .hint("it exports neither wasi:http/incoming-handler@0.2 nor wasi:http/handler@0.3")
        };
        let pre = component.instance().clone();
        let interface = if Self::answers_once(&component) {
            let pre = ProxyPre::new(pre).map_err(invalid)?;
            HttpInterface::P2(P2Component::new(component, pre, grants, limits, instances)?)
        } else {
            let pre = ServicePre::new(pre).map_err(invalid)?;
            HttpInterface::P3(P3Component::new(component, pre, grants, limits, instances))
        };
        Ok(Arc::new(Self { interface }))
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
        match &self.interface {
            HttpInterface::P2(p2) => p2.component(),
            HttpInterface::P3(p3) => p3.component(),
        }
    }

    /// Its instances now, and why some ended.
    pub fn stats(&self) -> InstanceStats {
        match &self.interface {
            HttpInterface::P2(p2) => p2.stats(),
            HttpInterface::P3(p3) => p3.stats(),
        }
    }

    /// Answers a request. The component's time for it begins anew with each part of the answer.
    ///
    /// Fails with `Failed` when the component traps or answers no response, with `Timeout` when
    /// nothing comes in time.
    pub async fn answer(&self, request: http::Request<StreamedBody>) -> Result<http::Response<StreamedBody>> {
        let request = request.map(|body| body.map_err(to_wasi_error).boxed_unsync());
        match &self.interface {
            HttpInterface::P2(p2) => p2.answer(request).await,
            HttpInterface::P3(p3) => p3.answer(request).await,
        }
    }
}

/// Fails where a status cannot be that of an answer: those below 200 only announce one.
fn check_status(status: http::StatusCode, digest: &Digest) -> Result<()> {
    if !status.is_informational() {
        return Ok(());
    }
    let why = format!("the status {} announces an answer and is none", status.as_u16());
    Err(no_response(digest, why).hint("the component should answer with a status from 200 to 599"))
}

fn no_response(digest: &Digest, why: impl Display) -> Error {
    Error::failed(format!("component {digest} answered no response: {why}"))
}

/// What ends a body early, in the words of `wasi:http`.
fn to_wasi_error(error: Box<dyn std::error::Error + Send + Sync>) -> wasmtime_wasi_http::Error {
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
struct ResponseBody {
    /// What has come already.
    first: VecDeque<BodyPart>,
    inner: WasiBody,
    ended: bool,
    /// Bytes that its component says there are, and those that it has given.
    declared: Option<u64>,
    given: u64,
    deadline: SharedDeadline,
    timeout: Duration,
    /// How the instance ended; an answer that has begun must not look whole where it is not.
    end: Arc<InstanceEnd>,
}

type BodyPart = std::result::Result<http_body::Frame<Bytes>, Box<dyn std::error::Error + Send + Sync>>;

/// Bytes of an answer that are taken before its head is sent, if they are there.
const EAGER_BODY_BYTES: u64 = 64 << 10;

impl ResponseBody {
    /// The answer of a component that works until `deadline`, which moves by `timeout` with each part.
    fn of(
        response: http::Response<WasiBody>,
        deadline: SharedDeadline,
        timeout: Duration,
        end: Arc<InstanceEnd>,
    ) -> http::Response<Self> {
        let declared = response.headers().get(http::header::CONTENT_LENGTH);
        let declared = declared.and_then(|length| length.to_str().ok()?.parse().ok());
        let (first, ended, given) = Default::default();
        response.map(|inner| Self { first, inner, ended, declared, given, deadline, timeout, end })
    }

    fn streamed(self) -> StreamedBody {
        self.boxed_unsync()
    }

    /// Why what has come already is no whole answer, if it is none. Nothing of it has gone out yet, so it can still
    /// be an error.
    fn take_error(&mut self) -> Option<String> {
        let at = self.first.iter().position(std::result::Result::is_err)?;
        let error = self.first.remove(at)?.err()?;
        Some(match error.downcast_ref::<wasmtime_wasi_http::Error>() {
            // It was dropped and not finished.
            Some(wasmtime_wasi_http::Error::HttpProtocolError) => {
                "it began a body and dropped it without an end (outgoing-body.finish)".to_owned()
            }
            _ => error.to_string(),
        })
    }

    /// Bytes that have come already.
    fn taken_bytes(&self) -> u64 {
        let bytes =
            |part: &BodyPart| part.as_ref().ok().and_then(http_body::Frame::data_ref).map_or(0, Bytes::len);
        self.first.iter().map(|part| bytes(part) as u64).sum()
    }

    /// Takes the next part, if it is there and more would be welcome.
    fn take_ready(&mut self, context: &mut Context<'_>) -> bool {
        if self.ended || self.taken_bytes() >= EAGER_BODY_BYTES {
            return false;
        }
        match self.next(context) {
            Poll::Ready(Some(part)) => self.first.push_back(part),
            Poll::Ready(None) => self.ended = true,
            Poll::Pending => return false,
        }
        true
    }

    fn next(&mut self, context: &mut Context<'_>) -> Poll<Option<BodyPart>> {
        self.end.wakes(context.waker());
        let Some(_instance) = self.end.take_exited() else { return self.next_of_body(context) };
        // It writes no more: what is there is all there will be, and whole only if it says so itself.
        let mut next = self.next_of_body(context);
        while let Poll::Ready(Some(part)) = next {
            self.first.push_back(part);
            next = self.next_of_body(context);
        }
        if next.is_pending() {
            self.first.push_back(Err("the component exited before its answer was whole".into()));
        }
        self.ended = true;
        Poll::Ready(self.first.pop_front())
    }

    fn next_of_body(&mut self, context: &mut Context<'_>) -> Poll<Option<BodyPart>> {
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            self.deadline.set(Instant::now() + self.timeout);
            self.given += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        match polled {
            // A component that fails takes its end of the body with it, which looks as if it were done.
            Poll::Ready(None) if self.end.take_failed() => {
                Poll::Ready(Some(Err("the component failed before its answer was whole".into())))
            }
            // An answer to HEAD has a length and no body.
            Poll::Ready(None)
                if self.given > 0 && self.declared.is_some_and(|length| self.given < length) =>
            {
                self.given = 0;
                Poll::Ready(Some(Err("the answer is shorter than its content-length".into())))
            }
            polled => polled.map(|frame| frame.map(|frame| frame.map_err(Into::into))),
        }
    }
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<BodyPart>> {
        match self.first.pop_front() {
            Some(part) => Poll::Ready(Some(part)),
            None if self.ended => Poll::Ready(None),
            None => self.next(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_empty() && (self.ended || !self.end.has_failed() && self.inner.is_end_stream())
    }

    fn size_hint(&self) -> http_body::SizeHint {
        let data = |part: &BodyPart| part.as_ref().is_ok_and(http_body::Frame::is_data);
        match self.declared {
            // hyper trusts a body to be as long as its header says, and ends the connection where it is not.
            Some(length) => http_body::SizeHint::with_exact(length),
            // Trailers have no place after a body whose length is told.
            None if self.ended && self.first.iter().all(data) => {
                http_body::SizeHint::with_exact(self.taken_bytes())
            }
            None => http_body::SizeHint::default(),
        }
    }
}
