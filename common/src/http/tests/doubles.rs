//! Stores and keys that hold no more than one test needs.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use jiff::Timestamp;
use keybroker_snp::{product::Product, verify};
use uuid::Uuid;

use super::{CHALLENGE, SESSION};
use crate::{
    admission::Admission,
    audit::{AuditRecord, Check, Decision, Operation},
    broker::{AtHand, Attest, Auth, Endorser, NotVerified, Plausible, Presented, Register},
    clock::SystemClock,
    dialect::Dialect,
    ids::{RegistrationDigest, SessionId, TokenId, WorkloadId},
    panics::Panicked,
    policy::{Claims, NotEvaluated, PolicyEngine, PolicyText},
    requirements::{AppraisalPolicy, ReferenceValues},
    secret::{EncryptionContext, KeyError, PASSPHRASE, Secret, Unwrap, Wrap, WrappedSecret},
    session::{Challenge, Claim, Session},
    store::{
        AuditStore, Build, ChallengeStore, Health, RegistrationStore, ReleaseStore, RevocationStore,
        SessionStore, StoreError, WorkloadStore,
        contract::sample,
        faulty::{FaultyStore, Method, When},
    },
    token::Token,
    workload::{Registration, Standing, Workload},
};

pub(super) const TTL: Duration = Duration::from_secs(300);

/// Takes every write, and has next to nothing to read: the workload `taken`, which is revoked, and the
/// workload `open`, as which the guest under [`SESSION`] has attested and the one under [`CHALLENGE`] may.
#[derive(Debug)]
pub(super) struct Empty;

pub(super) fn services() -> (Register, (Auth, Attest)) {
    services_over(Arc::new(Empty))
}

/// The calls of each kind that an answer waits for.
pub(super) const AWAITED: [Method; 4] =
    [Method::Create, Method::PutChallenge, Method::Challenge, Method::Session];

/// The same, with a store that fails at the first of each of these calls.
pub(super) fn failing(calls: &[Method], when: When) -> (Register, (Auth, Attest)) {
    let store = FaultyStore::new(Empty);
    for call in calls {
        store.fail(*call, 1, when);
    }
    services_over(Arc::new(store))
}

/// A store that is not well.
#[derive(Debug)]
pub(super) struct Sick(pub(super) When);

#[async_trait]
impl Health for Sick {
    async fn check(&self) -> Result<(), StoreError> {
        assert!(self.0 != When::Panicking, "made to");
        Err(StoreError::Full("made to".to_owned()))
    }
}

pub(super) fn services_over<S>(store: Arc<S>) -> (Register, (Auth, Attest))
where
    S: RegistrationStore + ReleaseStore + ChallengeStore + SessionStore + AuditStore + 'static,
{
    let clock = Arc::new(SystemClock);
    let register = Register {
        workloads: store.clone(),
        audit: store.clone(),
        wrap: Arc::new(Empty),
        policies: Arc::new(Empty),
        admission: Admission::OPEN,
        patience: Arc::default(),
        clock: clock.clone(),
    };
    let auth = Auth { challenges: store.clone(), clock: clock.clone(), ttl: TTL };
    let attest = Attest {
        sessions: store.clone(),
        workloads: store.clone(),
        audit: store.clone(),
        endorsements: Arc::new(Empty),
        policies: Arc::new(Empty),
        fleet: Arc::default(),
        patience: Arc::default(),
        unwrap: Arc::new(Empty),
        clock,
        ttl: TTL,
    };
    (register, (auth, attest))
}

fn open() -> Workload {
    let registration = Registration {
        format: Registration::FORMAT,
        serial: Uuid::nil(),
        dialect: Dialect::Libkrun,
        owner: None,
        reference_values: ReferenceValues { measurements: Vec::new() },
        policy: AppraisalPolicy::default(),
        rego: None,
    };
    Workload {
        id: WorkloadId::new("open").unwrap(),
        registration: registration.to_bytes().unwrap(),
        secrets: [(PASSPHRASE.to_owned(), wrapped())].into(),
        first_registered_at: Timestamp::UNIX_EPOCH,
        revoked_at: None,
        released_at: None,
        restored_by: None,
    }
}

fn wrapped() -> WrappedSecret {
    WrappedSecret { key_id: "double".to_owned(), ciphertext: Vec::new() }
}

#[async_trait]
impl WorkloadStore for Empty {
    async fn workload(&self, id: &WorkloadId) -> Result<Option<Workload>, StoreError> {
        Ok(match id.as_str() {
            "taken" => Some(Workload { revoked_at: Some(Timestamp::UNIX_EPOCH), ..open() }),
            "open" => Some(open()),
            _ => None,
        })
    }
}

#[async_trait]
impl RegistrationStore for Empty {
    async fn token(&self, _: &TokenId) -> Result<Option<Token>, StoreError> {
        Ok(None)
    }

    async fn create(
        &self,
        workload: &Workload,
        _: &AuditRecord,
        _: Option<&TokenId>,
    ) -> Result<(), StoreError> {
        match workload.id.as_str() {
            "taken" => Err(StoreError::Conflict),
            "down" => Err(StoreError::Unavailable("down".to_owned())),
            _ => Ok(()),
        }
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
impl ReleaseStore for Empty {
    async fn mark_released(
        &self,
        _: &WorkloadId,
        _: RegistrationDigest,
        _: Timestamp,
    ) -> Result<(), StoreError> {
        Err(StoreError::Conflict)
    }

    async fn record_release(&self, _: &WorkloadId, _: &Standing, _: &AuditRecord) -> Result<(), StoreError> {
        Ok(())
    }
}

#[async_trait]
impl RevocationStore for Empty {
    async fn revoke(&self, _: &WorkloadId, _: &AuditRecord) -> Result<(), StoreError> {
        Err(StoreError::Conflict)
    }
}

#[async_trait]
impl ChallengeStore for Empty {
    async fn put_challenge(&self, _: &Challenge) -> Result<(), StoreError> {
        Ok(())
    }
}

#[async_trait]
impl SessionStore for Empty {
    async fn challenge(&self, id: &SessionId) -> Result<Option<Challenge>, StoreError> {
        Ok((id.expose() == CHALLENGE).then(|| challenge(id)))
    }

    async fn attest(&self, _: &Session, _: &AuditRecord) -> Result<(), StoreError> {
        Err(StoreError::Conflict)
    }

    async fn refuse(&self, _: &SessionId, _: &AuditRecord) -> Result<(), StoreError> {
        Ok(())
    }

    async fn session(&self, id: &SessionId) -> Result<Option<Session>, StoreError> {
        let audit = AuditRecord::new(Timestamp::UNIX_EPOCH, Operation::Attest, Decision::Attested);
        Ok((id.expose() == SESSION).then(|| sample::session_as(&open(), &challenge(id), &audit)))
    }
}

/// One that was just given.
fn challenge(id: &SessionId) -> Challenge {
    let claim = Claim::Named { workload_id: open().id };
    Challenge { session_id: id.clone(), claim, expires_at: Timestamp::now() + TTL, ..sample::challenge() }
}

/// Finds no certificate, and no report that answers its challenge.
#[async_trait]
impl Endorser for Empty {
    async fn at_hand<'a>(&'a self, _: Presented<'a>) -> Result<Box<dyn AtHand<'a> + 'a>, NotVerified> {
        Ok(Box::new(Empty))
    }
}

impl<'a> AtHand<'a> for Empty {
    fn product(&self) -> Option<Product> {
        None
    }

    fn refuse_early(
        self: Box<Self>,
        _: [u8; 64],
        _: Timestamp,
    ) -> Result<Box<dyn Plausible + 'a>, NotVerified> {
        let check = Check::Verification(verify::VerificationCheck::Challenge);
        Err(NotVerified::Refused { check, cause: "made to".to_owned() })
    }
}

#[async_trait]
impl AuditStore for Empty {
    async fn append(&self, _: &AuditRecord) -> Result<(), StoreError> {
        Ok(())
    }
}

#[async_trait]
impl Wrap for Empty {
    async fn wrap_secret(&self, _: &EncryptionContext, _: &Secret) -> Result<WrappedSecret, KeyError> {
        Ok(wrapped())
    }
}

#[async_trait]
impl Unwrap for Empty {
    async fn unwrap_secret(&self, _: &EncryptionContext, _: &WrappedSecret) -> Result<Secret, KeyError> {
        Ok(Secret::new(b"open sesame".to_vec()))
    }
}

/// Panics at every policy.
#[async_trait]
impl PolicyEngine for Empty {
    async fn check(&self, _: &PolicyText) -> Result<(), NotEvaluated> {
        Err(Panicked::met().into())
    }

    async fn evaluate(&self, _: &PolicyText, _: &Claims) -> Result<(), NotEvaluated> {
        Err(Panicked::met().into())
    }
}
