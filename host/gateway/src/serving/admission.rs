//! How many requests a revision works on, and how many wait.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use eyot_core::{Error, Result};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Bounds the work on one deployment: so many requests at once, so many waiting, no more.
pub(crate) struct AdmissionGate {
    permits: Semaphore,
    waiting: AtomicUsize,
    queue: usize,
}

/// Counts a request as waiting for as long as it lives, also when its client goes away.
struct WaitingRequest<'a>(&'a AtomicUsize);

impl Drop for WaitingRequest<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl AdmissionGate {
    pub(crate) fn new(concurrency: usize, queue: usize) -> Self {
        Self { permits: Semaphore::new(concurrency), waiting: AtomicUsize::new(0), queue }
    }

    /// Lets a request in, at once or when one before it is done.
    ///
    /// Fails with `Exhausted` when the queue is full and `Unavailable` when its turn does not come in
    /// time: another server may have room.
    pub(crate) async fn enter(&self, deadline: Instant) -> Result<SemaphorePermit<'_>> {
        if let Ok(permit) = self.permits.try_acquire() {
            return Ok(permit);
        }
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = WaitingRequest(&self.waiting);
        if before >= self.queue {
            return Err(Error::exhausted(format!("{} requests are waiting already", self.queue))
                .hint("try again in a moment"));
        }
        match tokio::time::timeout_at(deadline.into(), self.permits.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(Error::unavailable("the deployment is being taken away")),
            Err(_) => Err(Error::unavailable("the request's turn did not come before its deadline")
                .hint("try again in a moment")),
        }
    }

    /// Lets a request in if there is room at once.
    pub(crate) fn try_enter(&self) -> Option<SemaphorePermit<'_>> {
        self.permits.try_acquire().ok()
    }

    /// Makes room again for a request that was let in and whose permit was forgotten: its answer
    /// outlives whoever let it in.
    pub(crate) fn release(&self) {
        self.permits.add_permits(1);
    }

    /// Requests that wait now.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}
