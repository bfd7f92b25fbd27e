//! Registration: reference values, policy and wrapped secrets, under the name that the guest will give.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::future::try_join_all;
use uuid::Uuid;

use super::{Error, RETRY_AFTER, announce, failure::failed};
use crate::{
    appraisal::{AppraisalPolicy, ReferenceValues},
    audit::{AuditId, AuditRecord, Check, Decision, FailedCheck, Operation},
    clock::Clock,
    metrics::{self, Stage},
    rego::{Claims, Evaluator, NotEvaluated, PolicyText},
    secret::{EncryptionContext, KeyError, Secret, Wrap, WrappedSecret},
    store::{AuditStore, RegistrationStore, StoreError},
    workload::{Dialect, Registration, RegistrationDigest, Workload, WorkloadId},
};

/// What is to be registered, checked in form by the dialect that read it.
#[derive(Debug)]
pub struct RegisterRequest {
    /// The name that the guest will give.
    pub workload_id: WorkloadId,
    /// Whose conventions its guests follow.
    pub dialect: Dialect,
    /// The authenticated principal who asks, where there is one.
    pub owner: Option<String>,
    /// What the evidence must equal.
    pub reference_values: ReferenceValues,
    /// What else the evidence must satisfy.
    pub policy: AppraisalPolicy,
    /// What the evidence must satisfy in Rego, beside all that.
    pub rego: Option<PolicyText>,
    /// What a guest that satisfies them gets, by name.
    pub secrets: BTreeMap<String, Secret>,
}

/// Who may register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Whoever reaches the broker. Registrations have no owner, whatever the request says of one.
    Open,
    /// An authenticated principal, who then owns the registration and may replace it.
    Authenticated,
}

/// A registration that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registered {
    /// The audit record.
    pub id: AuditId,
    /// Whether it took the place of an earlier one.
    pub replaced: bool,
}

/// Registers workloads. Can wrap secrets and never unwrap them.
#[derive(Debug, Clone)]
pub struct Register {
    /// Where registrations are kept.
    pub workloads: Arc<dyn RegistrationStore>,
    /// Where refusals are recorded.
    pub audit: Arc<dyn AuditStore>,
    /// Wraps the secrets.
    pub wrap: Arc<dyn Wrap>,
    /// Tries what is demanded in Rego.
    pub policies: Arc<Evaluator>,
    /// Who may register.
    pub admission: Admission,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl Register {
    /// For how long after an id's first registration a build may register it again. `buildah build --layers` posts twice,
    /// and the image opens only with the second passphrase. No replacement extends it.
    pub const BUILD_WINDOW: Duration = Duration::from_secs(30 * 60);

    /// Writes a new registration, or puts it in the place of one of the same build or the same owner.
    pub async fn register(&self, request: RegisterRequest) -> Result<Registered, Error> {
        let mut record = AuditRecord::new(self.clock.now(), Operation::Register, Decision::Registered);
        record.workload_id = Some(request.workload_id.clone());
        let owner = match (self.admission, request.owner) {
            (Admission::Open, _) => None,
            (Admission::Authenticated, Some(owner)) => Some(owner),
            (Admission::Authenticated, None) => {
                let nobody = failed(Check::Principal, "nobody was authenticated");
                return Err(self.refuse(record, nobody, |id| Error::Refused { id }).await);
            }
        };
        record.principal.clone_from(&owner);
        if let Some(policy) = &request.rego {
            match self.policies.admit(policy, &Claims::sample()).await {
                Ok(()) => {}
                Err(NotEvaluated::Policy(error)) => return Err(Error::Policy(error)),
                Err(cause) => return Err(self.unavailable(record, failed(Check::Policy, cause)).await),
            }
        }
        let registration = Registration {
            format: Registration::FORMAT,
            serial: Uuid::new_v4(),
            dialect: request.dialect,
            owner,
            reference_values: request.reference_values,
            policy: request.policy,
            rego: request.rego,
        };
        let Ok(bytes) = registration.to_bytes() else {
            return Err(self.unavailable(record, failed(Check::Registration, "it has no JSON form")).await);
        };
        let digest = RegistrationDigest::of(&bytes);
        record.registration = Some(digest);
        let secrets = match self.wrap_all(&request.workload_id, digest, &request.secrets).await {
            Ok(secrets) => secrets,
            Err(cause) => return Err(self.unavailable(record, failed(Check::WrappingKey, cause)).await),
        };
        let workload = Workload {
            id: request.workload_id,
            registration: bytes,
            secrets,
            first_registered_at: record.time,
            revoked_at: None,
            released_at: None,
        };
        match metrics::timed(Stage::Transaction, self.workloads.create(&workload, &record)).await {
            Ok(()) => {
                announce(&record);
                Ok(Registered { id: record.id, replaced: false })
            }
            Err(StoreError::Conflict) => self.replace(workload, &registration, record).await,
            Err(cause) => Err(cause.into()),
        }
    }

    /// All at once: one round trip, however many there are.
    async fn wrap_all(
        &self,
        workload_id: &WorkloadId,
        registration: RegistrationDigest,
        secrets: &BTreeMap<String, Secret>,
    ) -> Result<BTreeMap<String, WrappedSecret>, KeyError> {
        let wraps = secrets.iter().map(|(name, secret)| async move {
            let context =
                EncryptionContext { workload_id: workload_id.clone(), secret: name.clone(), registration };
            let wrapped = metrics::timed(Stage::Wrap, self.wrap.wrap_secret(&context, secret)).await?;
            Ok((name.clone(), wrapped))
        });
        Ok(try_join_all(wraps).await?.into_iter().collect())
    }

    /// The id is taken. Its owner may replace it; so may, within the build window, a registration that changes nothing but
    /// the secrets.
    async fn replace(
        &self,
        mut workload: Workload,
        registration: &Registration,
        mut record: AuditRecord,
    ) -> Result<Registered, Error> {
        let Some(held) = self.workloads.workload(&workload.id).await? else {
            // Deleted since: the client may simply try again.
            return Err(self
                .unavailable(record, failed(Check::Replacement, "the row that was in the way is gone"))
                .await);
        };
        if let Err(refusal) = replaceable(&held, registration, &record) {
            return Err(self.taken(record, refusal).await);
        }
        record.decision = Decision::Replaced;
        workload.first_registered_at = held.first_registered_at;
        workload.released_at = held.released_at;
        match self.workloads.replace(held.digest(), &workload, &record).await {
            Ok(()) => {
                announce(&record);
                Ok(Registered { id: record.id, replaced: true })
            }
            Err(StoreError::Conflict) => Err(self.taken(record, ReplacementRefused::Raced).await),
            Err(cause) => Err(cause.into()),
        }
    }

    async fn taken(&self, record: AuditRecord, cause: ReplacementRefused) -> Error {
        self.refuse(record, failed(Check::Replacement, cause), |id| Error::Registered { id }).await
    }

    async fn refuse(
        &self,
        mut record: AuditRecord,
        cause: FailedCheck,
        answer: fn(AuditId) -> Error,
    ) -> Error {
        record.decision = Decision::Refused;
        record.failed = Some(cause);
        self.recorded(record, answer).await
    }

    async fn unavailable(&self, mut record: AuditRecord, cause: FailedCheck) -> Error {
        record.decision = Decision::Unavailable;
        record.failed = Some(cause);
        self.recorded(record, |id| Error::Unavailable { id: Some(id), retry_after: RETRY_AFTER }).await
    }

    /// What the client is told, once it is on record.
    async fn recorded(&self, record: AuditRecord, answer: fn(AuditId) -> Error) -> Error {
        match self.audit.append(&record).await {
            Ok(()) => {
                announce(&record);
                answer(record.id)
            }
            Err(cause) => cause.into(),
        }
    }
}

/// Why a registration may not take the place of the one that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum ReplacementRefused {
    #[error("the workload is revoked")]
    Revoked,
    #[error("the id is that of a registration by reference values, or would become one")]
    ByReferenceValues,
    #[error("a guest has attested as this workload: its registration is final")]
    Released,
    #[error("the build window of 30 minutes from the first registration is over")]
    WindowOver,
    #[error("the registration asks for another measurement, policy or owner than the one that is there")]
    OtherRequirements,
    #[error("the stored registration is not one that this release reads")]
    Unreadable,
    #[error("the registration that was there changed meanwhile")]
    Raced,
}

/// A revoked workload stays as it is, and so does a registration by reference values, whose id no client chose. The owner
/// of any other may replace it at any time: guests that attested under the
/// earlier registration get nothing more. For all others: same requirements, in the build window, before the first
/// attestation.
fn replaceable(
    held: &Workload,
    registration: &Registration,
    record: &AuditRecord,
) -> Result<(), ReplacementRefused> {
    if held.revoked_at.is_some() {
        return Err(ReplacementRefused::Revoked);
    }
    let stored = Registration::from_bytes(&held.registration).map_err(|_| ReplacementRefused::Unreadable)?;
    if [stored.dialect, registration.dialect].contains(&Dialect::Rvp) {
        return Err(ReplacementRefused::ByReferenceValues);
    }
    if registration.owner.is_some() && registration.owner == stored.owner {
        return Ok(());
    }
    if held.released_at.is_some() {
        return Err(ReplacementRefused::Released);
    }
    // A time so late that the window has no end is nothing that this broker wrote: no window.
    let end = held.first_registered_at.checked_add(Register::BUILD_WINDOW);
    if end.map_or(true, |end| record.time >= end) {
        return Err(ReplacementRefused::WindowOver);
    }
    if stored.same_requirements(registration) { Ok(()) } else { Err(ReplacementRefused::OtherRequirements) }
}
