//! A share of all requests, evenly spread over them: weights of revisions, shadows, the prediction log and spans.

use std::sync::atomic::{AtomicU64, Ordering};

/// 2⁶⁴ by the golden ratio: multiples of it are spread over the scale as evenly as can be, however many there are.
const GOLDEN_RATIO_FRACTION: u64 = 0x9e37_79b9_7f4a_7c15;

/// The next point of a low-discrepancy sequence on the scale from 0 to 2⁶⁴.
pub(crate) fn low_discrepancy_point(turn: &AtomicU64) -> u64 {
    turn.fetch_add(1, Ordering::Relaxed).wrapping_mul(GOLDEN_RATIO_FRACTION)
}

/// Takes a share of requests.
#[derive(Debug)]
pub(crate) struct ShareSampler {
    /// From 0 to 1.
    share: f64,
    turn: AtomicU64,
}

impl ShareSampler {
    pub(crate) fn new(share: f64) -> Self {
        Self { share, turn: AtomicU64::new(0) }
    }

    /// Whether the next request is among them.
    pub(crate) fn samples(&self) -> bool {
        (low_discrepancy_point(&self.turn) as f64) < self.share * 2_f64.powi(64)
    }
}
