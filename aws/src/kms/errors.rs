//! The meaning of KMS's errors for a secret.

use std::error::Error;

use aws_sdk_kms::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
    operation::{
        decrypt::DecryptError, describe_key::DescribeKeyError, encrypt::EncryptError,
        re_encrypt::ReEncryptError,
    },
};
use keybroker_common::secret::KeyError;

use crate::cause::cause;

/// On every error, the secret is not wrapped and the registration is not made: it may be tried again.
pub(super) fn encrypt(error: SdkError<EncryptError, HttpResponse>) -> KeyError {
    unavailable(&error)
}

/// A ciphertext that KMS rejects is not the one that was wrapped for this workload and registration.
/// Everything else, a disabled or deleted key and a refusal by IAM included, can be mended without the row:
/// nothing is lost.
pub(super) fn decrypt(error: SdkError<DecryptError, HttpResponse>) -> KeyError {
    match error.as_service_error() {
        Some(DecryptError::InvalidCiphertextException(_) | DecryptError::IncorrectKeyException(_)) => {
            KeyError::Mismatch
        }
        _ => unavailable(&error),
    }
}

/// The same of a ciphertext that is to be wrapped under another context.
pub(super) fn re_encrypt(error: SdkError<ReEncryptError, HttpResponse>) -> KeyError {
    match error.as_service_error() {
        Some(ReEncryptError::InvalidCiphertextException(_) | ReEncryptError::IncorrectKeyException(_)) => {
            KeyError::Mismatch
        }
        _ => unavailable(&error),
    }
}

/// A key that cannot be looked at is one that cannot be used now.
pub(super) fn describe(error: SdkError<DescribeKeyError, HttpResponse>) -> KeyError {
    unavailable(&error)
}

/// An answer without what was asked for.
pub(super) fn incomplete() -> KeyError {
    KeyError::Unavailable("KMS gave no usable answer".to_owned())
}

fn unavailable<E>(error: &SdkError<E, HttpResponse>) -> KeyError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    match error {
        SdkError::ResponseError(_) => incomplete(),
        error => KeyError::Unavailable(cause("KMS", error)),
    }
}
