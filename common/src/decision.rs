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
    /// HMAC-SHA-256 over all of that and the session id, under a key that `attest` alone can unwrap. In
    /// Trustee's dialect also over the audit record, from which its attestation results are made.
    pub mac: Base64<32>,
}

impl SealedSession {
    const MAC: &'static str = "keybroker/v1 session";

    /// The MAC under `key` of this session, with `session_id` as its challenge's and `record` as its
    /// attestation's.
    pub fn mac(&self, session_id: &SessionId, record: &AuditRecord, key: &Key) -> [u8; 32] {
        let results_from = (self.dialect == Dialect::Trustee).then(|| record.digest());
        let parts = self.parts(session_id);
        let parts: Vec<_> =
            parts.iter().map(Vec::as_slice).chain(results_from.as_ref().map(<[u8; 32]>::as_slice)).collect();
        key.hash(Self::MAC, &parts)
    }

    /// Everything of the session that the MAC is computed over, in the order of the fields; a field that is
    /// added must be added here, or this does not compile.
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
        let [algorithm_or_modulus, jwk_or_exponent] = guest_key.parts();
        [
            session_id.expose().into_bytes(),
            workload_id.as_str().into(),
            registration.to_string().into_bytes(),
            restored_by.map(|id| id.0.as_bytes().to_vec()).unwrap_or_default(),
            vec![dialect.number()],
            algorithm_or_modulus,
            jwk_or_exponent,
            evidence.0.0.to_vec(),
            attestation.0.as_bytes().to_vec(),
            expires_at.as_nanosecond().to_be_bytes().to_vec(),
            vec![*key],
        ]
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::ids::{Claim, RegistrationDigest};

    /// Earlier releases compute the MAC over the same bytes, so that a session outlives an upgrade.
    #[test]
    fn the_parts_of_a_session_are_these_bytes() {
        let id = SessionId::new(1, 1_700_000_000, [0x5A; 12], Claim::Later, |_| [0xC3; 8]);
        let session = SealedSession {
            workload_id: WorkloadId::new("web").unwrap(),
            standing: Standing {
                registration: RegistrationDigest::of(b"registration"),
                restored_by: Some(AuditId(Uuid::from_bytes([2; 16]))),
            },
            dialect: Dialect::Keybroker,
            guest_key: GuestKey::rsa(&[0xC3; 256], &[0, 1, 0, 1]).unwrap(),
            evidence: EvidenceDigest(Base64([3; 32])),
            attestation: AuditId(Uuid::from_bytes([4; 16])),
            expires_at: Timestamp::from_nanosecond(0x0102_0304_0506_0708).unwrap(),
            key: 9,
            mac: Base64([0; 32]),
        };
        let (text, registration) = (id.expose(), RegistrationDigest::of(b"registration").to_string());
        let expected: [&[u8]; 11] = [
            text.as_bytes(),
            b"web",
            registration.as_bytes(),
            &[2; 16],
            &[2],
            &[0xC3; 256],
            &[1, 0, 1],
            &[3; 32],
            &[4; 16],
            &[0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8],
            &[9],
        ];
        assert_eq!(session.parts(&id), expected.map(<[u8]>::to_vec));
    }
}
