//! One task at a time per key, so that a crowd asking for the same thing asks the network once.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use super::{EndorsementError, patience};
use crate::endorsements::kds::{Kds, KdsError};

/// Locks by key. A key that nobody holds takes no memory for long.
#[derive(Debug, Default)]
pub(super) struct Flights {
    locks: Mutex<HashMap<String, Weak<AsyncMutex<()>>>>,
}

impl Flights {
    /// Waits until no other task flies under `key`, as long as one flight may take. Whoever comes second
    /// should look again before setting out.
    pub(super) async fn board(&self, key: &str) -> Result<OwnedMutexGuard<()>, EndorsementError> {
        self.board_for(key, Kds::BUDGET).await
    }

    /// The same for flights that take as long as `wait`.
    pub(super) async fn board_for(
        &self,
        key: &str,
        wait: Duration,
    ) -> Result<OwnedMutexGuard<()>, EndorsementError> {
        tokio::time::timeout(wait, self.lock(key).lock_owned()).await.map_err(|_| {
            EndorsementError::Unavailable { retry_after: patience::SHORT, cause: KdsError::Busy.to_string() }
        })
    }

    /// Like [`Flights::board`], but `None` if another task is under way.
    pub(super) fn try_board(&self, key: &str) -> Option<OwnedMutexGuard<()>> {
        self.lock(key).try_lock_owned().ok()
    }

    fn lock(&self, key: &str) -> Arc<AsyncMutex<()>> {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = locks.get(key).and_then(Weak::upgrade) {
            return lock;
        }
        locks.retain(|_, lock| lock.strong_count() > 0);
        let lock = Arc::new(AsyncMutex::new(()));
        locks.insert(key.to_owned(), Arc::downgrade(&lock));
        lock
    }
}
