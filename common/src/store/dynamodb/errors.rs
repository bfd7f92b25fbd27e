//! What the SDK's errors mean to whoever uses a store.

use std::fmt::Debug;

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};

use crate::store::StoreError;

/// What the reasons of a cancelled transaction call a condition that did not hold.
pub(super) const CONDITION: &str = "ConditionalCheckFailed";

/// An error that no condition is behind: throttling, a conflict with another transaction, a time limit, a refusal.
/// Whether the write landed is unknown.
pub(super) fn unavailable<E, R>(error: SdkError<E, R>) -> StoreError
where
    E: ProvideErrorMetadata,
    R: Debug,
{
    StoreError::Unavailable(cause(&error))
}

/// Says what happened without the request, which may hold secrets.
fn cause<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> String {
    match error {
        SdkError::ServiceError(error) => {
            let error = error.err();
            format!("DynamoDB: {}", error.code().or(error.message()).unwrap_or("an error without a name"))
        }
        SdkError::TimeoutError(_) => "DynamoDB did not answer in time".to_owned(),
        SdkError::DispatchFailure(_) => "DynamoDB cannot be reached".to_owned(),
        SdkError::ResponseError(_) => "DynamoDB gave no usable answer".to_owned(),
        _ => "DynamoDB was not asked: the request could not be made".to_owned(),
    }
}
