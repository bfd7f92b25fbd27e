//! The connection to the KDS: the authorities of TLS that it believes, the proxy, and what its errors say.

use std::{error::Error, iter, net::IpAddr};

use reqwest::{Certificate, Client, Url, redirect::Policy};

use crate::error::KdsError;

/// A client for the service at `base`, which believes the usual authorities of TLS and those in
/// `authorities`, PEM.
pub(super) fn build(base: &str, authorities: &[u8]) -> Result<Client, KdsError> {
    let unusable = |error: reqwest::Error| KdsError::Client(causes(&error.without_url()));
    let roots = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().map(|der| Certificate::from_der(der));
    let mut roots = roots.collect::<Result<Vec<_>, _>>().map_err(unusable)?;
    if !authorities.is_empty() {
        let added = Certificate::from_pem_bundle(authorities).map_err(unusable)?;
        if added.is_empty() {
            return Err(KdsError::Client("there is no certificate among its authorities".to_owned()));
        }
        roots.extend(added);
    }
    let mut client = Client::builder()
        .user_agent(concat!("keybroker/", env!("CARGO_PKG_VERSION")))
        .tls_certs_only(roots)
        .redirect(Policy::none());
    // The proxy that the environment names is for what is outside.
    if is_loopback(base) {
        client = client.no_proxy();
    }
    client.build().map_err(unusable)
}

/// The error of a request that got no answer.
pub(super) fn silent(error: reqwest::Error) -> KdsError {
    KdsError::Silent(causes(&error.without_url()))
}

/// The error and everything beneath it: what is on top says only that a request was made.
fn causes(error: &(dyn Error + 'static)) -> String {
    let chain = iter::successors(Some(error), |&error| error.source());
    let mut texts: Vec<String> = chain.map(ToString::to_string).collect();
    texts.dedup();
    texts.join(": ")
}

/// Whether the host is this machine, by its address or by the one name that always means it.
fn is_loopback(base: &str) -> bool {
    let url = Url::parse(base).ok();
    let host = url.as_ref().and_then(Url::host_str).unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_told_from_others() {
        for base in [
            "http://127.0.0.1:8090",
            "http://127.9.9.9",
            "http://[::1]:1/x",
            "https://localhost",
            "http://LOCALHOST:1",
        ] {
            assert!(is_loopback(base), "{base}");
        }
        for base in [
            "https://kdsintf.amd.com",
            "http://localhost.example.org",
            "http://127.0.0.1.example.org",
            "http://10.0.0.1",
            "",
        ] {
            assert!(!is_loopback(base), "{base}");
        }
    }

    #[test]
    fn authorities_that_are_none_make_no_client() {
        for authorities in [&b"no PEM"[..], b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
        {
            assert!(matches!(build("https://kds.example", authorities), Err(KdsError::Client(_))));
        }
        assert!(build("https://kds.example", b"").is_ok());
    }
}
