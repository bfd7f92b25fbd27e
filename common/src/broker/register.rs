//! Registration: reference values, policy and wrapped secrets, under the name that the guest will give.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::future::try_join_all;
use uuid::Uuid;

use super::{
    Credential, Error, RETRY_AFTER, StrangerLimiter, announce,
    authority::{Authority, Stranger},
    failure::failed,
    replacement::{ReplacementRefused, replaceable},
};
use crate::{
    admission::Admission,
    audit::{AuditRecord, Check, Decision, FailedCheck, Operation},
    clock::Clock,
    dialect::Dialects,
    ids::{AuditId, RegistrationDigest, WorkloadId},
    metrics::{self, Count, Stage},
    panics::{Panicked, caught},
    policy::{NotEvaluated, PolicyEngine, PolicyText},
    requirements::{AppraisalPolicy, ReferenceValues},
    sampled::Line,
    secret::{EncryptionContext, KeyError, Secret, Wrap, WrappedSecret},
    store::{AuditStore, Build, RegistrationStore, StoreError},
    token::Dead,
    workload::{Registration, Workload},
};

/// A registration that a client asks for. The dialect that read it has checked its form.
#[derive(Debug)]
pub struct RegisterRequest {
    /// The name that the guest will give.
    pub workload_id: WorkloadId,
    /// The dialects in which its guests may ask.
    pub dialects: Dialects,
    /// The credential that the request carries.
    pub credential: Credential,
    /// The values that the evidence must equal.
    pub reference_values: ReferenceValues,
    /// The other requirements on the evidence.
    pub policy: AppraisalPolicy,
    /// The policy in Rego that the evidence must satisfy beside all that.
    pub rego: Option<PolicyText>,
    /// The secrets that a guest gets if it satisfies them, by name.
    pub secrets: BTreeMap<String, Secret>,
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
    pub policies: Arc<dyn PolicyEngine>,
    /// The callers that may register.
    pub admission: Admission,
    /// For how many who may not there is a record.
    pub patience: Arc<StrangerLimiter>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl Register {
    /// Writes a new registration, or puts it in the place of one of the same build, or of one that who asks
    /// may replace.
    pub async fn register(&self, request: RegisterRequest) -> Result<Registered, Error> {
        let mut record = AuditRecord::new(self.clock.now(), Operation::Register, Decision::Registered);
        record.workload_id = Some(request.workload_id.clone());
        match caught(self.write(request, record.clone())).await {
            Ok(registered) => registered,
            Err(panicked) => Err(self.panicked(record, panicked).await),
        }
    }

    async fn write(&self, request: RegisterRequest, mut record: AuditRecord) -> Result<Registered, Error> {
        let authority = match self.authority(&request.credential, &request.workload_id, &record).await? {
            Ok(authority) => authority,
            Err(stranger) => return Err(self.turn_away(record, &request.credential, stranger).await),
        };
        record.principal = authority.principal();
        if let Some(policy) = &request.rego {
            self.admit(policy, &record).await?;
        }
        let registration = Registration {
            serial: Uuid::new_v4(),
            dialects: request.dialects,
            owner: authority.owner(),
            reference_values: request.reference_values,
            policy: request.policy,
            rego: request.rego,
        };
        // A token that has registered already can only replace, and whether it still may is known before
        // anything is wrapped.
        let held = if authority.is_bound() {
            match self.held(&request.workload_id, &registration, &authority, &record).await? {
                Ok(held) => Some(held),
                Err(error) => return Err(self.not_replaced(record, &authority, error).await),
            }
        } else {
            None
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
            restored_by: None,
            revocation: None,
        };
        match held {
            Some(held) => self.replace(held, workload, authority, record).await,
            None => self.create(workload, &registration, authority, record).await,
        }
    }

    /// Tries the policy, so that no policy is registered that no guest can satisfy because it cannot be
    /// evaluated. If the engine does not accept the policy, nothing is written.
    async fn admit(&self, policy: &PolicyText, record: &AuditRecord) -> Result<(), Error> {
        match self.policies.check(policy).await {
            Ok(()) => Ok(()),
            Err(NotEvaluated::Policy(error)) => Err(Error::Policy(error)),
            Err(NotEvaluated::Panicked(panicked)) => Err(self.panicked(record.clone(), panicked).await),
            Err(cause) => Err(self.unavailable(record.clone(), failed(Check::Policy, cause)).await),
        }
    }

    /// The caller, if its credential lets it register `workload_id`.
    async fn authority(
        &self,
        credential: &Credential,
        workload_id: &WorkloadId,
        record: &AuditRecord,
    ) -> Result<Result<Authority, Stranger>, Error> {
        Ok(match credential {
            Credential::Operator(name) => Ok(Authority::Operator(name.clone())),
            Credential::Principal(name) if self.admission.iam => Ok(Authority::Principal(name.clone())),
            Credential::Token(id) if self.admission.token => match self.workloads.token(id).await? {
                None => Err(Stranger::UnknownToken),
                Some(token) => token
                    .check(workload_id, record.time)
                    .map(|()| Authority::Token(Box::new(token)))
                    .map_err(Stranger::DeadToken),
            },
            _ if self.admission.open => Ok(Authority::Anybody),
            _ => Err(Stranger::Nobody),
        })
    }

    /// The same answer for whatever is wrong with a credential; and no record where there would be too many
    /// of them.
    async fn turn_away(&self, mut record: AuditRecord, credential: &Credential, cause: Stranger) -> Error {
        metrics::count(Count::Unauthenticated);
        // A token is named only if there is a row of it: the text of any other may be a token with a typing
        // error.
        if let (Credential::Token(id), Stranger::DeadToken(_)) = (credential, cause) {
            record.principal = Some(id.principal());
        }
        if let Err(retry_after) = self.patience.take(cause, record.time) {
            if let Some(Line { left_out }) = self.patience.line(record.time) {
                let (workload_id, principal) = (&record.workload_id, &record.principal);
                let line = "turned away without a record: there are too many of them";
                tracing::warn!(?workload_id, ?principal, %cause, left_out, "{line}");
            }
            return Error::TooMany { retry_after };
        }
        record.registration = None;
        self.refuse(record, failed(cause.check(), cause), |id| Error::Unauthenticated { id }).await
    }

    /// If the id is free, it need not be looked at first.
    async fn create(
        &self,
        workload: Workload,
        registration: &Registration,
        authority: Authority,
        record: AuditRecord,
    ) -> Result<Registered, Error> {
        let create = self.workloads.create(&workload, &record, authority.token());
        match metrics::timed(Stage::Transaction, create).await {
            Ok(()) => {
                announce(&record);
                Ok(Registered { id: record.id, replaced: false })
            }
            Err(StoreError::Selects) => Err(self.taken(record, ReplacementRefused::Selects).await),
            Err(StoreError::Conflict) => {
                // The id is taken, or the token was used meanwhile.
                let authority = match authority {
                    Authority::Token(token) => {
                        let credential = Credential::Token(token.id);
                        match self.authority(&credential, &workload.id, &record).await? {
                            Ok(authority) => authority,
                            Err(stranger) => return Err(self.turn_away(record, &credential, stranger).await),
                        }
                    }
                    other => other,
                };
                match self.held(&workload.id, registration, &authority, &record).await? {
                    Ok(held) => self.replace(held, workload, authority, record).await,
                    Err(error) => Err(self.not_replaced(record, &authority, error).await),
                }
            }
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

    /// The registration whose place this one may take, and as what.
    async fn held(
        &self,
        id: &WorkloadId,
        registration: &Registration,
        authority: &Authority,
        record: &AuditRecord,
    ) -> Result<Result<(Workload, Build), ReplacementRefused>, Error> {
        Ok(match self.workloads.workload(id).await? {
            None => Err(ReplacementRefused::Gone),
            Some(held) => replaceable(&held, registration, authority, record).map(|build| (held, build)),
        })
    }

    /// Replaces the registration under an id that is taken. A caller with the authority begins a new build in
    /// its place; and within the build window, the caller that registered it changes the secrets.
    async fn replace(
        &self,
        (held, build): (Workload, Build),
        mut workload: Workload,
        authority: Authority,
        mut record: AuditRecord,
    ) -> Result<Registered, Error> {
        record.decision = Decision::Replaced;
        if build == Build::Same {
            workload.first_registered_at = held.first_registered_at;
        }
        match self.workloads.replace(&held, build, &workload, &record, authority.token()).await {
            Ok(()) => {
                announce(&record);
                Ok(Registered { id: record.id, replaced: true })
            }
            Err(StoreError::Selects) => Err(self.taken(record, ReplacementRefused::Selects).await),
            Err(StoreError::Conflict) => Err(self.taken(record, ReplacementRefused::Raced).await),
            Err(cause) => Err(cause.into()),
        }
    }

    async fn not_replaced(
        &self,
        record: AuditRecord,
        authority: &Authority,
        cause: ReplacementRefused,
    ) -> Error {
        match (cause.kills_token().filter(|_| authority.is_bound()), cause) {
            (Some(dead), _) => self.token_is_dead(record, authority, dead).await,
            // Deleted since: the client may simply try again.
            (None, ReplacementRefused::Gone) => {
                self.unavailable(record, failed(Check::Replacement, cause)).await
            }
            (None, _) => self.taken(record, cause).await,
        }
    }

    async fn token_is_dead(&self, record: AuditRecord, authority: &Authority, dead: Dead) -> Error {
        let credential = authority.token().map_or(Credential::None, |id| Credential::Token(*id));
        self.turn_away(record, &credential, dead.into()).await
    }

    async fn taken(&self, record: AuditRecord, cause: ReplacementRefused) -> Error {
        self.refuse(record, failed(Check::Replacement, cause), |id| Error::AlreadyRegistered { id }).await
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

    /// Under an id of its own: what it was about to record may be on record.
    async fn panicked(&self, record: AuditRecord, panicked: Panicked) -> Error {
        let failed = Some(failed(Check::Internal, panicked));
        let decision = Decision::Unavailable;
        let record = AuditRecord { id: AuditId::new(), decision, failed, ..record };
        self.recorded(record, |id| Error::Internal { id: Some(id) }).await
    }

    /// The client's answer, once the decision is on record.
    async fn recorded(&self, record: AuditRecord, answer: fn(AuditId) -> Error) -> Error {
        match caught(self.audit.append(&record)).await {
            Ok(Ok(())) => {
                announce(&record);
                answer(record.id)
            }
            Ok(Err(cause)) => cause.into(),
            Err(panicked) => panicked.into(),
        }
    }
}
