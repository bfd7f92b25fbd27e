//! The meaning of the SDK's errors for the callers of a store.

use std::error::Error;

use aws_sdk_dynamodb::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
};
use keybroker_common::store::StoreError;

use crate::cause::{cause, refusal};

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

/// An error that no condition is behind: throttling, a conflict with another transaction, a time limit, which
/// leave unknown whether the write landed; or a refusal.
pub(super) fn unavailable<E>(error: SdkError<E, HttpResponse>) -> StoreError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let told = cause("DynamoDB", &error);
    match refusal(&error) {
        Some(_) => StoreError::Refused(told),
        None => StoreError::Unavailable(told),
    }
}
