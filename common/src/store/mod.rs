//! The stores of the broker, as contracts in words. Every implementation passes the same suite
//! (`keybroker_testing::contract`).
//!
//! Common to all of them: a read sees every write that was acknowledged before it began; a method either does
//! all that it says or nothing; an error other than [`StoreError::Conflict`] and [`StoreError::Selects`] may
//! hide a write that landed, and the caller treats the operation as failed. A caller that goes away does not
//! call a write back. A method that writes an audit record fails with [`StoreError::Conflict`] if the
//! record's id is taken. Expiry is checked by the caller and again in the condition of every write that
//! depends on it; removing what has expired is the store's own business and nobody may rely on it.
//!
//! **Selection.** A value of HOST_DATA selects one workload at most: the one whose registration is
//! [selected by](Workload::selected_by) it. The store keeps that as a row of its own, which is written, moved
//! and deleted in the transaction of the workload's row and never beside it. No row of a workload is trusted
//! to name another's selection: a selection that is another workload's stays as it is, whatever is deleted or
//! replaced.

mod lease;
mod operator;

use std::{borrow::Cow, fmt::Debug};

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use lease::Lease;
pub use operator::{AuditQuery, Cursor, OperatorStore, Page, RewrapStore, Unreadable};

use crate::{
    audit::AuditRecord,
    decision::AttestDecision,
    ids::{AuditId, RegistrationDigest, TokenId, WorkloadId},
    keyring::{Keyring, Purpose},
    token::Token,
    workload::{Standing, Workload},
};

/// Why a store did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum StoreError {
    /// The condition of a write did not hold; this call wrote nothing.
    #[error("the condition of the write did not hold")]
    Conflict,
    /// Every other condition of a registration held, but the HOST_DATA that would select it selects another
    /// workload; this call wrote nothing.
    #[error("the HOST_DATA of these guests selects another workload")]
    Selects,
    /// The store cannot be used now; whether a write landed is unknown.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// There is no room for the write; whether it landed is unknown.
    #[error("there is no room: {0}")]
    Full(String),
    /// The store was reached and does not let the caller do this, or there is no such table; this call wrote
    /// nothing.
    #[error("the store refused: {0}")]
    Refused(String),
    /// A row is not what this release writes or reads.
    #[error("a row of {table} cannot be read: {cause}")]
    Corrupt {
        /// The table it stands in.
        table: Cow<'static, str>,
        /// The fault, without the row's contents.
        cause: String,
    },
}

/// Registrations, to read.
#[async_trait]
pub trait WorkloadStore: Debug + Send + Sync {
    /// The row of `id`.
    async fn workload(&self, id: &WorkloadId) -> Result<Option<Workload>, StoreError>;

    /// The workload that `host_data` selects, if it selects one. Its row may be revoked, or gone where an
    /// earlier release deleted it.
    async fn selected(&self, host_data: &[u8; 32]) -> Result<Option<WorkloadId>, StoreError>;
}

/// The relation between a registration and the one that it replaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Build {
    /// It is of the same build, which ended if a guest has attested since.
    Same,
    /// It begins a new one.
    New,
}

/// Registrations as `register` sees them.
///
/// Both writes let the HOST_DATA that selects the new registration, if there is one, select its workload.
/// They fail with [`StoreError::Selects`] if it selects another workload, which may have no row, or be
/// revoked.
///
/// Both writes may use a token: then they also fail with [`StoreError::Conflict`] unless the token has a row
/// that is neither revoked nor expired at `audit.time` (`expires_at` is the first such instant) and made for
/// no other workload, and is bound as the write demands. The token is bound in the same transaction.
#[async_trait]
pub trait RegistrationStore: WorkloadStore {
    /// The row of a token.
    async fn token(&self, id: &TokenId) -> Result<Option<Token>, StoreError>;

    /// Writes a new row and `audit`, together, and binds `token`, which must be bound to nothing, to the
    /// row's id as of `audit.time`. [`StoreError::Conflict`] if the id has a row, revoked or not.
    async fn create(
        &self,
        workload: &Workload,
        audit: &AuditRecord,
        token: Option<&TokenId>,
    ) -> Result<(), StoreError>;

    /// Puts `workload`, all of it, in the place of the row of its id, and writes `audit`, together.
    /// [`StoreError::Conflict`] unless there is such a row, its registration is that of `replaced`, it is not
    /// revoked, and, for [`Build::Same`], not released either. `token` must be bound to the id for
    /// [`Build::Same`], and to nothing for [`Build::New`], which binds it.
    ///
    /// The HOST_DATA that selected `replaced` selects nothing any more, unless it selects `workload` as well.
    async fn replace(
        &self,
        replaced: &Workload,
        build: Build,
        workload: &Workload,
        audit: &AuditRecord,
        token: Option<&TokenId>,
    ) -> Result<(), StoreError>;
}

/// Tokens as an operator sees them.
#[async_trait]
pub trait TokenStore: Debug + Send + Sync {
    /// Writes a new token and `audit`, together. [`StoreError::Conflict`] if the id has a row.
    async fn put_token(&self, token: &Token, audit: &AuditRecord) -> Result<(), StoreError>;

    /// The row of a token.
    async fn stored_token(&self, id: &TokenId) -> Result<Option<Token>, StoreError>;

    /// Revokes the token as of `audit.time` and writes `audit`, together. The row keeps who did it and why;
    /// one already revoked keeps its own. [`StoreError::Conflict`] if there is no row.
    async fn revoke_token(&self, id: &TokenId, audit: &AuditRecord) -> Result<(), StoreError>;

    /// A page of the tokens that are kept, in an order of the store's own.
    async fn tokens(&self, after: Option<&Cursor>) -> Result<Page<Token>, StoreError>;
}

/// Registrations as `attest` sees them: it can note that one was released under, and what was released, and
/// write none.
#[async_trait]
pub trait ReleaseStore: WorkloadStore {
    /// Notes that a guest attested under `registration`: sets `released_at` to `at` if it is absent, revoked
    /// or not. [`StoreError::Conflict`] if there is no row, or it holds another registration.
    async fn mark_released(
        &self,
        id: &WorkloadId,
        registration: RegistrationDigest,
        at: Timestamp,
    ) -> Result<(), StoreError>;

    /// Writes `audit`, the record of a release for `id` that rests on `standing`, beside the decisions.
    ///
    /// Where the store can look at the row in the same transaction and nobody waits longer for it, it writes
    /// nothing and ends with [`StoreError::Conflict`] unless the row is there and
    /// [stands](Workload::stands_as) so. Where it cannot, the record is written whatever the row says. Either
    /// way nothing may leave before the row was read again, after this.
    async fn record_release(
        &self,
        id: &WorkloadId,
        standing: &Standing,
        audit: &AuditRecord,
    ) -> Result<(), StoreError>;
}

/// Registrations as an operator sees them.
#[async_trait]
pub trait RevocationStore: WorkloadStore {
    /// Revokes `id` as of `audit.time` and writes `audit`, together. The row keeps who did it and why; a row
    /// already revoked keeps its own. Its selection stays. [`StoreError::Conflict`] if there is no row.
    async fn revoke(&self, id: &WorkloadId, audit: &AuditRecord) -> Result<(), StoreError>;
}

/// The decisions about guests' answers to their challenges. A decision and the records of releases are
/// written by `attest` alone, and never changed.
#[async_trait]
pub trait DecisionStore: Debug + Send + Sync {
    /// Writes `decision` under the id of its record. If there is one under this id, writes nothing and gives
    /// that one: so the first is the only one, however many try at once.
    async fn decide(&self, decision: &AttestDecision) -> Result<Option<AttestDecision>, StoreError>;

    /// The decision under `id`.
    async fn decision(&self, id: AuditId) -> Result<Option<AttestDecision>, StoreError>;

    /// Writes a record that is no decision about an answer. [`StoreError::Conflict`] if its id is taken.
    async fn record(&self, audit: &AuditRecord) -> Result<(), StoreError>;
}

/// A ring of keys as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredKeyring {
    /// Grows by one with each write.
    pub edition: u64,
    /// The ring.
    pub ring: Keyring,
}

/// The rings of the broker's own keys, wrapped.
#[async_trait]
pub trait KeyringStore: Debug + Send + Sync {
    /// The ring of `purpose`.
    async fn keyring(&self, purpose: Purpose) -> Result<Option<StoredKeyring>, StoreError>;

    /// Writes `ring` in the place of the one with this edition, or where there is none.
    /// [`StoreError::Conflict`] unless that is the one that is there.
    async fn put_keyring(
        &self,
        purpose: Purpose,
        replaced: Option<u64>,
        ring: &Keyring,
    ) -> Result<(), StoreError>;
}

/// A row of the endorsement cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredEndorsement {
    /// DER of a certificate or a CRL, or PEM of a chain.
    #[serde(with = "crate::encoding::base64_bytes")]
    pub bytes: Vec<u8>,
    /// When it was fetched from AMD.
    pub fetched_at: Timestamp,
    /// Decides between two rows under the same key: the greater edition is newer. It is a CRL's thisUpdate,
    /// in seconds; 0 for a row that never changes.
    pub edition: i64,
}

/// AMD's certificates and CRLs, shared by every instance. A cache: every reader verifies what it read.
#[async_trait]
pub trait EndorsementStore: Debug + Send + Sync {
    /// The row under `key` (`Milan/<chip id>/<tcb>`, `Milan/vcek/chain`, `Milan/vcek/crl`).
    async fn endorsement(&self, key: &str) -> Result<Option<StoredEndorsement>, StoreError>;

    /// Writes the row under `key`, unless the row there has a later edition: then nothing is written, and
    /// that is no error. A row of the same edition gives way, and so does one that cannot be read.
    async fn put_endorsement(&self, key: &str, endorsement: &StoredEndorsement) -> Result<(), StoreError>;

    /// Gives `lease` on `key`, which need not have a row, in the place of any lease that does not block it
    /// ([`Lease::blocks`]): one that is over, or of the same holder. `None` if it was given, or the lease
    /// that blocks it. If many ask at once, exactly one gets it.
    ///
    /// A lease keeps nobody from reading or writing the row.
    async fn lease(&self, key: &str, lease: &Lease) -> Result<Option<Lease>, StoreError>;

    /// Ends the lease on `key` if `holder` has it; does nothing if not.
    async fn end_lease(&self, key: &str, holder: Uuid) -> Result<(), StoreError>;
}

/// The audit log of all that is no guest's: registrations and operators' acts. Records are written once and
/// never changed.
#[async_trait]
pub trait AuditStore: Debug + Send + Sync {
    /// Writes `record`. [`StoreError::Conflict`] if its id is taken.
    async fn append(&self, record: &AuditRecord) -> Result<(), StoreError>;
}

/// Whether a store can be used, for monitors of the broker.
#[async_trait]
pub trait Health: Debug + Send + Sync {
    /// Looks, and tries again what failed last. An error while the store's last operation failed, or it has
    /// no room for more.
    async fn check(&self) -> Result<(), StoreError>;
}
