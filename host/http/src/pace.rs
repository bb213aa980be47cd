//! How long a client is waited for while it sends a body.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Buf as _;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

/// What ends an answer or a body early.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A body that ends with an error once it has been waited for too long: a client that drips, or says nothing,
/// would keep what works on its request to itself. It fails with an I/O error of the kind `TimedOut`.
#[derive(Debug)]
pub struct PacedBody<B> {
    /// None once it has failed.
    body: Option<B>,
    pace: Option<BodyPace>,
    lateness: BodyLateness,
}

/// Whether a body was too late, for whoever answers its request.
#[derive(Clone, Debug, Default)]
pub struct BodyLateness(Arc<AtomicBool>);

impl BodyLateness {
    pub fn is_late(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// How long a client may be waited for. What its reader takes before it reads on is not the client's time.
#[derive(Debug)]
pub struct BodyPace {
    grace: Duration,
    bytes_per_second: u64,
    received_bytes: u64,
    /// In all waits before this one.
    waited: Duration,
    waits_since: Option<Instant>,
    /// Made when it is first waited for: most bodies are here with their heads.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<B> PacedBody<B> {
    /// Waits for `grace`, and for more times no longer than that for what comes at `bytes_per_second` or faster;
    /// for ever where that is 0.
    pub fn new(body: B, grace: Duration, bytes_per_second: u64) -> Self {
        let pace = (bytes_per_second > 0).then(|| BodyPace::new(grace, bytes_per_second));
        Self { body: Some(body), pace, lateness: BodyLateness::default() }
    }

    pub fn lateness(&self) -> BodyLateness {
        self.lateness.clone()
    }
}

impl BodyPace {
    /// Waits for `grace`, and for more times no longer than that for what comes at `bytes_per_second` or faster;
    /// for no more where that is 0.
    pub fn new(grace: Duration, bytes_per_second: u64) -> Self {
        let (received_bytes, waited) = (0, Duration::ZERO);
        Self { grace, bytes_per_second, received_bytes, waited, waits_since: None, timer: None }
    }

    /// A part has come, or the end.
    pub fn mark_received(&mut self, bytes: usize) {
        self.received_bytes += bytes as u64;
        self.waited += self.waits_since.take().map_or(Duration::ZERO, |since| since.elapsed());
    }

    /// From here on as at the start.
    pub fn restart(&mut self) {
        (self.received_bytes, self.waited, self.waits_since) = (0, Duration::ZERO, None);
    }

    /// Ready with an error when the time for the next part is over.
    pub fn poll_overdue(&mut self, context: &mut Context<'_>) -> Poll<std::io::Error> {
        let since = *self.waits_since.get_or_insert_with(Instant::now);
        let earned = self.received_bytes.saturating_mul(1000).checked_div(self.bytes_per_second);
        let allowed = self.grace.saturating_add(Duration::from_millis(earned.unwrap_or_default()));
        // Who has sent much and then says nothing is gone all the same.
        let due = (since + allowed.saturating_sub(self.waited).min(self.grace)).into();
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        if timer.deadline() != due {
            timer.as_mut().reset(due);
        }
        ready!(timer.as_mut().poll(context));
        let text = match self.bytes_per_second {
            0 => format!("its body does not come within {} ms", self.grace.as_millis()),
            rate => format!(
                "its body comes slower than {rate} bytes a second, or nothing of it within {} ms",
                self.grace.as_millis()
            ),
        };
        Poll::Ready(std::io::Error::new(std::io::ErrorKind::TimedOut, text))
    }
}

impl<B> Body for PacedBody<B>
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        let Self { body: Some(body), pace, .. } = &mut *self else { return Poll::Ready(None) };
        if let Poll::Ready(frame) = Pin::new(body).poll_frame(context) {
            let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
            let length = data.map_or(0, |data| data.remaining());
            if let Some(pace) = pace {
                pace.mark_received(length);
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let Some(pace) = pace else { return Poll::Pending };
        let error = ready!(pace.poll_overdue(context));
        // What is left of it is not waited for either.
        self.body = None;
        self.lateness.0.store(true, Ordering::Relaxed);
        Poll::Ready(Some(Err(error.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}

/// Whether a body failed because its client was too slow, somewhere among the causes of an error.
pub fn is_too_slow(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(found) = cause {
        if found.downcast_ref::<std::io::Error>().is_some_and(|io| io.kind() == std::io::ErrorKind::TimedOut)
        {
            return true;
        }
        cause = found.source();
    }
    false
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use bytes::Bytes;
    use futures::StreamExt as _;
    use http_body_util::{BodyExt as _, StreamBody};

    type Piece = Result<Frame<Bytes>, std::convert::Infallible>;

    #[tokio::test]
    async fn who_says_nothing_is_waited_for_as_long_as_was_said() {
        let silent = StreamBody::new(futures::stream::pending::<Piece>());
        let error = PacedBody::new(silent, Duration::from_millis(10), 100).collect().await.unwrap_err();
        assert!(is_too_slow(error.as_ref()), "{error}");
        let one = futures::stream::iter([Ok(Frame::data(Bytes::from_static(b"x")))]);
        let stops = StreamBody::new(one.chain(futures::stream::pending::<Piece>()));
        // What has come has earned a longer time, but not for a silence.
        let stops = PacedBody::new(stops, Duration::from_millis(10), 1);
        let lateness = stops.lateness();
        assert!(!lateness.is_late());
        let ended = tokio::time::timeout(Duration::from_millis(900), stops.collect()).await;
        assert!(ended.unwrap().is_err());
        assert!(lateness.is_late());
    }

    #[tokio::test]
    async fn who_sends_is_not_disturbed() {
        let parts = (0..100).map(|_| Ok(Frame::data(Bytes::from_static(b"x"))) as Piece);
        let whole = PacedBody::new(StreamBody::new(futures::stream::iter(parts)), Duration::ZERO, 1);
        assert_eq!(whole.collect().await.unwrap().to_bytes().len(), 100);
    }
}
