//! Clients of AWS, from the standard variables that Lambda sets; `AWS_ENDPOINT_URL` leads to an emulator.
//!
//! Not aws-config's loader: it also reads profiles from files, asks metadata services and assumes roles, and
//! a function has none of these.

use std::{env, time::Duration};

use aws_config::{
    BehaviorVersion, Region, SdkConfig, environment::EnvironmentVariableCredentialsProvider,
    retry::RetryConfig, timeout::TimeoutConfig,
};
use aws_sdk_dynamodb::config::SharedCredentialsProvider;
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode},
};
use data_encoding::BASE64;

use crate::Error;

/// Attempts at one call, the first included.
const ATTEMPTS: u32 = 3;
/// One attempt may take this long: DynamoDB and KMS answer in milliseconds.
const ATTEMPT: Duration = Duration::from_secs(2);
/// All attempts together. The function itself has 25 seconds, most of which AMD may need.
const CALL: Duration = Duration::from_secs(7);

/// The common parts of all clients: one connection pool, credentials, limits.
#[derive(Debug)]
pub struct Aws(SdkConfig);

impl Aws {
    /// Reads the environment. Connects to nothing yet.
    pub fn from_environment() -> Result<Self, Error> {
        let region = env::var("AWS_REGION").map_err(|_| "AWS_REGION is not set")?;
        let tls = TlsContext::builder().with_trust_store(amazon()).build()?;
        let http = Builder::new().tls_provider(Provider::Rustls(CryptoMode::AwsLc)).tls_context(tls);
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(1))
            .operation_attempt_timeout(ATTEMPT)
            .operation_timeout(CALL);
        let mut config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(region))
            .credentials_provider(SharedCredentialsProvider::new(
                EnvironmentVariableCredentialsProvider::new(),
            ))
            .http_client(http.build_https())
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
            .timeout_config(timeouts.build());
        config.set_endpoint_url(env::var("AWS_ENDPOINT_URL").ok().filter(|url| !url.is_empty()));
        Ok(Self(config.build()))
    }

    /// A client of DynamoDB.
    pub fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        aws_sdk_dynamodb::Client::new(&self.0)
    }

    /// A client of KMS.
    pub fn kms(&self) -> aws_sdk_kms::Client {
        aws_sdk_kms::Client::new(&self.0)
    }
}

/// Amazon's own roots, under which all of its services are. The names are those in the certificates'
/// subjects.
const ROOTS: [&[u8]; 2] = [b"Amazon Root CA ", b"Starfield Services Root Certificate Authority - G2"];
/// Serial, algorithm, issuer, validity and subject are within this many bytes.
const NAMES: usize = 512;

fn amazon() -> TrustStore {
    roots().fold(TrustStore::empty(), |store, der| {
        let body = BASE64.encode(der);
        store
            .with_pem_certificate(format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n"))
    })
}

fn roots() -> impl Iterator<Item = &'static [u8]> {
    let of_amazon = |der: &&[u8]| {
        let names = der.get(..NAMES).unwrap_or(der);
        ROOTS.iter().any(|root| names.windows(root.len()).any(|window| window == *root))
    };
    webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().map(AsRef::as_ref).filter(of_amazon)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amazons_roots_are_five() {
        // https://www.amazontrust.com/repository: Amazon Root CA 1 to 4, and Starfield's for services.
        assert_eq!(roots().count(), 5);
    }
}
