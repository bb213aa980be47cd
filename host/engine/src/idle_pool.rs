//! Idle instances of all components of an engine. The number of instances is bounded: idle ones are evicted when a
//! call needs a new one.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;

/// The idle instances of one component, which wait for their next call.
pub(crate) struct IdleInstances<T> {
    idle: Mutex<Vec<T>>,
}

impl<T> IdleInstances<T> {
    pub(crate) fn take(&self) -> Option<T> {
        self.idle.lock().pop()
    }

    /// Keeps one more, if there are fewer than `max_idle`.
    pub(crate) fn put(&self, instance: T, max_idle: usize) {
        let mut idle = self.idle.lock();
        if idle.len() < max_idle {
            idle.push(instance);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.idle.lock().len()
    }
}

trait EvictIdle: Send + Sync {
    /// Ends all idle instances; answers how many there were.
    fn evict(&self) -> usize;
}

impl<T: Send> EvictIdle for IdleInstances<T> {
    fn evict(&self) -> usize {
        // Ending an instance takes longer than the lock should be held.
        std::mem::take(&mut *self.idle.lock()).len()
    }
}

/// The idle instances of every component of an engine.
#[derive(Default)]
pub(crate) struct IdlePool(Mutex<Vec<Weak<dyn EvictIdle>>>);

impl IdlePool {
    /// The idle instances of one more component.
    pub(crate) fn add<T: Send + 'static>(&self) -> Arc<IdleInstances<T>> {
        let instances = Arc::new(IdleInstances { idle: Mutex::new(Vec::new()) });
        let all: Arc<dyn EvictIdle> = instances.clone();
        let mut idle_pool = self.0.lock();
        idle_pool.retain(|instances| instances.strong_count() > 0);
        idle_pool.push(Arc::downgrade(&all));
        instances
    }

    /// Ends every idle instance; `false` where there was none.
    pub(crate) fn evict_idle(&self) -> bool {
        let idle_pool: Vec<_> = self.0.lock().iter().filter_map(Weak::upgrade).collect();
        idle_pool.iter().map(|instances| instances.evict()).sum::<usize>() > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_wait_make_room() {
        let idle_pool = IdlePool::default();
        let (one, other) = (idle_pool.add::<u8>(), idle_pool.add::<String>());
        one.put(1, 2);
        one.put(2, 2);
        one.put(3, 2);
        other.put("x".to_owned(), 1);
        assert_eq!((one.len(), other.len()), (2, 1));
        assert!(idle_pool.evict_idle() && !idle_pool.evict_idle());
        assert_eq!((one.take(), other.take()), (None, None));
        drop(one);
        drop(other);
        idle_pool.add::<u8>();
        assert_eq!(idle_pool.0.lock().len(), 1);
    }
}
