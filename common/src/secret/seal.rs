//! Sealing a secret to a guest's key.

use serde::{Deserialize, Serialize};

/// A guest's public RSA key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestKey {
    #[serde(with = "crate::encoding::base64_bytes")]
    modulus: Vec<u8>,
    #[serde(with = "crate::encoding::base64_bytes")]
    exponent: Vec<u8>,
}
