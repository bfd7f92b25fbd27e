//! Leases: of many processes that lack the same endorsement, one asks AMD for it.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

/// A claim to be alone in asking AMD for what a key of the endorsement cache names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Whose it is: drawn at random by each process, for all its leases.
    pub holder: Uuid,
    /// Since when.
    pub from: Timestamp,
    /// First instant at which it no longer counts.
    pub until: Timestamp,
}

impl Lease {
    /// How long one lasts: longer than asking AMD for one thing may take.
    pub const LASTS: SignedDuration = SignedDuration::from_secs(15);

    /// One that begins `now`.
    pub fn new(holder: Uuid, now: Timestamp) -> Self {
        Self { holder, from: now, until: now + Self::LASTS }
    }

    /// The last end that a lease in the way of this one may have. Clocks differ by less; one that ends later is not believed,
    /// or whoever writes the table could block a key for good with one write.
    pub fn latest(&self) -> Timestamp {
        self.until + Self::LASTS
    }

    /// Whether this lease, which was given before, keeps `other` from being given.
    pub fn blocks(&self, other: &Self) -> bool {
        self.holder != other.holder && self.until > other.from && self.until <= other.latest()
    }
}

/// The leases of a store that has one process.
#[derive(Debug, Default)]
pub(crate) struct Leases(Mutex<HashMap<String, Lease>>);

impl Leases {
    /// See [`EndorsementStore::lease`](super::EndorsementStore::lease).
    pub(crate) fn take(&self, key: &str, lease: Lease) -> Option<Lease> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(blocking) = held.get(key).filter(|held| held.blocks(&lease)) {
            return Some(*blocking);
        }
        held.retain(|_, held| held.until > lease.from);
        held.insert(key.to_owned(), lease);
        None
    }

    /// See [`EndorsementStore::end_lease`](super::EndorsementStore::end_lease).
    pub(crate) fn end(&self, key: &str, holder: Uuid) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.get(key).is_some_and(|held| held.holder == holder) {
            held.remove(key);
        }
    }
}
