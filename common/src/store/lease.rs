//! Leases: of many processes that lack the same endorsement, one asks AMD for it.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A claim to be alone in asking AMD for what a key of the endorsement cache names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The holder's id: drawn at random by each process, for all its leases.
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

    /// The last end that a lease in the way of this one may have. Clocks differ by less. A lease that ends
    /// later is not believed: otherwise a writer of the table could block a key for good with one write.
    pub fn latest(&self) -> Timestamp {
        self.until + Self::LASTS
    }

    /// Whether this lease, which was given before, keeps `other` from being given.
    pub fn blocks(&self, other: &Self) -> bool {
        self.holder != other.holder && self.until > other.from && self.until <= other.latest()
    }
}
