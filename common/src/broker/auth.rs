//! Handing out challenges.

use std::{sync::Arc, time::Duration};

use super::Error;
use crate::{
    clock::Clock,
    ids::SessionId,
    panics::caught,
    session::{Challenge, Claim, Nonce},
    store::ChallengeStore,
};

/// Gives every guest a challenge, whether or not its workload exists: the answer tells nobody what is
/// registered.
#[derive(Debug, Clone)]
pub struct Auth {
    /// Where challenges are kept until they are answered.
    pub challenges: Arc<dyn ChallengeStore>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// How long a guest may take to answer.
    pub ttl: Duration,
}

impl Auth {
    /// A fresh challenge for a guest that makes this claim.
    pub async fn challenge(&self, claim: Claim) -> Result<Challenge, Error> {
        let challenge = Challenge {
            session_id: SessionId::random()?,
            nonce: Nonce::random()?,
            claim,
            expires_at: self.clock.now() + self.ttl,
        };
        caught(self.challenges.put_challenge(&challenge)).await??;
        Ok(challenge)
    }
}
