//! The one decision about a guest's answer to its challenge.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    audit::AuditRecord,
    dialect::Dialect,
    encoding::Base64,
    ids::{AuditId, SessionId, WorkloadId},
    keyring::Key,
    secret::seal::GuestKey,
    workload::Standing,
};

/// The longest time for which a challenge can be set to last, and a session after it.
pub const LONGEST_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// The decision about an attest, as one item of its store, under the id of its record: that is derived from
/// the session id ([`AuditId::of`](crate::ids::AuditId::of)). The first that is written is the only one: by
/// it a nonce is spent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttestDecision {
    /// The audit record of it.
    pub record: AuditRecord,
    /// The digest of the evidence that was decided about.
    pub evidence: EvidenceDigest,
    /// The session, where the guest attested.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub session: Option<SealedSession>,
    /// No store gives the decision up before: until then its challenge, or a session of it, could count.
    pub keep_until: Timestamp,
}

impl AttestDecision {
    /// How long a decision outlives whatever could count by it: clocks differ, and a write may be on its way.
    const RESERVE: SignedDuration = SignedDuration::from_mins(10);

    /// Until when the decision about a challenge that was given at `given_at` must be kept: until neither the
    /// challenge nor a session of it could count, however long the operator lets them last from then on.
    pub fn keep_until(given_at: Timestamp) -> Timestamp {
        given_at + LONGEST_TTL * 2 + Self::RESERVE
    }
}

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

    /// The MAC under `key` of this session, with `session_id` as its challenge's.
    pub fn mac(&self, session_id: &SessionId, key: &Key) -> [u8; 32] {
        key.hash(Self::MAC, &self.parts(session_id).each_ref().map(Vec::as_slice))
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
