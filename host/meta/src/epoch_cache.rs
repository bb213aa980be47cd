//! What rows said lately, in bounded memory: what was read before a change is never kept after it.

use std::borrow::Borrow;
use std::hash::{Hash, RandomState};

use parking_lot::Mutex;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{OptionsBuilder, Weighter};

/// A map that keeps what is asked for often or lately, and lets the rest go.
pub struct EpochCache<K, V> {
    kept: Cache<K, (V, usize), EntryWeight, RandomState>,
    max_weight: usize,
    /// Counts what was forgotten. Held while something is kept or forgotten, and never by who asks.
    epoch: Mutex<u64>,
}

/// What an entry counts is said when it is kept.
#[derive(Clone)]
struct EntryWeight;

impl<K, V> Weighter<K, (V, usize)> for EntryWeight {
    fn weight(&self, _: &K, (_, weight): &(V, usize)) -> u64 {
        *weight as u64
    }
}

/// A moment in the life of a map; see [`EpochCache::insert`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CacheEpoch(u64);

impl<K: Eq + Hash, V: Clone> EpochCache<K, V> {
    /// Holds entries whose weights add up to `max_weight` at most, none of them less than `least_weight`.
    pub fn new(max_weight: usize, least_weight: usize) -> Self {
        // One shard: each of several had a part of the room alone, too little for what is large. It is read by many at once.
        let options = OptionsBuilder::new()
            .shards(1)
            .estimated_items_capacity(max_weight / least_weight.max(1))
            .weight_capacity(max_weight as u64)
            .build()
            .expect("both capacities are set");
        let kept = Cache::with_options(options, EntryWeight, RandomState::new(), DefaultLifecycle::default());
        Self { kept, max_weight, epoch: Mutex::new(0) }
    }

    pub fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.kept.get(key).map(|(value, _)| value)
    }

    /// Taken before the truth is read, and given to `insert` after.
    pub fn epoch(&self) -> CacheEpoch {
        CacheEpoch(*self.epoch.lock())
    }

    /// Keeps what was true at `epoch`, unless something was forgotten since: what was read before a
    /// change must not be kept after it.
    pub fn insert(&self, epoch: CacheEpoch, key: K, value: V, weight: usize) {
        let now = self.epoch.lock();
        if *now == epoch.0 && weight <= self.max_weight / 2 {
            self.kept.insert(key, (value, weight));
        }
    }

    /// Forgets one entry, after its truth changed.
    pub fn forget<Q: Eq + Hash + ?Sized>(&self, key: &Q)
    where
        K: Borrow<Q>,
    {
        let mut epoch = self.epoch.lock();
        *epoch += 1;
        self.kept.remove(key);
    }

    /// Forgets everything.
    pub fn clear(&self) {
        let mut epoch = self.epoch.lock();
        *epoch += 1;
        self.kept.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_stays_and_the_rest_goes() {
        let map = EpochCache::new(20, 1);
        for number in 0..1000_u32 {
            map.insert(map.epoch(), number, number, 1);
            assert_eq!(map.get(&0), Some(0), "{number}");
        }
        let kept = (0..1000).filter(|number| map.get(number).is_some()).count();
        assert!(kept <= 20 && map.get(&999).is_some() && map.get(&500).is_none(), "{kept}");
        map.insert(map.epoch(), 5000, 0, 11);
        assert_eq!(map.get(&5000), None, "larger than half of the room");
    }

    #[test]
    fn what_was_read_before_a_change_is_not_kept_after_it() {
        let map = EpochCache::new(20, 1);
        let before = map.epoch();
        map.forget(&1);
        map.insert(before, 1, "old", 1);
        assert_eq!(map.get(&1), None);
        map.insert(map.epoch(), 1, "new", 1);
        assert_eq!(map.get(&1), Some("new"));
        map.clear();
        assert_eq!(map.get(&1), None);
    }
}
