//! The wrapping key in AWS KMS: it never leaves KMS, and each use of it is on record there.
//!
//! A secret is bound to KMS's encryption context, [`EncryptionContext::pairs`]: KMS decrypts under an equal
//! context alone. Each wrapped secret names the key that wrapped it, by its ARN. So a key that is rotated, or
//! another one under the alias, needs no rewriting: each secret is decrypted with the key that wrapped it.
//!
//! IAM and the keys' policies decide which keys may be used, and by whom. An attacker who can write the table
//! can put the ARN of a key of his own into a row. He cannot choose secrets by that, because this broker may
//! decrypt with its own key alone.
//!
//! The clear text passes through buffers of the SDK's HTTP client and parser that cannot be reached to be
//! zeroed. The buffer that they hand over is not copied again.

mod arn;
mod errors;
mod rewrap;
#[cfg(test)]
mod tests;

pub use arn::{KeyArn, KeyArnError};
pub use rewrap::{KmsMove, KmsRewrap, key_behind};

use std::{collections::HashMap, fmt};

use async_trait::async_trait;
use aws_sdk_kms::{Client, primitives::Blob};
use keybroker_common::{
    keyring::{KeyringWrap, Purpose},
    secret::{EncryptionContext, KeyError, Secret, Unwrap, Wrap, WrappedSecret},
};

/// Encrypts with a KMS key, and has no way to decrypt.
#[derive(Clone)]
pub struct KmsWrap {
    client: Client,
    key_id: String,
}

impl KmsWrap {
    /// Wraps with the key that `key_id` names: an alias (`alias/keybroker`), a key id, or the ARN of either.
    /// It is looked up by KMS at each use. A secret may have 4096 bytes at most.
    pub fn new(client: Client, key_id: impl Into<String>) -> Self {
        Self { client, key_id: key_id.into() }
    }
}

impl fmt::Debug for KmsWrap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KmsWrap({})", self.key_id)
    }
}

#[async_trait]
impl Wrap for KmsWrap {
    async fn wrap_secret(
        &self,
        context: &EncryptionContext,
        secret: &Secret,
    ) -> Result<WrappedSecret, KeyError> {
        encrypt(&self.client, &self.key_id, pairs(context), secret).await
    }
}

/// Decrypts with the KMS key that a secret was wrapped with, and has no way to encrypt.
#[derive(Clone)]
pub struct KmsUnwrap {
    client: Client,
}

impl KmsUnwrap {
    /// Unwraps with whichever keys the caller's role may use.
    pub fn new(client: Client) -> Self {
        Self { client }
    }
}

impl fmt::Debug for KmsUnwrap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KmsUnwrap")
    }
}

#[async_trait]
impl Unwrap for KmsUnwrap {
    /// [`KeyError::UnknownKey`] if what names the key is no ARN, which no secret that [`KmsWrap`] wrapped is
    /// named by.
    async fn unwrap_secret(
        &self,
        context: &EncryptionContext,
        wrapped: &WrappedSecret,
    ) -> Result<Secret, KeyError> {
        decrypt(&self.client, pairs(context), wrapped).await
    }
}

/// Wraps and unwraps the keys of one ring of the broker's own, under its purpose alone.
#[derive(Clone)]
pub struct KmsKeyring {
    client: Client,
    key_id: String,
    purpose: Purpose,
}

impl KmsKeyring {
    /// For the ring of `purpose`, with the key that `key_id` names, as [`KmsWrap::new`] says.
    pub fn new(client: Client, key_id: impl Into<String>, purpose: Purpose) -> Self {
        Self { client, key_id: key_id.into(), purpose }
    }
}

impl fmt::Debug for KmsKeyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KmsKeyring({}, {})", self.purpose, self.key_id)
    }
}

#[async_trait]
impl KeyringWrap for KmsKeyring {
    async fn wrap_key(&self, key: &Secret) -> Result<WrappedSecret, KeyError> {
        encrypt(&self.client, &self.key_id, ring_pairs(self.purpose), key).await
    }

    async fn unwrap_key(&self, wrapped: &WrappedSecret) -> Result<Secret, KeyError> {
        decrypt(&self.client, ring_pairs(self.purpose), wrapped).await
    }
}

async fn encrypt(
    client: &Client,
    key_id: &str,
    context: HashMap<String, String>,
    secret: &Secret,
) -> Result<WrappedSecret, KeyError> {
    let answer = client
        .encrypt()
        .key_id(key_id)
        .set_encryption_context(Some(context))
        .plaintext(Blob::new(secret.expose()))
        .send()
        .await
        .map_err(errors::encrypt)?;
    let (Some(key_id), Some(ciphertext)) = (answer.key_id, answer.ciphertext_blob) else {
        return Err(errors::incomplete());
    };
    Ok(WrappedSecret { key_id, ciphertext: ciphertext.into_inner() })
}

async fn decrypt(
    client: &Client,
    context: HashMap<String, String>,
    wrapped: &WrappedSecret,
) -> Result<Secret, KeyError> {
    let answer = client
        .decrypt()
        .key_id(arn(wrapped)?)
        .set_encryption_context(Some(context))
        .ciphertext_blob(Blob::new(wrapped.ciphertext.as_slice()))
        .send()
        .await
        .map_err(errors::decrypt)?;
    // Taken over, not copied: the secret zeroes it.
    answer.plaintext.map(|clear| Secret::new(clear.into_inner())).ok_or_else(errors::incomplete)
}

/// The key that wrapped it: an ARN names one and the same for good.
fn arn(wrapped: &WrappedSecret) -> Result<&str, KeyError> {
    let key_id = wrapped.key_id.as_str();
    if key_id.starts_with("arn:") { Ok(key_id) } else { Err(KeyError::UnknownKey(key_id.to_owned())) }
}

fn pairs(context: &EncryptionContext) -> HashMap<String, String> {
    context.pairs().into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The context of the keys of a ring: its purpose, and nothing else.
fn ring_pairs(purpose: Purpose) -> HashMap<String, String> {
    HashMap::from([("purpose".to_owned(), purpose.context().to_owned())])
}
