//! The secrets that the key in KMS opens again. `aws/src/kms/tests.rs` and `infra/smoke` test the secrets
//! that it must not open: the local KMS joins the names and values of a context without a border, and
//! decrypts with keys that are disabled or deleted.

use keybroker_aws::kms::{KmsUnwrap, KmsWrap};
use keybroker_common::{
    ids::{RegistrationDigest, WorkloadId},
    secret::{EncryptionContext, KeyError, Secret, Unwrap, Wrap, WrappedSecret},
};
use keybroker_testing::moto;

fn context(workload: &str) -> EncryptionContext {
    EncryptionContext {
        workload_id: WorkloadId::new(workload).unwrap(),
        secret: "passphrase".to_owned(),
        registration: RegistrationDigest::of(b"registration"),
    }
}

async fn wrapped(key: &str, context: &EncryptionContext) -> WrappedSecret {
    let secret = Secret::new(b"open sesame".to_vec());
    KmsWrap::new(moto::kms(), key).wrap_secret(context, &secret).await.unwrap()
}

/// The secret, if it opens.
async fn opened(context: &EncryptionContext, wrapped: &WrappedSecret) -> Result<Vec<u8>, KeyError> {
    KmsUnwrap::new(moto::kms()).unwrap_secret(context, wrapped).await.map(|secret| secret.expose().to_vec())
}

#[tokio::test]
async fn a_wrapped_secret_opens_and_names_its_key() {
    let (_, alias) = moto::key().await;
    let wrapped = wrapped(&alias, &context("w")).await;
    assert!(wrapped.key_id.starts_with("arn:aws:kms:"), "{}", wrapped.key_id);
    assert_eq!(opened(&context("w"), &wrapped).await, Ok(b"open sesame".to_vec()));
}

#[tokio::test]
async fn an_altered_ciphertext_does_not_open() {
    let (_, alias) = moto::key().await;
    let mut wrapped = wrapped(&alias, &context("w")).await;
    *wrapped.ciphertext.last_mut().unwrap() ^= 1;
    assert_eq!(opened(&context("w"), &wrapped).await, Err(KeyError::Mismatch));
}

#[tokio::test]
async fn a_secret_from_before_a_rotation_still_opens() {
    let (key, alias) = moto::key().await;
    let before = wrapped(&alias, &context("w")).await;
    moto::kms().rotate_key_on_demand().key_id(key).send().await.unwrap();
    assert_eq!(opened(&context("w"), &before).await, Ok(b"open sesame".to_vec()));
}

#[tokio::test]
async fn a_secret_from_before_the_alias_moved_still_opens() {
    let ((_, alias), (other, _)) = (moto::key().await, moto::key().await);
    let before = wrapped(&alias, &context("w")).await;
    moto::kms().update_alias().alias_name(&alias).target_key_id(other).send().await.unwrap();
    let after = wrapped(&alias, &context("w")).await;
    assert_ne!(before.key_id, after.key_id);
    for wrapped in [before, after] {
        assert_eq!(opened(&context("w"), &wrapped).await, Ok(b"open sesame".to_vec()));
    }
}

#[tokio::test]
async fn a_key_that_does_not_exist_is_unavailable() {
    let (_, alias) = moto::key().await;
    let mut wrapped = wrapped(&alias, &context("w")).await;
    wrapped.key_id = "arn:aws:kms:us-east-1:123456789012:key/00000000-0000-0000-0000-000000000000".to_owned();
    let error = opened(&context("w"), &wrapped).await.unwrap_err();
    assert_eq!(error, KeyError::Unavailable("KMS: NotFoundException".to_owned()));
}
