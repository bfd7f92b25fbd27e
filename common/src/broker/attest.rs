//! Attestation and release.

use std::{sync::Arc, time::Duration};

use super::{Error, RETRY_AFTER, announce};
use crate::{
    appraisal::{self, AppraisalError, AttestationResult},
    audit::{AuditId, AuditRecord, Decision, EvidenceSummary, FailedCheck, Operation},
    clock::Clock,
    endorsements::{EndorsementError, EndorsementSource, Request},
    secret::{EncryptionContext, KeyError, Secret, Unwrap, seal::GuestKey},
    session::{Challenge, Session, SessionId},
    snp::{
        chain::Chain,
        product::Product,
        report::{ParseError, Report},
        verify::{self, ReportData, VerifyError, verify},
    },
    store::{AuditStore, SessionStore, StoreError, WorkloadStore},
    wire,
    workload::{Dialect, Registration, Workload, WorkloadId},
};

/// The guest's key as texts, exactly as sent: the report is bound to these characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyTexts {
    /// Modulus, base64 as sent.
    pub modulus: String,
    /// Exponent, base64 as sent.
    pub exponent: String,
}

/// What a guest presents. Nothing in it is trusted.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// How it was presented.
    pub dialect: Dialect,
    /// The report, decoded.
    pub report: Vec<u8>,
    /// The product that the guest says it runs on: where to ask first for a report that does not say.
    pub claimed_product: Option<Product>,
    /// Certificates that the guest sent along, DER, in any order.
    pub certificates: Vec<Vec<u8>>,
    /// The key to seal releases to.
    pub guest_key: GuestKey,
    /// The same key as the report is bound to it.
    pub key_texts: KeyTexts,
}

/// A secret sealed to the key of a guest that attested. Only [`Attest::release`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Released {
    ciphertext: Vec<u8>,
    /// The audit record.
    pub id: AuditId,
}

impl Released {
    /// RSAES-PKCS1-v1_5 ciphertext of the secret, as long as the modulus of the guest's key.
    pub fn ciphertext(&self) -> &[u8] {
        &self.ciphertext
    }
}

/// Verifies evidence and releases secrets. The only service that can unwrap.
#[derive(Debug, Clone)]
pub struct Attest {
    /// Challenges and sessions.
    pub sessions: Arc<dyn SessionStore>,
    /// Registrations.
    pub workloads: Arc<dyn WorkloadStore>,
    /// Where decisions are recorded before they take effect.
    pub audit: Arc<dyn AuditStore>,
    /// AMD's certificates.
    pub endorsements: Arc<EndorsementSource>,
    /// Cloud providers whose VLEKs are accepted, as their CSP ids (`CN=…`).
    pub accepted_csp_ids: Vec<String>,
    /// Unwraps the secrets.
    pub unwrap: Arc<dyn Unwrap>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// How long a session may fetch its secrets.
    pub ttl: Duration,
}

/// Why a guest gets nothing.
#[derive(Debug)]
enum Failure {
    /// There is no challenge, or no session, under this id: there is nothing that could be spent.
    NoSession(FailedCheck),
    /// A check failed. The challenge is spent.
    Refused(FailedCheck),
    /// It could not be decided. The challenge stays.
    Unavailable { retry_after: u64, failed: FailedCheck },
}

fn failed(check: &str, cause: impl ToString) -> FailedCheck {
    FailedCheck { check: check.to_owned(), cause: cause.to_string() }
}

fn refused(check: &str, cause: impl ToString) -> Failure {
    Failure::Refused(failed(check, cause))
}

impl From<ParseError> for Failure {
    fn from(error: ParseError) -> Self {
        refused("report", error)
    }
}

impl From<(verify::Check, VerifyError)> for Failure {
    fn from((check, error): (verify::Check, VerifyError)) -> Self {
        refused(check.name(), error)
    }
}

impl From<(appraisal::Check, AppraisalError)> for Failure {
    fn from((check, error): (appraisal::Check, AppraisalError)) -> Self {
        refused(check.name(), error)
    }
}

impl From<EndorsementError> for Failure {
    fn from(error: EndorsementError) -> Self {
        match error {
            EndorsementError::Unavailable { retry_after, cause } => {
                Self::Unavailable { retry_after, failed: failed("endorsements", cause) }
            }
            refusal => refused("endorsements", refusal),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Unavailable { retry_after: RETRY_AFTER, failed: failed("store", error) }
    }
}

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Unavailable(_) => {
                Self::Unavailable { retry_after: RETRY_AFTER, failed: failed("wrapping-key", error) }
            }
            refusal => refused("wrapped-secret", refusal),
        }
    }
}

impl Attest {
    /// Verifies and appraises `evidence` against the challenge under `session_id`, and opens a session if all holds.
    pub async fn attest(&self, session_id: &SessionId, evidence: Evidence) -> Result<AuditId, Error> {
        let mut record = AuditRecord::new(self.clock.now(), Operation::Attest, Decision::Attested);
        let outcome = match self.appraise(&mut record, session_id, &evidence).await {
            Ok((result, workload)) => self.open(&mut record, session_id, evidence, &result, &workload).await,
            Err(failure) => Err(failure),
        };
        match outcome {
            Ok(()) => {
                announce(&record);
                Ok(record.id)
            }
            Err(failure) => Err(self.fail(record, Some(session_id), failure).await),
        }
    }

    /// Everything that decides about the evidence: challenge, early refusal, endorsements, verification, appraisal.
    async fn appraise(
        &self,
        record: &mut AuditRecord,
        session_id: &SessionId,
        evidence: &Evidence,
    ) -> Result<(AttestationResult, Workload), Failure> {
        let report = Report::parse(&evidence.report);
        let request = report.as_ref().map(|report| Request {
            report,
            claimed_product: evidence.claimed_product,
            certificates: &evidence.certificates,
        });
        let (challenge, at_hand) = tokio::join!(self.sessions.challenge(session_id), async {
            match &request {
                Ok(request) => self.endorsements.at_hand(request).await,
                Err(_) => Ok(None),
            }
        });
        let challenge = self.check_challenge(record, challenge?, evidence.dialect)?;
        let request = request.map_err(|error| *error)?;
        let at_hand = at_hand?;
        let product = at_hand.as_ref().map(|chain| chain.vek().product);
        record.evidence =
            Some(EvidenceSummary::of(request.report, product.or(by_cpuid(request.report)), false));

        let (workload, registration) = self.registration(record, &challenge).await?;
        let report_data =
            ReportData(wire::report_data(challenge.dialect, &challenge.nonce, &evidence.key_texts));
        self.refuse_early(record, &request, &registration, &report_data, at_hand.as_deref())?;

        let endorsements = self.endorsements.obtain(&request, at_hand).await?;
        let now = self.clock.now();
        let verified = verify(request.report, &endorsements, &report_data, &self.accepted_csp_ids, now)?;
        record.evidence = Some(EvidenceSummary::of(verified.report(), Some(verified.product()), true));
        let result = appraisal::appraise(&verified, &registration.reference_values, &registration.policy)?;
        Ok((result, workload))
    }

    fn check_challenge(
        &self,
        record: &mut AuditRecord,
        challenge: Option<Challenge>,
        dialect: Dialect,
    ) -> Result<Challenge, Failure> {
        let Some(challenge) = challenge else {
            let cause = "there is no open challenge under this session: it was never given, or is spent";
            return Err(Failure::NoSession(failed("session", cause)));
        };
        record.workload_id = Some(challenge.workload_id.clone());
        if record.time >= challenge.expires_at {
            return Err(Failure::NoSession(failed("session", "the challenge has expired")));
        }
        if challenge.dialect != dialect {
            return Err(refused("session", "the challenge was given in another dialect"));
        }
        Ok(challenge)
    }

    async fn registration(
        &self,
        record: &mut AuditRecord,
        challenge: &Challenge,
    ) -> Result<(Workload, Registration), Failure> {
        let Some(workload) = self.workloads.workload(&challenge.workload_id).await? else {
            return Err(refused("workload", "no workload is registered under this id"));
        };
        record.registration = Some(workload.digest());
        if workload.revoked_at.is_some() {
            return Err(refused("workload", "the workload is revoked"));
        }
        let registration =
            Registration::from_bytes(&workload.registration).map_err(|error| refused("workload", error))?;
        if registration.dialect != challenge.dialect {
            return Err(refused("workload", "the workload is registered for another dialect"));
        }
        Ok((workload, registration))
    }

    /// Junk must not spend AMD's patience: what could never be accepted is refused before AMD is asked. Accepts nothing.
    fn refuse_early(
        &self,
        record: &AuditRecord,
        request: &Request<'_>,
        registration: &Registration,
        report_data: &ReportData,
        at_hand: Option<&Chain>,
    ) -> Result<(), Failure> {
        verify::refuse_early(request.report, report_data, record.time)?;
        let product = at_hand.map(|chain| chain.vek().product).or(by_cpuid(request.report));
        appraisal::refuse_early(&appraisal::Inputs {
            report: request.report,
            product,
            reference_values: Some(&registration.reference_values),
            policy: &registration.policy,
        })?;
        Ok(())
    }

    /// Spends the challenge, writes session and record: one transaction. The first success also ends the build window.
    async fn open(
        &self,
        record: &mut AuditRecord,
        session_id: &SessionId,
        evidence: Evidence,
        _result: &AttestationResult,
        workload: &Workload,
    ) -> Result<(), Failure> {
        record.time = self.clock.now();
        let session = Session {
            session_id: session_id.clone(),
            workload_id: workload.id.clone(),
            registration: workload.digest(),
            guest_key: evidence.guest_key,
            attestation: record.id,
            expires_at: record.time + self.ttl,
        };
        let (attested, released) = tokio::join!(self.sessions.attest(&session, record), async {
            match workload.released_at {
                Some(_) => Ok(()),
                None => self.workloads.mark_released(&workload.id, workload.digest(), record.time).await,
            }
        });
        match attested {
            Err(StoreError::Conflict) => {
                return Err(Failure::NoSession(failed("session", "the challenge was answered meanwhile")));
            }
            other => other?,
        }
        match released {
            // Replaced meanwhile: the session holds the old registration's digest, and gets no key.
            Err(StoreError::Conflict) => Ok(()),
            other => Ok(other?),
        }
    }

    /// The secret named `secret` of `workload_id`, sealed to the key that attested under `session_id`.
    pub async fn release(
        &self,
        session_id: &SessionId,
        workload_id: &WorkloadId,
        secret: &str,
    ) -> Result<Released, Error> {
        let mut record = AuditRecord::new(self.clock.now(), Operation::Key, Decision::Released);
        record.workload_id = Some(workload_id.clone());
        record.secret = Some(secret.to_owned());
        match self.unseal(&mut record, session_id, workload_id, secret).await {
            Ok(ciphertext) => Ok(Released { ciphertext, id: record.id }),
            Err(failure) => Err(self.fail(record, None, failure).await),
        }
    }

    async fn unseal(
        &self,
        record: &mut AuditRecord,
        session_id: &SessionId,
        workload_id: &WorkloadId,
        secret: &str,
    ) -> Result<Vec<u8>, Failure> {
        let (session, workload) =
            tokio::join!(self.sessions.session(session_id), self.workloads.workload(workload_id));
        let session = check_session(record, session?, workload_id)?;
        let workload = check_workload(workload?, &session)?;
        let Some(wrapped) = workload.secrets.get(secret) else {
            return Err(refused("secret", "the workload has no secret of this name"));
        };
        let context = EncryptionContext {
            workload_id: workload.id.clone(),
            secret: secret.to_owned(),
            registration: session.registration,
        };
        let (unwrapped, recorded) =
            tokio::join!(self.unwrap.unwrap_secret(&context, wrapped), self.audit.append(record));
        recorded?;
        announce(record);
        let unwrapped: Secret = unwrapped.map_err(|error| superseded(record, error))?;
        session.guest_key.seal_pkcs1(&unwrapped).map_err(|error| {
            let failure = refused("guest-key", error);
            *record = follow_up(record);
            failure
        })
    }

    /// Writes the record of a failure, and spends the challenge if it was refused.
    async fn fail(&self, mut record: AuditRecord, spend: Option<&SessionId>, failure: Failure) -> Error {
        let id = record.id;
        let (decision, failed, error) = match failure {
            Failure::NoSession(failed) => (Decision::Refused, failed, Error::NoSession { id }),
            Failure::Refused(failed) => (Decision::Refused, failed, Error::Refused { id }),
            Failure::Unavailable { retry_after, failed } => {
                (Decision::Unavailable, failed, Error::Unavailable { id: Some(id), retry_after })
            }
        };
        record.decision = decision;
        record.failed = Some(failed);
        let written = match (&error, spend) {
            (Error::Refused { .. }, Some(session_id)) => self.sessions.refuse(session_id, &record).await,
            _ => self.audit.append(&record).await,
        };
        match written {
            Ok(()) => {
                announce(&record);
                error
            }
            Err(cause) => cause.into(),
        }
    }
}

/// The release was recorded and then failed: what follows is a decision of its own.
fn superseded(record: &mut AuditRecord, error: KeyError) -> Failure {
    *record = follow_up(record);
    error.into()
}

fn follow_up(record: &AuditRecord) -> AuditRecord {
    AuditRecord { id: AuditId::new(), ..record.clone() }
}

fn by_cpuid(report: &Report) -> Option<Product> {
    report.cpuid().and_then(|(family, model)| Product::from_cpuid(family, model))
}

/// A session that is there, has not expired, and attested as this very workload.
fn check_session(
    record: &mut AuditRecord,
    session: Option<Session>,
    workload_id: &WorkloadId,
) -> Result<Session, Failure> {
    let Some(session) = session else {
        return Err(Failure::NoSession(failed("session", "no guest has attested under this session")));
    };
    record.attestation = Some(session.attestation);
    record.registration = Some(session.registration);
    if record.time >= session.expires_at {
        return Err(Failure::NoSession(failed("session", "the session has expired")));
    }
    if session.workload_id != *workload_id {
        let cause = format!("the guest attested as {}", session.workload_id);
        return Err(refused("session-workload", cause));
    }
    Ok(session)
}

/// The registration that the guest was appraised against still stands, unrevoked.
fn check_workload(workload: Option<Workload>, session: &Session) -> Result<Workload, Failure> {
    let Some(workload) = workload else {
        return Err(refused("workload", "the workload is no longer registered"));
    };
    if workload.revoked_at.is_some() {
        return Err(refused("workload", "the workload is revoked"));
    }
    if workload.digest() != session.registration {
        return Err(refused("workload", "the registration was replaced or altered since the guest attested"));
    }
    Ok(workload)
}
