//! What is expected of a component's next calls.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::Cause;
use crate::lane::Class;

/// For how long calls are expected to be as they were.
const WHILE: Duration = Duration::from_secs(1);

/// Faults within that time which show that a component is asked for nothing else. Fewer, of less than a millisecond
/// each, are noticed by less than one in a hundred of its neighbours' requests, and whoever meets one now and then
/// keeps its full share.
const MANY: u32 = 16;

/// How a component's calls went of late.
pub(crate) struct Temper {
    began: Instant,
    faults: Mutex<Faults>,
    /// Until when its calls are expected to go wrong, and until when to take long: in milliseconds since it began,
    /// 0 where they are not.
    unruly: AtomicU64,
    slow: AtomicU64,
}

struct Faults {
    since: Instant,
    count: u32,
}

impl Default for Temper {
    fn default() -> Self {
        Self::since(Instant::now())
    }
}

impl Temper {
    fn since(began: Instant) -> Self {
        let faults = Mutex::new(Faults { since: began, count: 0 });
        Self { began, faults, unruly: AtomicU64::new(0), slow: AtomicU64::new(0) }
    }

    /// A call ended for that cause.
    pub(crate) fn failed(&self, cause: Cause) {
        let now = Instant::now();
        let until = u64::try_from((now - self.began + WHILE).as_millis()).unwrap_or(u64::MAX);
        if cause == Cause::Deadline {
            self.slow.store(until, Ordering::Relaxed);
        }
        let mut faults = self.faults.lock();
        if now - faults.since > WHILE {
            *faults = Faults { since: now, count: 0 };
        }
        faults.count += 1;
        if faults.count >= MANY {
            self.unruly.store(until, Ordering::Relaxed);
        }
    }

    /// A call went well.
    pub(crate) fn calm(&self) {
        for until in [&self.unruly, &self.slow] {
            if until.load(Ordering::Relaxed) > 0 {
                until.store(0, Ordering::Relaxed);
                self.faults.lock().count = 0;
            }
        }
    }

    /// Where the next call is to start, if not where it was asked for.
    pub(crate) fn class(&self) -> Option<Class> {
        let lasts = |until: &AtomicU64| {
            let until = until.load(Ordering::Relaxed);
            until > 0 && self.began.elapsed().as_millis() < u128::from(until)
        };
        if lasts(&self.unruly) {
            return Some(Class::Unruly);
        }
        lasts(&self.slow).then_some(Class::Long)
    }
}

#[cfg(test)]
mod tests {
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
        temper.failed(Cause::Deadline);
        assert_eq!(temper.class(), Some(Class::Long));
    }

    #[test]
    fn what_is_long_ago_is_forgotten() {
        let Some(earlier) = Instant::now().checked_sub(3 * WHILE) else { return };
        let temper = Temper::since(earlier);
        for until in [&temper.unruly, &temper.slow] {
            until.store(1, Ordering::Relaxed);
        }
        temper.faults.lock().count = MANY;
        assert_eq!(temper.class(), None);
        temper.failed(Cause::Trap);
        assert_eq!((temper.class(), temper.faults.lock().count), (None, 1));
    }
}
