//! The broker's signature: ECDSA on P-384 with SHA-384, in the fixed form of 96 bytes.

use std::fmt;

use aws_lc_rs::{
    agreement::{self, ECDH_P384},
    encoding::AsBigEndian,
    rand::SystemRandom,
    signature::{
        ECDSA_P384_SHA384_FIXED, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
        UnparsedPublicKey,
    },
};
use keybroker_initdata::BrokerKey;

use crate::Secret;

/// A key that the broker signs answers with.
pub struct SigningKey {
    pair: EcdsaKeyPair,
    public: BrokerKey,
}

/// A key that cannot be made or read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a private key on P-384")]
pub struct SigningKeyError;

impl SigningKey {
    /// Length of a private key, in bytes.
    pub const LEN: usize = 48;
    /// Length of a signature, in bytes: r and s.
    pub const SIGNATURE_LEN: usize = 96;

    /// A fresh key.
    pub fn generate() -> Result<Self, SigningKeyError> {
        EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).map_err(|_| SigningKeyError)?.try_into()
    }

    /// Reads what [`Self::to_bytes`] wrote: the private key as a big-endian number of 48 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SigningKeyError> {
        if bytes.len() != Self::LEN {
            return Err(SigningKeyError);
        }
        let private =
            agreement::PrivateKey::from_private_key(&ECDH_P384, bytes).map_err(|_| SigningKeyError)?;
        let public = private.compute_public_key().map_err(|_| SigningKeyError)?;
        EcdsaKeyPair::from_private_key_and_public_key(
            &ECDSA_P384_SHA384_FIXED_SIGNING,
            bytes,
            public.as_ref(),
        )
        .map_err(|_| SigningKeyError)?
        .try_into()
    }

    /// Reads a private key as others keep it: PKCS#8 in DER.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, SigningKeyError> {
        EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, der)
            .map_err(|_| SigningKeyError)?
            .try_into()
    }

    /// The private key as a big-endian number of 48 bytes.
    pub fn to_bytes(&self) -> Result<Secret, SigningKeyError> {
        let number = self.pair.private_key().as_be_bytes().map_err(|_| SigningKeyError)?;
        Ok(Secret::new(number.as_ref().to_vec()))
    }

    /// The public key.
    pub fn broker_key(&self) -> &BrokerKey {
        &self.public
    }

    /// A signature over `message`.
    pub fn sign(&self, message: &[u8]) -> Result<[u8; Self::SIGNATURE_LEN], SigningKeyError> {
        let signature = self.pair.sign(&SystemRandom::new(), message).map_err(|_| SigningKeyError)?;
        signature.as_ref().try_into().map_err(|_| SigningKeyError)
    }
}

impl TryFrom<EcdsaKeyPair> for SigningKey {
    type Error = SigningKeyError;

    fn try_from(pair: EcdsaKeyPair) -> Result<Self, SigningKeyError> {
        let public = BrokerKey::from_bytes(pair.public_key().as_ref()).map_err(|_| SigningKeyError)?;
        Ok(Self { pair, public })
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("public", &self.public).finish_non_exhaustive()
    }
}

/// Whether `signature` over `message` is one of `key`.
pub fn verify(key: &BrokerKey, message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, key.as_bytes()).verify(message, signature).is_ok()
}
