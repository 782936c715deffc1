//! One install or removal of an item at a time.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

/// Takes a lock that nobody holds for long. What somebody left who panicked is used
/// as it is.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A lock for each key. Locks nobody wants any more are forgotten.
#[derive(Debug)]
pub(super) struct Locks<K> {
    locks: Mutex<HashMap<K, Weak<AsyncMutex<()>>>>,
}

impl<K> Default for Locks<K> {
    fn default() -> Self {
        Self {
            locks: Mutex::default(),
        }
    }
}

impl<K: Eq + Hash> Locks<K> {
    /// Waits until nobody else has the lock of `key`.
    pub(super) async fn lock(&self, key: K) -> OwnedMutexGuard<()> {
        let lock = self.of(key);
        lock.lock_owned().await
    }

    /// Takes the lock of `key` if nobody has it.
    pub(super) fn try_lock(&self, key: K) -> Option<OwnedMutexGuard<()>> {
        self.of(key).try_lock_owned().ok()
    }

    fn of(&self, key: K) -> Arc<AsyncMutex<()>> {
        let mut locks = locked(&self.locks);
        locks.retain(|_, lock| lock.strong_count() > 0);
        let known = locks.get(&key).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            let lock = Arc::new(AsyncMutex::new(()));
            locks.insert(key, Arc::downgrade(&lock));
            lock
        })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn same_key_waits_and_another_does_not() {
        let locks = Locks::default();

        let first = locks.lock("a").await;

        assert!(locks.lock("a").now_or_never().is_none());
        assert!(locks.lock("b").now_or_never().is_some());
        drop(first);
        assert!(locks.lock("a").now_or_never().is_some());
    }

    #[tokio::test]
    async fn lock_that_somebody_has_is_not_waited_for() {
        let locks = Locks::default();
        let first = locks.lock("a").await;

        assert!(locks.try_lock("a").is_none());
        drop(first);
        assert!(locks.try_lock("a").is_some());
    }

    #[tokio::test]
    async fn locks_that_nobody_has_are_forgotten() {
        let locks = Locks::default();
        for key in 0..10 {
            drop(locks.lock(key).await);
        }

        drop(locks.lock(11).await);

        assert_eq!(locks.locks.lock().unwrap().len(), 1);
    }
}
