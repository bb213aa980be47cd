//! What components print while they serve: the last lines of each deployment, and those that come.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use eyot_core::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

/// A line that a component printed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    pub time: Timestamp,
    pub revision: u64,
    /// `stdout` or `stderr`.
    pub stream: String,
    pub line: String,
}

impl LogLine {
    /// What it takes in memory.
    fn size(&self) -> usize {
        size_of::<Self>() + self.stream.capacity() + self.line.capacity()
    }
}

/// The lines of all deployments. Cheap to clone.
#[derive(Clone, Default)]
pub struct DeploymentLogs(Arc<Mutex<HashMap<String, LogBuffer>>>);

/// What the lines that are kept for one deployment may take, they themselves and what is known of each: a guest that
/// prints without end costs no more, also one that prints empty lines.
const MAX_KEPT_BYTES: usize = 256 << 10;
/// Lines that a reader may be behind before it misses some, and is told so.
const MAX_LAG_LINES: usize = 1024;

struct LogBuffer {
    lines: VecDeque<LogLine>,
    bytes: usize,
    live: broadcast::Sender<LogLine>,
}

impl Default for LogBuffer {
    fn default() -> Self {
        Self { lines: VecDeque::new(), bytes: 0, live: broadcast::Sender::new(MAX_LAG_LINES) }
    }
}

impl DeploymentLogs {
    /// Keeps a line and hands it to whoever listens. Never waits.
    pub fn push(&self, deployment: &str, line: LogLine) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = match all.get_mut(deployment) {
            Some(kept) => kept,
            None => all.entry(deployment.to_owned()).or_default(),
        };
        kept.bytes += line.size();
        kept.lines.push_back(line.clone());
        while kept.bytes > MAX_KEPT_BYTES && kept.lines.len() > 1 {
            kept.bytes -= kept.lines.pop_front().map_or(0, |line| line.size());
        }
        // Nobody may be listening.
        let _ = kept.live.send(line);
    }

    /// The last lines, and those that come; taken together, so that none is missed or told twice.
    pub(crate) fn follow(
        &self,
        deployment: &str,
        tail: usize,
    ) -> (Vec<LogLine>, broadcast::Receiver<LogLine>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = all.entry(deployment.to_owned()).or_default();
        let skipped = kept.lines.len().saturating_sub(tail);
        (kept.lines.iter().skip(skipped).cloned().collect(), kept.live.subscribe())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> LogLine {
        LogLine { time: Timestamp(0), revision: 1, stream: "stdout".to_owned(), line: text.to_owned() }
    }

    #[test]
    fn the_last_lines_are_kept_and_no_more_than_fit() {
        let logs = DeploymentLogs::default();
        for number in 0..5 {
            logs.push("a", line(&number.to_string()));
        }
        let texts = |tail| logs.follow("a", tail).0.into_iter().map(|line| line.line).collect::<Vec<_>>();
        assert_eq!(texts(2), ["3", "4"]);
        assert!(logs.follow("b", 2).0.is_empty());
        for _ in 0..100 {
            logs.push("a", line(&"x".repeat(8 << 10)));
        }
        assert!(texts(usize::MAX).iter().map(String::len).sum::<usize>() <= MAX_KEPT_BYTES);
        for _ in 0..100_000 {
            logs.push("a", line(""));
        }
        let kept = texts(usize::MAX).len();
        assert!(kept <= MAX_KEPT_BYTES / size_of::<LogLine>() && kept > 100, "{kept} empty lines");
    }

    #[test]
    fn who_follows_gets_every_line_once() {
        let logs = DeploymentLogs::default();
        logs.push("a", line("before"));
        let (before, mut live) = logs.follow("a", 10);
        logs.push("a", line("after"));
        assert_eq!((before, live.try_recv()), (vec![line("before")], Ok(line("after"))));
        assert!(live.try_recv().is_err());
    }
}
