//! One task of this process at a time for each key, so that guests who come together ask once.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use tokio::{
    sync::{Mutex as AsyncMutex, OwnedMutexGuard},
    time::timeout,
};

use crate::{
    error::{EndorsementError, KdsError},
    lock::lock,
};

/// Locks by key. A key that nobody holds takes no memory for long.
#[derive(Debug, Default)]
pub(crate) struct SingleFlight {
    locks: Mutex<HashMap<String, Weak<AsyncMutex<()>>>>,
}

impl SingleFlight {
    /// Waits until no other task works under `key`, for as long as `wait`. The second one should look again
    /// before it asks.
    pub(crate) async fn begin(
        &self,
        key: &str,
        wait: Duration,
    ) -> Result<OwnedMutexGuard<()>, EndorsementError> {
        let begun = timeout(wait, self.lock(key).lock_owned()).await;
        begun.map_err(|_| EndorsementError::not_now(KdsError::Busy))
    }

    /// Like [`SingleFlight::begin`], but `None` if another task is at work.
    pub(crate) fn try_begin(&self, key: &str) -> Option<OwnedMutexGuard<()>> {
        self.lock(key).try_lock_owned().ok()
    }

    fn lock(&self, key: &str) -> Arc<AsyncMutex<()>> {
        let mut locks = lock(&self.locks);
        if let Some(lock) = locks.get(key).and_then(Weak::upgrade) {
            return lock;
        }
        locks.retain(|_, lock| lock.strong_count() > 0);
        let lock = Arc::new(AsyncMutex::new(()));
        locks.insert(key.to_owned(), Arc::downgrade(&lock));
        lock
    }
}
