use std::future::Future;

use eyot_core::{Error, Result};
use tokio_util::task::TaskTracker;

use crate::RequestOrigin;

/// Work that goes on to its end once it has begun, whether or not anybody still waits for it: what a client
/// that goes away, or a run that is cancelled, must not cut in two. Its owner waits for it before it ends.
/// Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Changes(TaskTracker);

impl Changes {
    /// Does something to its end, for the origin of this task. Given up before it is first polled, nothing happened.
    pub async fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Result<T> {
        let done = self.0.spawn(RequestOrigin::carry(work)).await;
        done.map_err(|error| Error::internal("a change ended early").because(error))
    }

    /// Returns once nothing of what has begun is under way.
    pub async fn ended(&self) {
        self.0.close();
        self.0.wait().await;
    }
}
