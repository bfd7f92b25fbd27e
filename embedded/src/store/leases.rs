//! Leases in memory: no other process has the file open.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use keybroker_common::store::Lease;
use uuid::Uuid;

/// The leases of a store that has one process.
#[derive(Debug, Default)]
pub(super) struct Leases(Mutex<HashMap<String, Lease>>);

impl Leases {
    /// See [`EndorsementStore::lease`](keybroker_common::store::EndorsementStore::lease).
    pub(super) fn take(&self, key: &str, lease: Lease) -> Option<Lease> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(blocking) = held.get(key).filter(|held| held.blocks(&lease)) {
            return Some(*blocking);
        }
        held.retain(|_, held| held.until > lease.from);
        held.insert(key.to_owned(), lease);
        None
    }

    /// See [`EndorsementStore::end_lease`](keybroker_common::store::EndorsementStore::end_lease).
    pub(super) fn end(&self, key: &str, holder: Uuid) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.get(key).is_some_and(|held| held.holder == holder) {
            held.remove(key);
        }
    }
}
