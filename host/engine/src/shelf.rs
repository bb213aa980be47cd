//! Warm instances that wait, of all components of an engine: there are only so many places for instances,
//! and those that wait make room for those that are asked.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;

/// Instances of one component that wait for their next call.
pub(crate) struct Shelf<T> {
    idle: Mutex<Vec<T>>,
}

impl<T> Shelf<T> {
    pub(crate) fn take(&self) -> Option<T> {
        self.idle.lock().pop()
    }

    /// Keeps one more, if there are fewer than `most`.
    pub(crate) fn put(&self, instance: T, most: usize) {
        let mut idle = self.idle.lock();
        if idle.len() < most {
            idle.push(instance);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.idle.lock().len()
    }
}

trait Clear: Send + Sync {
    /// Ends all that wait; answers how many that were.
    fn clear(&self) -> usize;
}

impl<T: Send> Clear for Shelf<T> {
    fn clear(&self) -> usize {
        // Ending an instance takes longer than the lock should be held.
        std::mem::take(&mut *self.idle.lock()).len()
    }
}

/// The shelves of an engine.
#[derive(Default)]
pub(crate) struct Shelves(Mutex<Vec<Weak<dyn Clear>>>);

impl Shelves {
    /// A new one among them.
    pub(crate) fn add<T: Send + 'static>(&self) -> Arc<Shelf<T>> {
        let shelf = Arc::new(Shelf { idle: Mutex::new(Vec::new()) });
        let all: Arc<dyn Clear> = shelf.clone();
        let mut shelves = self.0.lock();
        shelves.retain(|shelf| shelf.strong_count() > 0);
        shelves.push(Arc::downgrade(&all));
        shelf
    }

    /// Ends every instance that waits; `false` where none did.
    pub(crate) fn make_room(&self) -> bool {
        let shelves: Vec<_> = self.0.lock().iter().filter_map(Weak::upgrade).collect();
        shelves.iter().map(|shelf| shelf.clear()).sum::<usize>() > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_wait_make_room() {
        let shelves = Shelves::default();
        let (one, other) = (shelves.add::<u8>(), shelves.add::<String>());
        one.put(1, 2);
        one.put(2, 2);
        one.put(3, 2);
        other.put("x".to_owned(), 1);
        assert_eq!((one.len(), other.len()), (2, 1));
        assert!(shelves.make_room() && !shelves.make_room());
        assert_eq!((one.take(), other.take()), (None, None));
        drop(one);
        drop(other);
        shelves.add::<u8>();
        assert_eq!(shelves.0.lock().len(), 1);
    }
}
