//! Streams of files that are there at once: how long a disk takes is nothing that a step may see.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use tokio::sync::oneshot;
use wasmtime::StoreContextMut;
use wasmtime::component::{Destination, Source, StreamConsumer, StreamProducer, StreamResult};
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError};

use super::FileNode;
use super::quota::QuotaExceeded;

/// Bytes that are read or written at once.
const PIECE_BYTES: usize = 64 << 10;

impl From<QuotaExceeded> for io::Error {
    fn from(_: QuotaExceeded) -> Self {
        Self::from_raw_os_error(rustix::io::Errno::NOSPC.raw_os_error())
    }
}

/// Reads a file from some place on.
pub(super) struct FileReader {
    pub(super) file: Arc<File>,
    pub(super) position: u64,
}

impl FileReader {
    fn next(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = loop {
            match self.file.read_at(buffer, self.position) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        self.position = self.position.saturating_add(read as u64);
        Ok(read)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for FileReader {
    async fn ready(&mut self) {}
}

impl InputStream for FileReader {
    fn read(&mut self, size: usize) -> Result<Bytes, StreamError> {
        let mut buffer = BytesMut::zeroed(size.min(PIECE_BYTES));
        match self.next(&mut buffer) {
            Ok(0) if size > 0 => Err(StreamError::Closed),
            Ok(read) => {
                buffer.truncate(read);
                Ok(buffer.freeze())
            }
            Err(error) => Err(StreamError::LastOperationFailed(error.into())),
        }
    }
}

/// Writes a file, from some place on or at its end.
pub(super) struct FileWriter {
    pub(super) file: Arc<File>,
    pub(super) node: Arc<FileNode>,
    /// None for its end.
    pub(super) position: Option<u64>,
}

impl FileWriter {
    fn next(&mut self, bytes: &[u8]) -> io::Result<()> {
        let start = self.position.map_or_else(|| self.file.metadata().map(|data| data.len()), Ok)?;
        let end = start.checked_add(bytes.len() as u64).ok_or(io::ErrorKind::InvalidInput)?;
        self.node.grow_to(end)?;
        self.file.write_all_at(bytes, start)?;
        self.position = self.position.map(|_| end);
        Ok(())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for FileWriter {
    async fn ready(&mut self) {}
}

impl OutputStream for FileWriter {
    fn write(&mut self, bytes: Bytes) -> Result<(), StreamError> {
        self.next(&bytes).map_err(|error| StreamError::LastOperationFailed(error.into()))
    }

    fn flush(&mut self) -> Result<(), StreamError> {
        Ok(())
    }

    fn check_write(&mut self) -> Result<usize, StreamError> {
        Ok(PIECE_BYTES)
    }
}

/// Reports how a stream of WASI 0.3 ended, once.
pub(super) struct EndSignal<E>(Option<oneshot::Sender<Result<(), E>>>);

impl<E> EndSignal<E> {
    pub(super) fn new() -> (Self, oneshot::Receiver<Result<(), E>>) {
        let (sender, receiver) = oneshot::channel();
        (Self(Some(sender)), receiver)
    }

    pub(super) fn send(&mut self, how: Result<(), E>) {
        if let Some(sender) = self.0.take() {
            // Whoever does not want to know has dropped its end.
            let _ = sender.send(how);
        }
    }
}

impl<E> Drop for EndSignal<E> {
    fn drop(&mut self) {
        self.send(Ok(()));
    }
}

/// A stream of WASI 0.3 out of a file.
pub(super) struct FileProducer<E> {
    pub(super) reader: FileReader,
    pub(super) ended: EndSignal<E>,
}

impl<D, E: From<io::Error> + Send + Unpin + 'static> StreamProducer<D> for FileProducer<E> {
    type Item = u8;
    type Buffer = BytesMut;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        store: StoreContextMut<'a, D>,
        destination: Destination<'a, u8, BytesMut>,
        _: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let mut destination = destination.as_direct(store, PIECE_BYTES);
        if destination.remaining().is_empty() {
            return Poll::Ready(Ok(StreamResult::Completed));
        }
        Poll::Ready(Ok(match self.reader.next(destination.remaining()) {
            Ok(0) => StreamResult::Dropped,
            Ok(read) => {
                destination.mark_written(read);
                StreamResult::Completed
            }
            Err(error) => {
                self.ended.send(Err(error.into()));
                StreamResult::Dropped
            }
        }))
    }
}

/// A stream of WASI 0.3 into a file.
pub(super) struct FileConsumer<E> {
    pub(super) writer: FileWriter,
    pub(super) ended: EndSignal<E>,
}

impl<D, E: From<io::Error> + Send + Unpin + 'static> StreamConsumer<D> for FileConsumer<E> {
    type Item = u8;

    fn poll_consume(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        store: StoreContextMut<'_, D>,
        source: Source<'_, u8>,
        _: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let mut source = source.as_direct(store);
        let piece = source.remaining();
        let count = piece.len().min(PIECE_BYTES);
        Poll::Ready(Ok(match self.writer.next(&piece[..count]) {
            Ok(()) => {
                source.mark_read(count);
                StreamResult::Completed
            }
            Err(error) => {
                self.ended.send(Err(error.into()));
                StreamResult::Dropped
            }
        }))
    }
}
