//! The stores as an operator sees them: all rows, and acts that no function of the broker can do.

use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    AuditStore, EndorsementStore, KeyringStore, RevocationStore, StoreError, StoredEndorsement, TokenStore,
};
use crate::{
    audit::AuditRecord,
    ids::{AuditId, RegistrationDigest, WorkloadId},
    keyring::{Keyring, Purpose},
    secret::WrappedSecret,
    workload::Workload,
};

/// Where a listing goes on: what the page before gave. Only the store that gave it can read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cursor(pub String);

/// A part of a listing. It may be empty and not the last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// Rows that were met and cannot be read: they stop no listing.
    pub unreadable: Vec<Unreadable>,
    /// Where the next page begins; `None` on the last.
    pub next: Option<Cursor>,
}

impl<T> Default for Page<T> {
    fn default() -> Self {
        Self { rows: Vec::new(), unreadable: Vec::new(), next: None }
    }
}

impl<T> Page<T> {
    /// Adds a row, or that it cannot be read. Any other error is the listing's.
    pub fn push(&mut self, key: String, row: Result<T, StoreError>) -> Result<(), StoreError> {
        match row {
            Ok(row) => self.rows.push(row),
            Err(cause @ StoreError::Corrupt { .. }) => {
                self.unreadable.push(Unreadable { key, cause: cause.to_string() });
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// A row that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unreadable {
    /// Its key, as text.
    pub key: String,
    /// The fault, without the row's contents.
    pub cause: String,
}

/// Which audit records are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditQuery {
    /// Those of this workload alone.
    pub workload: Option<WorkloadId>,
    /// Those of this time and later.
    pub since: Option<Timestamp>,
    /// Those before this time.
    pub until: Option<Timestamp>,
    /// The listing begins with the newest. It is no part of the JSON form: a reader that does not know it
    /// must not give the oldest first in its place.
    #[serde(skip)]
    pub newest_first: bool,
    /// If set, records that differ farther from their ids than this, and no farther than [`Self::LEAD`], may
    /// be missing at the beginning of the span: for a caller who often asks for what is new, and at times for
    /// the rest.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub lead: Option<SignedDuration>,
}

impl AuditQuery {
    /// How far the time in a record's id ([`AuditId`] is a UUID of version 7) may be after the record's own:
    /// a listing of a span of time need not look at records whose ids are farther from it.
    pub const SKEW: SignedDuration = SignedDuration::from_mins(1);
    /// How far it may be before: the id of a decision about a challenge has the challenge's time, and a
    /// challenge can last for a day.
    pub const LEAD: SignedDuration = SignedDuration::from_mins(24 * 60 + 1);

    /// Whether `record` is asked for.
    pub fn matches(&self, record: &AuditRecord) -> bool {
        (self.workload.is_none() || self.workload == record.workload_id)
            && self.since.is_none_or(|since| record.time >= since)
            && self.until.is_none_or(|until| record.time < until)
    }
}

/// Everything but secrets in the clear. Sessions are no part of what it gives.
///
/// A listing gives every row that was there when it began and still is when its page is read, once; of rows
/// that are written or deleted meanwhile it may give any. A page is of bounded size, some megabytes at most.
#[async_trait]
pub trait OperatorStore: RevocationStore + TokenStore + EndorsementStore + KeyringStore + AuditStore {
    /// A page of the registrations, in an order of the store's own.
    async fn workloads(&self, after: Option<&Cursor>) -> Result<Page<Workload>, StoreError>;

    /// Takes a revocation back and writes `audit`, together: `restored_by` becomes the record's id, so that
    /// no session from before counts again. If the row is not revoked, only the record is written.
    /// [`StoreError::Conflict`] unless there is a row with this registration: another than the one that was
    /// looked at must not come back in its place.
    async fn restore(
        &self,
        id: &WorkloadId,
        registration: RegistrationDigest,
        audit: &AuditRecord,
    ) -> Result<(), StoreError>;

    /// Puts registration and secrets of `amended` in the place of those of its row, and writes `audit`,
    /// together. The rest of the row stays as it is in the store, whatever `amended` says: when it was first
    /// registered, released or revoked; and so does what selects it. [`StoreError::Conflict`] unless there is
    /// a row with the registration and the very secrets of `seen`, wrapped as they are there, and the same
    /// HOST_DATA, if any, selects both.
    async fn amend(&self, seen: &Workload, amended: &Workload, audit: &AuditRecord)
    -> Result<(), StoreError>;

    /// Deletes the row of `seen.id` and writes `audit`, together; the HOST_DATA that selected it selects
    /// nothing any more. [`StoreError::Conflict`] unless the row is the one that was seen: the same digest,
    /// `revoked_at` and `released_at`.
    async fn delete(&self, seen: &Workload, audit: &AuditRecord) -> Result<(), StoreError>;

    /// A page of the endorsement cache, with the rows' keys, in an order of the store's own. Leases are no
    /// rows of it.
    async fn endorsements(
        &self,
        after: Option<&Cursor>,
    ) -> Result<Page<(String, StoredEndorsement)>, StoreError>;

    /// Deletes the endorsement under `key`, readable or not, if it is there. A lease on it stays.
    async fn delete_endorsement(&self, key: &str) -> Result<(), StoreError>;

    /// Puts `ring` in the place of the one with the edition `replaced`, as
    /// [`put_keyring`](KeyringStore::put_keyring) does, and writes `audit`, together.
    async fn turn_keyring(
        &self,
        purpose: Purpose,
        replaced: Option<u64>,
        ring: &Keyring,
        audit: &AuditRecord,
    ) -> Result<(), StoreError>;

    /// The audit record with this id, of a decision about a guest or of anything else.
    async fn audit_record(&self, id: AuditId) -> Result<Option<AuditRecord>, StoreError>;

    /// A page of all audit records, in the order of their ids, or backwards. The id of a decision about a
    /// challenge has the challenge's time.
    ///
    /// DynamoDB gives them in the order of time where a workload is named, and in none where none is: then
    /// the records of guests and all others come one after the other. Where a workload is named it answers by
    /// an index, which follows the table by a moment: what was recorded just now may be missing, unlike
    /// anywhere else in these contracts.
    async fn audit_records(
        &self,
        query: &AuditQuery,
        after: Option<&Cursor>,
    ) -> Result<Page<AuditRecord>, StoreError>;
}

/// A store whose rows name the wrapping key each, so that some can be moved to another key before others. A
/// store on one machine belongs to one key, and moves at once.
#[async_trait]
pub trait RewrapStore: OperatorStore {
    /// Puts `secrets` in the place of those of the row of `seen.id`, and writes `audit`, together. The rest
    /// of the row stays as it is in the store, whatever `seen` says. [`StoreError::Conflict`] unless there is
    /// a row with the registration and the very secrets of `seen`, wrapped as they are there.
    async fn rewrap(
        &self,
        seen: &Workload,
        secrets: &BTreeMap<String, WrappedSecret>,
        audit: &AuditRecord,
    ) -> Result<(), StoreError>;
}
