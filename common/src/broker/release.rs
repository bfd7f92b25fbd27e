//! Release: a secret to the key that attested, and to no other.

use std::time::Duration;

use super::{
    Attest, Error, announce,
    failure::{Failure, failed, refused},
    refuse::Recorded,
    standing::check_session_workload,
};
use crate::{
    audit::{AuditRecord, Check, Decision, Operation},
    clock::is_over,
    dialect::Dialect,
    ear::{NotRead, ReadResult},
    ids::{AuditId, SessionId, WorkloadId},
    metrics::{self, Count, Stage},
    panics::caught,
    secret::{
        EncryptionContext, PASSPHRASE, Secret,
        seal::{Jwe, SealError, Sealed},
    },
    session::Session,
    store::StoreError,
    workload::Workload,
};

/// A secret sealed to the key of a guest that attested. Only [`Attest`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Released<S> {
    sealed: S,
    /// The audit record.
    pub id: AuditId,
}

impl<S> Released<S> {
    /// The secret as it is sealed.
    pub fn sealed(&self) -> &S {
        &self.sealed
    }
}

/// The secret that a guest asks for.
#[derive(Debug, Clone, Copy)]
enum Wanted<'a> {
    /// The passphrase of the workload that it names, in libkrun's dialect.
    Passphrase(&'a WorkloadId),
    /// A resource of the workload that it attested as, in keybroker's dialect.
    Resource(&'a str),
    /// A resource of the workload that it attested as, in Trustee's dialect.
    Named(&'a str),
}

impl Wanted<'_> {
    fn dialect(self) -> Dialect {
        match self {
            Self::Passphrase(_) => Dialect::Libkrun,
            Self::Resource(_) => Dialect::Keybroker,
            Self::Named(_) => Dialect::Trustee,
        }
    }

    fn secret(&self) -> &str {
        match self {
            Self::Passphrase(_) => PASSPHRASE,
            Self::Resource(name) | Self::Named(name) => name,
        }
    }
}

/// How a secret is sealed to the key of a session.
type Seal<S> = fn(&Session, &Secret) -> Result<S, SealError>;

/// How a guest names the session that it fetches a secret under.
#[derive(Debug, Clone)]
pub enum SessionProof {
    /// By its id, in the cookie.
    Id(SessionId),
    /// By the attestation result that the broker signed when it opened the session.
    Result(ReadResult),
}

impl SessionProof {
    /// The session's id.
    pub fn session_id(&self) -> &SessionId {
        match self {
            Self::Id(id) => id,
            Self::Result(result) => &result.session_id,
        }
    }

    /// That an attestation result is `session`'s own.
    fn check(&self, session: &Session) -> Result<(), Failure> {
        let Self::Result(result) = self else { return Ok(()) };
        if result.is_of(session) {
            Ok(())
        } else {
            Err(refused(Check::Session, "the attestation result is another session's"))
        }
    }
}

impl Attest {
    /// The passphrase of `workload_id`, by RSAES-PKCS1-v1_5 to the key that attested under `session_id`.
    pub async fn passphrase(
        &self,
        session_id: &SessionId,
        workload_id: &WorkloadId,
    ) -> Result<Released<Vec<u8>>, Error> {
        let mut record = AuditRecord::new(self.clock.now(), Operation::Key, Decision::Released);
        record.workload_id = Some(workload_id.clone());
        let proof = SessionProof::Id(session_id.clone());
        let seal = |session: &Session, secret: &Secret| session.guest_key().seal_pkcs1(secret);
        self.release(record, &proof, Wanted::Passphrase(workload_id), seal).await
    }

    /// The resource `name` of the workload that the guest under `session_id` attested as, sealed to its key.
    pub async fn resource(&self, session_id: &SessionId, name: &str) -> Result<Released<Sealed>, Error> {
        let record = AuditRecord::new(self.clock.now(), Operation::Resource, Decision::Released);
        let proof = SessionProof::Id(session_id.clone());
        let seal = |session: &Session, secret: &Secret| session.guest_key().seal(secret);
        self.release(record, &proof, Wanted::Resource(name), seal).await
    }

    /// The resource `name` of the workload that a Trustee guest attested as, in the form that its version of
    /// the protocol reads.
    pub async fn named_resource(&self, proof: &SessionProof, name: &str) -> Result<Released<Jwe>, Error> {
        let record = AuditRecord::new(self.clock.now(), Operation::Resource, Decision::Released);
        let seal = |session: &Session, secret: &Secret| {
            session.guest_key().seal_jwe(secret, session.session_id().claim().jwe_form())
        };
        self.release(record, proof, Wanted::Named(name), seal).await
    }

    /// The session that an attestation result names, if this deployment signed it and it has not expired.
    pub async fn session_of_result(&self, result: &str) -> Result<SessionProof, Error> {
        match self.results.read(result, self.clock.now()).await {
            Ok(result) => Ok(SessionProof::Result(result)),
            Err(NotRead::Keys(error)) => Err(error.into()),
            Err(cause) => {
                tracing::debug!(%cause, "an attestation result was not read");
                metrics::count(Count::NoSession);
                Err(Error::NoSession { id: None })
            }
        }
    }

    async fn release<S>(
        &self,
        mut record: AuditRecord,
        proof: &SessionProof,
        wanted: Wanted<'_>,
        seal: Seal<S>,
    ) -> Result<Released<S>, Error> {
        record.secret = Some(wanted.secret().to_owned());
        // Anybody can name an id: where it cannot be told whether the broker made it, nothing is recorded.
        let recognised = caught(self.challenge(proof.session_id(), record.time)).await;
        if let Err(failure) = recognised.unwrap_or_else(|panicked| Err(panicked.into())) {
            return Err(self.fail(record, Recorded::Announced, failure).await);
        }
        let unsealed = caught(self.unseal(&mut record, proof, wanted, seal)).await;
        match unsealed.unwrap_or_else(|panicked| Err(panicked.into())) {
            Ok(sealed) => Ok(Released { sealed, id: record.id }),
            Err(failure) => Err(self.fail(record, Recorded::Appended, failure).await),
        }
    }

    async fn unseal<S>(
        &self,
        record: &mut AuditRecord,
        proof: &SessionProof,
        wanted: Wanted<'_>,
        seal: Seal<S>,
    ) -> Result<S, Failure> {
        let (session, workload) = self.session_and_workload(record, proof.session_id(), wanted).await?;
        proof.check(&session)?;
        let workload = check_session_workload(workload, &session, &[wanted.dialect()])?;
        let standing = session.standing();
        let secret = wanted.secret();
        let Some(wrapped) = workload.secrets.get(secret) else {
            return Err(Failure::NoSecret(failed(Check::Secret, "the workload has no secret of this name")));
        };
        let context = EncryptionContext {
            workload_id: workload.id.clone(),
            secret: secret.to_owned(),
            registration: standing.registration,
        };
        let (unwrapped, recorded) = tokio::join!(
            metrics::timed(Stage::Unwrap, self.unwrap.unwrap_secret(&context, wrapped)),
            self.workloads.record_release(&workload.id, &standing, record)
        );
        if recorded == Err(StoreError::Conflict) {
            // Nothing is on record. The row shows the change that came between.
            self.look_again(&session, wanted.dialect()).await?;
        } else if recorded.is_err() {
            // The release may be on record although its store failed: that nothing left is a decision of its
            // own.
            (record.id, record.time) = (AuditId::new(), self.clock.now());
        }
        recorded?;
        announce(record);
        let sealed = unwrapped.map_err(Failure::from).and_then(|secret: Secret| {
            seal(&session, &secret).map_err(|error| refused(Check::GuestKey, error))
        });
        let sealed = match sealed {
            Ok(sealed) => {
                let looked = self.look_again(&session, wanted.dialect()).await;
                looked.map(|()| sealed).map_err(Failure::withheld)
            }
            unsealed => unsealed,
        };
        if sealed.is_err() {
            // The release is on record: that it failed is a decision of its own.
            (record.id, record.time) = (AuditId::new(), self.clock.now());
        }
        sealed
    }

    /// Whether the release may still leave: the last look at the row, after the secret was unwrapped and the
    /// release recorded.
    ///
    /// So if a look begins after a revocation was acknowledged, nothing leaves by it. If a look began before
    /// and let a release through, that release may be on its way when `revoke` returns.
    async fn look_again(&self, session: &Session, dialect: Dialect) -> Result<(), Failure> {
        let workload = self.workloads.workload(session.workload_id()).await?;
        check_session_workload(workload, session, &[dialect]).map(drop)
    }

    /// The session, checked, and the row of the workload that it attested as: at once where the guest names
    /// it.
    async fn session_and_workload(
        &self,
        record: &mut AuditRecord,
        session_id: &SessionId,
        wanted: Wanted<'_>,
    ) -> Result<(Session, Option<Workload>), Failure> {
        let ttl = self.challenges.ttl;
        let decision = async { Ok::<_, Failure>(self.decisions.decision(AuditId::of(session_id)).await?) };
        match wanted {
            Wanted::Passphrase(workload_id) => {
                let (decision, workload) = tokio::join!(decision, self.workloads.workload(workload_id));
                let session = check_session(record, self.session(session_id, decision?).await?, ttl)?;
                if session.workload_id() != workload_id {
                    let cause = format!("the guest attested as {}", session.workload_id());
                    return Err(refused(Check::SessionWorkload, cause));
                }
                Ok((session, workload?))
            }
            Wanted::Resource(_) | Wanted::Named(_) => {
                let session = check_session(record, self.session(session_id, decision.await?).await?, ttl)?;
                record.workload_id = Some(session.workload_id().clone());
                let workload = self.workloads.workload(session.workload_id()).await?;
                Ok((session, workload))
            }
        }
    }
}

/// A session that is there and has not expired.
fn check_session(
    record: &mut AuditRecord,
    session: Option<Session>,
    ttl: Duration,
) -> Result<Session, Failure> {
    let Some(session) = session else {
        return Err(Failure::NoSession(failed(Check::Session, "no guest has attested under this session")));
    };
    record.attestation = Some(session.attestation());
    record.registration = Some(session.standing().registration);
    if is_over(session.expires_at(), record.time, ttl) {
        let cause = format!("the session expired at {}", session.expires_at());
        return Err(Failure::Late(failed(Check::Session, cause)));
    }
    Ok(session)
}
