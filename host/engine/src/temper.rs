//! What is expected of a component's next calls.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// For how long after a call that went wrong the next ones are expected to. Whoever is asked for nothing else is so
/// all the time; and one to whom it happens now and then has its full share again soon.
const UNRULY: Duration = Duration::from_secs(1);

/// Whether calls are expected to go wrong, since the last did.
pub(crate) struct Temper {
    began: Instant,
    /// Until when, in milliseconds since it began; 0 where the last went well.
    until: AtomicU64,
}

impl Default for Temper {
    fn default() -> Self {
        Self { began: Instant::now(), until: AtomicU64::new(0) }
    }
}

impl Temper {
    /// A call went wrong.
    pub(crate) fn failed(&self) {
        let until = (self.began.elapsed() + UNRULY).as_millis();
        self.until.store(u64::try_from(until).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// A call went well.
    pub(crate) fn calm(&self) {
        if self.until.load(Ordering::Relaxed) > 0 {
            self.until.store(0, Ordering::Relaxed);
        }
    }

    pub(crate) fn is_unruly(&self) -> bool {
        let until = self.until.load(Ordering::Relaxed);
        until > 0 && self.began.elapsed().as_millis() < u128::from(until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_fault_is_forgotten_by_the_next_good_call_or_in_a_while() {
        let temper = Temper::default();
        assert!(!temper.is_unruly());
        temper.failed();
        assert!(temper.is_unruly());
        temper.calm();
        assert!(!temper.is_unruly());
        let earlier = Instant::now().checked_sub(2 * UNRULY).unwrap_or_else(Instant::now);
        let temper = Temper { began: earlier, until: AtomicU64::new(1) };
        assert!(!temper.is_unruly());
    }
}
