//! What was asked for lately, in bounded memory.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

use parking_lot::Mutex;

/// A map that forgets what was not asked for while half of its room filled up anew: two generations
/// instead of an order of use, so that a hit moves nothing.
pub(crate) struct Bounded<K, V> {
    generations: Mutex<Generations<K, V>>,
    limit: usize,
}

struct Generations<K, V> {
    young: HashMap<K, (V, usize)>,
    old: HashMap<K, (V, usize)>,
    /// Weight of the young ones.
    weight: usize,
    epoch: u64,
}

/// A moment in the life of a map; see [`Bounded::insert`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Epoch(u64);

impl<K: Eq + Hash, V: Clone> Bounded<K, V> {
    /// Holds entries whose weights add up to `limit` at most.
    pub(crate) fn new(limit: usize) -> Self {
        let generations = Generations { young: HashMap::new(), old: HashMap::new(), weight: 0, epoch: 0 };
        Self { generations: Mutex::new(generations), limit }
    }

    pub(crate) fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let mut generations = self.generations.lock();
        if let Some((value, _)) = generations.young.get(key) {
            return Some(value.clone());
        }
        let (key, (value, weight)) = generations.old.remove_entry(key)?;
        generations.add(key, value.clone(), weight, self.limit);
        Some(value)
    }

    /// Taken before the truth is read, and given to `insert` after.
    pub(crate) fn epoch(&self) -> Epoch {
        Epoch(self.generations.lock().epoch)
    }

    /// Keeps what was true at `epoch`, unless something was forgotten since: what was read before a
    /// change must not be kept after it.
    pub(crate) fn insert(&self, epoch: Epoch, key: K, value: V, weight: usize) {
        let mut generations = self.generations.lock();
        if generations.epoch == epoch.0 && weight <= self.limit / 2 {
            generations.add(key, value, weight, self.limit);
        }
    }

    /// Forgets one entry, after its truth changed.
    pub(crate) fn forget<Q: Eq + Hash + ?Sized>(&self, key: &Q)
    where
        K: Borrow<Q>,
    {
        let mut generations = self.generations.lock();
        generations.epoch += 1;
        generations.old.remove(key);
        if let Some((_, weight)) = generations.young.remove(key) {
            generations.weight -= weight;
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        let mut generations = self.generations.lock();
        let epoch = generations.epoch + 1;
        *generations = Generations { young: HashMap::new(), old: HashMap::new(), weight: 0, epoch };
    }
}

impl<K: Eq + Hash, V> Generations<K, V> {
    fn add(&mut self, key: K, value: V, weight: usize, limit: usize) {
        if self.weight + weight > limit / 2 {
            self.old = std::mem::take(&mut self.young);
            self.weight = 0;
        }
        self.weight += weight;
        if let Some((_, weight)) = self.young.insert(key, (value, weight)) {
            self.weight -= weight;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_stays_and_the_rest_goes() {
        let map = Bounded::new(20);
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
        let map = Bounded::new(20);
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
