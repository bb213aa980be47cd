//! The body of a call: how long its messages may take to arrive, and how large they may be.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use eyot_http::BodyPace;
use hyper::body::{Body, Frame, SizeHint};
use tonic::Status;

use super::status;
use crate::protocol::too_large;

/// A body whose messages come in time. A client that streams may be silent for as long as it likes between two of
/// them, but not in the middle of one.
pub(super) struct MessageBody<B> {
    inner: B,
    pace: BodyPace,
    max_message_bytes: u64,
    is_streaming: bool,
    boundaries: MessageBoundaries,
}

/// Where in the current message the body stands.
#[derive(Default)]
struct MessageBoundaries {
    /// What is known of its prefix: whether it is compressed, and its length in four bytes.
    prefix: [u8; PREFIX_BYTES],
    prefix_bytes: usize,
    missing_bytes: u64,
}

const PREFIX_BYTES: usize = 5;

impl<B> MessageBody<B> {
    pub(super) fn new(inner: B, timeout: Duration, max_message_bytes: u64, is_streaming: bool) -> Self {
        let (pace, boundaries) = (BodyPace::new(timeout, 0), MessageBoundaries::default());
        Self { inner, pace, max_message_bytes, is_streaming, boundaries }
    }
}

impl MessageBoundaries {
    /// Whether nothing of a message has come that is not whole.
    fn is_between_messages(&self) -> bool {
        self.prefix_bytes == 0
    }

    /// Goes on by these bytes; whether a message ended among them, and the length of the longest of which any came.
    fn advance(&mut self, mut bytes: &[u8]) -> (bool, u64) {
        let (mut has_ended, mut longest) = (false, 0);
        while !bytes.is_empty() {
            if self.prefix_bytes < PREFIX_BYTES {
                let taken = bytes.len().min(PREFIX_BYTES - self.prefix_bytes);
                let (head, rest) = bytes.split_at(taken);
                self.prefix[self.prefix_bytes..self.prefix_bytes + taken].copy_from_slice(head);
                self.prefix_bytes += taken;
                bytes = rest;
                let [_, length @ ..] = self.prefix;
                if self.prefix_bytes == PREFIX_BYTES {
                    self.missing_bytes = u32::from_be_bytes(length).into();
                    longest = longest.max(self.missing_bytes);
                }
            } else {
                let taken = self.missing_bytes.min(bytes.len() as u64);
                self.missing_bytes -= taken;
                bytes.advance(usize::try_from(taken).unwrap_or(bytes.len()));
            }
            if self.prefix_bytes == PREFIX_BYTES && self.missing_bytes == 0 {
                self.prefix_bytes = 0;
                has_ended = true;
            }
        }
        (has_ended, longest)
    }
}

/// Reads the same bytes at once and one by one, for whoever tries any: messages begin and end at the same places.
#[cfg(any(test, fuzzing))]
pub(crate) fn check_message_boundaries(bytes: &[u8]) {
    let (mut whole, mut pieces) = (MessageBoundaries::default(), MessageBoundaries::default());
    let (has_ended, longest) = whole.advance(bytes);
    let each: Vec<_> = bytes.iter().map(|byte| pieces.advance(std::slice::from_ref(byte))).collect();
    assert_eq!(has_ended, each.iter().any(|(ended, _)| *ended));
    assert_eq!(longest, each.iter().map(|(_, longest)| *longest).max().unwrap_or(0));
    assert_eq!(
        (whole.prefix_bytes, whole.missing_bytes, whole.is_between_messages()),
        (pieces.prefix_bytes, pieces.missing_bytes, pieces.is_between_messages())
    );
}

impl<B> Body for MessageBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Self { inner, pace, max_message_bytes, is_streaming, boundaries } = &mut *self;
        let Poll::Ready(frame) = Pin::new(inner).poll_frame(context) else {
            if *is_streaming && boundaries.is_between_messages() {
                return Poll::Pending;
            }
            let late = ready!(pace.poll_overdue(context));
            let status = Status::deadline_exceeded(format!("the call's message is late: {late}"));
            return Poll::Ready(Some(Err(status.into())));
        };
        let Some(frame) = frame else { return Poll::Ready(None) };
        let frame = frame.map_err(Into::into)?;
        if let Some(data) = frame.data_ref() {
            pace.mark_received(data.len());
            let (has_ended, longest) = boundaries.advance(data);
            if longest > *max_message_bytes {
                return Poll::Ready(Some(Err(status(&too_large(*max_message_bytes)).into())));
            }
            // A message that has begun has its own time.
            if has_ended && *is_streaming {
                pace.restart();
            }
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use futures::StreamExt as _;
    use http_body_util::{BodyExt as _, StreamBody};

    type Piece = Result<Frame<Bytes>, std::convert::Infallible>;

    const TIMEOUT: Duration = Duration::from_millis(20);

    /// A body of these pieces and nothing more, for ever.
    fn body(
        pieces: &[&'static [u8]],
        is_streaming: bool,
    ) -> MessageBody<impl Body<Data = Bytes, Error = std::convert::Infallible> + Unpin> {
        let pieces: Vec<Piece> =
            pieces.iter().map(|piece| Ok(Frame::data(Bytes::from_static(piece)))).collect();
        let stream = futures::stream::iter(pieces).chain(futures::stream::pending());
        MessageBody::new(StreamBody::new(stream), TIMEOUT, 100, is_streaming)
    }

    #[tokio::test]
    async fn what_is_too_large_is_said_before_it_is_received() {
        for pieces in [&[&[0, 0, 0, 0, 101][..]][..], &[&[0, 0, 0, 0, 1, 7, 0, 1], &[0, 0, 0]]] {
            let error = body(pieces, true).collect().await.unwrap_err();
            let status = error.downcast_ref::<Status>().unwrap();
            assert_eq!(status.code(), tonic::Code::ResourceExhausted);
            assert!(status.message().contains("raise gateway.max-body"), "{}", status.message());
        }
    }

    #[tokio::test]
    async fn a_message_comes_in_time_and_pauses_between_messages_are_the_clients() {
        let whole: &[&[u8]] = &[&[0, 0, 0], &[0, 2, 7], &[7, 0, 0, 0, 0, 0]];
        let half: &[&[u8]] = &[&[0, 0, 0, 0, 2, 7, 7, 0, 0]];
        for (pieces, is_streaming, ends) in [
            (whole, true, false),
            (&[], true, false),
            (half, true, true),
            (whole, false, true),
            (&[], false, true),
        ] {
            let collected = tokio::time::timeout(5 * TIMEOUT, body(pieces, is_streaming).collect()).await;
            assert_eq!(collected.is_ok(), ends, "{pieces:?} {is_streaming}");
            if let Ok(collected) = collected {
                let error = collected.unwrap_err();
                assert_eq!(error.downcast_ref::<Status>().unwrap().code(), tonic::Code::DeadlineExceeded);
            }
        }
    }

    proptest::proptest! {
        /// However the network cuts a stream, its messages are the same.
        #[test]
        fn messages_are_found_however_they_are_cut(
            lengths in proptest::collection::vec(0_u8..40, 0..6),
            cuts in proptest::collection::vec(1_usize..9, 1..60),
        ) {
            let mut stream = Vec::new();
            for length in &lengths {
                stream.extend_from_slice(&[0, 0, 0, 0, *length]);
                stream.extend(std::iter::repeat_n(7, usize::from(*length)));
            }
            let mut whole = MessageBoundaries::default();
            let (has_ended, longest) = whole.advance(&stream);
            proptest::prop_assert_eq!(has_ended, !lengths.is_empty());
            proptest::prop_assert_eq!(longest, u64::from(lengths.iter().copied().max().unwrap_or_default()));
            let (mut cut, mut rest, mut found, mut sizes) = (MessageBoundaries::default(), stream.as_slice(), 0, cuts.iter().cycle());
            while let (false, Some(size)) = (rest.is_empty(), sizes.next()) {
                let (piece, after) = rest.split_at(rest.len().min(*size));
                found = found.max(cut.advance(piece).1);
                rest = after;
            }
            proptest::prop_assert_eq!(found, longest);
            proptest::prop_assert!(cut.is_between_messages());
        }
    }
}
