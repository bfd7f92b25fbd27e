//! HTTP/1.1 over TCP, or a Unix socket, within limits: how many connections, how long a head and the reading
//! of an answer may take, how many requests a connection has, how long a farewell is.
//!
//! hyper without `axum::serve`, which has no timeout for heads and writes head and body apart.

mod address;
mod deadline;
mod lifetime;
pub(crate) mod loopback;
mod places;
mod requests;

use std::{
    future::Future,
    io,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    task::yield_now,
    time::{sleep, timeout},
};

use self::{
    deadline::Deadline,
    places::{Place, Places, Progress},
    requests::Requests,
};

pub(crate) use self::{
    address::listen_address,
    lifetime::until_signalled,
    places::{Limits, Peer},
};

/// How long the head of a request may take to arrive; also how long a connection may be idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Header fields of a request. Clients send less than ten.
const MAX_HEADERS: usize = 64;
/// Longest head, in bytes; the last read may go beyond it.
const MAX_HEAD_LEN: usize = 32 * 1024;
/// How long requests under way are waited for at the end.
const FAREWELL: Duration = Duration::from_secs(10);
/// How long to wait after the system refused a connection: it is short of something, and asking at once
/// changes nothing.
const BACK_OFF: Duration = Duration::from_millis(500);
/// How often a connection without a place is asked whether its last request is answered.
const SLICE: Duration = Duration::from_millis(100);

/// What takes connections.
pub(crate) trait Listener {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// How many connections there are at a time.
    fn limits(&self) -> Limits;

    /// The next connection, and whose it is.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, Peer)>>;

    /// What answers on this connection.
    fn router_for(&self, stream: &Self::Stream, router: &Router) -> Router;
}

/// Connections at a time over TCP.
const CONNECTIONS: usize = 512;
/// The same where the process may open next to no files.
const FEWEST_CONNECTIONS: usize = 16;

impl Listener for TcpListener {
    type Stream = TcpStream;

    /// Half of the files that the process may have open, for the store and AMD's service need some, too.
    fn limits(&self) -> Limits {
        let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let half = files.and_then(|files| usize::try_from(files / 2).ok()).unwrap_or(CONNECTIONS);
        Limits::shared(half.clamp(FEWEST_CONNECTIONS, CONNECTIONS))
    }

    async fn accept(&self) -> io::Result<(TcpStream, Peer)> {
        let (stream, address) = Self::accept(self).await?;
        // Answers are one write each: to hold them back would only delay them.
        let _ = stream.set_nodelay(true);
        Ok((stream, Peer::at(address.ip())))
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

/// Serves `router` on `listener` until `stop`, and then until the requests under way are answered, for 10
/// seconds at most.
pub(crate) async fn run<L: Listener>(listener: L, router: Router, stop: impl Future<Output = ()>) -> Ended {
    let places = Places::new(listener.limits());
    let graceful = GracefulShutdown::new();
    let serving = async {
        loop {
            let (stream, place) = accept(&listener, &places).await;
            let router = listener.router_for(&stream, &router);
            let connection = graceful.watch(connection(stream, router, place.progress()));
            tokio::spawn(async move {
                let mut connection = pin!(connection);
                tokio::select! {
                    ended = &mut connection => {
                        if let Err(cause) = ended {
                            tracing::debug!(%cause, "connection");
                        }
                    }
                    () = place.lost() => answer_what_came(connection, &place).await,
                }
                drop(place);
            });
        }
    };
    tokio::select! {
        () = pin!(stop) => {}
        () = serving => {}
        () = places.watch() => {}
    }
    places.tell();
    drop(listener);
    timeout(FAREWELL, graceful.shutdown()).await.map_or(Ended::CutOff, |()| Ended::Drained)
}

/// Ends a connection that lost its place. A busy system may not have looked yet at a request that came in
/// time: it is read and answered.
async fn answer_what_came(mut connection: Pin<&mut impl Future>, place: &Place) {
    // What the system has to tell of all connections is heard first.
    yield_now().await;
    let mut ended = timeout(Duration::ZERO, connection.as_mut()).await.is_ok();
    if !place.has_request() {
        return;
    }
    while !ended && place.has_request() {
        ended = timeout(SLICE, connection.as_mut()).await.is_ok();
    }
    // The answer may be on its way out.
    if !ended {
        let _ = timeout(SLICE, connection).await;
    }
}

/// The next connection that has a place.
async fn accept<L: Listener>(listener: &L, places: &Arc<Places>) -> (L::Stream, Place) {
    loop {
        let open = places.open().await;
        match listener.accept().await {
            Ok((stream, peer)) => {
                if let Some(place) = places.take(peer, open).await {
                    return (stream, place);
                }
            }
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

type Connection<I> = http1::Connection<TokioIo<Deadline<I>>, Requests>;

fn connection<I: AsyncRead + AsyncWrite + Unpin>(
    stream: I,
    router: Router,
    progress: Progress,
) -> Connection<I> {
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD_LEN)
        // Head and body in one buffer, and so in one write: libkrun's guest takes what the first read gives
        // it.
        .writev(false)
        .serve_connection(
            TokioIo::new(Deadline::new(stream, progress.clone())),
            Requests::new(router, progress),
        )
}

#[cfg(test)]
mod tests;
