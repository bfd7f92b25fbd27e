//! Release over the broker's own protocol: one request, one decision, one item.
//!
//! Nothing is opened in between, so there is no session. The decision about the challenge is the record of
//! the release, and it is written before anything leaves.

use std::sync::Arc;

use futures_util::future::try_join_all;
use jiff::Timestamp;
use keybroker_initdata::KeyId;
use keybroker_native::{Answer, AskHash, Sealed, SealedSecret, Sealer, SigningKey, Suite};
use sha2::{Digest, Sha256};

use super::{
    Attest, Error, announce,
    attest::Admitted,
    failure::{Failure, failed, refused},
    refuse::Recorded,
    service::{Evidence, Thumbprint},
    standing::check_workload,
};
use crate::{
    audit::{AuditRecord, Check, Decision, Operation},
    challenge::Challenge,
    decision::AttestDecision,
    ids::{AuditId, SessionId},
    metrics::{self, Stage},
    panics::caught,
    secret::{EncryptionContext, KeyError, Secret, WrappedSecret},
    store::StoreError,
    workload::Workload,
};

/// The key that a guest's secrets are to be sealed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecipientKey {
    /// How they are sealed.
    pub suite: Suite,
    /// The public key, as RFC 9180 serialises it for the suite.
    pub public_key: Vec<u8>,
}

impl Thumbprint for RecipientKey {
    fn thumbprint(&self) -> [u8; 32] {
        Sha256::digest(&self.public_key).into()
    }
}

/// A guest's request for secrets. Nothing in it is trusted.
#[derive(Debug, Clone)]
pub struct ReleaseRequest {
    /// The evidence, whose binding is the hash of this whole request.
    pub evidence: Evidence<RecipientKey>,
    /// The names of the secrets, in the order in which they are to be answered.
    pub secrets: Vec<String>,
    /// The broker's keys that the guest accepts a signature of.
    pub broker_keys: Vec<KeyId>,
}

/// All that is known before the decision is written.
struct Ready {
    admitted: Admitted,
    signer: Arc<SigningKey>,
    /// The hash of the request, which the report is bound to.
    hash: AskHash,
    sealer: Sealer,
    wrapped: Vec<(String, WrappedSecret)>,
}

impl Attest {
    /// Verifies and appraises the evidence in `request` against the challenge under `session_id`, and
    /// releases all secrets that it asks for, or none. A challenge is answered once: a guest that missed its
    /// answer asks for another.
    pub async fn release_secrets(
        &self,
        session_id: &SessionId,
        request: ReleaseRequest,
    ) -> Result<Answer, Error> {
        let mut record = AuditRecord::new(self.clock.now(), Operation::Release, Decision::Released);
        record.id = AuditId::of(session_id);
        record.workload_id = request.evidence.workload_id.clone();
        record.secrets = request.secrets.clone();
        let answered = caught(self.decide_release(&mut record, session_id, &request)).await;
        self.conclude(record, answered).await
    }

    async fn decide_release(
        &self,
        record: &mut AuditRecord,
        session_id: &SessionId,
        request: &ReleaseRequest,
    ) -> Result<Answer, (Failure, Recorded)> {
        let announced = |failure| (failure, Recorded::Announced);
        let challenge = self.challenge(session_id, record.time).await.map_err(announced)?;
        match self.ready(record, &challenge, request).await {
            Ok(ready) => self.release_ready(record, &challenge, request, ready).await,
            Err(Failure::Refused(failed)) => {
                (record.decision, record.failed) = (Decision::Refused, Some(failed.clone()));
                match self.decide_at_once(record, challenge.given_at, request).await {
                    Ok(None) => Err((Failure::Refused(failed), Recorded::Decided)),
                    Ok(Some(_)) => Err((answered_before(), Recorded::Appended)),
                    Err(cause) => Err(announced(cause.into())),
                }
            }
            Err(late @ Failure::Late(_)) => Err((late, Recorded::Appended)),
            Err(failure) => Err(announced(failure)),
        }
    }

    /// Everything that decides, and that may still be refused by the one put.
    async fn ready(
        &self,
        record: &mut AuditRecord,
        challenge: &Challenge,
        request: &ReleaseRequest,
    ) -> Result<Ready, Failure> {
        self.check_challenge(record, challenge)?;
        let Some(signer) = self.signers.signer(&request.broker_keys).await? else {
            return Err(refused(
                Check::SigningKey,
                "the guest accepts none of the keys that this broker signs with",
            ));
        };
        let admitted = self.appraise(record, challenge, &request.evidence).await?;
        let mut wrapped = Vec::with_capacity(request.secrets.len());
        for name in &request.secrets {
            let Some(secret) = admitted.workload.secrets.get(name) else {
                return Err(refused(Check::Secret, format!("the workload has no secret of the name {name}")));
            };
            wrapped.push((name.clone(), secret.clone()));
        }
        let hash = AskHash(request.evidence.binding.report_data(&challenge.nonce));
        let RecipientKey { suite, public_key } = &request.evidence.guest_key;
        let sealer = suite.sealer(public_key, &hash).map_err(|error| refused(Check::GuestKey, error))?;
        record.time = self.clock.now();
        // AMD may have taken its time.
        self.check_challenge(record, challenge)?;
        Ok(Ready { admitted, signer, hash, sealer, wrapped })
    }

    /// Writes the decision while the secrets are unwrapped, looks at the workload's row once more, and only
    /// then seals.
    async fn release_ready(
        &self,
        record: &mut AuditRecord,
        challenge: &Challenge,
        request: &ReleaseRequest,
        Ready { admitted, signer, hash, sealer, wrapped }: Ready,
    ) -> Result<Answer, (Failure, Recorded)> {
        let Admitted { result, dialect, workload } = admitted;
        let standing = result.standing();
        let (unwrapped, decided, ()) = tokio::join!(
            self.unwrap_all(&workload, &wrapped),
            self.decide_at_once(record, challenge.given_at, request),
            self.note_first_release(&workload, record.time)
        );
        match decided {
            Ok(None) => announce(record),
            Ok(Some(_)) => return Err((answered_before(), Recorded::Appended)),
            // It may be on record all the same: that nothing left is a decision of its own.
            Err(cause) => return Err((cause.into(), Recorded::Appended)),
        }
        record.attestation = Some(record.id);
        let appended = |failure| (failure, Recorded::Appended);
        let secrets = unwrapped.map_err(|cause| appended(cause.into()))?;
        let row = self.workloads.workload(&workload.id).await.map_err(|cause| appended(cause.into()))?;
        check_workload(row, &standing, dialect).map_err(|failure| appended(failure.withheld()))?;
        let named = wrapped.iter().map(|(name, _)| name.as_str());
        let sealed = sealed(sealer, record.id, named.zip(&secrets)).map_err(appended)?;
        sealed.sign(&hash, &signer).map_err(|cause| {
            let failed = failed(Check::SigningKey, cause);
            appended(Failure::Unavailable { retry_after: super::RETRY_AFTER, failed })
        })
    }

    /// Puts the decision about the challenge. Gives the earlier one, if there is one.
    async fn decide_at_once(
        &self,
        record: &AuditRecord,
        given_at: Timestamp,
        request: &ReleaseRequest,
    ) -> Result<Option<AttestDecision>, StoreError> {
        let decision = AttestDecision {
            record: record.clone(),
            evidence: request.evidence.digest,
            session: None,
            keep_until: AttestDecision::keep_until(given_at),
        };
        metrics::timed(Stage::Transaction, self.decisions.decide(&decision)).await
    }

    async fn unwrap_all(
        &self,
        workload: &Workload,
        wrapped: &[(String, WrappedSecret)],
    ) -> Result<Vec<Secret>, KeyError> {
        let unwraps = wrapped.iter().map(|(name, wrapped)| async move {
            let context = EncryptionContext {
                workload_id: workload.id.clone(),
                secret: name.clone(),
                registration: workload.digest(),
            };
            metrics::timed(Stage::Unwrap, self.unwrap.unwrap_secret(&context, wrapped)).await
        });
        try_join_all(unwraps).await
    }

    /// Notes that a guest attested. Nothing rests on it here: no build replaces a registration of this
    /// dialect without the authority to. So a note that fails fails no release.
    async fn note_first_release(&self, workload: &Workload, now: Timestamp) {
        if workload.released_at.is_none()
            && let Err(cause) = self.workloads.mark_released(&workload.id, workload.digest(), now).await
        {
            tracing::warn!(workload_id = %workload.id, %cause, "the first release is not noted in the row");
        }
    }
}

fn answered_before() -> Failure {
    Failure::Late(failed(Check::Session, "the challenge was answered before"))
}

fn sealed<'a>(
    sealer: Sealer,
    decision: AuditId,
    secrets: impl Iterator<Item = (&'a str, &'a Secret)> + Clone,
) -> Result<Sealed, Failure> {
    let clear = secrets.clone().map(|(name, secret)| (name, secret.expose()));
    let (encapsulated, ciphertexts) = sealer.seal(clear).map_err(|error| refused(Check::GuestKey, error))?;
    let sealed = secrets.zip(ciphertexts);
    let secrets = sealed.map(|((name, _), ciphertext)| SealedSecret { name: name.to_owned(), ciphertext });
    Ok(Sealed { decision: decision.to_string(), encapsulated, secrets: secrets.collect() })
}
