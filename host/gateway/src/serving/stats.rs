//! What a revision has done, counted without locks.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use eyot_core::{Clock as _, ErrorKind, SystemClock};
use eyot_engine::InferenceUsage;

/// The upper bounds of a histogram's buckets; what is longer is in a last one of its own.
pub(crate) const DURATION_BOUNDS: [Duration; 18] = [
    Duration::from_micros(25),
    Duration::from_micros(50),
    Duration::from_micros(100),
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2500),
    Duration::from_secs(5),
    Duration::from_secs(10),
];

/// Durations, by how long they are.
#[derive(Default)]
pub(crate) struct DurationHistogram {
    buckets: [AtomicU64; DURATION_BOUNDS.len() + 1],
    nanoseconds: AtomicU64,
}

impl DurationHistogram {
    pub(crate) fn add(&self, duration: Duration) {
        let bucket = DURATION_BOUNDS.partition_point(|bound| *bound < duration);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.nanoseconds.fetch_add(nanoseconds(duration), Ordering::Relaxed);
    }

    /// How many there are in each bucket.
    pub(crate) fn buckets(&self) -> [u64; DURATION_BOUNDS.len() + 1] {
        std::array::from_fn(|index| self.buckets[index].load(Ordering::Relaxed))
    }

    pub(crate) fn sum(&self) -> Duration {
        Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed))
    }

    /// How many there are, and how long together.
    pub(crate) fn total(&self) -> DurationTotal {
        DurationTotal {
            count: self.buckets().iter().sum(),
            nanoseconds: self.nanoseconds.load(Ordering::Relaxed),
        }
    }
}

/// The upper bounds of the buckets for sizes; what is larger is in a last one of its own.
pub(crate) const COUNT_BOUNDS: [usize; 8] = [1, 2, 4, 8, 16, 32, 64, 128];

/// Batches by how many calls ran together, or other things that are counted in ones.
#[derive(Default)]
pub(crate) struct CountHistogram {
    buckets: [AtomicU64; COUNT_BOUNDS.len() + 1],
    sum: AtomicU64,
}

impl CountHistogram {
    fn add(&self, size: usize) {
        let bucket = COUNT_BOUNDS.partition_point(|bound| *bound < size);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(size as u64, Ordering::Relaxed);
    }

    /// How many there are in each bucket, and the sum of all.
    pub(crate) fn read(&self) -> ([u64; COUNT_BOUNDS.len() + 1], u64) {
        let buckets = std::array::from_fn(|index| self.buckets[index].load(Ordering::Relaxed));
        (buckets, self.sum.load(Ordering::Relaxed))
    }
}

/// How many, and how long together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DurationTotal {
    pub(crate) count: u64,
    pub(crate) nanoseconds: u64,
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// What shadow requests came to, compared with the answers that were given.
#[derive(Default)]
pub(crate) struct ShadowCounts {
    pub(crate) same: AtomicU64,
    pub(crate) different: AtomicU64,
    pub(crate) failed: AtomicU64,
    /// Not run, because the revision had enough to do.
    pub(crate) skipped: AtomicU64,
}

/// All that is counted of one revision.
#[derive(Default)]
pub(crate) struct RevisionStats {
    ok: AtomicU64,
    failures: [AtomicU64; ErrorKind::ALL.len()],
    pub(crate) in_flight: AtomicUsize,
    pub(crate) success: DurationHistogram,
    pub(crate) fail: DurationHistogram,
    pub(crate) decode: DurationHistogram,
    pub(crate) queue: DurationHistogram,
    /// In the model or component, all in all.
    pub(crate) prediction: DurationHistogram,
    /// In the component, without its inferences.
    pub(crate) guest: DurationHistogram,
    /// Inferences that wait for a thread and for company.
    pub(crate) model_queue: DurationHistogram,
    /// In the back end.
    pub(crate) inference: DurationHistogram,
    pub(crate) batches: CountHistogram,
    /// Inferences of one prediction under way at the same time.
    pub(crate) max_in_flight: CountHistogram,
    pub(crate) encode: DurationHistogram,
    pub(crate) shadowed: ShadowCounts,
    last: AtomicU64,
}

impl RevisionStats {
    /// A prediction has ended, and what is known of its inferences if it went well.
    pub(crate) fn record_prediction(&self, took: Duration, usage: Option<InferenceUsage>) {
        self.prediction.add(took);
        let Some(usage) = usage else { return };
        self.guest.add(took.saturating_sub(usage.queue_time + usage.compute_time));
        if usage.inferences > 0 {
            self.model_queue.add(usage.queue_time);
            self.inference.add(usage.compute_time);
            self.batches.add(usage.max_batch_size);
            self.max_in_flight.add(usage.max_in_flight);
        }
    }

    /// Requests by how they ended, `ok` or the kind of their error.
    pub(crate) fn outcomes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let ok = ("ok", self.ok.load(Ordering::Relaxed));
        let failures = ErrorKind::ALL.iter().zip(&self.failures);
        std::iter::once(ok)
            .chain(failures.map(|(kind, count)| (kind.as_str(), count.load(Ordering::Relaxed))))
    }

    /// When the last request was answered, in milliseconds since 1970; 0 before the first.
    pub(crate) fn last(&self) -> u64 {
        self.last.load(Ordering::Relaxed)
    }

    /// A request has ended, so long after it began.
    pub(crate) fn end(&self, took: Duration, outcome: Result<(), ErrorKind>) {
        match outcome {
            Ok(()) => {
                self.ok.fetch_add(1, Ordering::Relaxed);
                self.success.add(took);
                let now = u64::try_from(SystemClock.now().0).unwrap_or_default();
                self.last.store(now, Ordering::Relaxed);
            }
            Err(kind) => {
                if let Some(position) = ErrorKind::ALL.iter().position(|other| *other == kind) {
                    self.failures[position].fetch_add(1, Ordering::Relaxed);
                }
                self.fail.add(took);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_fall_into_the_bucket_that_holds_them() {
        let histogram = DurationHistogram::default();
        for (duration, bucket) in [
            (Duration::ZERO, 0),
            (DURATION_BOUNDS[0], 0),
            (DURATION_BOUNDS[0] + Duration::from_nanos(1), 1),
            (Duration::from_secs(10), DURATION_BOUNDS.len() - 1),
            (Duration::MAX, DURATION_BOUNDS.len()),
        ] {
            let before = histogram.buckets()[bucket];
            histogram.add(duration);
            assert_eq!(histogram.buckets()[bucket], before + 1, "{duration:?}");
        }
    }
}
