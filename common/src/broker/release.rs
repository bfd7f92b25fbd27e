//! Release: a secret to the key that attested, and to no other.

use super::{
    Attest, Error, announce,
    failure::{Failure, failed, refused},
};
use crate::{
    audit::{AuditId, AuditRecord, Decision, Operation},
    metrics::{self, Stage},
    secret::{EncryptionContext, Secret},
    session::{Session, SessionId},
    workload::{Workload, WorkloadId},
};

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

impl Attest {
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
            registration: session.registration(),
        };
        let (unwrapped, recorded) = tokio::join!(
            metrics::timed(Stage::Unwrap, self.unwrap.unwrap_secret(&context, wrapped)),
            self.audit.append(record)
        );
        recorded?;
        announce(record);
        let sealed = unwrapped.map_err(Failure::from).and_then(|secret: Secret| {
            session.guest_key().seal_pkcs1(&secret).map_err(|error| refused("guest-key", error))
        });
        if sealed.is_err() {
            // The release is on record: that it failed is a decision of its own.
            record.id = AuditId::new();
        }
        sealed
    }
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
    record.attestation = Some(session.attestation());
    record.registration = Some(session.registration());
    if record.time >= session.expires_at() {
        return Err(Failure::NoSession(failed("session", "the session has expired")));
    }
    if session.workload_id() != workload_id {
        let cause = format!("the guest attested as {}", session.workload_id());
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
    if workload.digest() != session.registration() {
        return Err(refused("workload", "the registration was replaced or altered since the guest attested"));
    }
    Ok(workload)
}
