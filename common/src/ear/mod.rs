//! Attestation results: the broker's statements about guests that attested, signed so that others can verify
//! them.
//!
//! A result is an EAR, a profile of the Entity Attestation Token (RFC 9711, draft-ietf-rats-ear), as a JWT
//! (RFC 7519). The guest may show it to third parties, who verify it offline by the key that the broker's JWK
//! Set has; and back to the broker, in place of the cookie. Its ring signs nothing else.

mod claims;
mod jws;
mod vector;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use serde::Serialize;
use zeroize::Zeroizing;

pub use self::{
    claims::Claims,
    jws::{Compact, SignedResult},
    vector::{Tier, Vector},
};

use crate::{
    challenge::Deployment,
    clock::is_over,
    ids::{AuditId, RegistrationDigest, SessionId},
    keyring::ResultJwk,
    keys::{KeysError, ResultKeys},
    session::Session,
};

/// Signs attestation results and reads them back.
#[derive(Debug, Clone)]
pub struct Results {
    keys: Arc<ResultKeys>,
    /// The deployment, which is in every result: another deployment does not take them.
    pub deployment: Deployment,
    /// The longest time for which a result counts: a session's.
    ttl: Duration,
}

/// A result that was read back, and all that it leads to. That its session lasts, and that its registration
/// stands, is not established by that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadResult {
    /// The session.
    pub session_id: SessionId,
    /// The decision by which it was opened.
    pub decision: AuditId,
    /// The registration that the guest was appraised against.
    pub registration: RegistrationDigest,
    /// The thumbprint of the guest's key (RFC 7638, SHA-256).
    pub guest_key: [u8; 32],
    /// First instant at which the result no longer counts.
    pub expires_at: Timestamp,
}

impl ReadResult {
    /// Whether `session` is the one that the result is about: the same decision, registration and key, and
    /// the same end, which a result has to the second.
    pub fn is_of(&self, session: &Session) -> bool {
        let Self { session_id, decision, registration, guest_key, expires_at } = self;
        session_id == session.session_id()
            && *decision == session.attestation()
            && *registration == session.standing().registration
            && *guest_key == session.guest_key().thumbprint()
            && expires_at.as_second() == session.expires_at().as_second()
    }
}

/// Why a text is no attestation result that counts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotRead {
    /// It is longer than [`Results::MAX_LEN`].
    #[error("it is longer than {} bytes", Results::MAX_LEN)]
    TooLong,
    /// It does not have three parts.
    #[error("it is not a signature in the compact form")]
    Form,
    /// Its header is not one under which this deployment signs, or signed lately.
    #[error("its header is not that of a key that counts here")]
    Key,
    /// The key did not sign it.
    #[error("its signature is not the key's")]
    Signature,
    /// The broker does not write such claims.
    #[error("its claims are not in the form in which this broker writes them")]
    Claims,
    /// Another deployment made it.
    #[error("another deployment made it")]
    Deployment,
    /// Its time is yet to come.
    #[error("it does not count yet")]
    Early,
    /// It has expired.
    #[error("it has expired")]
    Over,
    /// The keys are out of reach.
    #[error(transparent)]
    Keys(#[from] KeysError),
}

impl Results {
    /// The longest text that is read, in bytes: a result for an RSA key of 4096 bits has half of it.
    pub const MAX_LEN: usize = 8192;

    /// Results of `deployment` under `keys`, which count for `ttl` at most.
    pub fn new(keys: Arc<ResultKeys>, deployment: Deployment, ttl: Duration) -> Self {
        Self { keys, deployment, ttl }
    }

    /// Signs `claims` with the key that is used now.
    pub async fn sign(&self, claims: &Claims) -> Result<SignedResult, KeysError> {
        let key = self.keys.current().await?;
        let payload = Zeroizing::new(claims.to_bytes());
        Ok(SignedResult::sign(&payload, &key)?)
    }

    /// Reads what [`Self::sign`] wrote, and nothing else. The key is one of the ring, whatever the header
    /// says.
    pub async fn read(&self, text: &str, now: Timestamp) -> Result<ReadResult, NotRead> {
        if text.len() > Self::MAX_LEN {
            return Err(NotRead::TooLong);
        }
        let compact = Compact::parse(text).ok_or(NotRead::Form)?;
        let key = self.keys.honoured(|key| compact.is_headed_by(key.public())).await?.ok_or(NotRead::Key)?;
        let payload = Zeroizing::new(compact.verified(key.public()).ok_or(NotRead::Signature)?);
        let claims = Claims::from_bytes(&payload).ok_or(NotRead::Claims)?;
        if !claims.is_of(&self.deployment) {
            return Err(NotRead::Deployment);
        }
        if now < claims.not_before() {
            return Err(NotRead::Early);
        }
        if is_over(claims.expires_at(), now, self.ttl) {
            return Err(NotRead::Over);
        }
        Ok(ReadResult {
            session_id: claims.session_id().clone(),
            decision: claims.decision(),
            registration: claims.registration(),
            guest_key: claims.guest_key(),
            expires_at: claims.expires_at(),
        })
    }

    /// The JWK Set (RFC 7517, 5): the public halves of the keys whose signatures count, and of the next one.
    pub async fn jwks(&self) -> Result<Vec<u8>, KeysError> {
        #[derive(Serialize)]
        struct Set {
            keys: Vec<ResultJwk>,
        }
        let keys = self.keys.published().await?.iter().map(|key| key.public().jwk()).collect();
        Ok(serde_json::to_vec(&Set { keys }).unwrap_or_default())
    }
}
