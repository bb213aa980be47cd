//! What the executor and its runs share.

use std::collections::HashMap;
use std::sync::Arc;

use eyot_meta::Changes;
use eyot_store::BlobStore;
use eyot_tracking::TrackingStore;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, broadcast, watch};
use tokio::task::JoinHandle;

use crate::RunEvent;
use crate::cache::StepCache;
use crate::runner::{ModelPublisher, StepRunner};
use crate::store::RunRecords;

/// What every run works with.
pub(crate) struct ExecutorState {
    pub(crate) records: RunRecords,
    pub(crate) cache: StepCache,
    pub(crate) store: Arc<dyn BlobStore>,
    pub(crate) tracking: TrackingStore,
    pub(crate) runner: Arc<dyn StepRunner>,
    pub(crate) publisher: Arc<dyn ModelPublisher>,
    /// Steps that run at the same time, over all runs.
    pub(crate) slots: Semaphore,
    pub(crate) events: broadcast::Sender<RunEvent>,
    pub(crate) running: Mutex<HashMap<String, RunningRun>>,
    /// What is written in several steps, until it is written.
    pub(crate) changes: Changes,
}

/// A run that has not ended.
pub(crate) struct RunningRun {
    pub(crate) cancel: watch::Sender<bool>,
    pub(crate) task: JoinHandle<()>,
}

impl ExecutorState {
    pub(crate) fn tell(&self, event: RunEvent) {
        // Fails when nobody listens, which is no fault.
        let _ = self.events.send(event);
    }
}
