//! Why a service of AWS did not do what it was asked, in one line: the service, then AWS's own name for the
//! error or what kept the call from being answered. Never the request, which may hold secrets.

use std::error::Error;

use aws_sdk_dynamodb::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
};

/// Stands behind the name of a service that nobody could connect to; the system's reason follows it.
pub const NOT_REACHED: &str = " cannot be reached";
/// Stands behind the name of a service that was asked and sent nothing.
pub const SILENT: &str = " did not answer in time";
/// Stands between the name of a service and the status of an answer that names no error.
pub const ANSWERED: &str = " answered with status ";

/// The codes of requests that a service would refuse as often as they are made.
const REFUSALS: [&str; 10] = [
    "AccessDeniedException",
    "ExpiredTokenException",
    "IncompleteSignatureException",
    "InvalidSignatureException",
    "MissingAuthenticationTokenException",
    "OptInRequired",
    "RequestExpired",
    "ResourceNotFoundException",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
];

/// The code of an error, if a repetition would meet the same.
pub(crate) fn refusal<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> Option<&str> {
    error.as_service_error()?.code().filter(|code| REFUSALS.contains(code))
}

/// `SERVICE: CODE`, and behind it for a refusal AWS's own words: who may not do what, or what is not there.
/// Or what became of the call.
pub fn cause<E>(service: &str, error: &SdkError<E, HttpResponse>) -> String
where
    E: ProvideErrorMetadata + Error + 'static,
{
    if let Some(code) = refusal(error) {
        let message = error.message().unwrap_or("no reason is given");
        return format!("{service}: {code}: {message}");
    }
    match error {
        SdkError::ServiceError(error) => match error.err().code() {
            Some(code) => format!("{service}: {code}"),
            // A gateway in between, or an emulator, may answer without a code of AWS's.
            None => format!("{service}{ANSWERED}{}", error.raw().status().as_u16()),
        },
        SdkError::TimeoutError(_) => format!("{service}{SILENT}"),
        SdkError::DispatchFailure(failure) if failure.is_timeout() => format!("{service}{SILENT}"),
        SdkError::DispatchFailure(failure) => {
            let why = failure.as_connector_error().map(|error| deepest(error).to_string());
            format!("{service}{NOT_REACHED}: {}", why.as_deref().unwrap_or("no reason is given"))
        }
        SdkError::ResponseError(_) => format!("{service} gave no usable answer"),
        _ => format!("{service} was not asked: the request could not be made"),
    }
}

/// The error at the end of the chain: what the system or the network said.
fn deepest<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest
}
