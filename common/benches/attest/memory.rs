//! The stores in memory, for what the broker itself costs: one lock over maps, and nothing kept of audit
//! records.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use jiff::Timestamp;
use keybroker_common::{
    audit::AuditRecord,
    ids::{RegistrationDigest, SessionId, TokenId, WorkloadId},
    session::{Challenge, Session},
    store::{
        AuditStore, Build, ChallengeStore, EndorsementStore, Lease, RegistrationStore, ReleaseStore,
        RevocationStore, SessionStore, StoreError, StoredEndorsement, WorkloadStore,
    },
    token::Token,
    workload::{Standing, Workload},
};
use uuid::Uuid;

#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<Tables>);

#[derive(Debug, Default)]
struct Tables {
    workloads: HashMap<WorkloadId, Workload>,
    challenges: HashMap<SessionId, Challenge>,
    sessions: HashMap<SessionId, Session>,
    endorsements: HashMap<String, StoredEndorsement>,
}

impl Memory {
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl WorkloadStore for Memory {
    async fn workload(&self, id: &WorkloadId) -> Result<Option<Workload>, StoreError> {
        Ok(self.tables().workloads.get(id).cloned())
    }
}

#[async_trait]
impl RegistrationStore for Memory {
    async fn token(&self, _: &TokenId) -> Result<Option<Token>, StoreError> {
        Ok(None)
    }

    async fn create(
        &self,
        workload: &Workload,
        _: &AuditRecord,
        _: Option<&TokenId>,
    ) -> Result<(), StoreError> {
        self.tables().workloads.insert(workload.id.clone(), workload.clone());
        Ok(())
    }

    async fn replace(
        &self,
        _: RegistrationDigest,
        _: Build,
        _: &Workload,
        _: &AuditRecord,
        _: Option<&TokenId>,
    ) -> Result<(), StoreError> {
        Err(StoreError::Conflict)
    }
}

#[async_trait]
impl ReleaseStore for Memory {
    async fn mark_released(
        &self,
        id: &WorkloadId,
        _: RegistrationDigest,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let mut tables = self.tables();
        tables.workloads.get_mut(id).ok_or(StoreError::Conflict)?.released_at.get_or_insert(at);
        Ok(())
    }

    async fn record_release(&self, _: &WorkloadId, _: &Standing, _: &AuditRecord) -> Result<(), StoreError> {
        Ok(())
    }
}

#[async_trait]
impl RevocationStore for Memory {
    async fn revoke(&self, _: &WorkloadId, _: &AuditRecord) -> Result<(), StoreError> {
        Err(StoreError::Conflict)
    }
}

#[async_trait]
impl ChallengeStore for Memory {
    async fn put_challenge(&self, challenge: &Challenge) -> Result<(), StoreError> {
        self.tables().challenges.insert(challenge.session_id.clone(), challenge.clone());
        Ok(())
    }
}

#[async_trait]
impl SessionStore for Memory {
    async fn challenge(&self, id: &SessionId) -> Result<Option<Challenge>, StoreError> {
        Ok(self.tables().challenges.get(id).cloned())
    }

    async fn attest(&self, session: &Session, _: &AuditRecord) -> Result<(), StoreError> {
        let mut tables = self.tables();
        tables.challenges.remove(session.session_id()).ok_or(StoreError::Conflict)?;
        tables.sessions.insert(session.session_id().clone(), session.clone());
        Ok(())
    }

    async fn refuse(&self, id: &SessionId, _: &AuditRecord) -> Result<(), StoreError> {
        self.tables().challenges.remove(id);
        Ok(())
    }

    async fn session(&self, id: &SessionId) -> Result<Option<Session>, StoreError> {
        Ok(self.tables().sessions.get(id).cloned())
    }
}

#[async_trait]
impl EndorsementStore for Memory {
    async fn endorsement(&self, key: &str) -> Result<Option<StoredEndorsement>, StoreError> {
        Ok(self.tables().endorsements.get(key).cloned())
    }

    async fn put_endorsement(&self, key: &str, endorsement: &StoredEndorsement) -> Result<(), StoreError> {
        self.tables().endorsements.insert(key.to_owned(), endorsement.clone());
        Ok(())
    }

    async fn lease(&self, _: &str, _: &Lease) -> Result<Option<Lease>, StoreError> {
        Ok(None)
    }

    async fn end_lease(&self, _: &str, _: Uuid) -> Result<(), StoreError> {
        Ok(())
    }
}

#[async_trait]
impl AuditStore for Memory {
    async fn append(&self, _: &AuditRecord) -> Result<(), StoreError> {
        Ok(())
    }
}
