//! What is expected of a component's next calls.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use crate::Cause;
use crate::lane::Class;

/// For how long calls are expected to be as they were, in milliseconds.
const WHILE: u64 = 1000;

/// Faults within that time, and no good call among them, which show that a component is asked for nothing else. Fewer,
/// of less than a millisecond each, are noticed by less than one in a hundred of its neighbours' requests; and what
/// is good for somebody keeps its full share.
const MANY: u32 = 16;

/// How a component's calls went of late.
pub(crate) struct Temper {
    began: Instant,
    /// Faults since the last good call, or since a while ago.
    faults: AtomicU32,
    /// When the first of them was, in milliseconds since it began.
    first: AtomicU64,
    /// Until when its calls are expected to go wrong, and until when to take long: in milliseconds since it began,
    /// 0 where they are not.
    unruly: AtomicU64,
    slow: AtomicU64,
}

impl Default for Temper {
    fn default() -> Self {
        Self::since(Instant::now())
    }
}

impl Temper {
    fn since(began: Instant) -> Self {
        let [first, unruly, slow] = Default::default();
        Self { began, faults: AtomicU32::new(0), first, unruly, slow }
    }

    /// A call ended for that cause.
    pub(crate) fn failed(&self, cause: Cause) {
        let now = self.now();
        if cause == Cause::Deadline {
            self.slow.store(now + WHILE, Ordering::Relaxed);
        }
        // Two at once may count as one: it takes one more then.
        if now - self.first.load(Ordering::Relaxed).min(now) > WHILE {
            self.faults.store(0, Ordering::Relaxed);
        }
        let before = self.faults.fetch_add(1, Ordering::Relaxed);
        if before == 0 {
            self.first.store(now, Ordering::Relaxed);
        }
        if before + 1 >= MANY || self.lasts(&self.unruly) {
            self.unruly.store(now + WHILE, Ordering::Relaxed);
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX / 2)
    }

    fn lasts(&self, until: &AtomicU64) -> bool {
        let until = until.load(Ordering::Relaxed);
        until > 0 && self.now() < until
    }

    /// A call went well.
    pub(crate) fn calm(&self) {
        if self.faults.load(Ordering::Relaxed) > 0 {
            self.faults.store(0, Ordering::Relaxed);
            self.unruly.store(0, Ordering::Relaxed);
            self.slow.store(0, Ordering::Relaxed);
        }
    }

    /// Where the next call is to start, if not where it was asked for.
    pub(crate) fn class(&self) -> Option<Class> {
        if self.lasts(&self.unruly) {
            return Some(Class::Unruly);
        }
        self.lasts(&self.slow).then_some(Class::Long)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn many_faults_at_once_are_told_from_one_now_and_then() {
        let temper = Temper::default();
        assert_eq!(temper.class(), None);
        (1..MANY).for_each(|_| temper.failed(Cause::Trap));
        assert_eq!(temper.class(), None);
        temper.failed(Cause::Trap);
        assert_eq!(temper.class(), Some(Class::Unruly));
        temper.calm();
        assert_eq!(temper.class(), None);
        for _ in 0..MANY {
            temper.failed(Cause::Trap);
            temper.calm();
        }
        assert_eq!(temper.class(), None);
        temper.failed(Cause::Deadline);
        assert_eq!(temper.class(), Some(Class::Long));
    }

    #[test]
    fn what_is_long_ago_is_forgotten() {
        let Some(earlier) = Instant::now().checked_sub(Duration::from_millis(3 * WHILE)) else { return };
        let temper = Temper::since(earlier);
        for until in [&temper.unruly, &temper.slow] {
            until.store(1, Ordering::Relaxed);
        }
        temper.faults.store(MANY, Ordering::Relaxed);
        assert_eq!(temper.class(), None);
        temper.failed(Cause::Trap);
        assert_eq!((temper.class(), temper.faults.load(Ordering::Relaxed)), (None, 1));
    }
}
