//! The body of a request that a component reads as it comes.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use eyot_core::config;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::Sleep;

use crate::answer::Failure;

/// How much of a body that nobody wants is read, and for how long.
const UNWANTED: usize = 16 << 20;
const PATIENCE: Duration = Duration::from_secs(10);

/// What a component leaves of it is read and dropped, within reason: a client that is still sending would
/// see a broken connection instead of the answer. A client that sends too slowly for too long is not
/// waited for: it would keep an instance to itself.
pub(super) struct Rest {
    body: Option<Incoming>,
    pace: Option<Pace>,
}

/// How long a client may be waited for. What a component takes before it reads on is not the client's time.
struct Pace {
    grace: Duration,
    /// Bytes a second.
    rate: u64,
    received: u64,
    /// In all waits before this one.
    waited: Duration,
    waits_since: Option<Instant>,
    timer: Pin<Box<Sleep>>,
}

impl Rest {
    pub(super) fn new(body: Incoming, config: &config::Gateway) -> Self {
        let pace = (config.body_rate.0 > 0).then(|| Pace::new(config.body_timeout.0, config.body_rate.0));
        Self { body: Some(body), pace }
    }
}

impl Pace {
    fn new(grace: Duration, rate: u64) -> Self {
        let timer = Box::pin(tokio::time::sleep_until((Instant::now() + grace).into()));
        Self { grace, rate, received: 0, waited: Duration::ZERO, waits_since: None, timer }
    }

    /// A part has come, or the end.
    fn came(&mut self, length: usize) {
        self.received += length as u64;
        self.waited += self.waits_since.take().map_or(Duration::ZERO, |since| since.elapsed());
    }

    /// Ready when the time for the next part is over.
    fn poll_over(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let since = *self.waits_since.get_or_insert_with(Instant::now);
        let allowed = self.grace + Duration::from_millis(self.received.saturating_mul(1000) / self.rate);
        let due = since + allowed.saturating_sub(self.waited);
        if self.timer.deadline() != due.into() {
            self.timer.as_mut().reset(due.into());
        }
        self.timer.as_mut().poll(context)
    }
}

impl Body for Rest {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let Self { body: Some(body), pace } = &mut *self else { return Poll::Ready(None) };
        match Pin::new(body).poll_frame(context) {
            Poll::Ready(frame) => {
                let length =
                    frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()).map_or(0, Bytes::len);
                if let Some(pace) = pace {
                    pace.came(length);
                }
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
            Poll::Pending => {
                let Some(pace) = pace else { return Poll::Pending };
                std::task::ready!(pace.poll_over(context));
                let text = format!("its body comes slower than {} bytes a second", pace.rate);
                // What is left of it is not waited for either.
                self.body = None;
                Poll::Ready(Some(Err(std::io::Error::new(std::io::ErrorKind::TimedOut, text).into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}

impl Drop for Rest {
    fn drop(&mut self) {
        let left = self.body.take().filter(|body| !Body::is_end_stream(body));
        let (Some(mut body), Ok(runtime)) = (left, tokio::runtime::Handle::try_current()) else { return };
        runtime.spawn(tokio::time::timeout(PATIENCE, async move {
            let mut dropped = 0;
            while let Some(Ok(frame)) = body.frame().await {
                dropped += frame.data_ref().map_or(0, Bytes::len);
                if dropped > UNWANTED {
                    return;
                }
            }
        }));
    }
}
