//! Attestation: from evidence to a session.
//!
//! A request without an open challenge costs two or three look-ups. Nothing is parsed or verified for it, and
//! only the first few such requests are recorded.

use keybroker_snp::{product::Product, report::Report, verify};

use super::{
    Error, announce,
    endorser::{Presented, Verified},
    failure::{Failure, failed, refused},
    service::{Attest, Attested, Evidence},
    standing::check_workload,
};
use crate::{
    appraisal::{self, AttestationResult},
    audit::{AuditRecord, Basis, Check, Decision, EvidenceSummary, Operation},
    clock::is_over,
    dialect::Dialect,
    ids::{HostData, SessionId, WorkloadId},
    metrics::{self, Stage},
    panics::caught,
    session::{Challenge, Claim, Session},
    store::StoreError,
    workload::{ReadRegistration, Registration},
};

impl Attest {
    /// Verifies and appraises `evidence` against the challenge under `session_id`, and opens a session if all
    /// holds. If the same evidence already opened a session, it is answered again as long as that lasts, for
    /// the guest may have missed the answer.
    pub async fn attest(&self, session_id: &SessionId, evidence: Evidence) -> Result<Attested, Error> {
        let mut record = AuditRecord::new(self.clock.now(), Operation::Attest, Decision::Attested);
        let answered = caught(self.answer(&mut record, session_id, &evidence)).await;
        match answered.unwrap_or_else(|panicked| Err(panicked.into())) {
            Ok(attestation) => Ok(attestation),
            Err(failure) => Err(self.fail(record, Some(session_id), failure).await),
        }
    }

    async fn answer(
        &self,
        record: &mut AuditRecord,
        session_id: &SessionId,
        evidence: &Evidence,
    ) -> Result<Attested, Failure> {
        let opened = match self.appraise(record, session_id, evidence).await {
            Ok((appraised, dialect)) => {
                self.open(record, session_id, evidence, appraised).await.map(|()| dialect)
            }
            Err(failure) => Err(failure),
        };
        match opened {
            Ok(dialect) => {
                announce(record);
                Ok(Attested { id: record.id, dialect })
            }
            Err(failure @ (Failure::NoSession(_) | Failure::Late(_))) => {
                self.attested_before(record, session_id, evidence).await?.ok_or(failure)
            }
            Err(failure) => Err(failure),
        }
    }

    /// The attestation that this very evidence was answered with, if its session lasts and may still be
    /// released to: nothing is decided anew, so nothing is recorded.
    async fn attested_before(
        &self,
        record: &mut AuditRecord,
        session_id: &SessionId,
        evidence: &Evidence,
    ) -> Result<Option<Attested>, Failure> {
        let session = self.sessions.session(session_id).await?;
        let lasts = |session: &Session| !is_over(session.expires_at(), self.clock.now(), self.ttl);
        let same = |session: &Session| session.came_of(&evidence.digest) && lasts(session);
        let Some(session) = session.filter(same) else { return Ok(None) };
        let (workload_id, standing) = (session.workload_id(), session.standing());
        record.workload_id = Some(workload_id.clone());
        record.registration = Some(standing.registration);
        record.attestation = Some(session.attestation());
        let workload = self.workloads.workload(workload_id).await?;
        let (_, dialect) = check_workload(workload, &session, &evidence.dialects)?;
        Ok(Some(Attested { id: session.attestation(), dialect }))
    }

    /// Everything that decides about the evidence: challenge, early refusal, endorsements, verification,
    /// appraisal. Gives the result, whether a guest attested as the workload before, and in which dialect
    /// this one goes on.
    async fn appraise(
        &self,
        record: &mut AuditRecord,
        session_id: &SessionId,
        evidence: &Evidence,
    ) -> Result<((AttestationResult, bool), Dialect), Failure> {
        let report = Report::parse(&evidence.report);
        let (challenge, at_hand) = tokio::join!(self.sessions.challenge(session_id), async {
            let report = report.as_ref().map_err(|error| *error)?;
            let (claimed_product, certificates) = (evidence.claimed_product, &evidence.certificates);
            let presented = Presented { report, claimed_product, certificates };
            Ok::<_, Failure>((report, self.endorsements.at_hand(presented).await?))
        });
        let (challenge, dialects) = self.check_challenge(record, challenge?, &evidence.dialects)?;
        let (report, at_hand) = at_hand?;
        let product = at_hand.product().or(by_cpuid(report));
        record.evidence = Some(EvidenceSummary::of(report, product, false));

        let workload_id = selected(&challenge.claim, report)?;
        record.workload_id = Some(workload_id.clone());
        let (registered, released) = self.registration(record, &workload_id, &dialects).await?;
        let report_data = evidence.binding.report_data(&challenge.nonce);
        let plausible = at_hand.refuse_early(report_data, record.time)?;
        self.refuse_early(report, product, registered.registration())?;

        let Verified { report, under } = plausible.verify(&workload_id, &self.fleet.accepted_csp_ids).await?;
        // Whatever the endorser does, a genuine report of another boot opens no session.
        if *report.report().report_data() != report_data {
            return Err(refused(
                verify::VerificationCheck::Challenge,
                "the verified report answers another challenge",
            ));
        }
        record.evidence = Some(EvidenceSummary::of(report.report(), Some(report.product()), true));
        record.basis = Some(Basis::of(under, &evidence.guest_key, &self.fleet));
        let appraised = appraisal::appraise(&report, &self.fleet, &registered)?;
        let dialect = registered.registration().dialect;
        Ok(((appraised.consent(&*self.policies).await?, released), dialect))
    }

    /// The challenge, and the dialects in which it was given and may be answered here, at least one.
    fn check_challenge(
        &self,
        record: &mut AuditRecord,
        challenge: Option<Challenge>,
        spoken: &[Dialect],
    ) -> Result<(Challenge, Vec<Dialect>), Failure> {
        let Some(challenge) = challenge else {
            let cause = "there is no open challenge under this session: it was never given, or is spent";
            return Err(Failure::NoSession(failed(Check::Session, cause)));
        };
        if let Claim::Named { workload_id } = &challenge.claim {
            record.workload_id = Some(workload_id.clone());
        }
        if is_over(challenge.expires_at, record.time, self.ttl) {
            let cause = format!("the challenge expired at {}", challenge.expires_at);
            return Err(Failure::Late(failed(Check::Session, cause)));
        }
        let both = challenge.claim.dialects().iter().copied().filter(|dialect| spoken.contains(dialect));
        let dialects: Vec<_> = both.collect();
        if dialects.is_empty() {
            return Err(refused(Check::Session, "the challenge was given in another dialect"));
        }
        Ok((challenge, dialects))
    }

    async fn registration(
        &self,
        record: &mut AuditRecord,
        workload_id: &WorkloadId,
        dialects: &[Dialect],
    ) -> Result<(ReadRegistration, bool), Failure> {
        let Some(workload) = self.workloads.workload(workload_id).await? else {
            return Err(refused(Check::Workload, "no workload is registered under this id"));
        };
        record.registration = Some(workload.digest());
        if let Some(revoked_at) = workload.revoked_at {
            return Err(refused(Check::Workload, format!("the workload is revoked since {revoked_at}")));
        }
        let registered = workload.read().map_err(|error| refused(Check::Workload, error))?;
        if !dialects.contains(&registered.registration().dialect) {
            return Err(refused(Check::Workload, "the workload is registered for another dialect"));
        }
        Ok((registered, workload.released_at.is_some()))
    }

    /// Junk must not spend AMD's patience: what could never be accepted is refused before AMD is asked.
    /// Accepts nothing.
    fn refuse_early(
        &self,
        report: &Report,
        product: Option<Product>,
        registration: &Registration,
    ) -> Result<(), Failure> {
        let (reference_values, policy) = (Some(&registration.reference_values), &registration.policy);
        let inputs = appraisal::Inputs { report, product, fleet: &self.fleet, reference_values, policy };
        Ok(appraisal::refuse_early(&inputs)?)
    }

    /// Ends the build window, then spends the challenge and writes session and record in one transaction.
    ///
    /// In this order: were the window still open once a session exists, a registration could be replaced
    /// under it.
    async fn open(
        &self,
        record: &mut AuditRecord,
        session_id: &SessionId,
        evidence: &Evidence,
        (result, released): (AttestationResult, bool),
    ) -> Result<(), Failure> {
        record.time = self.clock.now();
        if !released {
            let (id, registration) = (result.workload_id(), result.registration());
            match self.workloads.mark_released(id, registration, record.time).await {
                Err(StoreError::Conflict) => {
                    return Err(refused(Check::Workload, "the registration was replaced meanwhile"));
                }
                other => other?,
            }
        }
        let expires_at = record.time + self.ttl;
        let (guest_key, digest) = (evidence.guest_key.clone(), evidence.digest);
        let session = Session::open(session_id.clone(), &result, guest_key, digest, record.id, expires_at);
        match metrics::timed(Stage::Transaction, self.sessions.attest(&session, record)).await {
            Err(StoreError::Conflict) => {
                Err(Failure::Late(failed(Check::Session, "the challenge was answered meanwhile, or expired")))
            }
            other => Ok(other?),
        }
    }
}

/// The workload that the guest claims to be: HOST_DATA selects it, and satisfies nothing.
fn selected(claim: &Claim, report: &Report) -> Result<WorkloadId, Failure> {
    match claim {
        Claim::Named { workload_id } => Ok(workload_id.clone()),
        Claim::HostData => {
            HostData::from_report(report.host_data()).map(HostData::workload_id).ok_or_else(|| {
                refused(
                    appraisal::AppraisalCheck::HostData,
                    "HOST_DATA is not one that a registration was given",
                )
            })
        }
    }
}

fn by_cpuid(report: &Report) -> Option<Product> {
    report.cpuid().and_then(|(family, model)| Product::from_cpuid(family, model))
}
