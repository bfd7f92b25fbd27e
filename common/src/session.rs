//! Challenges and sessions: what the broker remembers between a guest's requests.

use std::fmt;

use data_encoding::BASE64;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::{
    appraisal::AttestationResult,
    dialect::Dialect,
    encoding::Base64,
    ids::{AuditId, SessionId, WorkloadId},
    random::{RandomnessError, random},
    secret::seal::GuestKey,
    workload::Standing,
};

/// A challenge's freshness value: 32 random bytes, sent and hashed as 44 characters of base64.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Nonce(#[serde(with = "crate::encoding::hex_array")] [u8; 32]);

impl Nonce {
    /// Draws a new one.
    pub fn random() -> Result<Self, RandomnessError> {
        random().map(Self)
    }

    /// The text that the guest gets, and hashes as it stands.
    pub fn expose(&self) -> String {
        BASE64.encode(&self.0)
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nonce(redacted)")
    }
}

/// The identity that a guest claims when it asks for a challenge. Nothing is looked up by it yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "dialect")]
pub enum Claim {
    /// The workload that it names, in libkrun's dialect.
    #[serde(rename = "v0")]
    Named {
        /// The workload.
        workload_id: WorkloadId,
    },
    /// The workload that its report's HOST_DATA will select, in keybroker's dialect.
    #[serde(rename = "rvp")]
    HostData,
}

impl Claim {
    /// The dialects in which such a guest may go on. Dialects whose requests for a challenge are the same
    /// bytes stand here together: its answer tells them apart.
    pub fn dialects(&self) -> &'static [Dialect] {
        match self {
            Self::Named { .. } => &[Dialect::Libkrun],
            Self::HostData => &[Dialect::Keybroker],
        }
    }
}

/// An unanswered challenge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    /// The row's key.
    pub session_id: SessionId,
    /// The nonce that the report must be bound to.
    pub nonce: Nonce,
    /// The identity that the guest claims.
    #[serde(flatten)]
    pub claim: Claim,
    /// First instant at which it no longer counts.
    pub expires_at: Timestamp,
}

/// SHA-256 of a guest's answer to its challenge, byte for byte: by it a guest that asks again, since the
/// answer was lost, is known to ask for the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EvidenceDigest(Base64<32>);

impl EvidenceDigest {
    /// The digest of an answer's body.
    pub fn of(body: &[u8]) -> Self {
        Self(Base64(Sha256::digest(body).into()))
    }
}

/// A guest that has attested. Made by [`Session::open`] or read from a store, and never altered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    session_id: SessionId,
    workload_id: WorkloadId,
    #[serde(flatten)]
    standing: Standing,
    guest_key: GuestKey,
    attestation: AuditId,
    /// Absent from rows of release 0.1: then no answer is the same.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    evidence: Option<EvidenceDigest>,
    expires_at: Timestamp,
}

impl Session {
    /// The session of a guest that was appraised, with what `result` says of it: there is none for another
    /// workload or registration.
    ///
    /// `session_id` is the challenge's, `guest_key` the key that the evidence was bound to, `evidence` the
    /// digest of how it came, `attestation` the audit record, and `expires_at` the first instant at which the
    /// session no longer counts. That they are is not established here.
    pub fn open(
        session_id: SessionId,
        result: &AttestationResult,
        guest_key: GuestKey,
        evidence: EvidenceDigest,
        attestation: AuditId,
        expires_at: Timestamp,
    ) -> Self {
        let (workload_id, standing) = (result.workload_id().clone(), result.standing());
        let evidence = Some(evidence);
        Self { session_id, workload_id, standing, guest_key, attestation, evidence, expires_at }
    }

    /// The row's key: the challenge's.
    pub fn session_id(&self) -> &SessionId {
        &self.session_id
    }

    /// The workload that the guest attested as; it gets no other workload's secrets.
    pub fn workload_id(&self) -> &WorkloadId {
        &self.workload_id
    }

    /// The registration that it was appraised against, no other's secrets either; and since which
    /// restoration.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// Whether it came of an answer with this digest.
    pub fn came_of(&self, evidence: &EvidenceDigest) -> bool {
        self.evidence.as_ref() == Some(evidence)
    }

    /// The key that the evidence was bound to; every release is sealed to it.
    pub fn guest_key(&self) -> &GuestKey {
        &self.guest_key
    }

    /// The audit record of the attestation.
    pub fn attestation(&self) -> AuditId {
        self.attestation
    }

    /// First instant at which it no longer counts.
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }
}
