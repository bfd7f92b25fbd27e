//! A key for keyed hashes.

use std::fmt;

use aws_lc_rs::hmac;

use super::Keyring;
use crate::secret::{KeyError, Secret};

/// A ring's key in the clear: for keyed hashes alone. The library zeroes it when it is freed.
pub struct Key(hmac::Key);

impl Key {
    /// Takes over a key of [`Keyring::KEY_LEN`] bytes. [`KeyError::Mismatch`] if it has another length.
    pub fn new(key: &Secret) -> Result<Self, KeyError> {
        let Ok(bytes) = <&[u8; Keyring::KEY_LEN]>::try_from(key.expose()) else {
            return Err(KeyError::Mismatch);
        };
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, bytes)))
    }

    /// HMAC-SHA-256 over `label` and `parts`, each after its length in 8 big-endian bytes: no two lists share
    /// an encoding.
    pub fn hash(&self, label: &str, parts: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.0);
        for part in [label.as_bytes()].iter().chain(parts) {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut hash = [0; 32];
        hash.iter_mut().zip(context.sign().as_ref()).for_each(|(byte, hashed)| *byte = *hashed);
        hash
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(redacted)")
    }
}
