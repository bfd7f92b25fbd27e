//! Challenges. They are given and recognised by a keyed hash, and stored nowhere: a guest that only asked
//! leaves nothing behind.

use std::{fmt, sync::Arc, time::Duration};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use data_encoding::BASE64;
use jiff::Timestamp;
use zeroize::{Zeroize, ZeroizeOnDrop};

pub use crate::ids::Claim;

use crate::{
    clock::CLOCKS_DIFFER,
    dialect::Dialect,
    ids::{KbsVersion, SessionId, TrusteeClaim},
    keyring::Key,
    keys::{Keys, KeysError},
    random::random,
    secret::seal::JweForm,
};

/// A challenge's freshness value: 32 bytes, sent and hashed as 44 characters of base64.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Nonce([u8; Self::LEN]);

impl Nonce {
    /// Its length, in bytes.
    pub const LEN: usize = 32;

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

impl Claim {
    /// The dialects in which such a guest may go on. Dialects whose requests for a challenge are the same
    /// bytes stand here together: its answer tells them apart.
    pub fn dialects(&self) -> &'static [Dialect] {
        match self {
            Self::Named(_) => &[Dialect::Libkrun],
            Self::HostData => &[Dialect::Keybroker],
            Self::Later => &[Dialect::Native],
            Self::Trustee(claim) => claim.dialects(),
        }
    }
}

impl Claim {
    /// The form in which such a guest reads a JWE.
    pub fn jwe_form(&self) -> JweForm {
        match self {
            Self::Trustee(TrusteeClaim { version: KbsVersion::V0_1_0 | KbsVersion::V0_1_1, .. }) => {
                JweForm::BeforeRfc
            }
            _ => JweForm::Rfc7516,
        }
    }
}

impl TrusteeClaim {
    /// The same for a guest of Trustee's, which keybroker's may be as well where the two ask alike.
    pub fn dialects(&self) -> &'static [Dialect] {
        match (self.version, &self.workload) {
            (KbsVersion::V0_1_0, None) => &[Dialect::Keybroker, Dialect::Trustee],
            _ => &[Dialect::Trustee],
        }
    }
}

/// A challenge, as it was given and as it is recognised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// The id that the guest answers it under.
    pub session_id: SessionId,
    /// The nonce that the report must be bound to.
    pub nonce: Nonce,
    /// The identity that the guest claims.
    pub claim: Claim,
    /// When it was given.
    pub given_at: Timestamp,
    /// First instant at which it no longer counts.
    pub expires_at: Timestamp,
}

/// The deployment's name, which is part of every tag and nonce: another deployment does not take its
/// challenges, even if it holds the same keys.
///
/// On AWS it is account, region and prefix, from settings. On one machine it is random, and a store that was
/// restored from a backup draws a new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment(String);

impl Deployment {
    /// Names a deployment.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a session id is not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unrecognised {
    /// This deployment did not make it under a key that counts.
    #[error("the session id was not made here, or under a key that no longer counts")]
    Foreign,
    /// It is of a time that is yet to come.
    #[error("the session id is of a time that is yet to come")]
    Early,
    /// The keys are out of reach.
    #[error(transparent)]
    Keys(#[from] KeysError),
}

/// Gives challenges and recognises them.
#[derive(Debug, Clone)]
pub struct Challenges {
    keys: Arc<Keys>,
    deployment: Deployment,
    /// How long a guest may take to answer.
    pub ttl: Duration,
}

impl Challenges {
    const TAG: &'static str = "keybroker/v1 tag of a session id";
    const NONCE: &'static str = "keybroker/v1 nonce of a session id";

    /// Challenges of `deployment` under `keys`, which a guest may take `ttl` to answer.
    pub fn new(keys: Arc<Keys>, deployment: Deployment, ttl: Duration) -> Self {
        Self { keys, deployment, ttl }
    }

    /// The deployment that gives them.
    pub fn deployment(&self) -> &Deployment {
        &self.deployment
    }

    /// For how long a key must count after its successor came: as long as a challenge may be answered, and
    /// then a session may fetch secrets, and as far as clocks may differ.
    pub fn keys_last(ttl: Duration) -> Duration {
        ttl * 2 + CLOCKS_DIFFER.unsigned_abs()
    }

    /// A fresh challenge for a guest that makes this claim.
    pub async fn give(&self, claim: Claim, now: Timestamp) -> Result<Challenge, KeysError> {
        let (number, key) = self.keys.current().await?;
        let made_at = u32::try_from(now.as_second()).unwrap_or_default();
        let id = SessionId::new(number, made_at, random()?, claim, |tagged| self.tag(&key, tagged));
        Ok(self.challenge(&key, id))
    }

    /// The challenge that was given under `id`, expired or not.
    ///
    /// An id that this deployment did not make is refused by arithmetic. That nobody answered the challenge
    /// before is not established here.
    pub async fn recognise(&self, id: &SessionId, now: Timestamp) -> Result<Challenge, Unrecognised> {
        let key = self.keys.numbered(id.key()).await?.ok_or(Unrecognised::Foreign)?;
        verify_slices_are_equal(&self.tag(&key, &id.tagged_bytes()), id.tag())
            .map_err(|_| Unrecognised::Foreign)?;
        if made_at(id).duration_since(now) > CLOCKS_DIFFER {
            return Err(Unrecognised::Early);
        }
        Ok(self.challenge(&key, id.clone()))
    }

    fn challenge(&self, key: &Key, session_id: SessionId) -> Challenge {
        let parts = [self.deployment.0.as_bytes(), &session_id.tagged_bytes(), session_id.tag()];
        let nonce = Nonce(key.hash(Self::NONCE, &parts));
        let given_at = made_at(&session_id);
        let claim = session_id.claim().clone();
        Challenge { session_id, nonce, claim, given_at, expires_at: given_at + self.ttl }
    }

    fn tag(&self, key: &Key, tagged: &[u8]) -> [u8; SessionId::TAG_LEN] {
        let mut tag = [0; SessionId::TAG_LEN];
        let hash = key.hash(Self::TAG, &[self.deployment.0.as_bytes(), tagged]);
        tag.iter_mut().zip(hash).for_each(|(byte, hashed)| *byte = hashed);
        tag
    }
}

/// When the challenge under `id` was given.
fn made_at(id: &SessionId) -> Timestamp {
    Timestamp::from_second(id.made_at().into()).unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
pub(crate) mod tests;
