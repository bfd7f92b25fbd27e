//! AWS's Signature Version 4 over a request, where no client of AWS's makes it.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_lc_rs::digest::{SHA256, digest};
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4::SigningParams,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use data_encoding::HEXLOWER;

/// The scope of a signature, beside the request.
#[derive(Debug)]
pub(crate) struct Scope<'a> {
    /// The region that the service is in.
    pub(crate) region: &'a str,
    /// The service, as signatures name it.
    pub(crate) service: &'a str,
    /// The time of the request.
    pub(crate) time: SystemTime,
}

/// The header fields that sign a request: Authorization, the time, and the token of temporary credentials.
pub(crate) fn signature<'a>(
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
