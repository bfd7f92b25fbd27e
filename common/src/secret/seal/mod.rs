//! Sealing a secret to a guest's key.

mod jwe;
mod jwk;
mod p256;
mod rsa;
mod stored;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use jwe::{Jwe, JweForm};
pub use jwk::Jwk;
pub use p256::P256Key;
pub use rsa::RsaKey;

use super::Secret;

/// A secret of any length, sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sealed {
    /// By RSAES-PKCS1-v1_5, where the key is long enough for the secret.
    Pkcs1(Vec<u8>),
    /// By a key of its own, which is encrypted to the guest's.
    Jwe(Jwe),
}

/// A guest's public key, and by which algorithm a key for a secret is encrypted to it.
///
/// The type says only that the key is fit to encrypt to: attestation establishes that the guest's evidence is
/// bound to it. The key is checked again whenever a row is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "stored::Stored", try_from = "stored::Stored")]
pub enum GuestKey {
    /// RSAES-PKCS1-v1_5; for a long secret in keybroker's dialect, RSAES-OAEP.
    Rsa(RsaKey),
    /// RSAES-OAEP with SHA-256, also as the hash of MGF1.
    RsaOaep256(RsaKey),
    /// Diffie-Hellman on P-256 with a key of the broker's made for one secret, and AES key wrap.
    P256(P256Key),
}

/// Why a public key is not one that secrets are sealed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GuestKeyError {
    /// Fewer than [`RsaKey::MIN_BITS`] bits.
    #[error("the modulus has {0} bits, fewer than 2048")]
    ModulusTooShort(usize),
    /// More than [`RsaKey::MAX_BITS`] bits.
    #[error("the modulus has {0} bits, more than 4096")]
    ModulusTooLong(usize),
    /// No product of two large primes is even.
    #[error("the modulus is even")]
    EvenModulus,
    /// Even, 1, 0, or of more than [`RsaKey::MAX_EXPONENT_BITS`] bits.
    #[error("the public exponent is not odd, or not within 3 and 2^33")]
    Exponent,
    /// Not two coordinates of 32 bytes each, or no point has them.
    #[error("x and y are not the coordinates of a point of P-256")]
    Point,
}

/// Why a secret could not be sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The secret is longer than [`RsaKey::max_secret_len`].
    #[error("the secret is too long for the guest's key")]
    TooLong,
    /// The cryptographic library refused the key, or failed; or secrets are not sealed in this way to such a
    /// key.
    #[error("the guest's key cannot be encrypted to")]
    Key,
}

impl GuestKey {
    /// Checks an RSA key given as big-endian numbers; leading zeros count for nothing.
    pub fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<Self, GuestKeyError> {
        RsaKey::new(modulus, exponent).map(Self::Rsa)
    }

    /// The same, of a guest that decrypts by RSAES-OAEP.
    pub fn rsa_oaep_256(modulus: &[u8], exponent: &[u8]) -> Result<Self, GuestKeyError> {
        RsaKey::new(modulus, exponent).map(Self::RsaOaep256)
    }

    /// Checks a point of P-256 given by its coordinates, 32 bytes each, big-endian.
    pub fn p256(x: &[u8], y: &[u8]) -> Result<Self, GuestKeyError> {
        P256Key::new(x, y).map(Self::P256)
    }

    /// How a content key is encrypted to it, as a JWE's header has it (RFC 7518, 4.1).
    pub fn alg(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RSA1_5",
            Self::RsaOaep256(_) => "RSA-OAEP-256",
            Self::P256(_) => P256Key::ALG,
        }
    }

    /// The key's public members.
    pub fn jwk(&self) -> Jwk {
        match self {
            Self::Rsa(key) | Self::RsaOaep256(key) => key.jwk(),
            Self::P256(key) => key.jwk(),
        }
    }

    /// The key's JWK thumbprint (RFC 7638, SHA-256). Keys that differ in the algorithm alone have the same.
    pub fn thumbprint(&self) -> [u8; 32] {
        self.jwk().thumbprint()
    }

    /// Two byte strings that no other key has, for a hash over both and their lengths: the two numbers of
    /// [`Self::Rsa`], the algorithm and the JWK of another key. Every modulus is longer than an algorithm's
    /// name.
    pub fn parts(&self) -> [Vec<u8>; 2] {
        match self {
            Self::Rsa(key) => [key.modulus().to_vec(), key.exponent().to_vec()],
            Self::RsaOaep256(_) | Self::P256(_) => [self.alg().into(), self.jwk().to_string().into_bytes()],
        }
    }

    /// Encrypts `secret` by RSAES-PKCS1-v1_5 (RFC 8017, 7.2): as many bytes as the modulus has.
    ///
    /// The client prescribes the padding. Its weakness is the decrypting side that tells good padding from
    /// bad (Bleichenbacher); the broker never decrypts, and a guest decrypts one answer with a key that it
    /// made for it.
    pub fn seal_pkcs1(&self, secret: &Secret) -> Result<Vec<u8>, SealError> {
        let Self::Rsa(key) = self else { return Err(SealError::Key) };
        key.encrypt_pkcs1(secret.expose())
    }

    /// Encrypts `secret` as [`Self::seal_pkcs1`] does where that can be, and where it is too long as a JWE
    /// whose content key is encrypted by RSAES-OAEP: both as keybroker's guests read it.
    pub fn seal(&self, secret: &Secret) -> Result<Sealed, SealError> {
        let Self::Rsa(key) = self else { return Err(SealError::Key) };
        if secret.expose().len() <= key.max_secret_len() {
            self.seal_pkcs1(secret).map(Sealed::Pkcs1)
        } else {
            Self::RsaOaep256(key.clone()).seal_jwe(secret, JweForm::Rfc7516).map(Sealed::Jwe)
        }
    }

    /// Encrypts `secret` as a JWE by [`Self::alg`] and A256GCM. The form before the RFC is made for
    /// [`Self::Rsa`] alone: guests that read it send no other key.
    pub fn seal_jwe(&self, secret: &Secret, form: JweForm) -> Result<Jwe, SealError> {
        Jwe::seal(self, secret, form)
    }
}
