//! What the answer of an instance must know of how the instance ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;

use futures::task::AtomicWaker;
use parking_lot::Mutex;
use wasmtime::Store;

use crate::guest::GuestState;

/// An instance that ended itself and says that all went well. While its store lives, the body of an answer that it
/// finished has an end, and one that it left unfinished has none; without it both look the same.
pub(super) type ExitedInstance = Arc<Mutex<Store<GuestState>>>;

/// How the instance behind an answer ended: set by the task that runs the instance, read by the body of the answer.
#[derive(Default)]
pub(super) struct InstanceEnd {
    failed: AtomicBool,
    exited: Mutex<Option<ExitedInstance>>,
    /// The task that waits for more of the answer.
    reader: AtomicWaker,
}

impl InstanceEnd {
    /// It failed, so an answer that has begun is not whole.
    pub(super) fn set_failed(&self, failed: bool) {
        self.failed.store(failed, Ordering::Relaxed);
    }

    /// It ended itself: the answer is whole if all of it is there.
    pub(super) fn set_exited(&self, instance: ExitedInstance) {
        *self.exited.lock() = Some(instance);
        self.reader.wake();
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Whether it failed, to be said once.
    pub(super) fn take_failed(&self) -> bool {
        self.failed.swap(false, Ordering::Relaxed)
    }

    /// The instance, if it ended itself; the body drops it once it has read what is there.
    pub(super) fn take_exited(&self) -> Option<ExitedInstance> {
        self.exited.lock().take()
    }

    /// Registers the task that is woken when the instance ends itself.
    pub(super) fn wakes(&self, reader: &Waker) {
        self.reader.register(reader);
    }
}
