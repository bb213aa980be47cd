//! A bound on what a component prints over time: its lines go to a log that others read and to a disk that others
//! need.

use std::time::Instant;

use parking_lot::Mutex;

use crate::logs::{ReportSink, StandardStream};

/// Bytes of lines that may come at once.
const BURST_BYTES: f64 = (8 << 20) as f64;
/// Bytes of lines a second for as long as it goes on: 10 MB in ten minutes.
const BYTES_PER_SECOND: f64 = (16 << 10) as f64;
/// What a line takes beside its text, in time and in the log.
const LINE_BYTES: usize = 64;

/// A sink that drops lines that come faster than they may, and says how many those were.
#[derive(Debug)]
pub struct ThrottledSink<S> {
    inner: S,
    bucket: Mutex<TokenBucket>,
}

#[derive(Debug)]
struct TokenBucket {
    room_bytes: f64,
    filled: Instant,
    dropped_lines: u64,
}

impl<S: ReportSink> ThrottledSink<S> {
    pub fn new(inner: S) -> Self {
        let bucket = TokenBucket { room_bytes: BURST_BYTES, filled: Instant::now(), dropped_lines: 0 };
        Self { inner, bucket: Mutex::new(bucket) }
    }

    fn line_at(&self, now: Instant, stream: StandardStream, line: &str) {
        let mut bucket = self.bucket.lock();
        let passed = now.saturating_duration_since(bucket.filled).as_secs_f64();
        bucket.room_bytes = (bucket.room_bytes + passed * BYTES_PER_SECOND).min(BURST_BYTES);
        bucket.filled = now;
        let bytes = (line.len() + LINE_BYTES) as f64;
        // After a drop there is quiet until some room has come together, so that what is left can be read.
        let wanted = if bucket.dropped_lines > 0 { bytes.max(BYTES_PER_SECOND) } else { bytes };
        if bucket.room_bytes < wanted {
            bucket.dropped_lines += 1;
            if bucket.dropped_lines == 1 {
                let limit = BYTES_PER_SECOND / 1024.0;
                let message = format!("(output is dropped: it is more than {limit} KiB a second for long)");
                drop(bucket);
                self.inner.line(StandardStream::Stderr, &message);
            }
            return;
        }
        bucket.room_bytes -= bytes;
        let dropped_lines = std::mem::take(&mut bucket.dropped_lines);
        drop(bucket);
        if dropped_lines > 0 {
            self.inner.line(StandardStream::Stderr, &format!("({dropped_lines} lines were dropped)"));
        }
        self.inner.line(stream, line);
    }
}

impl<S: ReportSink> ReportSink for ThrottledSink<S> {
    fn line(&self, stream: StandardStream, line: &str) {
        self.line_at(Instant::now(), stream, line);
    }

    fn metric(&self, key: &str, value: f64, step: i64) {
        self.inner.metric(key, value, step);
    }

    fn param(&self, key: &str, value: &str) {
        self.inner.param(key, value);
    }

    fn tag(&self, key: &str, value: &str) {
        self.inner.tag(key, value);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[derive(Debug, Default)]
    struct RecordingSink(Mutex<Vec<String>>);

    impl ReportSink for RecordingSink {
        fn line(&self, _: StandardStream, line: &str) {
            self.0.lock().push(line.to_owned());
        }
    }

    #[test]
    fn a_flood_is_cut_and_says_so_and_quiet_lines_are_whole() {
        let throttle = ThrottledSink::new(RecordingSink::default());
        let (begun, line) = (Instant::now(), "x".repeat(1000));
        // 100 MB within ten minutes.
        for number in 0..100_000_u32 {
            throttle.line_at(begun + Duration::from_millis(6) * number, StandardStream::Stdout, &line);
        }
        let lines = std::mem::take(&mut *throttle.inner.0.lock());
        let bytes: usize = lines.iter().map(String::len).sum();
        let most = BURST_BYTES + 600.0 * BYTES_PER_SECOND;
        assert!((bytes as f64) < most, "{bytes}");
        assert!(lines.iter().any(|line| line.contains("output is dropped")));
        assert!(lines.iter().any(|line| line.contains("lines were dropped")));
        // A line a second is never dropped.
        let later = begun + Duration::from_secs(3600);
        for second in 0..1000 {
            throttle.line_at(later + Duration::from_secs(second), StandardStream::Stdout, "a line");
        }
        let whole = throttle.inner.0.lock().iter().filter(|line| *line == "a line").count();
        assert_eq!(whole, 1000);
    }
}
