//! TLS: rustls over aws-lc-rs, with the roots that are built in and those of the document.
//!
//! TLS is not what protects a secret: it is sealed to a key that the guest made for this request, under a
//! signature of a key that the document names. So a certificate whose time is over, or has not come, by this
//! machine's clock, is taken all the same, and the console says so. Guests often boot with a wrong clock, and
//! the host sets it. This is given up: somebody who holds the key of an expired certificate, and stands in
//! the network, sees which workload asks, sees its report, and can refuse in the broker's place. Name and
//! chain are verified like everywhere.

use std::sync::Arc;

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
};

use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    console::Console,
    transport::{RootsError, TransportError},
};

/// A chain has this many certificates at most.
const MOST: usize = 8;

/// Whether the certificates in a document's PEM can be used.
pub(super) fn check(pem: Option<&str>) -> Result<(), RootsError> {
    added(pem).map(drop)
}

/// TLS to `host` over `stream`.
pub(super) async fn connect(
    stream: TcpStream,
    host: &str,
    pem: Option<&str>,
    console: Arc<dyn Console>,
) -> Result<TlsStream<TcpStream>, TransportError> {
    let name = ServerName::try_from(host.to_owned()).map_err(|_| TransportError::Url)?;
    let config = client(pem, console).map_err(|error| TransportError::Tls(error.to_string()))?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    stream.map_err(|error| TransportError::Tls(error.to_string()))
}

/// The certificates in a document's PEM.
fn added(pem: Option<&str>) -> Result<Vec<CertificateDer<'static>>, RootsError> {
    let Some(pem) = pem else { return Ok(Vec::new()) };
    let certificates = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|_| RootsError::Certificates)?;
    let mut store = RootCertStore::empty();
    certificates
        .iter()
        .try_for_each(|certificate| store.add(certificate.clone()))
        .map_err(|_| RootsError::Certificates)?;
    if certificates.is_empty() { Err(RootsError::Certificates) } else { Ok(certificates) }
}

/// A client that believes the roots that are built in, and those in `pem`.
fn client(pem: Option<&str>, console: Arc<dyn Console>) -> Result<ClientConfig, RootsError> {
    let verifier = verifier(pem, console)?;
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|_| RootsError::Setup)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(config)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn verifier(pem: Option<&str>, console: Arc<dyn Console>) -> Result<AnyTime, RootsError> {
    let mut roots = RootCertStore::empty();
    for root in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        roots.add(root.clone()).map_err(|_| RootsError::Setup)?;
    }
    for root in added(pem)? {
        roots.add(root).map_err(|_| RootsError::Certificates)?;
    }
    let strict = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build();
    Ok(AnyTime { strict: strict.map_err(|_| RootsError::Setup)?, console })
}

/// Verifies like rustls does, but for the time.
struct AnyTime {
    strict: Arc<WebPkiServerVerifier>,
    console: Arc<dyn Console>,
}

impl std::fmt::Debug for AnyTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AnyTime").finish_non_exhaustive()
    }
}

impl ServerCertVerifier for AnyTime {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let mut time = now;
        // Each turn asks as of a bound of the certificate that was at fault: a time at which that one counts.
        for _ in 0..MOST {
            let error = match self.strict.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                time,
            ) {
                Ok(verified) => {
                    if time != now {
                        self.console.line(format_args!(
                            "warning: by this machine's clock the certificate of {} is not valid now; it is \
                             taken, because TLS is not what protects the secret",
                            server_name.to_str()
                        ));
                    }
                    return Ok(verified);
                }
                Err(error) => error,
            };
            time = match error {
                rustls::Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. }) => {
                    not_after
                }
                rustls::Error::InvalidCertificate(CertificateError::NotValidYetContext {
                    not_before,
                    ..
                }) => not_before,
                error => return Err(error),
            };
        }
        Err(CertificateError::Expired.into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.strict.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.strict.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.strict.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use keybroker_simulator::tls::{self, Authority};
    use rustls::CertificateError;

    use super::*;
    use crate::console::Kept;

    const NAME: &str = "k.example.org";

    /// Verifies a certificate that `issuer` made for k.example.org, with the roots of `known`, as of `now`.
    fn verified(
        known: &Authority,
        issuer: &Authority,
        name: &'static str,
        now: u64,
    ) -> (Result<(), rustls::Error>, usize) {
        let kept = Arc::new(Kept::default());
        let verifier = verifier(Some(&known.pem()), Arc::<Kept>::clone(&kept)).unwrap();
        let certificate = CertificateDer::from(issuer.issue(tls::ServerName::Dns(NAME)).certificate);
        let now = UnixTime::since_unix_epoch(Duration::from_secs(now));
        let name = ServerName::try_from(name).unwrap();
        let verified = verifier.verify_server_cert(&certificate, &[], &name, &[], now);
        (verified.map(|_| ()), kept.lines().len())
    }

    #[test]
    fn a_wrong_clock_locks_nobody_out_and_is_told() {
        let authority = Authority::new();
        let today = UnixTime::now().as_secs();
        assert_eq!(verified(&authority, &authority, NAME, today), (Ok(()), 0));
        for wrong in [0, 86_400, today - 1_000_000_000, today + 1_000_000_000, 253_402_300_799] {
            assert_eq!(verified(&authority, &authority, NAME, wrong), (Ok(()), 1), "{wrong}");
        }
    }

    #[test]
    fn a_wrong_clock_excuses_no_other_name_and_no_other_issuer() {
        let authority = Authority::new();
        for now in [0, UnixTime::now().as_secs(), 253_402_300_799] {
            let (other, _) = verified(&authority, &authority, "evil.example.org", now);
            assert!(
                matches!(
                    other,
                    Err(rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext { .. }))
                ),
                "{other:?}"
            );
            let (other, told) = verified(&Authority::new(), &authority, NAME, now);
            assert!(matches!(other, Err(rustls::Error::InvalidCertificate(_))), "{other:?}");
            assert_eq!(told, 0);
        }
    }
}
