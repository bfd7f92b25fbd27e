//! The id of a challenge and its session.

use std::fmt;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::random::{RandomnessError, random};

/// Names a challenge and the session that may come of it: 128 random bits, independent of the nonce.
///
/// Anybody who knows it can ask in the guest's place, so it is redacted from `Debug` and has no `Display`.
#[derive(Clone, PartialEq, Eq, Hash, Zeroize, ZeroizeOnDrop, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(#[serde(with = "crate::encoding::hex_array")] [u8; 16]);

impl SessionId {
    /// Draws a new one.
    pub fn random() -> Result<Self, RandomnessError> {
        random().map(Self)
    }

    /// Reads a cookie's value: exactly 32 lower-case hex digits.
    pub fn parse(cookie: &str) -> Option<Self> {
        HEXLOWER.decode(cookie.as_bytes()).ok()?.try_into().ok().map(Self)
    }

    /// The value for the cookie and for a store's key: 32 hex digits.
    pub fn expose(&self) -> String {
        HEXLOWER.encode(&self.0)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId(redacted)")
    }
}
