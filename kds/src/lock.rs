//! Locks that a panic does not break.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A poisoned cache is still a cache: what is in it was verified before it was put there.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
