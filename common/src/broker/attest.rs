//! Attestation: from evidence to a session.
//!
//! A request under a session id that the broker did not make costs one keyed hash, and leaves nothing
//! behind. The decision about a challenge is one item, and the first that is written is the only one.

use jiff::Timestamp;
use keybroker_initdata::InitDataDigest;
use keybroker_snp::{product::Product, report::Report, silicon::Cpuid, verify};

use super::{
    Error, announce,
    endorser::{Presented, Verified},
    failure::{Failure, failed, refused},
    refuse::Recorded,
    service::{Attest, Attested, Evidence, Thumbprint},
    standing::{check_session_workload, registered_for},
};
use crate::{
    appraisal::{self, AttestationResult},
    audit::{AuditRecord, Basis, Check, Decision, EvidenceSummary, Operation},
    binding::ReadReport,
    challenge::{Challenge, Claim, Unrecognised},
    clock::is_over,
    decision::AttestDecision,
    dialect::Dialect,
    ear::{Claims, SignedResult},
    ids::{AuditId, HostData, SessionId, WorkloadId},
    metrics::{self, Count, Stage},
    panics::{Panicked, caught},
    session::Session,
    store::StoreError,
    workload::{ReadRegistration, Registration, Workload},
};

impl Attest {
    /// Verifies and appraises `evidence` against the challenge under `session_id`, and opens a session if all
    /// holds. If the same evidence was decided about before, the answer is the same, as long as a session
    /// that it opened lasts: for the guest may have missed the answer.
    pub async fn attest(&self, session_id: &SessionId, evidence: Evidence) -> Result<Attested, Error> {
        let mut record = AuditRecord::new(self.clock.now(), Operation::Attest, Decision::Attested);
        record.id = AuditId::of(session_id);
        let answered = caught(self.answer(&mut record, session_id, &evidence)).await;
        self.conclude(record, answered).await
    }

    /// That this deployment gave the challenge under `session_id`: by a keyed hash, before a long body of it
    /// is decoded.
    pub async fn recognise(&self, session_id: &SessionId) -> Result<(), Error> {
        let record = AuditRecord::new(self.clock.now(), Operation::Attest, Decision::Attested);
        let recognised = caught(self.challenge(session_id, record.time)).await;
        match recognised.unwrap_or_else(|panicked| Err(panicked.into())) {
            Ok(_) => Ok(()),
            Err(failure) => Err(self.fail(record, Recorded::Announced, failure).await),
        }
    }

    /// The client's answer, with the record of a failure where it goes.
    pub(super) async fn conclude<T>(
        &self,
        record: AuditRecord,
        answered: Result<Result<T, (Failure, Recorded)>, Panicked>,
    ) -> Result<T, Error> {
        match answered.unwrap_or_else(|panicked| Err((panicked.into(), Recorded::Appended))) {
            Ok(answer) => Ok(answer),
            // The decision about the challenge is none of these: its id is not theirs.
            Err((failure, recorded @ (Recorded::Appended | Recorded::Announced))) => {
                Err(self.fail(record.beside(), recorded, failure).await)
            }
            Err((failure, Recorded::Decided)) => Err(self.fail(record, Recorded::Decided, failure).await),
        }
    }

    /// The answer, and for a failure where its record goes.
    async fn answer(
        &self,
        record: &mut AuditRecord,
        session_id: &SessionId,
        evidence: &Evidence,
    ) -> Result<Attested, (Failure, Recorded)> {
        let announced = |failure| (failure, Recorded::Announced);
        let challenge = self.challenge(session_id, record.time).await.map_err(announced)?;
        let keep_until = AttestDecision::keep_until(challenge.given_at);
        let opened = match self.check_challenge(record, &challenge) {
            Err(late) => Err(late),
            Ok(()) => match self.appraise(record, &challenge, evidence).await {
                Ok(appraised) => self.open(record, &challenge, evidence, appraised).await,
                Err(failure) => Err(failure),
            },
        };
        let (opened, failure) = match opened {
            Ok(opened) => (Some(opened), None),
            Err(Failure::Refused(failed)) => (None, Some(failed)),
            Err(late @ Failure::Late(_)) => {
                let before =
                    self.decisions.decision(record.id).await.map_err(|error| announced(error.into()))?;
                return self.decided_before(record, session_id, evidence, (before, late)).await;
            }
            Err(failure) => return Err(announced(failure)),
        };
        if let Some(failed) = &failure {
            (record.decision, record.failed) = (Decision::Refused, Some(failed.clone()));
        }
        let decision = AttestDecision {
            record: record.clone(),
            evidence: evidence.digest,
            session: opened.as_ref().map(|(session, _)| session.sealed().clone()),
            keep_until,
        };
        let decided = metrics::timed(Stage::Transaction, self.decisions.decide(&decision)).await;
        let before = decided.map_err(|error| announced(error.into()))?;
        match (before, opened, failure) {
            (None, Some((session, result)), None) => {
                announce(record);
                Ok(Attested { id: record.id, dialect: session.dialect(), result })
            }
            (None, _, failure) => {
                let failed = failure.unwrap_or_else(|| failed(Check::Internal, "nothing was decided"));
                Err((Failure::Refused(failed), Recorded::Decided))
            }
            (before, ..) => {
                let late = Failure::Late(failed(Check::Session, "the challenge was answered before"));
                self.decided_before(record, session_id, evidence, (before, late)).await
            }
        }
    }

    /// The challenge that was given under `session_id`. One that the broker did not give costs no look-up,
    /// and leaves no record.
    pub(super) async fn challenge(
        &self,
        session_id: &SessionId,
        now: Timestamp,
    ) -> Result<Challenge, Failure> {
        match self.challenges.recognise(session_id, now).await {
            Ok(challenge) => Ok(challenge),
            Err(Unrecognised::Foreign | Unrecognised::Early) => Err(Failure::Foreign),
            Err(Unrecognised::Keys(error)) => Err(error.into()),
        }
    }

    /// The answer where the challenge was decided about `before`: the same for the very evidence of then, if
    /// its session lasts and may still be released to. Nothing is decided anew, so nothing is recorded. For
    /// any other it is `late`.
    async fn decided_before(
        &self,
        record: &mut AuditRecord,
        session_id: &SessionId,
        evidence: &Evidence,
        (before, late): (Option<AttestDecision>, Failure),
    ) -> Result<Attested, (Failure, Recorded)> {
        let announced = |failure| (failure, Recorded::Announced);
        let late = || Err((late, Recorded::Appended));
        record.failed = None;
        let Some(before) = before.filter(|before| before.evidence == evidence.digest) else { return late() };
        if before.session.is_none() && before.record.decision == Decision::Refused {
            return Err(announced(Failure::RefusedBefore(before.record.id)));
        }
        let decided = before.record.clone();
        let session = self.session(session_id, Some(before)).await.map_err(announced)?;
        let lasts = |session: &Session| {
            session.came_of(&evidence.digest)
                && !is_over(session.expires_at(), self.clock.now(), self.challenges.ttl)
        };
        let Some(session) = session.filter(lasts) else { return late() };
        let (workload_id, standing) = (session.workload_id(), session.standing());
        record.workload_id = Some(workload_id.clone());
        record.registration = Some(standing.registration);
        record.attestation = Some(session.attestation());
        let workload = self.workloads.workload(workload_id).await.map_err(|error| announced(error.into()))?;
        let checked = check_session_workload(workload, &session, &evidence.dialects);
        let workload = checked.map_err(|failure| (failure.stale(), Recorded::Appended))?;
        let result = self.result(&decided, &session, &workload).await.map_err(announced)?;
        Ok(Attested { id: session.attestation(), dialect: session.dialect(), result })
    }

    /// The attestation result of a session, as `record` decided about it, signed anew: where the dialect has
    /// one.
    async fn result(
        &self,
        record: &AuditRecord,
        session: &Session,
        workload: &Workload,
    ) -> Result<Option<SignedResult>, Failure> {
        if session.dialect() != Dialect::Trustee {
            return Ok(None);
        }
        let registered = workload.read().map_err(|error| refused(Check::Workload, error))?;
        let deployment = self.challenges.deployment();
        let claims = Claims::of(record, session, registered.registration(), &self.fleet, deployment);
        Ok(Some(self.results.sign(&claims).await?))
    }

    /// The session that a decision under `session_id` opened, if `attest` made it.
    pub(super) async fn session(
        &self,
        session_id: &SessionId,
        decision: Option<AttestDecision>,
    ) -> Result<Option<Session>, Failure> {
        let Some(AttestDecision { record, session: Some(sealed), .. }) = decision else { return Ok(None) };
        Ok(Session::unseal(sealed, &record, session_id, &self.session_keys).await?)
    }

    /// Everything that decides about the evidence: early refusal, endorsements, verification, appraisal.
    pub(super) async fn appraise<K: Thumbprint>(
        &self,
        record: &mut AuditRecord,
        challenge: &Challenge,
        evidence: &Evidence<K>,
    ) -> Result<Admitted, Failure> {
        let dialects = spoken(&challenge.claim, &evidence.dialects)?;
        let sent = evidence.report.as_ref().map_err(|cause| refused(Check::Report, cause))?;
        let read = sent.read()?;
        let (report, form) = (read.report(), read.form());
        let workload_id = self.selected(&challenge.claim, &dialects, report, evidence).await?;
        record.workload_id = Some(workload_id.clone());
        let (claimed_product, certificates) = (evidence.claimed_product, &evidence.certificates);
        let presented = Presented { report, claimed_product, certificates };
        let (workload, at_hand) =
            tokio::join!(self.workloads.workload(&workload_id), self.endorsements.at_hand(presented));
        let at_hand = at_hand?;
        let product = at_hand.product().or(by_cpuid(report));
        record.evidence = Some(EvidenceSummary::of(report, form, product, false));
        let (workload, registered, dialect) = registration(record, workload?, &dialects)?;
        check_selected(&challenge.claim, dialect, report, registered.registration())?;
        let report_data = read.report_data(evidence.binding.report_data(&challenge.nonce))?;
        let plausible = at_hand.refuse_early(report_data, record.time)?;
        self.refuse_early(&read, product, registered.registration(), evidence.init_data.as_ref())?;

        let Verified { report, under } = plausible.verify(&workload_id, &self.fleet.accepted_csp_ids).await?;
        // Whatever the endorser does, a genuine report of another boot opens no session.
        if *report.report().report_data() != report_data {
            return Err(refused(
                verify::VerificationCheck::Challenge,
                "the verified report answers another challenge",
            ));
        }
        record.evidence = Some(EvidenceSummary::of(report.report(), form, Some(report.product()), true));
        record.basis = Some(Basis::of(under, evidence.guest_key.thumbprint(), &self.fleet));
        record.tcb = Some(self.advisories.verdict(report.report(), report.product()));
        if self.fleet.lacks_floor() && !registered.registration().policy.platform.has_floor() {
            metrics::count(Count::NoTcbFloor);
        }
        let init_data = evidence.init_data.as_ref();
        let appraised = appraisal::appraise(&report, form, &self.fleet, &registered, init_data)?;
        let result = appraised.consent(&*self.policies).await?;
        Ok(Admitted { result, dialect, workload })
    }

    /// That the challenge may still be answered.
    pub(super) fn check_challenge(
        &self,
        record: &mut AuditRecord,
        challenge: &Challenge,
    ) -> Result<(), Failure> {
        if let Some(id) = challenge.claim.workload_id() {
            record.workload_id = Some(id.clone());
        }
        if is_over(challenge.expires_at, record.time, self.challenges.ttl) {
            let cause = format!("the challenge expired at {}", challenge.expires_at);
            return Err(Failure::Late(failed(Check::Session, cause)));
        }
        Ok(())
    }

    /// Junk must not spend AMD's patience: what could never be accepted is refused before AMD is asked.
    /// Accepts nothing.
    fn refuse_early(
        &self,
        read: &ReadReport<'_>,
        product: Option<Product>,
        registration: &Registration,
        init_data: Option<&InitDataDigest>,
    ) -> Result<(), Failure> {
        let (reference_values, policy) = (Some(&registration.reference_values), &registration.policy);
        let (report, form, fleet) = (read.report(), read.form(), &self.fleet);
        let inputs = appraisal::Inputs { report, form, product, fleet, reference_values, policy, init_data };
        Ok(appraisal::refuse_early(&inputs)?)
    }

    /// Makes the session that the decision will open, and ends the build window. The session counts once the
    /// decision is written: were the window still open then, a registration could be replaced under it. An
    /// answer that is not the first ends no window.
    async fn open(
        &self,
        record: &mut AuditRecord,
        challenge: &Challenge,
        evidence: &Evidence,
        Admitted { result, dialect, workload }: Admitted,
    ) -> Result<(Session, Option<SignedResult>), Failure> {
        record.time = self.clock.now();
        // AMD may have taken its time.
        self.check_challenge(record, challenge)?;
        let expires_at = record.time + self.challenges.ttl;
        let guest = (dialect, evidence.guest_key.clone(), evidence.digest);
        let (keys, id) = (&self.session_keys, &challenge.session_id);
        let session = Session::open(keys, id, &result, guest, record, expires_at).await?;
        let signed = self.result(record, &session, &workload).await?;
        if workload.released_at.is_none() {
            if self.decisions.decision(record.id).await?.is_some() {
                return Err(Failure::Late(failed(Check::Session, "the challenge was answered before")));
            }
            let (id, registration) = (result.workload_id(), result.registration());
            match self.workloads.mark_released(id, registration, record.time).await {
                Err(StoreError::Conflict) => {
                    return Err(refused(Check::Workload, "the registration was replaced meanwhile"));
                }
                other => other?,
            }
        }
        Ok((session, signed))
    }

    /// The workload that the guest claims to be: HOST_DATA selects it, and satisfies nothing.
    async fn selected<K>(
        &self,
        claim: &Claim,
        dialects: &[Dialect],
        report: &Report,
        evidence: &Evidence<K>,
    ) -> Result<WorkloadId, Failure> {
        let host_data = report.host_data();
        let trustees = dialects.contains(&Dialect::Trustee);
        match claim {
            Claim::Trustee(_) if trustees => {
                // A document that the host did not launch the guest with is nobody's.
                if evidence.init_data.as_ref().is_some_and(|sent| sent.host_data() != *host_data) {
                    let cause = "HOST_DATA is not the digest of the init data that the guest sent";
                    return Err(refused(appraisal::AppraisalCheck::InitData, cause));
                }
                match claim.workload_id() {
                    Some(id) => Ok(id.clone()),
                    None => self.workloads.selected(host_data).await?.ok_or_else(no_host_data),
                }
            }
            Claim::HostData | Claim::Trustee(_) => {
                HostData::from_report(host_data).map(HostData::workload_id).ok_or_else(no_host_data)
            }
            Claim::Named(id) => Ok(id.workload_id().clone()),
            Claim::Later => {
                let named = evidence.workload_id.clone();
                named.ok_or_else(|| refused(Check::Workload, "the guest names no workload"))
            }
        }
    }
}

/// That HOST_DATA selects `registration`, where a guest of Trustee's is known by nothing else. The selection
/// is an item of its own, which proves nothing: somebody may have written it, or the registration may be
/// another since it was read.
fn check_selected(
    claim: &Claim,
    dialect: Dialect,
    report: &Report,
    registration: &Registration,
) -> Result<(), Failure> {
    let by_host_data = dialect == Dialect::Trustee && claim.workload_id().is_none();
    if by_host_data && registration.selected_by() != Some(*report.host_data()) {
        let cause = "HOST_DATA does not select the registration that is there";
        return Err(refused(appraisal::AppraisalCheck::HostData, cause));
    }
    Ok(())
}

fn no_host_data() -> Failure {
    refused(appraisal::AppraisalCheck::HostData, "HOST_DATA is not one that a registration was given")
}

/// The dialects in which a challenge was given and is answered here, at least one.
pub(super) fn spoken(claim: &Claim, spoken: &[Dialect]) -> Result<Vec<Dialect>, Failure> {
    let both = claim.dialects().iter().copied().filter(|dialect| spoken.contains(dialect));
    let dialects: Vec<_> = both.collect();
    if dialects.is_empty() {
        return Err(refused(Check::Session, "the challenge was given in another dialect"));
    }
    Ok(dialects)
}

/// A guest whose evidence was verified and appraised: as which workload, and in which dialect it goes on.
pub(super) struct Admitted {
    pub(super) result: AttestationResult,
    pub(super) dialect: Dialect,
    /// The workload's row as it was read: the one with the registration that the result names.
    pub(super) workload: Workload,
}

/// The workload's row with its registration, for a guest of one of `dialects`, and which of them it is for.
fn registration(
    record: &mut AuditRecord,
    workload: Option<Workload>,
    dialects: &[Dialect],
) -> Result<(Workload, ReadRegistration, Dialect), Failure> {
    let Some(workload) = workload else {
        return Err(refused(Check::Workload, "no workload is registered under this id"));
    };
    record.registration = Some(workload.digest());
    if let Some(revoked_at) = workload.revoked_at {
        return Err(refused(Check::Workload, format!("the workload is revoked since {revoked_at}")));
    }
    let registered = workload.read().map_err(|error| refused(Check::Workload, error))?;
    let dialect = registered_for(registered.registration(), dialects)?;
    Ok((workload, registered, dialect))
}

fn by_cpuid(report: &Report) -> Option<Product> {
    report.cpuid().and_then(Cpuid::product)
}
