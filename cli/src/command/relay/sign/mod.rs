//! AWS's Signature Version 4 over a registration, for the routes that API Gateway guards with IAM.

use std::time::{Duration, SystemTime};

use anyhow::anyhow;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials, SharedCredentialsProvider},
};
use aws_lc_rs::digest::{SHA256, digest};
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4::SigningParams,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use data_encoding::HEXLOWER;
use reqwest::Url;
use tokio::sync::Mutex;

use crate::exit::{Exit, Failure};

/// API Gateway, as signatures name it.
const SERVICE: &str = "execute-api";
/// How long before their end the relay asks for other credentials.
const MARGIN: Duration = Duration::from_secs(5 * 60);

/// The signer of registrations.
#[derive(Debug)]
pub(super) struct Signer {
    region: String,
    provider: SharedCredentialsProvider,
    held: Mutex<Option<Credentials>>,
}

impl Signer {
    /// A signer with the credentials that AWS's tools would use, for `region` or the region that they would
    /// use. It asks for credentials now, so that a build learns at once if there are none.
    pub(super) async fn new(region: Option<String>) -> Result<Self, Failure> {
        let mut loader = aws_config::defaults(BehaviorVersion::latest());
        if let Some(region) = region {
            loader = loader.region(Region::new(region));
        }
        let config = loader.load().await;
        let unset = |what, hint| Failure::new(Exit::Configuration, anyhow!("signing: {what}")).hint(hint);
        let region = config.region().ok_or_else(|| unset("no region", "give --region, or set AWS_REGION"))?;
        let hint = "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY";
        let provider = config.credentials_provider().ok_or_else(|| unset("no credentials", hint))?;
        let signer = Self { region: region.to_string(), provider, held: Mutex::default() };
        signer.credentials().await.map_err(|error| {
            Failure::new(Exit::Configuration, error).context("signing: no credentials").hint(hint)
        })?;
        Ok(signer)
    }

    /// Adds the signature to a POST of `body` to `url`, over host, time, body and `headers`.
    pub(super) async fn sign(&self, url: &Url, headers: &mut HeaderMap, body: &[u8]) -> anyhow::Result<()> {
        let credentials = self.credentials().await?;
        let scope = Scope { region: &self.region, service: SERVICE, time: SystemTime::now() };
        let over = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let over = over.map(|value| (header::CONTENT_TYPE.as_str(), value));
        let added = signature(credentials, &scope, "POST", url.as_str(), over, body)?;
        headers.extend(added);
        Ok(())
    }

    /// Credentials that are valid for some time yet. Those that never expire are asked for once.
    async fn credentials(&self) -> anyhow::Result<Credentials> {
        let mut held = self.held.lock().await;
        if let Some(credentials) = held.as_ref().filter(|credentials| lasts(credentials)) {
            return Ok(credentials.clone());
        }
        let credentials = self.provider.provide_credentials().await?;
        *held = Some(credentials.clone());
        Ok(credentials)
    }
}

fn lasts(credentials: &Credentials) -> bool {
    credentials.expiry().is_none_or(|expiry| expiry > SystemTime::now() + MARGIN)
}

/// The scope of a signature, beside the request.
#[derive(Debug)]
struct Scope<'a> {
    region: &'a str,
    service: &'a str,
    time: SystemTime,
}

/// The header fields that sign a request: Authorization, the time, and the token of temporary credentials.
fn signature<'a>(
    credentials: Credentials,
    scope: &Scope<'_>,
    method: &'a str,
    url: &'a str,
    headers: impl IntoIterator<Item = (&'a str, &'a str)>,
    body: &'a [u8],
) -> anyhow::Result<HeaderMap> {
    let identity = credentials.into();
    let params = SigningParams::builder()
        .identity(&identity)
        .region(scope.region)
        .name(scope.service)
        .time(scope.time)
        .settings(SigningSettings::default())
        .build()?;
    // The signer gets a digest in place of the body, which may be logged on the way: it holds a passphrase.
    let digest = HEXLOWER.encode(digest(&SHA256, body).as_ref());
    let request = SignableRequest::new(method, url, headers.into_iter(), SignableBody::Precomputed(digest))?;
    let (fields, _) = sign(request, &params.into())?.into_parts().0.into_parts();
    fields
        .iter()
        .map(|field| {
            let mut value = HeaderValue::from_str(field.value())?;
            value.set_sensitive(true);
            Ok((HeaderName::try_from(field.name())?, value))
        })
        .collect()
}

#[cfg(test)]
mod tests;
