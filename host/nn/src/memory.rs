//! The memory that models may take together.

use std::fs;
use std::sync::Arc;

use eyot_core::config;
use parking_lot::Mutex;

/// Counts what is taken. Cheap to clone.
#[derive(Clone)]
pub(crate) struct MemoryBudget(Arc<BudgetLedger>);

struct BudgetLedger {
    limit: u64,
    taken: Mutex<u64>,
}

/// A reservation of a part of the budget, released when dropped.
pub(crate) struct MemoryReservation {
    budget: Arc<BudgetLedger>,
    bytes: u64,
}

impl MemoryBudget {
    pub(crate) fn new(limit: u64) -> Self {
        Self(Arc::new(BudgetLedger { limit, taken: Mutex::new(0) }))
    }

    pub(crate) fn limit(&self) -> u64 {
        self.0.limit
    }

    pub(crate) fn taken(&self) -> u64 {
        *self.0.taken.lock()
    }

    /// Reserves that many bytes, if they are free.
    pub(crate) fn take(&self, bytes: u64) -> Option<MemoryReservation> {
        let mut taken = self.0.taken.lock();
        let total = taken.checked_add(bytes).filter(|total| *total <= self.0.limit)?;
        *taken = total;
        Some(MemoryReservation { budget: self.0.clone(), bytes })
    }
}

impl MemoryReservation {
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Both as one.
    pub(crate) fn absorb(&mut self, mut other: MemoryReservation) {
        self.bytes += std::mem::take(&mut other.bytes);
    }
}

impl Drop for MemoryReservation {
    fn drop(&mut self) {
        *self.budget.taken.lock() -= self.bytes;
    }
}

/// What models may take together.
pub(crate) fn model_memory(config: &config::InferenceSettings) -> u64 {
    if config.memory.0 == 0 { half_of_memory() } else { config.memory.0 }
}

/// Half of what this process may use: of the machine's memory, or of its control group's.
pub(crate) fn half_of_memory() -> u64 {
    /// Where neither says: enough for a few models.
    const DEFAULT_MEMORY_BYTES: u64 = 2 << 30;
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total(&text));
    let group =
        fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| text.trim().parse().ok());
    machine.into_iter().chain(group).min().map_or(DEFAULT_MEMORY_BYTES, |bytes: u64| bytes / 2)
}

fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn room_is_given_back() {
        let budget = MemoryBudget::new(10);
        let first = budget.take(6).unwrap();
        assert!(budget.take(5).is_none() && budget.take(u64::MAX).is_none());
        let second = budget.take(4).unwrap();
        assert_eq!((budget.taken(), second.bytes()), (10, 4));
        drop(first);
        assert_eq!(budget.taken(), 4);
        let mut both = budget.take(3).unwrap();
        both.absorb(second);
        assert_eq!((budget.taken(), both.bytes()), (7, 7));
        drop(both);
        assert_eq!(budget.taken(), 0);
    }

    #[test]
    fn the_machine_says_what_it_has() {
        assert_eq!(total("MemTotal:       32768 kB\nMemFree: 1 kB\n"), Some(32 << 20));
        assert_eq!(total("MemTotal: many"), None);
        assert!(half_of_memory() > 0);
    }
}
