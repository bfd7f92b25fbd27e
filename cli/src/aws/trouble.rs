//! The meaning of AWS's errors for the person who gave a command: the one map from a code to words, to what
//! helps, and to the exit code.

use std::error::Error;

use anyhow::anyhow;
use aws_sdk_dynamodb::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
};
use keybroker_aws::cause::{ANSWERED, NOT_REACHED, SILENT, cause};

use crate::exit::{Exit, Failure};

/// The reason why a call was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// There are no credentials.
    NoCredentials,
    /// There were, and their time is over.
    Expired,
    /// AWS does not know the credentials, or the signature is not theirs.
    Rejected,
    /// AWS takes the signature for one of another time.
    Clock,
    /// The account has not enabled the region.
    NotEnabled,
    /// The table, or the key, is not there.
    Missing,
    /// The key is disabled, or about to be deleted.
    KeyUnusable,
    /// The credentials may not do this.
    Denied,
    /// AWS asks for fewer calls.
    Throttled,
    /// The name of the service is not found.
    NoName,
    /// No connection.
    Unreachable,
    /// No answer in time.
    Silent,
    /// AWS itself failed.
    Failing,
    /// Anything else.
    Other,
}

impl Kind {
    /// The kind of an error that AWS names `code`, with these words of AWS's about it.
    fn of(code: &str, message: &str) -> Self {
        // A signature of another time has the code of a wrong one.
        let of_another_time =
            ["expired", "not yet current", "too skewed"].iter().any(|said| message.contains(said));
        match code {
            "InvalidSignatureException" | "SignatureDoesNotMatch" | "RequestExpired" if of_another_time => {
                Self::Clock
            }
            "RequestExpired" | "RequestTimeTooSkewed" | "RequestInTheFuture" => Self::Clock,
            "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" => Self::Expired,
            "InvalidSignatureException"
            | "SignatureDoesNotMatch"
            | "UnrecognizedClientException"
            | "InvalidClientTokenId"
            | "InvalidAccessKeyId"
            | "IncompleteSignatureException"
            | "IncompleteSignature"
            | "MissingAuthenticationToken"
            | "MissingAuthenticationTokenException" => Self::Rejected,
            "OptInRequired" => Self::NotEnabled,
            "ResourceNotFoundException" | "NotFoundException" | "NotFound" => Self::Missing,
            "DisabledException" | "KMSInvalidStateException" => Self::KeyUnusable,
            "AccessDenied" | "AccessDeniedException" | "AuthorizationError" | "NotAuthorized" => Self::Denied,
            "LimitExceededException"
            | "ProvisionedThroughputExceededException"
            | "RequestLimitExceeded"
            | "SlowDown"
            | "Throttling"
            | "Throttled"
            | "ThrottledException"
            | "ThrottlingError"
            | "ThrottlingException"
            | "TooManyRequestsException" => Self::Throttled,
            "DependencyTimeoutException"
            | "InternalError"
            | "InternalFailure"
            | "InternalServerError"
            | "InternalServiceError"
            | "KMSInternalException"
            | "ServiceUnavailable"
            | "ServiceUnavailableException" => Self::Failing,
            _ => Self::Other,
        }
    }

    /// Whether the same call may succeed a moment later.
    pub(crate) fn passes(self) -> bool {
        self.exit().passes()
    }

    fn exit(self) -> Exit {
        match self {
            Self::NoCredentials
            | Self::Expired
            | Self::Rejected
            | Self::Clock
            | Self::NotEnabled
            | Self::Missing => Exit::Configuration,
            Self::KeyUnusable | Self::Denied | Self::Other => Exit::Failure,
            Self::Throttled | Self::NoName | Self::Unreachable | Self::Silent | Self::Failing => {
                Exit::Unreachable
            }
        }
    }

    fn helps(self) -> &'static str {
        match self {
            Self::NoCredentials => {
                "give --profile, or set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            }
            Self::Expired => {
                "log in again (`aws sso login`), or set the variables of a new session, and repeat the command"
            }
            Self::Rejected => {
                "check whose the credentials are (`aws sts get-caller-identity`): the access key may be deleted, \
                 the secret key mistyped, or the session token missing"
            }
            Self::Clock => "let the system set the clock (`timedatectl set-ntp true`)",
            Self::NotEnabled => "enable the region in the account, or give the deployment's --region",
            Self::Missing => {
                "check --prefix, --region and --profile. A new deployment begins with infra/storage.yaml"
            }
            Self::KeyUnusable => "run `doctor` with the same options: it says what became of the key",
            Self::Denied => {
                "docs/aws.md has the policy for each command under \"The operator's permissions\": an \
                 administrator attaches it to this principal"
            }
            Self::Throttled => "wait a minute, and repeat the command",
            Self::NoName => {
                "check the region's name, the network and its DNS, and AWS_ENDPOINT_URL if it is set"
            }
            Self::Unreachable | Self::Silent => {
                "check the network, the region, and AWS_ENDPOINT_URL if it is set"
            }
            Self::Failing => "wait a minute, and repeat the command; AWS's health dashboard shows outages",
            Self::Other => "check the credentials (`aws sts get-caller-identity`), the region and --prefix",
        }
    }
}

/// One such error, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    kind: Kind,
    words: String,
    /// The action that AWS denies, if it says so: `dynamodb:Scan`.
    action: Option<String>,
}

impl Trouble {
    /// The meaning of this error of `service`.
    pub(crate) fn of<E>(service: &str, error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        Self::told(&cause(service, error))
    }

    /// The same of an error in the words of [`keybroker_aws::cause`]: `SERVICE: CODE: AWS's words`, or what
    /// became of the call.
    pub(crate) fn told(cause: &str) -> Self {
        let plain = |kind| Self::new(kind, cause.to_owned());
        if cause.ends_with(SILENT) {
            return plain(Kind::Silent);
        }
        if let Some((_, why)) = cause.split_once(NOT_REACHED) {
            let no_name = ["dns", "resolve", "lookup"].iter().any(|said| why.contains(said));
            return plain(if no_name { Kind::NoName } else { Kind::Unreachable });
        }
        if cause.contains(ANSWERED) {
            return plain(Kind::Failing);
        }
        let Some((service, rest)) = cause.split_once(": ") else { return plain(Kind::Other) };
        let (code, message) = rest.split_once(": ").unwrap_or((rest, ""));
        let kind = Kind::of(code, message);
        let denied = Denied::read(message);
        let said = if message.is_empty() { code } else { message };
        let words = match (kind, &denied) {
            (Kind::Expired, _) => format!("the AWS credentials have expired ({service}: {code})"),
            (Kind::Rejected, _) => format!("AWS does not accept these credentials ({service}: {code})"),
            (Kind::Clock, _) => {
                format!("AWS finds that this machine's clock is wrong ({service}: {said})")
            }
            (Kind::NotEnabled, _) => {
                format!("the region is not enabled for this account ({service}: {code})")
            }
            (Kind::Missing, _) => format!("{service} does not have what this command needs: {said}"),
            (Kind::KeyUnusable, _) => format!("the key in KMS is disabled or about to be deleted ({code})"),
            (Kind::Denied, Some(Denied { principal, action, resource })) => {
                format!("AWS denies {action} to {principal}{}", on(resource))
            }
            (Kind::Denied, None) => format!("{service} denies this to these credentials: {said}"),
            (Kind::Throttled, _) => format!("{service} asks for fewer calls ({code})"),
            (Kind::Failing, _) => format!("{service} itself failed ({code})"),
            _ => cause.to_owned(),
        };
        Self { kind, words, action: denied.map(|denied| denied.action.to_owned()) }
    }

    /// The same of an error after which a repetition may do better, whatever its name.
    pub(crate) fn unavailable(cause: &str) -> Self {
        let told = Self::told(cause);
        let kind = if told.kind == Kind::Other { Kind::Failing } else { told.kind };
        Self { kind, ..told }
    }

    /// Trouble of this kind, in words of the caller's.
    pub(super) fn new(kind: Kind, words: String) -> Self {
        Self { kind, words, action: None }
    }

    /// The kind.
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// The words, without what helps.
    pub(crate) fn words(&self) -> &str {
        &self.words
    }

    /// The advice.
    pub(crate) fn helps(&self) -> &'static str {
        self.kind.helps()
    }
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        let failure = Self::new(trouble.kind.exit(), anyhow!("{}", trouble.words)).hint(trouble.kind.helps());
        match trouble.kind {
            Kind::Denied => failure.needs(trouble.action.unwrap_or_else(|| "a permission".to_owned())),
            _ => failure,
        }
    }
}

fn on(resource: &str) -> String {
    if resource.is_empty() { String::new() } else { format!(" on {resource}") }
}

/// AWS's words when it denies something: "User: ARN is not authorized to perform: ACTION on resource: ARN
/// because …".
struct Denied<'a> {
    principal: &'a str,
    action: &'a str,
    resource: &'a str,
}

impl<'a> Denied<'a> {
    fn read(message: &'a str) -> Option<Self> {
        let (principal, rest) =
            message.strip_prefix("User: ")?.split_once(" is not authorized to perform: ")?;
        let (action, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        let resource = rest.strip_prefix("on resource: ").and_then(|rest| rest.split(' ').next());
        Some(Self { principal, action, resource: resource.unwrap_or_default() })
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::operation::describe_table::DescribeTableError;

    use super::*;

    /// A gateway in between, or an emulator, may answer without a code of AWS's.
    #[test]
    fn an_answer_without_a_code_is_told_from_none() {
        let answer = HttpResponse::new(500.try_into().unwrap(), "".into());
        let answered = SdkError::service_error(DescribeTableError::unhandled("no code"), answer);
        let silent = SdkError::<DescribeTableError, HttpResponse>::timeout_error("no answer");
        for (error, kind, words) in [
            (answered, Kind::Failing, "DynamoDB answered with status 500"),
            (silent, Kind::Silent, "DynamoDB did not answer in time"),
        ] {
            let trouble = Trouble::of("DynamoDB", &error);
            assert_eq!((trouble.kind(), trouble.words()), (kind, words));
        }
    }

    #[test]
    fn what_aws_denies_is_read_from_its_words() {
        let denied = |message: &str| Trouble::told(&format!("KMS: AccessDeniedException: {message}"));
        let whole = denied(
            "User: arn:aws:iam::1:user/a is not authorized to perform: kms:Encrypt on resource: arn:k because",
        );
        assert_eq!(whole.words(), "AWS denies kms:Encrypt to arn:aws:iam::1:user/a on arn:k");
        let bare = denied("User: a is not authorized to perform: kms:Encrypt");
        assert_eq!(bare.words(), "AWS denies kms:Encrypt to a");
        let other = denied("The ciphertext refers to a key that you cannot access");
        assert!(
            other.kind() == Kind::Denied && other.words().ends_with("that you cannot access"),
            "{other:?}"
        );
        let disabled = Trouble::told("KMS: DisabledException");
        assert_eq!(disabled.words(), "the key in KMS is disabled or about to be deleted (DisabledException)");
        assert_eq!(Failure::from(other).needed(), Some("a permission"));
        assert_eq!(Failure::from(whole).needed(), Some("kms:Encrypt"));
    }
}
