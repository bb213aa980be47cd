//! `GET /api/v1/backup`: a snapshot of all rows, which lies in the data folder for as long as the answer goes on, and
//! with it every blob that the rows name. No path is asked for and none is written to outside of the data folder: the
//! command that makes a backup lies on the same machine and copies from there.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{self, Sse};
use eyot_core::{Error, Permission};
use eyot_oci::{BackupSource, HeldSnapshot};
use futures::Stream;
use serde::{Deserialize, Serialize};

use crate::ApiServices;
use crate::answer::ErrorResponse;
use crate::routes::{AccessRule, RuledRoutes};

/// How soon it is noticed that whoever asked has gone away.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(15);

pub(crate) fn routes(services: &ApiServices) -> RuledRoutes {
    let rule = AccessRule::Needs(Permission::BackUp);
    RuledRoutes::new(services).path("/api/v1/backup", |path| path.get(rule, hold_snapshot))
}

/// Says that the snapshot is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotNotice {
    /// The server's version.
    pub version: String,
}

/// Nothing is changed, so it is no POST: whoever asked and goes away ends it.
async fn hold_snapshot(
    State(services): State<ApiServices>,
) -> Result<Sse<impl Stream<Item = Result<sse::Event, Infallible>>>, ErrorResponse> {
    let snapshot = services.backups.snapshot().await?;
    let notice =
        sse::Event::default().event("snapshot").json_data(SnapshotNotice { version: services.info.version });
    let notice = notice.map_err(|error| Error::internal("a snapshot cannot be told").because(error))?;
    let leased = LeasedSnapshot { _snapshot: snapshot, source: services.backups, notice: Some(notice) };
    Ok(Sse::new(futures::stream::unfold(leased, LeasedSnapshot::next)))
}

/// A snapshot for as long as whoever asked for it listens, and the server runs.
struct LeasedSnapshot {
    _snapshot: HeldSnapshot,
    source: BackupSource,
    notice: Option<sse::Event>,
}

impl LeasedSnapshot {
    async fn next(mut self) -> Option<(Result<sse::Event, Infallible>, Self)> {
        if let Some(notice) = self.notice.take() {
            return Some((Ok(notice), self));
        }
        let waited = tokio::time::timeout(HEARTBEAT_INTERVAL, self.source.ended()).await;
        waited.is_err().then(|| (Ok(sse::Event::default().comment("heartbeat")), self))
    }
}
