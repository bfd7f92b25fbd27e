//! TLS for the tests: in front of a broker that has none, and on the way to one that has it. Bytes are
//! forwarded unchanged.

use std::{
    future::Future,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use keybroker_simulator::tls::{Authority, Identity, ServerName};
use tokio::{
    io::{AsyncWriteExt as _, copy, copy_bidirectional, split},
    net::{TcpListener, TcpStream},
    runtime::{Builder, Runtime},
};
use tokio_rustls::{
    TlsAcceptor, TlsConnector,
    client::TlsStream,
    rustls::{
        self, ClientConfig, RootCertStore, ServerConfig,
        crypto::aws_lc_rs,
        pki_types::{self, CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject as _},
    },
};

/// The name by which a [`Terminator`] is reached.
pub const NAME: ServerName<'_> = ServerName::Address(IpAddr::V4(Ipv4Addr::LOCALHOST));

/// Ends TLS and forwards the connections.
#[derive(Debug)]
pub struct Terminator {
    /// Its URL.
    pub url: String,
    _forwarding: Forwarding,
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
        let authority = authority.to_owned();
        let (address, forwarding) =
            Forwarding::start(move |stream| pass_on(acceptor.clone(), stream, authority.clone()));
        Self { url: format!("https://{address}"), _forwarding: forwarding }
    }
}

/// Speaks TLS to a broker for clients that do not.
pub struct Tunnel {
    /// Its URL.
    pub url: String,
    /// The client that greets the broker.
    pub connector: TlsConnector,
    _forwarding: Forwarding,
}

impl std::fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tunnel").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Tunnel {
    /// To `authority` (`host:port`), whose certificate `ca` has issued for [`NAME`].
    pub fn to(ca: &Authority, authority: &str) -> Self {
        let (connector, authority) = (connector(ca), authority.to_owned());
        let greets = connector.clone();
        let (address, forwarding) = Forwarding::start(move |mut client| {
            let (connector, authority) = (connector.clone(), authority.clone());
            async move {
                let Ok(stream) = TcpStream::connect(authority).await else { return };
                let _ = stream.set_nodelay(true);
                let Ok(broker) = greet(&connector, stream).await else { return };
                // A broker that refuses reads no more, and its answer must still come.
                let ((mut asked, mut answer), (mut answered, mut ask)) = (client.split(), split(broker));
                let up = async {
                    let _ = copy(&mut asked, &mut ask).await;
                    let _ = ask.shutdown().await;
                };
                let down = async {
                    let _ = copy(&mut answered, &mut answer).await;
                    let _ = answer.shutdown().await;
                };
                tokio::join!(up, down);
            }
        });
        Self { url: format!("http://{address}"), connector: greets, _forwarding: forwarding }
    }
}

/// A client that trusts `ca` alone.
pub fn connector(ca: &Authority) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.pem().as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(rustls::DEFAULT_VERSIONS)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

/// Makes the handshake with a server that is [`NAME`].
pub async fn greet(connector: &TlsConnector, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
    let ServerName::Address(address) = NAME else { unreachable!("it is an address") };
    connector.connect(pki_types::ServerName::IpAddress(address.into()), stream).await
}

/// A listener, and what is done with each of its connections.
#[derive(Debug)]
struct Forwarding {
    /// The connections end with this runtime. It is separate because tests block theirs.
    runtime: Option<Runtime>,
}

impl Forwarding {
    fn start<F: Future<Output = ()> + Send + 'static>(
        forward: impl Fn(TcpStream) -> F + Send + 'static,
    ) -> (SocketAddr, Self) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                tokio::spawn(forward(stream));
            }
        });
        (address, Self { runtime: Some(runtime) })
    }
}

impl Drop for Forwarding {
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
