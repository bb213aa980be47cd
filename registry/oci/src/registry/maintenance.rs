use std::time::{Duration, Instant};

use eyot_core::Result;
use tokio_util::sync::CancellationToken;

use super::{CollectionMode, Registry, milliseconds};

/// How often abandoned uploads are looked for.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(60);
/// The least time between two writings of the layout's index.
const MIN_INDEX_INTERVAL: Duration = Duration::from_millis(100);

impl Registry {
    /// A server's background work: writes the layout's index, expires abandoned uploads, collects garbage and scrubs as
    /// configured. Ends soon after `stop` is cancelled, with the index written.
    pub async fn maintain(&self, stop: CancellationToken) {
        let config = &self.0.settings.config;
        tokio::join!(
            self.keep_index(&stop),
            every(EXPIRY_INTERVAL, &stop, "ending forgotten uploads", || async {
                self.expire_uploads().await.map(drop)
            }),
            every(config.collect_every.0, &stop, "collecting garbage", || async {
                let collection = self.collect(CollectionMode::Remove).await?;
                tracing::info!(blobs = collection.blobs, bytes = collection.bytes, "garbage was collected");
                Ok(())
            }),
            every(
                config.scrub_every.0.min(Duration::from_secs(3600)),
                &stop,
                "hashing blobs again",
                || async {
                    self.scrub(self.now() - milliseconds(config.scrub_every.0), &stop).await.map(drop)
                }
            ),
        );
    }

    async fn keep_index(&self, stop: &CancellationToken) {
        let (index, db) = (&self.0.index, &self.0.db);
        // What a process that was killed did not write.
        index.stale();
        loop {
            let changed = stop.run_until_cancelled(index.changed()).await;
            if changed.is_none() {
                index.unserved();
            }
            let started = Instant::now();
            if let Err(error) = index.write(db).await {
                tracing::error!(error = %error.chain(), "the layout's index is out of date");
            }
            if changed.is_none() {
                return;
            }
            // With many tags a writing takes long: no more than a tenth of the time goes into it.
            let pause = MIN_INDEX_INTERVAL.max(started.elapsed() * 9);
            let _ = tokio::time::timeout(pause, stop.cancelled()).await;
        }
    }
}

/// Runs work periodically; never for a period of zero. A failure is logged: the next run may succeed, and requests are
/// answered either way.
async fn every<F: Future<Output = Result<()>>>(
    period: Duration,
    stop: &CancellationToken,
    what: &str,
    work: impl Fn() -> F,
) {
    if period.is_zero() {
        return;
    }
    while tokio::time::timeout(period, stop.cancelled()).await.is_err() {
        if let Err(error) = work().await {
            tracing::warn!(error = %error.chain(), "{what} failed");
        }
    }
}
