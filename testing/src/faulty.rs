//! A store that fails on demand: before it has done what it was asked, or after, so that the caller sees an
//! error although the write landed.

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use jiff::Timestamp;
use keybroker_common::{
    audit::AuditRecord,
    decision::AttestDecision,
    ids::{AuditId, RegistrationDigest, TokenId, WorkloadId},
    keyring::{Keyring, Purpose},
    store::{
        AuditQuery, AuditStore, Build, Cursor, DecisionStore, EndorsementStore, KeyringStore, Lease,
        OperatorStore, Page, RegistrationStore, ReleaseStore, RevocationStore, StoreError, StoredEndorsement,
        StoredKeyring, TokenStore, WorkloadStore,
    },
    token::Token,
    workload::{Standing, Workload},
};
use uuid::Uuid;

/// A method of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// [`WorkloadStore::workload`].
    Workload,
    /// [`WorkloadStore::selected`].
    Selected,
    /// [`RegistrationStore::token`].
    Token,
    /// [`RegistrationStore::create`].
    Create,
    /// [`RegistrationStore::replace`].
    Replace,
    /// [`ReleaseStore::mark_released`].
    MarkReleased,
    /// [`ReleaseStore::record_release`].
    RecordRelease,
    /// [`RevocationStore::revoke`].
    Revoke,
    /// [`TokenStore::put_token`].
    PutToken,
    /// [`TokenStore::stored_token`].
    StoredToken,
    /// [`TokenStore::revoke_token`].
    RevokeToken,
    /// [`TokenStore::tokens`].
    Tokens,
    /// [`DecisionStore::decide`].
    Decide,
    /// [`DecisionStore::decision`].
    Decision,
    /// [`DecisionStore::record`].
    Record,
    /// [`KeyringStore::keyring`].
    Keyring,
    /// [`KeyringStore::put_keyring`].
    PutKeyring,
    /// [`EndorsementStore::endorsement`].
    Endorsement,
    /// [`EndorsementStore::put_endorsement`].
    PutEndorsement,
    /// [`EndorsementStore::lease`].
    Lease,
    /// [`EndorsementStore::end_lease`].
    EndLease,
    /// [`AuditStore::append`].
    Append,
    /// [`OperatorStore::workloads`].
    Workloads,
    /// [`OperatorStore::restore`].
    Restore,
    /// [`OperatorStore::amend`].
    Amend,
    /// [`OperatorStore::delete`].
    Delete,
    /// [`OperatorStore::endorsements`].
    Endorsements,
    /// [`OperatorStore::delete_endorsement`].
    DeleteEndorsement,
    /// [`OperatorStore::turn_keyring`].
    TurnKeyring,
    /// [`OperatorStore::audit_record`].
    AuditRecord,
    /// [`OperatorStore::audit_records`].
    AuditRecords,
}

/// When a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// The store is not asked at all.
    Before,
    /// The store does its part; its answer is lost.
    After,
    /// The store is not asked, and panics.
    Panicking,
}

/// The error of a call that was made to fail.
pub fn injected() -> StoreError {
    StoreError::Unavailable("injected by the test".to_owned())
}

/// The message of a panic of [`When::Panicking`], which nobody may repeat.
pub const PANIC: &str = "made to panic over a secret";

#[allow(clippy::panic, reason = "it is asked for")]
fn panicking<T>() -> T {
    panic!("{PANIC}")
}

/// A store around `S` that fails where [`Self::fail`] says, and counts the calls it gets.
#[derive(Debug)]
pub struct FaultyStore<S> {
    inner: S,
    plan: Mutex<Plan>,
}

#[derive(Debug, Default)]
struct Plan {
    calls: Vec<Method>,
    faults: Vec<(Method, usize, When)>,
}

impl<S> FaultyStore<S> {
    /// A store that does what `inner` does, until told otherwise.
    pub fn new(inner: S) -> Self {
        Self { inner, plan: Mutex::default() }
    }

    /// Makes one call of `method` fail: the next if `nth` is 1, the one after it if 2, and so on.
    pub fn fail(&self, method: Method, nth: usize, when: When) {
        let made = self.calls(method);
        self.plan().faults.push((method, made + nth, when));
    }

    /// How often `method` was called, failures included.
    pub fn calls(&self, method: Method) -> usize {
        self.plan().calls.iter().filter(|&&called| called == method).count()
    }

    /// All calls so far, in the order in which they began.
    pub fn log(&self) -> Vec<Method> {
        self.plan().calls.clone()
    }

    /// The store itself, which neither fails nor counts.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call of `method`; when it is to fail, if at all.
    fn begin(&self, method: Method) -> Option<When> {
        self.plan().calls.push(method);
        let nth = self.calls(method);
        let due = |&&(faulty, at, _): &&(Method, usize, When)| faulty == method && at == nth;
        self.plan().faults.iter().find(due).map(|&(_, _, when)| when)
    }

    async fn run<T>(
        &self,
        method: Method,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        match self.begin(method) {
            None => call.await,
            Some(When::Before) => Err(injected()),
            Some(When::After) => call.await.and(Err(injected())),
            Some(When::Panicking) => panicking(),
        }
    }
}

#[async_trait]
impl<S: WorkloadStore> WorkloadStore for FaultyStore<S> {
    async fn workload(&self, id: &WorkloadId) -> Result<Option<Workload>, StoreError> {
        self.run(Method::Workload, self.inner.workload(id)).await
    }

    async fn selected(&self, host_data: &[u8; 32]) -> Result<Option<WorkloadId>, StoreError> {
        self.run(Method::Selected, self.inner.selected(host_data)).await
    }
}

#[async_trait]
impl<S: RegistrationStore> RegistrationStore for FaultyStore<S> {
    async fn token(&self, id: &TokenId) -> Result<Option<Token>, StoreError> {
        self.run(Method::Token, self.inner.token(id)).await
    }

    async fn create(
        &self,
        workload: &Workload,
        audit: &AuditRecord,
        token: Option<&TokenId>,
    ) -> Result<(), StoreError> {
        self.run(Method::Create, self.inner.create(workload, audit, token)).await
    }

    async fn replace(
        &self,
        replaced: &Workload,
        build: Build,
        workload: &Workload,
        audit: &AuditRecord,
        token: Option<&TokenId>,
    ) -> Result<(), StoreError> {
        self.run(Method::Replace, self.inner.replace(replaced, build, workload, audit, token)).await
    }
}

#[async_trait]
impl<S: ReleaseStore> ReleaseStore for FaultyStore<S> {
    async fn mark_released(
        &self,
        id: &WorkloadId,
        registration: RegistrationDigest,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        self.run(Method::MarkReleased, self.inner.mark_released(id, registration, at)).await
    }

    async fn record_release(
        &self,
        id: &WorkloadId,
        standing: &Standing,
        audit: &AuditRecord,
    ) -> Result<(), StoreError> {
        self.run(Method::RecordRelease, self.inner.record_release(id, standing, audit)).await
    }
}

#[async_trait]
impl<S: RevocationStore> RevocationStore for FaultyStore<S> {
    async fn revoke(&self, id: &WorkloadId, audit: &AuditRecord) -> Result<(), StoreError> {
        self.run(Method::Revoke, self.inner.revoke(id, audit)).await
    }
}

#[async_trait]
impl<S: DecisionStore> DecisionStore for FaultyStore<S> {
    async fn decide(&self, decision: &AttestDecision) -> Result<Option<AttestDecision>, StoreError> {
        self.run(Method::Decide, self.inner.decide(decision)).await
    }

    async fn decision(&self, id: AuditId) -> Result<Option<AttestDecision>, StoreError> {
        self.run(Method::Decision, self.inner.decision(id)).await
    }

    async fn record(&self, audit: &AuditRecord) -> Result<(), StoreError> {
        self.run(Method::Record, self.inner.record(audit)).await
    }
}

#[async_trait]
impl<S: KeyringStore> KeyringStore for FaultyStore<S> {
    async fn keyring(&self, purpose: Purpose) -> Result<Option<StoredKeyring>, StoreError> {
        self.run(Method::Keyring, self.inner.keyring(purpose)).await
    }

    async fn put_keyring(
        &self,
        purpose: Purpose,
        replaced: Option<u64>,
        ring: &Keyring,
    ) -> Result<(), StoreError> {
        self.run(Method::PutKeyring, self.inner.put_keyring(purpose, replaced, ring)).await
    }
}

#[async_trait]
impl<S: EndorsementStore> EndorsementStore for FaultyStore<S> {
    async fn endorsement(&self, key: &str) -> Result<Option<StoredEndorsement>, StoreError> {
        self.run(Method::Endorsement, self.inner.endorsement(key)).await
    }

    async fn put_endorsement(&self, key: &str, endorsement: &StoredEndorsement) -> Result<(), StoreError> {
        self.run(Method::PutEndorsement, self.inner.put_endorsement(key, endorsement)).await
    }

    async fn lease(&self, key: &str, lease: &Lease) -> Result<Option<Lease>, StoreError> {
        self.run(Method::Lease, self.inner.lease(key, lease)).await
    }

    async fn end_lease(&self, key: &str, holder: Uuid) -> Result<(), StoreError> {
        self.run(Method::EndLease, self.inner.end_lease(key, holder)).await
    }
}

#[async_trait]
impl<S: AuditStore> AuditStore for FaultyStore<S> {
    async fn append(&self, record: &AuditRecord) -> Result<(), StoreError> {
        self.run(Method::Append, self.inner.append(record)).await
    }
}

#[async_trait]
impl<S: TokenStore> TokenStore for FaultyStore<S> {
    async fn put_token(&self, token: &Token, audit: &AuditRecord) -> Result<(), StoreError> {
        self.run(Method::PutToken, self.inner.put_token(token, audit)).await
    }

    async fn stored_token(&self, id: &TokenId) -> Result<Option<Token>, StoreError> {
        self.run(Method::StoredToken, self.inner.stored_token(id)).await
    }

    async fn revoke_token(&self, id: &TokenId, audit: &AuditRecord) -> Result<(), StoreError> {
        self.run(Method::RevokeToken, self.inner.revoke_token(id, audit)).await
    }

    async fn tokens(&self, after: Option<&Cursor>) -> Result<Page<Token>, StoreError> {
        self.run(Method::Tokens, self.inner.tokens(after)).await
    }
}

#[async_trait]
impl<S: OperatorStore> OperatorStore for FaultyStore<S> {
    async fn workloads(&self, after: Option<&Cursor>) -> Result<Page<Workload>, StoreError> {
        self.run(Method::Workloads, self.inner.workloads(after)).await
    }

    async fn restore(
        &self,
        id: &WorkloadId,
        registration: RegistrationDigest,
        audit: &AuditRecord,
    ) -> Result<(), StoreError> {
        self.run(Method::Restore, self.inner.restore(id, registration, audit)).await
    }

    async fn amend(
        &self,
        seen: &Workload,
        amended: &Workload,
        audit: &AuditRecord,
    ) -> Result<(), StoreError> {
        self.run(Method::Amend, self.inner.amend(seen, amended, audit)).await
    }

    async fn delete(&self, seen: &Workload, audit: &AuditRecord) -> Result<(), StoreError> {
        self.run(Method::Delete, self.inner.delete(seen, audit)).await
    }

    async fn endorsements(
        &self,
        after: Option<&Cursor>,
    ) -> Result<Page<(String, StoredEndorsement)>, StoreError> {
        self.run(Method::Endorsements, self.inner.endorsements(after)).await
    }

    async fn delete_endorsement(&self, key: &str) -> Result<(), StoreError> {
        self.run(Method::DeleteEndorsement, self.inner.delete_endorsement(key)).await
    }

    async fn turn_keyring(
        &self,
        purpose: Purpose,
        replaced: Option<u64>,
        ring: &Keyring,
        audit: &AuditRecord,
    ) -> Result<(), StoreError> {
        self.run(Method::TurnKeyring, self.inner.turn_keyring(purpose, replaced, ring, audit)).await
    }

    async fn audit_record(&self, id: AuditId) -> Result<Option<AuditRecord>, StoreError> {
        self.run(Method::AuditRecord, self.inner.audit_record(id)).await
    }

    async fn audit_records(
        &self,
        query: &AuditQuery,
        after: Option<&Cursor>,
    ) -> Result<Page<AuditRecord>, StoreError> {
        self.run(Method::AuditRecords, self.inner.audit_records(query, after)).await
    }
}
