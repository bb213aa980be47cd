//! A connection's bytes, and the bodies of what is answered on it, as its limits see them.

use std::io::IoSlice;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::connection::{ConnectionState, InFlightRequest};

/// A stream that tells its connection whether what is written to it is taken.
pub(crate) struct WatchedStream<S> {
    pub(crate) inner: S,
    pub(crate) connection: Arc<ConnectionState>,
}

impl<S> WatchedStream<S> {
    fn written(&self, polled: &Poll<std::io::Result<usize>>) {
        match polled {
            Poll::Ready(Ok(_)) => self.connection.mark_written(),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.connection.mark_blocked(),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WatchedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WatchedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.written(&polled);
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write_vectored(context, parts);
        self.written(&polled);
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

/// The body of an answer; its request is over when it has gone out, or nobody waits for it any more.
pub(crate) struct CountedBody<B> {
    inner: B,
    /// What is left of a part that is larger than a piece.
    rest: Bytes,
    in_flight: InFlightRequest,
}

/// The most that is handed out at once. What is handed out over HTTP/2 is kept by the connection until the client
/// takes it, and a request whose whole answer was handed out looks as if it were over.
const PIECE_BYTES: usize = 256 << 10;

impl<B> CountedBody<B> {
    pub(crate) fn new(inner: B, in_flight: InFlightRequest) -> Self {
        Self { inner, rest: Bytes::new(), in_flight }
    }

    /// The next piece of a part.
    fn piece(&mut self, mut part: Bytes) -> Bytes {
        self.rest = part.split_off(part.len().min(PIECE_BYTES));
        part
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for CountedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        self.in_flight.mark_taken();
        let part = match std::mem::take(&mut self.rest) {
            rest if rest.is_empty() => match ready!(Pin::new(&mut self.inner).poll_frame(context)?) {
                None => return Poll::Ready(None),
                Some(frame) => frame.into_data(),
            },
            rest => Ok(rest),
        };
        self.in_flight.mark_untaken();
        let frame = match part {
            Ok(data) => Frame::data(self.piece(data)),
            Err(trailers) => trailers,
        };
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (inner, rest) = (self.inner.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower().saturating_add(rest));
        if let Some(upper) = inner.upper().and_then(|upper| upper.checked_add(rest)) {
            hint.set_upper(upper);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use http_body_util::{BodyExt as _, Full};
    use std::net::IpAddr;

    #[tokio::test]
    async fn large_answers_are_handed_out_piece_by_piece() {
        let connection = Arc::new(ConnectionState::new(IpAddr::from([127, 0, 0, 1])));
        for length in [0, 1, PIECE_BYTES, PIECE_BYTES + 1, 5 * PIECE_BYTES] {
            let sent = Bytes::from(vec![7; length]);
            let mut body = CountedBody::new(Full::new(sent.clone()), connection.begin());
            let mut received = Vec::new();
            while !body.is_end_stream() {
                assert_eq!(body.size_hint().exact(), Some((length - received.len()) as u64));
                let piece = body.frame().await.unwrap().unwrap().into_data().unwrap();
                assert!(piece.len() <= PIECE_BYTES && connection.is_working());
                received.extend_from_slice(&piece);
            }
            assert_eq!(received, sent);
            drop(body);
            assert!(!connection.is_working());
        }
    }
}
