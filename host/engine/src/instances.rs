//! The instances of a component, counted without locks: how many there are, and why some ended.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// How many instances are kept, and for how many calls.
#[derive(Clone, Copy, Debug)]
pub struct InstancePolicy {
    /// Calls that one instance serves; 1 gives every request an instance of its own.
    pub max_calls: u64,
    /// Idle instances that are kept for later requests.
    pub max_idle: usize,
}

/// Why an instance was ended in the middle of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureCause {
    /// It did not answer in time.
    Deadline,
    /// It wanted more memory than it may have.
    Memory,
    /// It did what wasm does not allow: a panic, a wild pointer, a division by zero.
    Trap,
    /// It ended itself.
    Exit,
    /// A host call failed in a way that has no error for guests.
    Host,
    /// The caller went away first.
    Abandoned,
}

impl FailureCause {
    pub const ALL: [FailureCause; 6] = [
        FailureCause::Deadline,
        FailureCause::Memory,
        FailureCause::Trap,
        FailureCause::Exit,
        FailureCause::Host,
        FailureCause::Abandoned,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            FailureCause::Deadline => "deadline",
            FailureCause::Memory => "memory",
            FailureCause::Trap => "trap",
            FailureCause::Exit => "exit",
            FailureCause::Host => "host",
            FailureCause::Abandoned => "abandoned",
        }
    }
}

/// The instances of one component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceStats {
    /// Started so far.
    pub started: u64,
    /// Waiting for a request.
    pub idle: usize,
    /// Answering one.
    pub busy: usize,
    /// Ended in the middle of a call, by cause; each cause is there.
    pub ended: Vec<(FailureCause, u64)>,
}

#[derive(Default)]
pub(crate) struct InstanceCounters {
    started: AtomicU64,
    busy: AtomicUsize,
    ended: [AtomicU64; FailureCause::ALL.len()],
}

impl InstanceCounters {
    pub(crate) fn start(&self) {
        self.started.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn started(&self) -> u64 {
        self.started.load(Ordering::Relaxed)
    }

    /// An instance is busy until the guard is dropped.
    pub(crate) fn begin_call(&self) -> BusyInstance<'_> {
        self.busy.fetch_add(1, Ordering::Relaxed);
        BusyInstance { counters: self, ends: Some(FailureCause::Abandoned) }
    }

    pub(crate) fn stats(&self, idle: usize) -> InstanceStats {
        let ended = |cause: FailureCause| (cause, self.ended[cause as usize].load(Ordering::Relaxed));
        InstanceStats {
            started: self.started(),
            idle,
            busy: self.busy.load(Ordering::Relaxed),
            ended: FailureCause::ALL.map(ended).into(),
        }
    }
}

/// A busy instance. Dropped without an outcome, its caller has gone and the instance was abandoned.
pub(crate) struct BusyInstance<'a> {
    counters: &'a InstanceCounters,
    ends: Option<FailureCause>,
}

impl BusyInstance<'_> {
    pub(crate) fn answered(mut self) {
        self.ends = None;
    }

    pub(crate) fn ended(mut self, cause: FailureCause) {
        self.ends = Some(cause);
    }
}

impl Drop for BusyInstance<'_> {
    fn drop(&mut self) {
        self.counters.busy.fetch_sub(1, Ordering::Relaxed);
        if let Some(cause) = self.ends {
            self.counters.ended[cause as usize].fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_ends_in_one_way() {
        let counters = InstanceCounters::default();
        counters.start();
        counters.begin_call().answered();
        counters.begin_call().ended(FailureCause::Trap);
        let at_work = counters.begin_call();
        assert_eq!(counters.stats(3).busy, 1);
        drop(at_work);
        let stats = counters.stats(3);
        let ended: Vec<_> = stats.ended.iter().filter(|(_, count)| *count > 0).copied().collect();
        assert_eq!((stats.started, stats.idle, stats.busy), (1, 3, 0));
        assert_eq!(ended, [(FailureCause::Trap, 1), (FailureCause::Abandoned, 1)]);
    }
}
