//! The id of a decision.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::{Builder, Uuid};

use super::SessionId;

/// Identifies one decision: a UUID of version 7, so ids sort by time. A refused guest is told it and nothing
/// else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AuditId(pub Uuid);

impl AuditId {
    /// The label under the hash of a session id: nothing else is hashed behind it.
    const LABEL: &'static [u8] = b"keybroker/v1 id of the decision about a session\0";

    /// A new id.
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }

    /// The id of the one decision about the challenge under `session_id`: its time is the challenge's, and
    /// the rest is a hash. So the first to decide takes the id from all others, and nobody learns the
    /// cookie from a record.
    pub fn of(session_id: &SessionId) -> Self {
        let hash = Sha256::new().chain_update(Self::LABEL).chain_update(session_id.expose()).finalize();
        let mut rest = [0; 10];
        rest.iter_mut().zip(hash).for_each(|(byte, hashed)| *byte = hashed);
        let milliseconds = u64::from(session_id.made_at()) * 1000;
        Self(Builder::from_unix_timestamp_millis(milliseconds, &rest).into_uuid())
    }
}

impl Default for AuditId {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for AuditId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Claim;

    #[test]
    fn a_decisions_id_has_its_challenges_time_and_no_other_challenges_rest() {
        let session =
            |random, tag| SessionId::new(1, 1_700_000_000, [random; 12], Claim::HostData, |_| [tag; 8]);
        let id = AuditId::of(&session(1, 1));
        assert_eq!(id, AuditId::of(&session(1, 1)));
        assert_eq!(id.0.get_version_num(), 7);
        assert_eq!(id.0.get_timestamp().unwrap().to_unix(), (1_700_000_000, 0));
        assert_ne!(id, AuditId::of(&session(2, 1)));
        assert_ne!(id, AuditId::of(&session(1, 2)));
    }
}
