//! HTTP/1.1 over TCP, or a Unix socket, within limits: how many connections, how long a head may take, how long a farewell.
//!
//! hyper without `axum::serve`, which has no timeout for heads and writes head and body apart.

mod lifetime;
pub(crate) mod loopback;

use std::{future::Future, io, pin::pin, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};

pub(crate) use lifetime::until_signalled;

/// How long the head of a request may take to arrive; also how long a connection may be idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Header fields of a request. Clients send less than ten.
const MAX_HEADERS: usize = 64;
/// Longest head, in bytes; the last read may go beyond it.
const MAX_HEAD_LEN: usize = 32 * 1024;
/// How long requests under way are waited for at the end.
const FAREWELL: Duration = Duration::from_secs(10);
/// How long to wait after the system refused a connection: it is short of something, and asking at once changes nothing.
const BACK_OFF: Duration = Duration::from_millis(500);

/// What takes connections.
pub(crate) trait Listener {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Connections at a time. More wait in the listener's queue.
    const CONNECTIONS: usize;

    /// The next connection.
    fn accept(&self) -> impl Future<Output = io::Result<Self::Stream>>;

    /// What answers on this connection.
    fn router_for(&self, stream: &Self::Stream, router: &Router) -> Router;
}

impl Listener for TcpListener {
    type Stream = TcpStream;
    /// Half of the usual limit of open files: the store and AMD's service need some, too.
    const CONNECTIONS: usize = 512;

    async fn accept(&self) -> io::Result<TcpStream> {
        let (stream, _) = Self::accept(self).await?;
        // Answers are one write each: to hold them back would only delay them.
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }

    fn router_for(&self, _: &TcpStream, router: &Router) -> Router {
        router.clone()
    }
}

/// How serving came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Every request under way was answered.
    Drained,
    /// Some were not.
    CutOff,
}

/// Serves `router` on `listener` until `stop`, and then until the requests under way are answered, for 10 seconds at most.
pub(crate) async fn run<L: Listener>(listener: L, router: Router, stop: impl Future<Output = ()>) -> Ended {
    let connections = Arc::new(Semaphore::new(L::CONNECTIONS));
    let graceful = GracefulShutdown::new();
    let mut stop = pin!(stop);
    loop {
        let (stream, permit) = tokio::select! {
            () = &mut stop => break,
            accepted = accept(&listener, &connections) => accepted,
        };
        let router = listener.router_for(&stream, &router);
        let connection = graceful.watch(connection(stream, router));
        tokio::spawn(async move {
            if let Err(cause) = connection.await {
                tracing::debug!(%cause, "connection");
            }
            drop(permit);
        });
    }
    drop(listener);
    timeout(FAREWELL, graceful.shutdown()).await.map_or(Ended::CutOff, |()| Ended::Drained)
}

/// The next connection, once there is room for it.
async fn accept<L: Listener>(
    listener: &L,
    connections: &Arc<Semaphore>,
) -> (L::Stream, Option<OwnedSemaphorePermit>) {
    // No permit means a closed semaphore, and nobody closes it.
    let permit = Arc::clone(connections).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok(stream) => return (stream, permit),
            Err(cause) if of_the_client(&cause) => {}
            Err(cause) => {
                tracing::error!(%cause, "no connection can be accepted");
                sleep(BACK_OFF).await;
            }
        }
    }
}

/// Whether the client went away before its connection was accepted.
fn of_the_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

type Connection<I> = http1::Connection<TokioIo<I>, TowerToHyperService<Router>>;

fn connection<I: AsyncRead + AsyncWrite + Unpin>(stream: I, router: Router) -> Connection<I> {
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD_LEN)
        // Head and body in one buffer, and so in one write: libkrun's guest takes what the first read gives it.
        .writev(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
}

#[cfg(test)]
mod tests;
