//! The reasons why there are no credentials. The providers tell their errors apart by their words alone.

use std::{error::Error, io};

use aws_credential_types::provider::error::CredentialsError;

use super::{Kind, Trouble};

/// The meaning of this error, for the named profile or for all the places where credentials are looked for.
pub(super) fn trouble(error: &CredentialsError, profile: Option<&str>) -> Trouble {
    let chain: Vec<_> = chain(error).collect();
    let words: Vec<_> = chain.iter().map(|error| error.to_string().to_lowercase()).collect();
    let said = |texts: &[&str]| words.iter().any(|words| texts.iter().any(|text| words.contains(text)));
    let kind = match error {
        CredentialsError::CredentialsNotLoaded(_) => return none(profile),
        _ if chain.iter().any(|error| is_of_the_network(*error)) => Kind::Unreachable,
        CredentialsError::ProviderTimedOut(_) => Kind::Silent,
        _ if said(&["dispatch failure"]) => Kind::Unreachable,
        _ if said(&["timeout"]) => Kind::Silent,
        _ if said(&["expired", "unauthorizedexception", "cached sso token"]) => Kind::Expired,
        // The service of machines' roles answers so where it is closed. So do those of other clouds.
        _ if said(&["imds is disabled"]) => Kind::NoCredentials,
        _ if said(&["accessdenied", "forbidden"]) => Kind::Denied,
        _ => Kind::NoCredentials,
    };
    let means = match kind {
        Kind::Expired => "the AWS credentials have expired, or nobody has logged in",
        Kind::Unreachable | Kind::Silent => "the service that gives AWS credentials cannot be reached",
        Kind::Denied => "AWS denies these credentials",
        _ => "there are no AWS credentials",
    };
    // The first words are the same for all errors.
    let skip = usize::from(chain.len() > 1);
    let why: Vec<_> = chain.iter().skip(skip).map(ToString::to_string).collect();
    let of = profile.map(|profile| format!(" in the profile {profile}")).unwrap_or_default();
    Trouble::new(kind, format!("{means}{of}: {}", why.join(": ")))
}

/// There are none.
pub(super) fn none(profile: Option<&str>) -> Trouble {
    let words = match profile {
        Some(profile) => format!("there are no AWS credentials in the profile {profile}"),
        None => {
            "there are no AWS credentials in variables, in a profile, or from this machine's role".to_owned()
        }
    };
    Trouble::new(Kind::NoCredentials, words)
}

/// Nothing came in time.
pub(super) fn late() -> Trouble {
    Trouble::new(Kind::Silent, "the service that gives AWS credentials did not answer in time".to_owned())
}

/// An error, and what is behind it.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

fn is_of_the_network(error: &(dyn Error + 'static)) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable, TimedOut,
    };
    let kinds = [
        ConnectionAborted,
        ConnectionRefused,
        ConnectionReset,
        HostUnreachable,
        NetworkUnreachable,
        TimedOut,
    ];
    error.downcast_ref::<io::Error>().is_some_and(|error| kinds.contains(&error.kind()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_told_apart() {
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        for (error, kind, said) in [
            (CredentialsError::not_loaded("no"), Kind::NoCredentials, "in the profile ops"),
            (CredentialsError::provider_error(refused), Kind::Unreachable, "cannot be reached"),
            (CredentialsError::provider_error("timeout"), Kind::Silent, "cannot be reached"),
            (
                CredentialsError::provider_error("the SSO token has expired"),
                Kind::Expired,
                "nobody has logged in",
            ),
            (CredentialsError::provider_error("UnauthorizedException"), Kind::Expired, "have expired"),
            (CredentialsError::provider_error("AccessDenied: no"), Kind::Denied, "denies"),
            (
                CredentialsError::provider_error("request forbidden: IMDS is disabled or the caller"),
                Kind::NoCredentials,
                "there are no AWS credentials",
            ),
            (CredentialsError::invalid_configuration("a loop"), Kind::NoCredentials, "ops: a loop"),
        ] {
            let found = trouble(&error, Some("ops"));
            assert!(found.kind() == kind && found.words().contains(said), "{said}: {found:?}");
        }
    }
}
