//! KMS wraps anew what is wrapped, by `ReEncrypt`: the clear text does not leave KMS. For operators alone.

use std::collections::HashMap;

use async_trait::async_trait;
use aws_sdk_kms::{Client, primitives::Blob, types::KeyState};
use keybroker_common::{
    keyring::Purpose,
    rewrap::MoveWrapped,
    secret::{EncryptionContext, KeyError, Rewrap, Secret, Wrap, WrappedSecret},
};

use super::{KeyArn, KmsWrap, arn, errors, pairs, ring_pairs};

/// Encrypts with a KMS key, and has KMS bind what it encrypted to another context, with the same key. There
/// is no way to decrypt.
#[derive(Debug, Clone)]
pub struct KmsRewrap(KmsWrap);

impl KmsRewrap {
    /// Wraps new secrets as [`KmsWrap::new`] says, and each other one with the key that wrapped it.
    pub fn new(client: Client, key_id: impl Into<String>) -> Self {
        Self(KmsWrap::new(client, key_id))
    }
}

#[async_trait]
impl Wrap for KmsRewrap {
    async fn wrap_secret(
        &self,
        context: &EncryptionContext,
        secret: &Secret,
    ) -> Result<WrappedSecret, KeyError> {
        self.0.wrap_secret(context, secret).await
    }
}

#[async_trait]
impl Rewrap for KmsRewrap {
    /// [`KeyError::UnknownKey`] as for [`KmsUnwrap`](super::KmsUnwrap).
    async fn rewrap_secret(
        &self,
        from: &EncryptionContext,
        to: &EncryptionContext,
        wrapped: &WrappedSecret,
    ) -> Result<WrappedSecret, KeyError> {
        re_encrypt(&self.0.client, wrapped, pairs(from), arn(wrapped)?, pairs(to)).await
    }
}

/// Has KMS wrap with another key what is wrapped, in the same context. There is no way to encrypt or decrypt.
#[derive(Debug, Clone)]
pub struct KmsMove {
    client: Client,
    to: KeyArn,
}

impl KmsMove {
    /// Wraps with the key `to`.
    pub fn new(client: Client, to: KeyArn) -> Self {
        Self { client, to }
    }

    async fn moved(
        &self,
        context: HashMap<String, String>,
        wrapped: &WrappedSecret,
    ) -> Result<WrappedSecret, KeyError> {
        re_encrypt(&self.client, wrapped, context.clone(), self.to.as_str(), context).await
    }
}

#[async_trait]
impl MoveWrapped for KmsMove {
    async fn move_secret(
        &self,
        context: &EncryptionContext,
        wrapped: &WrappedSecret,
    ) -> Result<WrappedSecret, KeyError> {
        self.moved(pairs(context), wrapped).await
    }

    async fn move_key(&self, purpose: Purpose, wrapped: &WrappedSecret) -> Result<WrappedSecret, KeyError> {
        self.moved(ring_pairs(purpose), wrapped).await
    }
}

/// The ARN of the key that `name`, an alias or an ARN, leads to, if the key can be used.
pub async fn key_behind(client: &Client, name: &str) -> Result<KeyArn, KeyError> {
    let answer = client.describe_key().key_id(name).send().await.map_err(errors::describe)?;
    let described = answer.key_metadata.ok_or_else(errors::incomplete)?;
    if described.key_state != Some(KeyState::Enabled) {
        return Err(KeyError::Unavailable(format!("the key behind {name} is not enabled")));
    }
    described.arn.and_then(|arn| arn.parse().ok()).ok_or_else(errors::incomplete)
}

/// Both keys are named. The source is never left to the ciphertext, which may name any key that the caller
/// may use.
async fn re_encrypt(
    client: &Client,
    wrapped: &WrappedSecret,
    from: HashMap<String, String>,
    key: &str,
    to: HashMap<String, String>,
) -> Result<WrappedSecret, KeyError> {
    let answer = client
        .re_encrypt()
        .source_key_id(arn(wrapped)?)
        .destination_key_id(key)
        .set_source_encryption_context(Some(from))
        .set_destination_encryption_context(Some(to))
        .ciphertext_blob(Blob::new(wrapped.ciphertext.as_slice()))
        .send()
        .await
        .map_err(errors::re_encrypt)?;
    let (Some(key_id), Some(ciphertext)) = (answer.key_id, answer.ciphertext_blob) else {
        return Err(errors::incomplete());
    };
    Ok(WrappedSecret { key_id, ciphertext: ciphertext.into_inner() })
}
