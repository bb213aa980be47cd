//! Bodies: read whole and bounded, answered in parts.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use eyot_core::{Error, Result};
use eyot_http::ReturnedBody;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use crate::protocol::too_large;

/// The body of an answer: bytes that lie where they were made.
#[derive(Debug, Default)]
pub(crate) struct SegmentedBody {
    first: Bytes,
    others: VecDeque<Bytes>,
}

/// Parts smaller than this are joined: a system call costs more than the copy.
const MAX_JOINED_BYTES: usize = 16 << 10;

impl SegmentedBody {
    /// `first`, then `others`.
    pub(crate) fn new(first: Vec<u8>, others: Vec<Bytes>) -> Self {
        let length = first.len() + others.iter().map(Bytes::len).sum::<usize>();
        if others.is_empty() || length > MAX_JOINED_BYTES {
            let others = others.into_iter().filter(|part| !part.is_empty()).collect();
            return Self { first: first.into(), others };
        }
        let mut whole = first;
        others.iter().for_each(|part| whole.extend_from_slice(part));
        Self::from(Bytes::from(whole))
    }

    pub(crate) fn len(&self) -> usize {
        self.first.len() + self.others.iter().map(Bytes::len).sum::<usize>()
    }

    /// All of it in one piece.
    pub(crate) fn whole(self) -> Bytes {
        if self.others.is_empty() {
            return self.first;
        }
        let mut whole = Vec::with_capacity(self.len());
        whole.extend_from_slice(&self.first);
        self.others.iter().for_each(|part| whole.extend_from_slice(part));
        whole.into()
    }
}

impl From<Bytes> for SegmentedBody {
    fn from(first: Bytes) -> Self {
        Self { first, others: VecDeque::new() }
    }
}

impl Body for SegmentedBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = if self.first.is_empty() {
            self.others.pop_front()
        } else {
            Some(std::mem::take(&mut self.first))
        };
        Poll::Ready(next.map(|part| Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_empty() && self.others.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.len() as u64)
    }
}

/// The body of a request. What is left of it when it is dropped is seen to where it came from.
pub(crate) type RequestBody = ReturnedBody<Incoming>;

/// Back ends want tensors at such addresses.
const ALIGNMENT_BYTES: usize = 64;

/// Bytes of a body that are read without letting other requests have their turn.
const READ_TURN_BYTES: usize = 128 << 10;

/// Reads a body of at most `limit` bytes in one piece, such that the byte at `aligned`, where the first
/// binary tensor begins, lies where a back end can use it as it is.
///
/// A larger one is read to its end and dropped, within reason: a client that is still sending would
/// see a broken connection instead of the answer.
pub(crate) async fn read(mut body: RequestBody, limit: u64, aligned: usize) -> Result<Bytes> {
    let promised = body.size_hint().exact();
    let mut whole: Option<Vec<u8>> = None;
    let (mut padding, mut length, mut unyielded) = (0, 0_u64, 0);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Error::invalid("the request's body ended early").because(error))?;
        let Ok(data) = frame.into_data() else { continue };
        // A client that sends faster than this reads would keep the thread until all of it is here.
        unyielded += data.len();
        if unyielded > READ_TURN_BYTES {
            unyielded = 0;
            tokio::task::yield_now().await;
        }
        length += data.len() as u64;
        if length > limit {
            whole = Some(Vec::new());
            if length > limit.saturating_mul(4) {
                break;
            }
            continue;
        }
        if whole.is_none() && promised == Some(length) {
            return Ok(data);
        }
        let whole = whole.get_or_insert_with(|| {
            let capacity = promised.unwrap_or_default().min(limit);
            let mut whole =
                Vec::with_capacity(usize::try_from(capacity).unwrap_or_default() + ALIGNMENT_BYTES);
            padding = (whole.as_ptr() as usize).wrapping_add(aligned).wrapping_neg() % ALIGNMENT_BYTES;
            whole.resize(padding, 0);
            whole
        });
        whole.extend_from_slice(&data);
    }
    if length > limit {
        return Err(too_large(limit));
    }
    Ok(whole.map_or_else(Bytes::new, |whole| Bytes::from(whole).slice(padding..)))
}
