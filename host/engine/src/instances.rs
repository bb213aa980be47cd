//! The instances of a component, counted without locks: how many there are, and why some ended.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// How instances are kept.
#[derive(Clone, Copy, Debug)]
pub struct Instances {
    /// Calls that one instance serves; 1 gives every request an instance of its own.
    pub reuse: u64,
    /// Instances that wait for the next request.
    pub idle: usize,
}

/// Why an instance was ended in the middle of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It did not answer in time.
    Deadline,
    /// It wanted more memory than it may have.
    Memory,
    /// It did what wasm does not allow: a panic, a wild pointer, a division by zero.
    Trap,
    /// It ended itself.
    Exit,
    /// A call of the host failed beyond what a guest can be told.
    Host,
    /// The caller went away first.
    Abandoned,
}

impl Cause {
    pub const ALL: [Cause; 6] =
        [Cause::Deadline, Cause::Memory, Cause::Trap, Cause::Exit, Cause::Host, Cause::Abandoned];

    pub fn as_str(self) -> &'static str {
        match self {
            Cause::Deadline => "deadline",
            Cause::Memory => "memory",
            Cause::Trap => "trap",
            Cause::Exit => "exit",
            Cause::Host => "host",
            Cause::Abandoned => "abandoned",
        }
    }
}

/// The instances of one handler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Census {
    /// Started so far.
    pub started: u64,
    /// Waiting for a request.
    pub idle: usize,
    /// Answering one.
    pub busy: usize,
    /// Ended in the middle of a call, by cause; each cause is there.
    pub ended: Vec<(Cause, u64)>,
}

#[derive(Default)]
pub(crate) struct Counts {
    started: AtomicU64,
    busy: AtomicUsize,
    ended: [AtomicU64; Cause::ALL.len()],
}

impl Counts {
    pub(crate) fn start(&self) {
        self.started.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn started(&self) -> u64 {
        self.started.load(Ordering::Relaxed)
    }

    /// An instance is at work until the answer is dropped.
    pub(crate) fn enter(&self) -> Busy<'_> {
        self.busy.fetch_add(1, Ordering::Relaxed);
        Busy { counts: self, ends: Some(Cause::Abandoned) }
    }

    pub(crate) fn census(&self, idle: usize) -> Census {
        let ended = |cause: Cause| (cause, self.ended[cause as usize].load(Ordering::Relaxed));
        Census {
            started: self.started(),
            idle,
            busy: self.busy.load(Ordering::Relaxed),
            ended: Cause::ALL.map(ended).into(),
        }
    }
}

/// An instance at work. Dropped without a word, its caller has gone, and it with them.
pub(crate) struct Busy<'a> {
    counts: &'a Counts,
    ends: Option<Cause>,
}

impl Busy<'_> {
    pub(crate) fn answered(mut self) {
        self.ends = None;
    }

    pub(crate) fn ended(mut self, cause: Cause) {
        self.ends = Some(cause);
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.counts.busy.fetch_sub(1, Ordering::Relaxed);
        if let Some(cause) = self.ends {
            self.counts.ended[cause as usize].fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_ends_in_one_way() {
        let counts = Counts::default();
        counts.start();
        counts.enter().answered();
        counts.enter().ended(Cause::Trap);
        let at_work = counts.enter();
        assert_eq!(counts.census(3).busy, 1);
        drop(at_work);
        let census = counts.census(3);
        let ended: Vec<_> = census.ended.iter().filter(|(_, count)| *count > 0).copied().collect();
        assert_eq!((census.started, census.idle, census.busy), (1, 3, 0));
        assert_eq!(ended, [(Cause::Trap, 1), (Cause::Abandoned, 1)]);
    }
}
