//! HTTP/1.1 over TCP or TLS: hyper on a runtime of one thread, one connection for each request.

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Request, Uri,
    body::Bytes,
    client::conn::http1,
    header::{ACCEPT, CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT},
    rt::{Read, Write},
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, runtime::Runtime, time::timeout};

use crate::{
    console::Console,
    root::Root,
    transport::{Reply, Resolver, RootsError, Transport, TransportError, tls},
};

/// How long one address may take to take a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// The longest Retry-After that is told from a longer one, in seconds: a day.
const MAX_PATIENCE: u64 = 86_400;

/// The transport of a guest.
pub struct Http {
    runtime: Runtime,
    resolver: Resolver,
    certificates: Option<String>,
    console: Arc<dyn Console>,
}

impl Http {
    /// A transport that believes the roots of TLS that are built in, and `certificates` in PEM.
    pub fn new(
        root: &Root,
        certificates: Option<&str>,
        console: Arc<dyn Console>,
    ) -> Result<Self, RootsError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|_| RootsError::Runtime)?;
        // So that a document with certificates that cannot be used is told from a broker that is not there.
        tls::check(certificates)?;
        Ok(Self {
            runtime,
            resolver: Resolver::new(root),
            certificates: certificates.map(str::to_owned),
            console,
        })
    }

    async fn exchange(&self, url: &str, body: &[u8]) -> Result<Reply, TransportError> {
        let uri: Uri = url.parse().map_err(|_| TransportError::Url)?;
        let authority = uri.authority().ok_or(TransportError::Url)?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(TransportError::Url),
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let request = Request::post(uri.path_and_query().map_or("/", |path| path.as_str()))
            .header(HOST, authority.as_str())
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json, application/problem+json")
            .header(USER_AGENT, concat!("keybroker-guest/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(Bytes::copy_from_slice(body)))
            .map_err(|_| TransportError::Url)?;
        let stream = self.connect(host, port).await?;
        if !tls {
            return send(TokioIo::new(stream), request).await;
        }
        let stream =
            tls::connect(stream, host, self.certificates.as_deref(), Arc::clone(&self.console)).await?;
        send(TokioIo::new(stream), request).await
    }

    async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, TransportError> {
        let mut last = None;
        for address in self.resolver.addresses(host).await? {
            match timeout(CONNECT, TcpStream::connect(SocketAddr::new(address, port))).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = Some(TransportError::Connect(error.to_string())),
                Err(_) => last = Some(TransportError::Silent(CONNECT)),
            }
        }
        Err(last.unwrap_or(TransportError::Connect("the name has no address".to_owned())))
    }
}

impl Transport for Http {
    fn post(&self, url: &str, body: &[u8], within: Duration) -> Result<Reply, TransportError> {
        self.runtime.block_on(async {
            match timeout(within, self.exchange(url, body)).await {
                Ok(reply) => reply,
                Err(_) => Err(TransportError::Silent(within)),
            }
        })
    }
}

async fn send<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Reply, TransportError>
where
    S: Read + Write + Unpin,
{
    let protocol = |error: hyper::Error| TransportError::Protocol(error.to_string());
    let (mut sender, connection) = http1::handshake(stream).await.map_err(protocol)?;
    let reply = async {
        let response = sender.send_request(request).await.map_err(protocol)?;
        let retry_after = response.headers().get(RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), Reply::MAX_BODY).collect().await;
        let body = body.map_err(|error| match error.downcast::<hyper::Error>() {
            Ok(error) => protocol(*error),
            Err(_) => TransportError::TooLong,
        })?;
        let retry_after = retry_after.map(|seconds: u64| Duration::from_secs(seconds.min(MAX_PATIENCE)));
        Ok(Reply { status, retry_after, body: body.to_bytes().to_vec() })
    };
    driven(connection, reply).await
}

/// Polls the connection while the exchange on it lasts, and no longer.
async fn driven<T>(
    connection: impl Future<Output = Result<(), hyper::Error>>,
    exchange: impl Future<Output = Result<T, TransportError>>,
) -> Result<T, TransportError> {
    let mut connection = std::pin::pin!(connection);
    let mut exchange = std::pin::pin!(exchange);
    let mut ended = false;
    std::future::poll_fn(|context| {
        // How the connection ends is seen by the exchange, too, and said there.
        ended = ended || connection.as_mut().poll(context).is_ready();
        exchange.as_mut().poll(context)
    })
    .await
}
