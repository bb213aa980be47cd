//! Locks by key: who needs the same thing waits for the first to be done with it, and finds it there.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OwnedMutexGuard;

/// A lock for each key that somebody holds or waits for; of other keys nothing is kept. Cheap to clone.
///
/// It keeps no values: those that are loaded once stand where they belong, in a database, a budget or a weak pointer, and
/// are looked for there by whoever has got the lock.
pub struct KeyedLocks<K>(Arc<Mutex<HashMap<K, Arc<tokio::sync::Mutex<()>>>>>);

impl<K> Clone for KeyedLocks<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K> Default for KeyedLocks<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Clone + Eq + Hash> KeyedLocks<K> {
    /// Waits until nobody else holds the key, those who came before first. The lock may be handed to a task that goes on
    /// when its caller has gone.
    pub async fn lock(&self, key: K) -> KeyedLock<K> {
        let lock = self.all().entry(key.clone()).or_default().clone();
        // Made before it waits: one that is given up while it waits is forgotten, too.
        let mut waiting = KeyedLock { locks: self.clone(), key, lock: lock.clone(), held: None };
        waiting.held = Some(lock.lock_owned().await);
        waiting
    }

    fn all(&self) -> MutexGuard<'_, HashMap<K, Arc<tokio::sync::Mutex<()>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A key that nobody else holds until this is dropped.
#[must_use = "the key is free again when this is dropped"]
pub struct KeyedLock<K: Clone + Eq + Hash> {
    locks: KeyedLocks<K>,
    key: K,
    lock: Arc<tokio::sync::Mutex<()>>,
    held: Option<OwnedMutexGuard<()>>,
}

impl<K: Clone + Eq + Hash> Drop for KeyedLock<K> {
    fn drop(&mut self) {
        self.held = None;
        let mut all = self.locks.all();
        // The map's and this one: others are made under the map's lock alone.
        if Arc::strong_count(&self.lock) == 2 {
            all.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_key_has_one_holder_and_others_wait_for_it_in_turn() {
        let locks = KeyedLocks::default();
        let mut first = pin!(locks.lock("a"));
        let Poll::Ready(held) = poll(first.as_mut()) else { panic!("nobody holds it") };
        let mut second = pin!(locks.lock("a"));
        let mut third = pin!(locks.lock("a"));
        assert!(poll(second.as_mut()).is_pending() && poll(third.as_mut()).is_pending());
        let mut other = pin!(locks.lock("b"));
        assert!(poll(other.as_mut()).is_ready(), "another key is another lock");
        drop(held);
        assert!(poll(third.as_mut()).is_pending(), "who came before goes first");
        let Poll::Ready(held) = poll(second.as_mut()) else { panic!("it is free") };
        drop(held);
        assert!(poll(third.as_mut()).is_ready());
    }

    #[test]
    fn nothing_is_kept_of_keys_that_nobody_needs() {
        let locks = KeyedLocks::default();
        for key in 0..100 {
            let mut one = pin!(locks.lock(key));
            assert!(poll(one.as_mut()).is_ready());
        }
        assert_eq!(locks.all().len(), 0);
        let mut first = pin!(locks.lock(7));
        let Poll::Ready(held) = poll(first.as_mut()) else { panic!("nobody holds it") };
        {
            let mut given_up = pin!(locks.lock(7));
            assert!(poll(given_up.as_mut()).is_pending());
        }
        assert_eq!(locks.all().len(), 1);
        let mut waiting = Box::pin(locks.lock(7));
        assert!(poll(waiting.as_mut()).is_pending());
        drop(held);
        assert_eq!(locks.all().len(), 1, "somebody waits for it");
        drop(waiting);
        assert_eq!(locks.all().len(), 0, "who was next has given up");
    }
}
