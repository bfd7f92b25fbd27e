//! The contracts, each method one transaction.

use async_trait::async_trait;
use jiff::Timestamp;
use keybroker_common::{
    audit::AuditRecord,
    ids::{RegistrationDigest, SessionId, TokenId, WorkloadId},
    session::{Challenge, Session},
    store::{
        AuditStore, Build, ChallengeStore, Cursor, EndorsementStore, Lease, Page, RegistrationStore,
        ReleaseStore, RevocationStore, SessionStore, StoreError, StoredEndorsement, TokenStore,
        WorkloadStore,
    },
    token::{Bound, Token},
    workload::{Standing, Workload},
};
use redb::WriteTransaction;
use uuid::Uuid;

use super::{
    Change, EmbeddedStore,
    expiry::ExpiringRows,
    rows::{Rows, Span},
};

#[async_trait]
impl WorkloadStore for EmbeddedStore {
    async fn workload(&self, id: &WorkloadId) -> Result<Option<Workload>, StoreError> {
        self.read(id.as_str().as_bytes())
    }
}

#[async_trait]
impl RegistrationStore for EmbeddedStore {
    async fn token(&self, id: &TokenId) -> Result<Option<Token>, StoreError> {
        self.read(id.as_bytes())
    }

    async fn create(
        &self,
        workload: &Workload,
        audit: &AuditRecord,
        token: Option<&TokenId>,
    ) -> Result<(), StoreError> {
        let (workload, audit, token) = (workload.clone(), audit.clone(), token.copied());
        self.write_if_room(move |transaction| {
            Rows::open(transaction)?.create(workload.id.as_str().as_bytes(), &workload)?;
            use_token(transaction, token, Build::New, &workload.id, &audit)?;
            record(transaction, &audit)
        })
        .await
    }

    async fn replace(
        &self,
        replaced: RegistrationDigest,
        build: Build,
        workload: &Workload,
        audit: &AuditRecord,
        token: Option<&TokenId>,
    ) -> Result<(), StoreError> {
        let (workload, audit, token) = (workload.clone(), audit.clone(), token.copied());
        self.write_if_room(move |transaction| {
            let mut rows = Rows::open(transaction)?;
            let row = existing(&rows, &workload.id)?;
            let ended = build == Build::Same && row.released_at.is_some();
            if row.digest() != replaced || row.revoked_at.is_some() || ended {
                return Err(StoreError::Conflict);
            }
            rows.put(workload.id.as_str().as_bytes(), &workload)?;
            use_token(transaction, token, build, &workload.id, &audit)?;
            record(transaction, &audit)
        })
        .await
    }
}

/// Binds the token, if there is one, to `workload`, or finds it bound to it already, as `build` demands.
fn use_token(
    transaction: &WriteTransaction,
    token: Option<TokenId>,
    build: Build,
    workload: &WorkloadId,
    audit: &AuditRecord,
) -> Result<(), StoreError> {
    let Some(id) = token else { return Ok(()) };
    let mut rows = Rows::<Token>::open(transaction)?;
    let mut token = rows.get(id.as_bytes())?.ok_or(StoreError::Conflict)?;
    let others = |id: &WorkloadId| id != workload;
    let dead = token.revoked_at.is_some() || token.expires_at <= audit.time;
    if dead || token.made_for.as_ref().is_some_and(others) {
        return Err(StoreError::Conflict);
    }
    match (build, &token.bound) {
        (Build::New, None) => {
            token.bound = Some(Bound { workload_id: workload.clone(), at: audit.time });
            rows.put(id.as_bytes(), &token)
        }
        (Build::Same, Some(bound)) if bound.workload_id == *workload => Ok(()),
        _ => Err(StoreError::Conflict),
    }
}

#[async_trait]
impl TokenStore for EmbeddedStore {
    /// Removes what is listed no longer on the way: there are never many, and nothing else makes more.
    async fn put_token(&self, token: &Token, audit: &AuditRecord) -> Result<(), StoreError> {
        let (token, audit) = (token.clone(), audit.clone());
        self.write_if_room(move |transaction| {
            let mut rows = Rows::open(transaction)?;
            let past = |token: &Token| token.unlisted_at().is_some_and(|at| at <= audit.time);
            rows.delete_where(past)?;
            rows.create(token.id.as_bytes(), &token)?;
            record(transaction, &audit)
        })
        .await
    }

    async fn revoke_token(&self, id: &TokenId, audit: &AuditRecord) -> Result<(), StoreError> {
        let (id, audit) = (*id, audit.clone());
        self.write(move |transaction| {
            let mut rows = Rows::<Token>::open(transaction)?;
            let mut row = rows.get(id.as_bytes())?.ok_or(StoreError::Conflict)?;
            row.revoked_at = row.revoked_at.or(Some(audit.time));
            rows.put(id.as_bytes(), &row)?;
            record(transaction, &audit)
        })
        .await
    }

    async fn tokens(&self, after: Option<&Cursor>) -> Result<Page<Token>, StoreError> {
        self.page(Span::ALL, after, |_, token| Some(token))
    }
}

#[async_trait]
impl ReleaseStore for EmbeddedStore {
    async fn mark_released(
        &self,
        id: &WorkloadId,
        registration: RegistrationDigest,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let id = id.clone();
        self.write(move |transaction| {
            let mut rows = Rows::open(transaction)?;
            let mut row = existing(&rows, &id)?;
            if row.digest() != registration {
                return Err(StoreError::Conflict);
            }
            if row.released_at.is_some() {
                return Ok(Change::None);
            }
            row.released_at = Some(at);
            rows.put(id.as_str().as_bytes(), &row)?;
            Ok(Change::Made)
        })
        .await
    }

    /// The condition stands in the commit that writes the record: what was revoked before is not on record as
    /// released.
    async fn record_release(
        &self,
        id: &WorkloadId,
        standing: &Standing,
        audit: &AuditRecord,
    ) -> Result<(), StoreError> {
        let (id, standing, audit) = (id.clone(), *standing, audit.clone());
        self.write(move |transaction| {
            if !existing(&Rows::open(transaction)?, &id)?.stands_as(&standing) {
                return Err(StoreError::Conflict);
            }
            record(transaction, &audit)
        })
        .await
    }
}

#[async_trait]
impl RevocationStore for EmbeddedStore {
    async fn revoke(&self, id: &WorkloadId, audit: &AuditRecord) -> Result<(), StoreError> {
        let (id, audit) = (id.clone(), audit.clone());
        self.write(move |transaction| {
            let mut rows = Rows::open(transaction)?;
            let mut row = existing(&rows, &id)?;
            row.revoked_at = row.revoked_at.or(Some(audit.time));
            rows.put(id.as_str().as_bytes(), &row)?;
            record(transaction, &audit)
        })
        .await
    }
}

#[async_trait]
impl ChallengeStore for EmbeddedStore {
    async fn put_challenge(&self, challenge: &Challenge) -> Result<(), StoreError> {
        let (challenge, now) = (challenge.clone(), self.clock.now());
        self.write_if_room(move |transaction| {
            let mut challenges = ExpiringRows::open_swept(transaction, now)?;
            challenges.create(challenge.session_id.expose().as_bytes(), &challenge)?;
            Ok(Change::Made)
        })
        .await
    }
}

#[async_trait]
impl SessionStore for EmbeddedStore {
    async fn challenge(&self, id: &SessionId) -> Result<Option<Challenge>, StoreError> {
        self.read(id.expose().as_bytes())
    }

    async fn attest(&self, session: &Session, audit: &AuditRecord) -> Result<(), StoreError> {
        let (session, audit, now) = (session.clone(), audit.clone(), self.clock.now());
        self.write(move |transaction| {
            let key = session.session_id().expose();
            let mut challenges = ExpiringRows::<Challenge>::open_swept(transaction, now)?;
            let challenge = challenges.take(key.as_bytes())?.ok_or(StoreError::Conflict)?;
            if challenge.expires_at <= audit.time {
                return Err(StoreError::Conflict);
            }
            ExpiringRows::open_swept(transaction, now)?.create(key.as_bytes(), &session)?;
            record(transaction, &audit)
        })
        .await
    }

    async fn refuse(&self, id: &SessionId, audit: &AuditRecord) -> Result<(), StoreError> {
        let (id, audit, now) = (id.clone(), audit.clone(), self.clock.now());
        self.write(move |transaction| {
            let mut challenges = ExpiringRows::<Challenge>::open_swept(transaction, now)?;
            challenges.take(id.expose().as_bytes())?;
            record(transaction, &audit)
        })
        .await
    }

    async fn session(&self, id: &SessionId) -> Result<Option<Session>, StoreError> {
        self.read(id.expose().as_bytes())
    }
}

#[async_trait]
impl EndorsementStore for EmbeddedStore {
    async fn endorsement(&self, key: &str) -> Result<Option<StoredEndorsement>, StoreError> {
        self.read(key.as_bytes())
    }

    async fn put_endorsement(&self, key: &str, endorsement: &StoredEndorsement) -> Result<(), StoreError> {
        let (key, endorsement) = (key.to_owned(), endorsement.clone());
        self.write_if_room(move |transaction| {
            let mut rows = Rows::<StoredEndorsement>::open(transaction)?;
            let held = match rows.get(key.as_bytes()) {
                // Gives way, or it would stand in the cache for good.
                Err(StoreError::Corrupt { .. }) => None,
                held => held?,
            };
            if held.is_some_and(|held| held.edition > endorsement.edition) {
                return Ok(Change::None);
            }
            rows.put(key.as_bytes(), &endorsement)?;
            Ok(Change::Made)
        })
        .await
    }

    async fn lease(&self, key: &str, lease: &Lease) -> Result<Option<Lease>, StoreError> {
        Ok(self.leases.take(key, *lease))
    }

    async fn end_lease(&self, key: &str, holder: Uuid) -> Result<(), StoreError> {
        self.leases.end(key, holder);
        Ok(())
    }
}

#[async_trait]
impl AuditStore for EmbeddedStore {
    async fn append(&self, audit: &AuditRecord) -> Result<(), StoreError> {
        let audit = audit.clone();
        self.write(move |transaction| record(transaction, &audit)).await
    }
}

/// The row of a workload that must have one.
pub(super) fn existing(rows: &Rows<'_, Workload>, id: &WorkloadId) -> Result<Workload, StoreError> {
    rows.get(id.as_str().as_bytes())?.ok_or(StoreError::Conflict)
}

/// Adds the audit record to the transaction: the last step of each that has one.
pub(super) fn record(transaction: &WriteTransaction, audit: &AuditRecord) -> Result<Change, StoreError> {
    Rows::open(transaction)?.create(audit.id.0.as_bytes(), audit)?;
    Ok(Change::Made)
}
