//! What components print while they serve: the last lines of each deployment, and those that come.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Path, Query, State};
use axum::response::sse::{self, KeepAlive, Sse};
use eyot_core::{Name, Permission, Timestamp};
use futures::{Stream, StreamExt as _};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::Services;
use crate::answer::Refusal;
use crate::routes::{Routes, Rule};

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
pub struct Logs(Arc<Mutex<HashMap<String, Kept>>>);

/// What the lines that are kept for one deployment may take, they themselves and what is known of each: a guest that
/// prints without end costs no more, also one that prints empty lines.
const MAX_KEPT_BYTES: usize = 256 << 10;
/// Lines that a reader may be behind before it misses some, and is told so.
const BEHIND: usize = 1024;

struct Kept {
    lines: VecDeque<LogLine>,
    bytes: usize,
    live: broadcast::Sender<LogLine>,
}

impl Default for Kept {
    fn default() -> Self {
        Self { lines: VecDeque::new(), bytes: 0, live: broadcast::Sender::new(BEHIND) }
    }
}

impl Logs {
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
    fn follow(&self, deployment: &str, tail: usize) -> (Vec<LogLine>, broadcast::Receiver<LogLine>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = all.entry(deployment.to_owned()).or_default();
        let skipped = kept.lines.len().saturating_sub(tail);
        (kept.lines.iter().skip(skipped).cloned().collect(), kept.live.subscribe())
    }
}

pub(crate) fn routes(services: &Services) -> Routes {
    let read = Rule::Needs(Permission::DeploymentLogRead);
    Routes::new(services).path("/api/v1/deployments/{name}/logs", |path| path.get(read, logs))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    #[serde(default = "some")]
    tail: usize,
    #[serde(default)]
    follow: bool,
}

fn some() -> usize {
    100
}

type Events = Sse<sse::KeepAliveStream<Pin<Box<dyn Stream<Item = Result<sse::Event, Infallible>> + Send>>>>;

async fn logs(
    State(services): State<Services>,
    Path(name): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Result<Events, Refusal> {
    let name: Name = name.parse()?;
    services.deployments.get(&name).await?;
    let (lines, live) = services.logs.follow(name.as_str(), wanted.tail);
    let live = futures::stream::unfold(wanted.follow.then_some(live), |live| async move {
        let mut live = live?;
        loop {
            match live.recv().await {
                Ok(line) => return Some((line, Some(live))),
                // The reader is slow; what it missed is gone.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    });
    let events = futures::stream::iter(lines).chain(live).map(|line| {
        Ok(sse::Event::default()
            .json_data(&line)
            .unwrap_or_else(|_| sse::Event::default().comment("unreadable")))
    });
    let events: Pin<Box<dyn Stream<Item = _> + Send>> = Box::pin(events);
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> LogLine {
        LogLine { time: Timestamp(0), revision: 1, stream: "stdout".to_owned(), line: text.to_owned() }
    }

    #[test]
    fn the_last_lines_are_kept_and_no_more_than_fit() {
        let logs = Logs::default();
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
        let logs = Logs::default();
        logs.push("a", line("before"));
        let (before, mut live) = logs.follow("a", 10);
        logs.push("a", line("after"));
        assert_eq!((before, live.try_recv()), (vec![line("before")], Ok(line("after"))));
        assert!(live.try_recv().is_err());
    }
}
