//! The public key that a broker signs its answers with, as a document and a request name it.

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256};

/// A public key on P-384: the uncompressed point, `0x04 ‖ x ‖ y`.
///
/// This establishes the form alone. The library that verifies a signature refuses a point that is not on the
/// curve.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BrokerKey([u8; BrokerKey::LEN]);

/// Why bytes or a text are no broker key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BrokerKeyError {
    /// Not base64url, or with padding.
    #[error("the broker key is not base64url without padding")]
    Encoding,
    /// Another number of bytes than [`BrokerKey::LEN`].
    #[error("the broker key does not have 97 bytes")]
    Length,
    /// A compressed point, or none.
    #[error("the broker key is not an uncompressed point")]
    Form,
}

impl BrokerKey {
    /// Bytes of an uncompressed point on P-384.
    pub const LEN: usize = 97;

    /// Takes an uncompressed point.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BrokerKeyError> {
        let point: [u8; Self::LEN] = bytes.try_into().map_err(|_| BrokerKeyError::Length)?;
        match point {
            [0x04, ..] => Ok(Self(point)),
            _ => Err(BrokerKeyError::Form),
        }
    }

    /// Reads the text that [`fmt::Display`] writes.
    pub fn from_text(text: &str) -> Result<Self, BrokerKeyError> {
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| BrokerKeyError::Encoding)?;
        Self::from_bytes(&bytes)
    }

    /// The point.
    pub fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// The short name of the key.
    pub fn id(&self) -> KeyId {
        KeyId(Sha256::digest(self.0).into())
    }
}

impl fmt::Display for BrokerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64URL_NOPAD.encode(&self.0))
    }
}

impl fmt::Debug for BrokerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BrokerKey({self})")
    }
}

/// The short name of a [`BrokerKey`]: the SHA-256 of its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId([u8; KeyId::LEN]);

impl KeyId {
    /// Bytes of a SHA-256.
    pub const LEN: usize = 32;

    /// The name that has these bytes.
    pub fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// Reads the text that [`fmt::Display`] writes: base64url without padding.
    pub fn from_text(text: &str) -> Option<Self> {
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
        bytes.try_into().ok().map(Self)
    }

    /// The SHA-256.
    pub fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64URL_NOPAD.encode(&self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point() -> [u8; BrokerKey::LEN] {
        let mut point = [7; BrokerKey::LEN];
        point[0] = 4;
        point
    }

    #[test]
    fn a_key_is_read_as_it_was_written() {
        let key = BrokerKey::from_bytes(&point()).unwrap();
        assert_eq!(BrokerKey::from_text(&key.to_string()), Ok(key.clone()));
        assert_eq!(KeyId::from_text(&key.id().to_string()), Some(key.id()));
        assert_eq!(key.id().as_bytes().as_slice(), Sha256::digest(point()).as_slice());
    }

    #[test]
    fn other_texts_are_no_key() {
        let text = BrokerKey::from_bytes(&point()).unwrap().to_string();
        assert_eq!(BrokerKey::from_text(&format!("{text}==")), Err(BrokerKeyError::Encoding));
        assert_eq!(BrokerKey::from_text(&text[..128]), Err(BrokerKeyError::Length));
        assert_eq!(BrokerKey::from_bytes(&[2; BrokerKey::LEN]), Err(BrokerKeyError::Form));
        assert_eq!(KeyId::from_text(&text), None);
    }
}
