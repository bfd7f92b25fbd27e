//! Handing out challenges.

use std::sync::Arc;

use super::Error;
use crate::{
    challenge::{Challenge, Challenges, Claim},
    clock::Clock,
    panics::caught,
};

/// Gives every guest a challenge, whether or not its workload exists: the answer tells nobody what is
/// registered. Stores nothing.
#[derive(Debug, Clone)]
pub struct Auth {
    /// Makes the challenges.
    pub challenges: Challenges,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl Auth {
    /// A fresh challenge for a guest that makes this claim.
    pub async fn challenge(&self, claim: Claim) -> Result<Challenge, Error> {
        Ok(caught(self.challenges.give(claim, self.clock.now())).await??)
    }
}
