//! The body of an answer, and how long it is waited for.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use eyot_core::{Error, Result};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep_until};

use super::BoxError;
use crate::pace::is_too_slow;

/// The body of an answer; it fails where the next part, or the end, does not come in time.
pub struct ReceivedBody {
    incoming: Incoming,
    read_timeout: Option<Duration>,
    deadline: Option<Instant>,
    /// Set while a part is waited for.
    timer: Option<Pin<Box<Sleep>>>,
}

impl ReceivedBody {
    pub(super) fn new(incoming: Incoming, read_timeout: Option<Duration>, deadline: Option<Instant>) -> Self {
        Self { incoming, read_timeout, deadline, timer: None }
    }

    /// Ready when the time for the next part is over.
    fn poll_overdue(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.timer.is_none() {
            let silence = self.read_timeout.map(|silence| Instant::now() + silence);
            let due = self.deadline.into_iter().chain(silence).min();
            self.timer = due.map(|due| Box::pin(sleep_until(due)));
        }
        match &mut self.timer {
            Some(timer) => timer.as_mut().poll(context),
            None => Poll::Pending,
        }
    }
}

impl Body for ReceivedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        // A part may always be ready: the deadline is looked at all the same.
        let is_over = self.deadline.is_some_and(|deadline| deadline <= Instant::now());
        if !is_over && let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(context) {
            self.timer = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        if !is_over {
            ready!(self.poll_overdue(context));
        }
        let late = std::io::Error::new(std::io::ErrorKind::TimedOut, "the answer does not go on in time");
        Poll::Ready(Some(Err(late.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// The whole of a body that has at most `max_bytes`.
///
/// Fails with `TooLarge` where it has more, with `Timeout` where it does not go on in time, and with `Unavailable` where
/// it ends before its end.
pub async fn collect_body<B>(body: B, max_bytes: usize) -> Result<Bytes>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    match Limited::new(body, max_bytes).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(Error::too_large(format!("the body is larger than {max_bytes} bytes")))
        }
        Err(error) if is_too_slow(error.as_ref()) => {
            Err(Error::timeout("the body takes too long to arrive").because(error))
        }
        Err(error) => Err(Error::unavailable("the body ended early").because(error)),
    }
}
