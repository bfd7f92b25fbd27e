//! Credentials that are asked for again only when they are about to end.

use std::time::{Duration, SystemTime};

use aws_credential_types::{
    Credentials,
    provider::{self, ProvideCredentials, SharedCredentialsProvider, future},
};
use tokio::sync::Mutex;

/// How long before their end other credentials are asked for.
const MARGIN: Duration = Duration::from_secs(5 * 60);

/// A provider of credentials, and the last ones that it gave. Those that never expire are asked for once.
#[derive(Debug)]
pub(crate) struct Held {
    provider: SharedCredentialsProvider,
    last: Mutex<Option<Credentials>>,
}

impl Held {
    /// Holds nothing yet.
    pub(crate) fn new(provider: SharedCredentialsProvider) -> Self {
        Self { provider, last: Mutex::default() }
    }

    /// Credentials that are valid for some time yet, or the newest that there are.
    pub(crate) async fn credentials(&self) -> provider::Result {
        let mut last = self.last.lock().await;
        if let Some(credentials) = last.as_ref().filter(|credentials| lasts(credentials)) {
            return Ok(credentials.clone());
        }
        let credentials = self.provider.provide_credentials().await?;
        *last = Some(credentials.clone());
        Ok(credentials)
    }
}

impl ProvideCredentials for Held {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.credentials())
    }
}

fn lasts(credentials: &Credentials) -> bool {
    credentials.expiry().is_none_or(|expiry| expiry > SystemTime::now() + MARGIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_renewed_before_they_expire() {
        let expiring = |seconds| {
            let expiry = SystemTime::now() + Duration::from_secs(seconds);
            lasts(&Credentials::new("id", "secret", None, Some(expiry), "test"))
        };
        assert!(lasts(&Credentials::new("id", "secret", None, None, "test")));
        assert!(expiring(3600) && !expiring(200));
    }
}
