//! How the recent calls of a component ended, and which priority its next call gets for that.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use crate::FailureCause;
use crate::background_executor::ThreadPriority;

/// For how long calls are expected to go as recent ones did.
const MEMORY_MILLISECONDS: u64 = 1000;

/// Consecutive faults within that time, without a success, after which a component is expected to fail. Fewer,
/// of less than a millisecond each, are noticed by less than one in a hundred of its neighbours' requests; and a
/// component that succeeds for somebody keeps its full share.
const FAULT_COUNT: u32 = 16;

/// The recent faults of a component.
pub(crate) struct FaultHistory {
    start: Instant,
    /// Faults since the last success, within [`MEMORY_MILLISECONDS`].
    faults: AtomicU32,
    /// When the first of them was, in milliseconds since `start`.
    first_fault: AtomicU64,
    /// Until when its calls are expected to fail, and until when to take long: in milliseconds since `start`,
    /// 0 where they are not.
    faulty_until: AtomicU64,
    slow_until: AtomicU64,
}

impl Default for FaultHistory {
    fn default() -> Self {
        Self::since(Instant::now())
    }
}

impl FaultHistory {
    fn since(start: Instant) -> Self {
        let [first_fault, faulty_until, slow_until] = Default::default();
        Self { start, faults: AtomicU32::new(0), first_fault, faulty_until, slow_until }
    }

    /// A call failed for that cause.
    pub(crate) fn record_fault(&self, cause: FailureCause, now: Instant) {
        let now = self.milliseconds(now);
        if cause == FailureCause::Deadline {
            self.slow_until.store(now + MEMORY_MILLISECONDS, Ordering::Relaxed);
        }
        // Two at the same time may count as one: it takes one more then.
        if now - self.first_fault.load(Ordering::Relaxed).min(now) > MEMORY_MILLISECONDS {
            self.faults.store(0, Ordering::Relaxed);
        }
        let before = self.faults.fetch_add(1, Ordering::Relaxed);
        if before == 0 {
            self.first_fault.store(now, Ordering::Relaxed);
        }
        if before + 1 >= FAULT_COUNT || now < self.faulty_until.load(Ordering::Relaxed) {
            self.faulty_until.store(now + MEMORY_MILLISECONDS, Ordering::Relaxed);
        }
    }

    fn milliseconds(&self, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(self.start);
        u64::try_from(passed.as_millis()).unwrap_or(u64::MAX / 2)
    }

    /// A call succeeded.
    pub(crate) fn record_success(&self) {
        if self.faults.load(Ordering::Relaxed) > 0 {
            self.faults.store(0, Ordering::Relaxed);
            self.faulty_until.store(0, Ordering::Relaxed);
            self.slow_until.store(0, Ordering::Relaxed);
        }
    }

    /// The priority with which the next call starts; `None` for the caller's own.
    pub(crate) fn priority(&self) -> Option<ThreadPriority> {
        let untroubled =
            [&self.faulty_until, &self.slow_until].iter().all(|until| until.load(Ordering::Relaxed) == 0);
        // Most calls have no faults before them, and need not read the clock.
        if untroubled { None } else { self.priority_at(Instant::now()) }
    }

    fn priority_at(&self, now: Instant) -> Option<ThreadPriority> {
        let now = self.milliseconds(now);
        if now < self.faulty_until.load(Ordering::Relaxed) {
            return Some(ThreadPriority::Idle);
        }
        (now < self.slow_until.load(Ordering::Relaxed)).then_some(ThreadPriority::Background)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn many_faults_at_once_are_told_from_one_now_and_then() {
        let start = Instant::now();
        let fault_history = FaultHistory::since(start);
        let priority = || fault_history.priority_at(start);
        assert_eq!(priority(), None);
        (1..FAULT_COUNT).for_each(|_| fault_history.record_fault(FailureCause::Trap, start));
        assert_eq!(priority(), None);
        fault_history.record_fault(FailureCause::Trap, start);
        assert_eq!(priority(), Some(ThreadPriority::Idle));
        fault_history.record_success();
        assert_eq!((priority(), fault_history.priority()), (None, None));
        for _ in 0..FAULT_COUNT {
            fault_history.record_fault(FailureCause::Trap, start);
            fault_history.record_success();
        }
        assert_eq!(priority(), None);
        fault_history.record_fault(FailureCause::Deadline, start);
        assert_eq!(priority(), Some(ThreadPriority::Background));
    }

    #[test]
    fn what_is_long_ago_is_forgotten() {
        let start = Instant::now();
        let fault_history = FaultHistory::since(start);
        (0..FAULT_COUNT).for_each(|_| fault_history.record_fault(FailureCause::Deadline, start));
        let within = start + Duration::from_millis(MEMORY_MILLISECONDS - 1);
        assert_eq!(fault_history.priority_at(within), Some(ThreadPriority::Idle));
        let later = start + Duration::from_millis(3 * MEMORY_MILLISECONDS);
        assert_eq!(fault_history.priority_at(later), None);
        fault_history.record_fault(FailureCause::Trap, later);
        assert_eq!(
            (fault_history.priority_at(later), fault_history.faults.load(Ordering::Relaxed)),
            (None, 1)
        );
    }
}
