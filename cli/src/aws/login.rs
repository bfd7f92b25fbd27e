//! How a command finds its region and its credentials: as AWS's own tools do.

use std::time::Duration;

use aws_config::{
    BehaviorVersion, Region, SdkConfig, profile::ProfileFileCredentialsProvider,
    provider_config::ProviderConfig, retry::RetryConfig, timeout::TimeoutConfig,
};
use aws_credential_types::provider::SharedCredentialsProvider;

/// Attempts at one call of AWS, the first included.
const ATTEMPTS: u32 = 3;
/// A connection may take this long.
const CONNECT: Duration = Duration::from_secs(3);
/// One attempt may take this long.
const ATTEMPT: Duration = Duration::from_secs(5);
/// A call may take this long, with all of its attempts.
pub(super) const CALL: Duration = Duration::from_secs(8);

/// The region and the profile, where the command line names them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Login {
    /// In place of the region that variables and profiles set.
    pub(crate) region: Option<String>,
    /// In place of the profile that AWS_PROFILE names, and of keys in variables.
    pub(crate) profile: Option<String>,
}

impl Login {
    /// AWS's usual configuration, with time limits for a person who waits.
    pub(crate) async fn config(&self) -> SdkConfig {
        let loaded = self.load().await;
        let Some(profile) = &self.profile else { return loaded };
        // A profile that the command line names counts for more than keys in variables, as for AWS's own
        // command line.
        let provided = ProviderConfig::without_region()
            .with_region(loaded.region().cloned())
            .with_retry_config(retries())
            .with_timeout_config(timeouts());
        let provider =
            ProfileFileCredentialsProvider::builder().configure(&provided).profile_name(profile).build();
        loaded.into_builder().credentials_provider(SharedCredentialsProvider::new(provider)).build()
    }

    async fn load(&self) -> SdkConfig {
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .retry_config(retries())
            .timeout_config(timeouts());
        if let Some(region) = &self.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(profile) = &self.profile {
            loader = loader.profile_name(profile);
        }
        loader.load().await
    }
}

fn retries() -> RetryConfig {
    RetryConfig::standard().with_max_attempts(ATTEMPTS)
}

fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT)
        .operation_attempt_timeout(ATTEMPT)
        .operation_timeout(CALL)
        .build()
}
