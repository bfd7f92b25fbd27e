//! When the client tries again.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::{Credential, TrusteeGuest, TrusteeKey, expiry};
use crate::guest::{Error, Said};

/// How often the client tries, and how long it waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// How many handshakes it tries for a token.
    pub handshakes: u32,
    /// How many times it asks for one resource.
    pub requests: u32,
    /// How long it waits between two handshakes.
    pub delay: Duration,
}

impl Pace {
    /// The client's own.
    pub const CLIENT: Self = Self { handshakes: 5, requests: 3, delay: Duration::from_secs(1) };
    /// The client's own without the waiting, for tests.
    pub const HURRIED: Self = Self { delay: Duration::ZERO, ..Self::CLIENT };
}

impl TrusteeGuest {
    /// Runs all three steps once and returns the resource `repository/type/tag`.
    pub async fn boot(&mut self, path: &str, credential: Credential) -> Result<Vec<u8>, Error> {
        self.handshake().await?;
        self.resource(path, credential).await
    }

    /// Auth and attest, once.
    pub async fn handshake(&mut self) -> Result<(), Error> {
        self.auth().await?;
        self.attest().await?;
        Ok(())
    }

    /// The token: the one at hand, if it counts at this time, else that of the first handshake that succeeds.
    /// The error is that of the last handshake.
    pub async fn token(&mut self, pace: Pace) -> Result<String, Error> {
        let now = Timestamp::now().as_second();
        let current = self.token.clone();
        let counts = |token: &String| expiry(token).is_some_and(|(nbf, exp)| nbf <= now && now < exp);
        if let Some(token) = current.filter(counts) {
            return Ok(token);
        }
        let mut tried = 1;
        while let Err(error) = self.handshake().await {
            if tried >= pace.handshakes {
                return Err(error);
            }
            tried += 1;
            tokio::time::sleep(pace.delay).await;
        }
        self.token.clone().ok_or(Error::NoChallenge)
    }

    /// Fetches a resource as the client does, which asks first and attests only where it must. 401 means a
    /// new handshake. Everything else is final, and so is a refusal without the members of an error.
    ///
    /// With a cookie the client makes that handshake itself, once. With a token it asks the attestation agent
    /// for one: that begins with a new key, and tries as often as [`Pace::handshakes`] says.
    pub async fn fetch(&mut self, path: &str, credential: Credential, pace: Pace) -> Result<Vec<u8>, Error> {
        if credential == Credential::Bearer {
            self.token(pace).await?;
        }
        let mut asked = 1;
        loop {
            let said = match self.resource(path, credential).await {
                Err(Error::Refused(said)) => said,
                done => return done,
            };
            if !names_an_error(&said) {
                return Err(Error::NoReason(said));
            }
            if said.status != 401 || asked >= pace.requests {
                return Err(Error::Refused(said));
            }
            asked += 1;
            match credential {
                Credential::Cookie => self.handshake().await?,
                Credential::Bearer => {
                    self.key = TrusteeKey::generate(self.key.form());
                    self.token = None;
                    self.session_id = None;
                    self.token(pace).await?;
                }
            }
        }
    }
}

/// Whether the body has `type` and `detail`, without which the client cannot read it.
fn names_an_error(said: &Said) -> bool {
    let body: Value = serde_json::from_str(&said.body).unwrap_or_default();
    ["type", "detail"].iter().all(|name| body.get(name).is_some_and(Value::is_string))
}
