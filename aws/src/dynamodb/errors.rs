//! The meaning of the SDK's errors for the callers of a store.

use std::fmt::Debug;

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use keybroker_common::store::StoreError;

/// The reason that a cancelled transaction gives for a part whose condition did not hold.
pub(super) const CONDITION: &str = "ConditionalCheckFailed";
/// The reason that it gives for a part that nothing was in the way of.
pub(super) const NOTHING: &str = "None";
/// The reasons that it gives for a part whose condition was not looked at, and may be soon: another
/// transaction is at work on its item, or its table or partition is throttled. The last two are those that
/// single requests are answered with.
pub(super) const PASSING: [&str; 5] = [
    "TransactionConflict",
    "ThrottlingError",
    "ProvisionedThroughputExceeded",
    "ThrottlingException",
    "RequestLimitExceeded",
];

/// The codes of requests that DynamoDB would refuse as often as they are made.
const REFUSALS: [&str; 8] = [
    "AccessDeniedException",
    "ExpiredTokenException",
    "IncompleteSignatureException",
    "InvalidSignatureException",
    "MissingAuthenticationTokenException",
    "OptInRequired",
    "ResourceNotFoundException",
    "UnrecognizedClientException",
];

/// An error that no condition is behind: throttling, a conflict with another transaction, a time limit, which
/// leave unknown whether the write landed; or a refusal.
pub(super) fn unavailable<E, R>(error: SdkError<E, R>) -> StoreError
where
    E: ProvideErrorMetadata,
    R: Debug,
{
    let service = error.as_service_error();
    match service.and_then(|error| error.code()).filter(|code| REFUSALS.contains(code)) {
        Some(code) => {
            // DynamoDB's own words: who may not do what, or which table there is not.
            let message = service.and_then(|error| error.message()).unwrap_or("no reason is given");
            StoreError::Refused(format!("DynamoDB: {code}: {message}"))
        }
        None => StoreError::Unavailable(cause(&error)),
    }
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
