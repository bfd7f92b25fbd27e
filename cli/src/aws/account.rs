//! The account that a command works in: a region, and credentials that are there.

use std::time::Duration;

use anyhow::anyhow;
use aws_config::SdkConfig;
use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials as _, SharedCredentialsProvider},
};
use tokio::time::timeout;

use super::{Held, Login, Trouble, refused_login};
use crate::exit::{Exit, Failure};

/// Credentials may take this long to come. On a machine that has none, the search for them ends with a
/// question to a service that is not there.
const CREDENTIALS: Duration = Duration::from_secs(6);

/// A region, and credentials.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    /// For the clients of AWS's services.
    pub(crate) config: SdkConfig,
    /// The id of the access key that signs the calls: CloudTrail tells whose it is.
    pub(crate) access_key: String,
}

impl Account {
    /// Finds both, or says which of them is missing. It is asked first, so that no call of AWS fails for want
    /// of either.
    pub(crate) async fn open(login: &Login) -> Result<Self, Failure> {
        let config = login.config().await;
        if config.region().is_none() {
            return Err(Failure::new(Exit::Configuration, anyhow!("no AWS region is configured"))
                .hint("give --region, or set AWS_REGION, or a region in the profile"));
        }
        let profile = login.profile.as_deref();
        let provider = config.credentials_provider().ok_or_else(|| refused_login::none(profile))?;
        let held = Held::new(provider);
        let found = timeout(CREDENTIALS, held.credentials()).await.map_err(|_| refused_login::late())?;
        let credentials = found.map_err(|error| refused_login::trouble(&error, profile))?;
        let access_key = credentials.access_key_id().to_owned();
        let config = config.into_builder().credentials_provider(SharedCredentialsProvider::new(held)).build();
        Ok(Self { config, access_key })
    }

    /// The region.
    pub(crate) fn region(&self) -> &str {
        self.config.region().map_or("", |region| region.as_ref())
    }

    /// Credentials that are valid for some time yet.
    pub(crate) async fn credentials(&self) -> Result<Credentials, Trouble> {
        let provider = self.config.credentials_provider().ok_or_else(|| refused_login::none(None))?;
        provider.provide_credentials().await.map_err(|error| refused_login::trouble(&error, None))
    }
}
