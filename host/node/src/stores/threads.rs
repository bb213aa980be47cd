//! Where SQL of components computes, and what makes it end.
//!
//! SQLite computes on the thread that asks and asks back every few steps whether to go on. So every statement ends:
//! at the deadline of the call that it belongs to, when nobody waits for it any more, and soon after its deployment
//! was taken away. There are only so many threads for all of them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use eyot_core::{Error, Result};
use tokio::runtime::{Builder, Runtime};

use crate::stores::StoreClosing;

/// Statements that compute at once, of all databases: each has a thread.
const MAX_THREADS: usize = 32;
/// How long a thread waits for its next statement.
const IDLE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a statement of a deployment that was taken away may go on.
const CLOSING_GRACE: Duration = Duration::from_secs(1);

/// Threads of their own: those of the server are for files, hashes and compilations, which must not wait for SQL.
static THREADS: LazyLock<std::io::Result<Runtime>> = LazyLock::new(|| {
    let mut threads = Builder::new_current_thread();
    threads.max_blocking_threads(MAX_THREADS).thread_keep_alive(IDLE_TIMEOUT).thread_name("eyot-sql").build()
});

/// Runs work of SQLite away from the threads that serve.
pub(super) async fn away<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let threads = THREADS
        .as_ref()
        .map_err(|error| Error::unavailable(format!("the threads for databases do not start: {error}")))?;
    let done = threads.handle().spawn_blocking(work).await;
    done.map_err(|error| Error::internal("work on a database ended early").because(error))
}

/// When a statement has to stop.
#[derive(Debug)]
pub(super) struct StatementStop {
    started: Instant,
    deadline: Instant,
    closing: Arc<StoreClosing>,
    abandoned: AtomicBool,
}

impl StatementStop {
    pub(super) fn new(deadline: Instant, closing: Arc<StoreClosing>) -> Arc<Self> {
        Arc::new(Self { started: Instant::now(), deadline, closing, abandoned: AtomicBool::new(false) })
    }

    /// Why it has to stop now, if it has to.
    pub(super) fn due(&self) -> Option<Error> {
        if self.abandoned.load(Ordering::Relaxed) {
            return Some(Error::cancelled("nobody waits for the statement any more"));
        }
        let now = Instant::now();
        if now >= self.deadline {
            return Some(
                Error::timeout("the statement did not end before the deadline of its call").hint(
                    "make it do less, with an index or a LIMIT, or raise the timeout of the deployment",
                ),
            );
        }
        let closed_at = self.closing.closed_at()?;
        (now >= closed_at.max(self.started) + CLOSING_GRACE)
            .then(|| Error::cancelled("the deployment of the statement was taken away"))
    }

    /// What is left of its time.
    pub(super) fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

/// Ends a statement when whoever waits for it goes away.
pub(super) struct StopOnDrop(pub(super) Arc<StatementStop>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.abandoned.store(true, Ordering::Relaxed);
    }
}
