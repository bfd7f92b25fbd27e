//! Secrets at rest: wrapped under a key that the stores never see, bound to the registration they belong to.
//!
//! The two halves are two traits, so that a function can be given one without the other. A third, for
//! operators alone, moves a secret to another registration and gives it to nobody.

pub mod bounds;
pub mod seal;

use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::ids::{RegistrationDigest, WorkloadId};

/// The name of the one secret that a registration in libkrun's dialect holds.
pub const PASSPHRASE: &str = "passphrase";

/// A secret in clear: zeroed when dropped, absent from `Debug`.
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes over `bytes`.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes in clear. Only wrapping and sealing have a use for them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

/// The context that a wrapped secret is bound to: KMS's encryption context, or the AEAD's associated data.
///
/// A ciphertext that is moved to another row, or whose registration was altered, does not decrypt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncryptionContext {
    /// The workload that the secret was registered for.
    pub workload_id: WorkloadId,
    /// The secret's name within the workload.
    pub secret: String,
    /// Digest of the registration's bytes as they were when the secret was wrapped.
    pub registration: RegistrationDigest,
}

impl EncryptionContext {
    /// Fixes what wraps of this broker are for, so that the same key used elsewhere opens none of them.
    pub const PURPOSE: &'static str = "keybroker/v1";

    /// The context as names and values, in the order of the names.
    pub fn pairs(&self) -> [(&'static str, String); 4] {
        [
            ("purpose", Self::PURPOSE.to_owned()),
            ("registration", self.registration.to_string()),
            ("secret", self.secret.clone()),
            ("workload_id", self.workload_id.as_str().to_owned()),
        ]
    }
}

/// A secret as the stores hold it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrappedSecret {
    /// Which key wrapped it: a KMS key's ARN, or the local key's fingerprint.
    pub key_id: String,
    /// The ciphertext, in the wrapping key's own format.
    #[serde(with = "crate::encoding::base64_bytes")]
    pub ciphertext: Vec<u8>,
}

/// Encrypts secrets at registration.
#[async_trait]
pub trait Wrap: fmt::Debug + Send + Sync {
    /// Encrypts `secret` so that only [`Unwrap::unwrap_secret`] with an equal `context` opens it.
    async fn wrap_secret(
        &self,
        context: &EncryptionContext,
        secret: &Secret,
    ) -> Result<WrappedSecret, KeyError>;
}

/// Decrypts secrets at release.
#[async_trait]
pub trait Unwrap: fmt::Debug + Send + Sync {
    /// Decrypts `wrapped`, or refuses with [`KeyError::Mismatch`] if it was not wrapped under this very
    /// `context`.
    async fn unwrap_secret(
        &self,
        context: &EncryptionContext,
        wrapped: &WrappedSecret,
    ) -> Result<Secret, KeyError>;
}

/// Binds wrapped secrets to another registration of their workload, and gives nobody the clear text. For
/// operators alone: no function of the broker can do this.
#[async_trait]
pub trait Rewrap: Wrap {
    /// Wraps the secret in `wrapped` under `to`, with the key that wrapped it, or refuses with
    /// [`KeyError::Mismatch`] if it was not wrapped under `from`.
    async fn rewrap_secret(
        &self,
        from: &EncryptionContext,
        to: &EncryptionContext,
        wrapped: &WrappedSecret,
    ) -> Result<WrappedSecret, KeyError>;
}

/// Why a secret could not be wrapped or unwrapped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The ciphertext does not belong to this context, or was altered.
    #[error("the wrapped secret does not belong to this registration")]
    Mismatch,
    /// The secret was wrapped with a key that this broker does not hold.
    #[error("the secret was wrapped with the key {0}, which is not at hand")]
    UnknownKey(String),
    /// The key cannot be used now: a later attempt may succeed.
    #[error("the wrapping key is unavailable: {0}")]
    Unavailable(String),
}
