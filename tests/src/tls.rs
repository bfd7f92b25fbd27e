//! TLS in front of a broker that has none. It forwards the decrypted bytes unchanged.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use keybroker_simulator::tls::{Authority, Identity, ServerName};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    runtime::{Builder, Runtime},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    },
};

/// The name by which a [`Terminator`] is reached.
pub const NAME: ServerName<'_> = ServerName::Address(IpAddr::V4(Ipv4Addr::LOCALHOST));

/// Ends TLS and forwards the connections.
#[derive(Debug)]
pub struct Terminator {
    /// Its URL.
    pub url: String,
    /// The connections end with this runtime. It is separate because tests block theirs.
    runtime: Option<Runtime>,
}

impl Terminator {
    /// Stands in front of `authority` (`host:port`) under [`NAME`], with a certificate by `ca`.
    pub fn start(ca: &Authority, authority: &str) -> Self {
        Self::with(&ca.issue(NAME), authority)
    }

    /// The same, with another identity.
    pub fn with(identity: &Identity, authority: &str) -> Self {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(identity.key.clone()));
        let certificate = CertificateDer::from(identity.certificate.clone());
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let authority = authority.to_owned();
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(pass_on(acceptor.clone(), stream, authority.clone()));
            }
        });
        Self { url, runtime: Some(runtime) }
    }
}

impl Drop for Terminator {
    fn drop(&mut self) {
        // A test's runtime does not allow waiting.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Ends the connection if the client does not trust the certificate or the broker does not answer.
async fn pass_on(acceptor: TlsAcceptor, stream: TcpStream, authority: String) {
    let Ok(mut client) = acceptor.accept(stream).await else { return };
    let Ok(mut broker) = TcpStream::connect(authority).await else { return };
    let _ = copy_bidirectional(&mut client, &mut broker).await;
}
