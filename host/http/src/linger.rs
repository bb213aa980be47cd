//! What is left of a request's body when its answer is ready.
//!
//! A server that answers before it has read a body, as with a refusal, cannot take what follows for the next
//! request. hyper closes such a connection once the body is dropped: a client that sends its next request on it
//! fails, and one that is still sending loses the answer. So a body that is dropped unread comes back here: a
//! short rest is read, and of a long one the client is told that the connection ends, and is listened to for a
//! moment while it reads the answer.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderValue, Request, Response, Version, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;

use crate::pace::{BoxError, PacedBody};

/// The rest of a body that is read before the answer goes out.
const DRAINED_BYTES: u64 = 256 << 10;
/// How long that may take: a client that waits for the answer before it sends on gets it.
const DRAIN_TIME: Duration = Duration::from_millis(100);
/// What a client may send on while it does not look at the answer: most read only when they have sent everything.
const LINGERED_BYTES: u64 = 256 << 20;
/// How long it is waited for, and for what it has to come faster to be waited for any longer.
const LINGER_TIME: Duration = Duration::from_secs(5);
const LINGER_BYTES_PER_SECOND: u64 = 8 << 20;

/// A request's body, which goes home when it is dropped unread.
#[derive(Debug)]
pub struct ReturnedBody<B> {
    /// None once it was read to its end.
    body: Option<B>,
    is_touched: bool,
    home: SharedBody<B>,
}

/// Where a body is kept between the handler that dropped it and the answer.
type SharedBody<B> = Arc<Mutex<RemainingBody<B>>>;

#[derive(Debug)]
enum RemainingBody<B> {
    /// The answer is not ready.
    Awaited,
    /// It was dropped before the answer was ready.
    Left { body: B, is_touched: bool },
    /// The answer goes out already: whoever still reads the body sees to the rest of it when it is dropped, with
    /// this.
    Missed(fn(B)),
}

impl<B: Body + Unpin> Body for ReturnedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.is_touched = true;
        let Some(body) = self.body.as_mut() else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(context);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.body = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl<B> Drop for ReturnedBody<B> {
    fn drop(&mut self) {
        let Some(body) = self.body.take() else { return };
        let mut home = self.home.lock().unwrap_or_else(PoisonError::into_inner);
        match &*home {
            RemainingBody::Missed(linger) => linger(body),
            RemainingBody::Awaited | RemainingBody::Left { .. } => {
                *home = RemainingBody::Left { body, is_touched: self.is_touched }
            }
        }
    }
}

/// Has `answer` work on a request, and sees to what it left of the body.
pub async fn with_rest_of_body<B, A, F>(
    request: Request<B>,
    answer: impl FnOnce(Request<ReturnedBody<B>>) -> F,
) -> Response<A>
where
    B: Body + Unpin + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
    F: Future<Output = Response<A>>,
{
    // Streams of HTTP/2 end one by one.
    let is_alone = request.version() == Version::HTTP_2 || request.body().is_end_stream();
    // Sends the body only once it is asked to go on, which reading it does.
    let waits = request.headers().contains_key(header::EXPECT);
    let home = SharedBody::new(Mutex::new(RemainingBody::Awaited));
    let kept = home.clone();
    let mut response =
        answer(request.map(|body| ReturnedBody { body: Some(body), is_touched: false, home })).await;
    let late = if is_alone { drop } else { linger };
    let rest = std::mem::replace(
        &mut *kept.lock().unwrap_or_else(PoisonError::into_inner),
        RemainingBody::Missed(late),
    );
    let RemainingBody::Left { body: mut rest, is_touched } = rest else { return response };
    if is_alone || rest.is_end_stream() {
        return response;
    }
    if waits && !is_touched {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        return response;
    }
    let drained = tokio::time::timeout(DRAIN_TIME, drain(&mut rest, DRAINED_BYTES)).await;
    if !matches!(drained, Ok(true)) {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        linger(rest);
    }
    response
}

/// Listens to a client while it reads the answer: bounded in bytes and time, and over with its connection.
fn linger<B>(rest: B)
where
    B: Body + Unpin + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
    if !rest.is_end_stream() {
        runtime.spawn(async move {
            let mut rest = PacedBody::new(rest, LINGER_TIME, LINGER_BYTES_PER_SECOND);
            drain(&mut rest, LINGERED_BYTES).await
        });
    }
}

/// Reads at most `limit` bytes; whether that was all.
async fn drain<B: Body + Unpin>(body: &mut B, limit: u64) -> bool {
    let mut left = limit;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        let length = frame.data_ref().map_or(0, bytes::Buf::remaining) as u64;
        match left.checked_sub(length) {
            Some(rest) => left = rest,
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use bytes::Bytes;
    use http_body_util::{Full, StreamBody};

    type Piece = Result<Frame<Bytes>, std::convert::Infallible>;

    fn request<B>(body: B) -> Request<B> {
        Request::builder().method("POST").uri("/").body(body).unwrap()
    }

    async fn announced<B>(body: B, reads: bool) -> bool
    where
        B: Body + Unpin + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError> + std::fmt::Debug,
    {
        let answer = |request: Request<ReturnedBody<B>>| async move {
            if reads {
                request.into_body().collect().await.unwrap();
            }
            Response::new(())
        };
        with_rest_of_body(request(body), answer).await.headers().contains_key("connection")
    }

    #[tokio::test]
    async fn a_short_rest_is_read_and_a_long_one_ends_the_connection() {
        let small = || Full::new(Bytes::from_static(b"{}"));
        let large = || Full::new(Bytes::from(vec![0; 1 << 20]));
        let silent = || StreamBody::new(futures::stream::pending::<Piece>());
        assert!(!announced(small(), false).await);
        assert!(announced(large(), false).await);
        assert!(!announced(large(), true).await);
        assert!(announced(silent(), false).await);
    }
}
