//! The one decision about a guest's answer to its challenge.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    audit::AuditRecord,
    challenge::{Challenge, Challenges},
    session::{EvidenceDigest, SealedSession},
};

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

    /// Until when the decision about `challenge` must be kept: until neither the challenge nor a session of it
    /// could count, however long the operator lets them last from then on.
    pub fn keep_until(challenge: &Challenge) -> Timestamp {
        challenge.given_at + Challenges::LONGEST_TTL * 2 + Self::RESERVE
    }
}
