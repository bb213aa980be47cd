use eyot_core::{Error, Result};
use futures::StreamExt as _;
use futures::stream::BoxStream;

use super::ApiClient;
use crate::SnapshotNotice;

/// A snapshot that a server keeps in its data folder, and the blobs that it names, until this is dropped.
pub struct SnapshotLease {
    pub notice: SnapshotNotice,
    _held: BoxStream<'static, Result<SnapshotNotice>>,
}

impl ApiClient {
    /// Has the server make a snapshot.
    pub async fn snapshot(&self) -> Result<SnapshotLease> {
        let mut held = self.stream::<SnapshotNotice>("/api/v1/backup").await?.boxed();
        let notice = held.next().await.ok_or_else(|| Error::unavailable("the server ended"))??;
        Ok(SnapshotLease { notice, _held: held })
    }
}
