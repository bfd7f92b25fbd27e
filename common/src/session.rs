//! Sessions: what the broker remembers of a guest that attested.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    appraisal::AttestationResult,
    dialect::Dialect,
    encoding::Base64,
    ids::{AuditId, SessionId, WorkloadId},
    keyring::{Keys, KeysError},
    secret::seal::GuestKey,
    workload::Standing,
};

/// SHA-256 of a guest's answer to its challenge, byte for byte: by it a guest that asks again, since the
/// answer was lost, is known to ask for the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EvidenceDigest(pub Base64<32>);

impl EvidenceDigest {
    /// The digest of an answer's body.
    pub fn of(body: &[u8]) -> Self {
        Self(Base64(Sha256::digest(body).into()))
    }
}

/// A guest that has attested. [`Session::open`] makes one of an appraisal's result, and
/// [`SealedSession::unseal`] of what a store holds, if it is authentic: nothing else does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    session_id: SessionId,
    sealed: SealedSession,
}

/// A session as a store holds it, beside the record of the attestation: whoever can write to the store could
/// make one up, so it counts only by its MAC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedSession {
    /// The workload that the guest attested as.
    pub workload_id: WorkloadId,
    /// The registration that it was appraised against, and since which restoration.
    pub standing: Standing,
    /// The dialect of the registration, in which the guest goes on.
    pub dialect: Dialect,
    /// The key that the evidence was bound to.
    pub guest_key: GuestKey,
    /// The digest of the evidence as it came.
    pub evidence: EvidenceDigest,
    /// The audit record of the attestation.
    pub attestation: AuditId,
    /// First instant at which it no longer counts.
    pub expires_at: Timestamp,
    /// The number of the key under which the MAC was made.
    pub key: u8,
    /// HMAC-SHA-256 over all of that and the session id, under a key that `attest` alone can unwrap.
    pub mac: Base64<32>,
}

impl SealedSession {
    const MAC: &'static str = "keybroker/v1 session";

    /// The session, if `attest` made it, under this very id.
    pub async fn unseal(self, session_id: &SessionId, keys: &Keys) -> Result<Option<Session>, KeysError> {
        let Some(key) = keys.numbered(self.key).await? else { return Ok(None) };
        let mac = key.hash(Self::MAC, &self.parts(session_id).each_ref().map(Vec::as_slice));
        let authentic = verify_slices_are_equal(&mac, &self.mac.0).is_ok();
        Ok(authentic.then(|| Session { session_id: session_id.clone(), sealed: self }))
    }

    /// Everything that the MAC is computed over, in the order of the fields; a field that is added must be
    /// added here, or this does not compile.
    fn parts(&self, session_id: &SessionId) -> [Vec<u8>; 11] {
        let Self {
            workload_id,
            standing,
            dialect,
            guest_key,
            evidence,
            attestation,
            expires_at,
            key,
            mac: _,
        } = self;
        let Standing { registration, restored_by } = standing;
        [
            session_id.expose().into_bytes(),
            workload_id.as_str().into(),
            registration.to_string().into_bytes(),
            restored_by.map(|id| id.0.as_bytes().to_vec()).unwrap_or_default(),
            vec![dialect.number()],
            guest_key.modulus().to_vec(),
            guest_key.exponent().to_vec(),
            evidence.0.0.to_vec(),
            attestation.0.as_bytes().to_vec(),
            expires_at.as_nanosecond().to_be_bytes().to_vec(),
            vec![*key],
        ]
    }
}

impl Session {
    /// The session of a guest that was appraised, with what `result` says of it: there is none for another
    /// workload or registration.
    ///
    /// `session_id` is the challenge's, `dialect` the registration's, `guest_key` the key that the evidence
    /// was bound to, `evidence` the digest of how it came, `attestation` the audit record, and `expires_at`
    /// the first instant at which the session no longer counts. That they are is not established here.
    pub async fn open(
        keys: &Keys,
        session_id: &SessionId,
        result: &AttestationResult,
        (dialect, guest_key, evidence): (Dialect, GuestKey, EvidenceDigest),
        attestation: AuditId,
        expires_at: Timestamp,
    ) -> Result<Self, KeysError> {
        let (number, key) = keys.current().await?;
        let mut sealed = SealedSession {
            workload_id: result.workload_id().clone(),
            standing: result.standing(),
            dialect,
            guest_key,
            evidence,
            attestation,
            expires_at,
            key: number,
            mac: Base64([0; 32]),
        };
        let parts = sealed.parts(session_id);
        sealed.mac = Base64(key.hash(SealedSession::MAC, &parts.each_ref().map(Vec::as_slice)));
        Ok(Self { session_id: session_id.clone(), sealed })
    }

    /// The session for a store.
    pub fn sealed(&self) -> &SealedSession {
        &self.sealed
    }

    /// The challenge's id.
    pub fn session_id(&self) -> &SessionId {
        &self.session_id
    }

    /// The workload that the guest attested as; it gets no other workload's secrets.
    pub fn workload_id(&self) -> &WorkloadId {
        &self.sealed.workload_id
    }

    /// The registration that it was appraised against, no other's secrets either; and since which
    /// restoration.
    pub fn standing(&self) -> Standing {
        self.sealed.standing
    }

    /// The dialect in which it attested.
    pub fn dialect(&self) -> Dialect {
        self.sealed.dialect
    }

    /// Whether it came of an answer with this digest.
    pub fn came_of(&self, evidence: &EvidenceDigest) -> bool {
        self.sealed.evidence == *evidence
    }

    /// The key that the evidence was bound to; every release is sealed to it.
    pub fn guest_key(&self) -> &GuestKey {
        &self.sealed.guest_key
    }

    /// The audit record of the attestation.
    pub fn attestation(&self) -> AuditId {
        self.sealed.attestation
    }

    /// First instant at which it no longer counts.
    pub fn expires_at(&self) -> Timestamp {
        self.sealed.expires_at
    }
}
