//! What comes out of a guest beside its answer: lines, metrics, parameters, tags.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};

/// Where a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StandardStream {
    Stdout,
    Stderr,
}

/// Takes what a guest reports. Called from the thread that runs the guest: it must not block.
pub trait ReportSink: Send + Sync + 'static {
    /// One line of output, without its end.
    fn line(&self, stream: StandardStream, line: &str);
    /// One point of a metric.
    fn metric(&self, _key: &str, _value: f64, _step: i64) {}
    /// A parameter.
    fn param(&self, _key: &str, _value: &str) {}
    /// A tag.
    fn tag(&self, _key: &str, _value: &str) {}
}

/// Forgets everything.
#[derive(Clone, Copy, Debug)]
pub struct NullSink;

impl ReportSink for NullSink {
    fn line(&self, _stream: StandardStream, _line: &str) {}
}

/// A longer line is cut into several: a guest that never ends its line must not grow the host.
const MAX_LINE_BYTES: usize = 8 << 10;
/// A guest that prints more than this in one call is cut off, with a last line that says so.
const MAX_OUTPUT_BYTES: usize = 4 << 20;

/// A guest's stdout or stderr, cut into lines for a sink.
#[derive(Clone)]
pub(crate) struct LineWriter(Arc<Mutex<LineBuffer>>);

struct LineBuffer {
    stream: StandardStream,
    sink: Arc<dyn ReportSink>,
    pending: Vec<u8>,
    written: usize,
    last: String,
    last_at: Option<Instant>,
}

impl LineWriter {
    pub(crate) fn new(stream: StandardStream, sink: Arc<dyn ReportSink>) -> Self {
        Self(Arc::new(Mutex::new(LineBuffer {
            stream,
            sink,
            pending: Vec::new(),
            written: 0,
            last: String::new(),
            last_at: None,
        })))
    }

    fn with<T>(&self, act: impl FnOnce(&mut LineBuffer) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// As if the guest had written it.
    pub(crate) fn print(&self, bytes: &[u8]) {
        self.with(|buffer| buffer.write(bytes));
    }

    /// A new call begins, which may print as much as any other.
    pub(crate) fn begin(&self) {
        self.with(|buffer| buffer.written = 0);
    }

    /// Hands on what stands in the buffer without an end of line.
    pub(crate) fn finish(&self) {
        self.with(LineBuffer::flush_line);
    }

    /// The last line that was not empty: a panic's message, mostly.
    pub(crate) fn last(&self) -> String {
        self.last_said().1
    }

    /// The same, and when it was said.
    pub(crate) fn last_said(&self) -> (Option<Instant>, String) {
        self.with(|buffer| (buffer.last_at, buffer.last.clone()))
    }
}

impl LineBuffer {
    fn write(&mut self, bytes: &[u8]) {
        let room = MAX_OUTPUT_BYTES.saturating_sub(self.written);
        self.written = self.written.saturating_add(bytes.len());
        for byte in &bytes[..bytes.len().min(room)] {
            match byte {
                b'\n' => self.flush_line(),
                byte => self.pending.push(*byte),
            }
            if self.pending.len() >= MAX_LINE_BYTES {
                self.flush_line();
            }
        }
        if room > 0 && bytes.len() > room {
            self.flush_line();
            self.sink.line(self.stream, &format!("(output beyond {MAX_OUTPUT_BYTES} bytes is dropped)"));
        }
    }

    fn flush_line(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let line = String::from_utf8_lossy(&self.pending).into_owned();
        self.pending.clear();
        let line = line.trim_end_matches('\r');
        self.sink.line(self.stream, line);
        if !line.trim().is_empty() && !line.starts_with("note: ") {
            line.clone_into(&mut self.last);
            self.last_at = Some(Instant::now());
        }
    }
}

impl IsTerminal for LineWriter {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LineWriter {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn wasmtime_wasi::p2::OutputStream> {
        Box::new(self.clone())
    }
}

/// Writing never waits, so the guest's line is with the sink before its call returns.
#[wasmtime_wasi::async_trait]
impl wasmtime_wasi::p2::Pollable for LineWriter {
    async fn ready(&mut self) {}
}

impl wasmtime_wasi::p2::OutputStream for LineWriter {
    fn write(&mut self, bytes: bytes::Bytes) -> wasmtime_wasi::p2::StreamResult<()> {
        self.with(|buffer| buffer.write(&bytes));
        Ok(())
    }

    fn flush(&mut self) -> wasmtime_wasi::p2::StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> wasmtime_wasi::p2::StreamResult<usize> {
        Ok(64 << 10)
    }
}

impl AsyncWrite for LineWriter {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.with(|buffer| buffer.write(bytes));
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct RecordingSink(Mutex<Vec<String>>);

    impl ReportSink for RecordingSink {
        fn line(&self, _: StandardStream, line: &str) {
            self.0.lock().unwrap().push(line.to_owned());
        }
    }

    fn lines(writes: &[&[u8]]) -> Vec<String> {
        let kept = Arc::new(RecordingSink::default());
        let lines = LineWriter::new(StandardStream::Stdout, kept.clone());
        writes.iter().for_each(|bytes| lines.with(|buffer| buffer.write(bytes)));
        lines.finish();
        std::mem::take(&mut *kept.0.lock().unwrap())
    }

    #[test]
    fn output_is_cut_into_lines_however_it_is_written() {
        assert_eq!(lines(&[b"a\nb", b"c\r\n", b"d"]), ["a", "bc", "d"]);
        assert_eq!(lines(&[b"\xff\n"]), ["\u{fffd}"]);
    }

    #[test]
    fn endless_lines_and_endless_output_are_bounded() {
        let long = vec![b'x'; MAX_LINE_BYTES * 2 + 1];
        assert_eq!(
            lines(&[&long]).iter().map(String::len).collect::<Vec<_>>(),
            [MAX_LINE_BYTES, MAX_LINE_BYTES, 1]
        );
        let flood = vec![b'y'; MAX_OUTPUT_BYTES + 1];
        let kept = lines(&[&flood, b"more\n"]);
        assert!(kept.iter().map(String::len).sum::<usize>() < MAX_OUTPUT_BYTES + 100);
        assert!(kept.last().unwrap().contains("dropped"));
    }
}
