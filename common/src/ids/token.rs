//! The id of a token.

use std::fmt;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Names a token without being one: the first 16 bytes of SHA-256 over its 10. A hash of 80 random bits needs
/// no salt or stretching, and finding a second token with the same id is work for 2^80 tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenId(#[serde(with = "crate::encoding::hex_array")] [u8; 16]);

impl TokenId {
    /// The id of a token of these bytes.
    pub(crate) fn of(token: &[u8]) -> Self {
        let digest: [u8; 32] = Sha256::digest(token).into();
        let (id, _) = digest.split_first_chunk::<16>().unwrap_or((&[0; 16], &[]));
        Self(*id)
    }

    /// Reads 32 lower-case hex digits.
    pub fn parse(text: &str) -> Option<Self> {
        HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok().map(Self)
    }

    /// The 16 bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The owner of what it registers, and the principal in audit records: `token/` and the id.
    pub fn principal(&self) -> String {
        format!("token/{self}")
    }
}

impl fmt::Display for TokenId {
    /// 32 lower-case hex digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}
