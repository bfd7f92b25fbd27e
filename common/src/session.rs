//! Sessions: what the broker remembers of a guest that attested.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use jiff::Timestamp;

use crate::{
    appraisal::AttestationResult,
    audit::AuditRecord,
    decision::{EvidenceDigest, SealedSession},
    dialect::Dialect,
    encoding::Base64,
    ids::{AuditId, SessionId, WorkloadId},
    keys::{Keys, KeysError},
    secret::seal::GuestKey,
    workload::Standing,
};

/// A guest that has attested. [`Session::open`] makes one of an appraisal's result, and
/// [`Session::unseal`] of what a store holds, if it is authentic: nothing else does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    session_id: SessionId,
    sealed: SealedSession,
}

impl Session {
    /// The session that a store holds, if `attest` made it, under this very id. In Trustee's dialect `record`
    /// must be the one that was decided with it, unaltered; in the others it is not looked at.
    pub async fn unseal(
        sealed: SealedSession,
        record: &AuditRecord,
        session_id: &SessionId,
        keys: &Keys,
    ) -> Result<Option<Self>, KeysError> {
        let Some(key) = keys.numbered(sealed.key).await? else { return Ok(None) };
        let authentic = verify_slices_are_equal(&sealed.mac(session_id, record, &key), &sealed.mac.0).is_ok();
        Ok(authentic.then(|| Self { session_id: session_id.clone(), sealed }))
    }

    /// The session of a guest that was appraised, with what `result` says of it: there is none for another
    /// workload or registration.
    ///
    /// `session_id` is the challenge's, `dialect` the registration's, `guest_key` the key that the evidence
    /// was bound to, `evidence` the digest of how it came, `attestation` the audit record as it will be
    /// decided, and `expires_at` the first instant at which the session no longer counts. That they are is
    /// not established here.
    pub async fn open(
        keys: &Keys,
        session_id: &SessionId,
        result: &AttestationResult,
        (dialect, guest_key, evidence): (Dialect, GuestKey, EvidenceDigest),
        attestation: &AuditRecord,
        expires_at: Timestamp,
    ) -> Result<Self, KeysError> {
        let (number, key) = keys.current().await?;
        let mut sealed = SealedSession {
            workload_id: result.workload_id().clone(),
            standing: result.standing(),
            dialect,
            guest_key,
            evidence,
            attestation: attestation.id,
            expires_at,
            key: number,
            mac: Base64([0; 32]),
        };
        sealed.mac = Base64(sealed.mac(session_id, attestation, &key));
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
