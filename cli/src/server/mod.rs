//! HTTP/1.1 over TCP, TLS or a Unix socket, with limits: on connections, on the time for a head and for
//! reading an answer, on the requests of a connection, and on the time for ending.
//!
//! This uses hyper without `axum::serve`, which has no timeout for heads and writes head and body apart.

mod address;
mod deadline;
mod lifetime;
pub(crate) mod loopback;
mod pace;
mod places;
mod requests;
mod room;
mod wire;

use std::{
    fmt::Display,
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
use rustix::process::{Resource, getrlimit};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    task::yield_now,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;

use self::{
    deadline::Deadline,
    pace::{Pace, Turns},
    places::{Place, Places, Progress},
    requests::Requests,
    room::Room,
    wire::Wire,
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
/// How long the end waits for requests under way.
pub(crate) const FAREWELL: Duration = Duration::from_secs(10);
/// How long to wait after the system refused a connection. The system is short of something, and asking again
/// at once would change nothing.
const BACK_OFF: Duration = Duration::from_millis(500);
/// How often to check whether a connection without a place has its last request answered.
const SLICE: Duration = Duration::from_millis(100);

/// A listener, which accepts connections.
pub(crate) trait Listener {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The number of connections at a time.
    fn limits(&self) -> Limits;

    /// The next connection, and its peer.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, Peer)>>;

    /// The acceptor that speaks TLS with the next connection, if connections have TLS.
    fn tls(&self) -> Option<TlsAcceptor> {
        None
    }

    /// The router that answers on this connection.
    fn router_for(&self, stream: &Self::Stream, router: &Router) -> Router;
}

/// Connections at a time over TCP.
const CONNECTIONS: usize = 512;
/// The same if the process may open very few files.
const FEWEST_CONNECTIONS: usize = 16;
/// Further connections over TCP, which wait for a place.
const WAITING: usize = 1024;

impl Listener for TcpListener {
    type Stream = TcpStream;

    /// Places for half of the files that the process may have open, and room for an eighth to wait: the store
    /// and requests to AMD or to a broker need some, too.
    fn limits(&self) -> Limits {
        let files = getrlimit(Resource::Nofile).current.and_then(|files| usize::try_from(files).ok());
        let part = |of: usize, most: usize| files.map_or(most, |files| most.min(files / of));
        Limits::shared(part(2, CONNECTIONS).max(FEWEST_CONNECTIONS), part(8, WAITING))
    }

    async fn accept(&self) -> io::Result<(TcpStream, Peer)> {
        let (stream, address) = Self::accept(self).await?;
        // An answer is one write: holding it back would only delay it.
        let _ = stream.set_nodelay(true);
        Ok((stream, Peer::at(address.ip())))
    }

    fn router_for(&self, _: &TcpStream, router: &Router) -> Router {
        router.clone()
    }
}

/// The way in which serving ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Every request under way was answered.
    Drained,
    /// Some were not.
    CutOff,
}

/// Serves `router` on `listener` until `stop`, and then for at most 10 seconds until the requests under way
/// are answered. A client that owes the rest of its request then, or does not read its answer, has two.
pub(crate) async fn run<L: Listener>(listener: L, router: Router, stop: impl Future<Output = ()>) -> Ended {
    let (limits, pace) = (listener.limits(), Arc::new(Pace::default()));
    let (places, mut room) = (Places::new(limits), Room::new(limits.waiting));
    let graceful = GracefulShutdown::new();
    let serving = async {
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    if let Some((stream, peer)) = arrived(accepted).await
                        && room.enter(peer, stream).is_some()
                    {
                        places.turned_away();
                    }
                }
                () = places.changed(), if !room.is_empty() => {}
            }
            while let Some((stream, place)) = room.next(&places) {
                let router = listener.router_for(&stream, &router);
                let connection =
                    graceful.watch(connection(stream, listener.tls(), router, place.progress(), pace.join()));
                tokio::spawn(serve(connection, place));
            }
        }
    };
    tokio::select! {
        () = pin!(stop) => {}
        () = serving => {}
        () = places.watch() => {}
    }
    drop(listener);
    // Their clients need not wait for those that have places.
    drop(room);
    let drained = async {
        tokio::select! {
            () = graceful.shutdown() => {}
            () = places.end_waiting() => {}
        }
    };
    let ended = timeout(FAREWELL, drained).await.map_or(Ended::CutOff, |()| Ended::Drained);
    places.tell();
    ended
}

/// Serves a connection until it ends or loses its place.
async fn serve<E: Display>(connection: impl Future<Output = Result<(), E>>, place: Place) {
    let mut connection = pin!(connection);
    tokio::select! {
        ended = &mut connection => {
            if let Err(cause) = ended {
                tracing::debug!(%cause, "connection");
            }
        }
        () = place.lost() => answer_what_came(connection, &place).await,
    }
}

/// Ends a connection that lost its place. A busy system may not have read yet a request that came in time:
/// such a request is read and answered.
async fn answer_what_came(mut connection: Pin<&mut impl Future>, place: &Place) {
    // This lets the runtime hear first which connections have something to read.
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

/// The accepted connection. If there is none because the system is short of something, this waits.
async fn arrived<S>(accepted: io::Result<S>) -> Option<S> {
    match accepted {
        Ok(arrived) => return Some(arrived),
        Err(cause) if of_the_client(&cause) => {}
        Err(cause) => {
            tracing::error!(%cause, "no connection can be accepted");
            sleep(BACK_OFF).await;
        }
    }
    None
}

/// Whether the client went away before its connection was accepted.
fn of_the_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

type Connection<I> = http1::Connection<TokioIo<Wire<Deadline<I>>>, Requests>;

fn connection<I: AsyncRead + AsyncWrite + Unpin>(
    stream: I,
    tls: Option<TlsAcceptor>,
    router: Router,
    progress: Progress,
    turns: Turns,
) -> Connection<I> {
    let stream = Wire::new(Deadline::new(stream, progress.clone()), tls.as_ref());
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD_LEN)
        // Head and body go into one buffer, and so into one write: libkrun's guest uses only what its first
        // read gives it.
        .writev(false)
        .serve_connection(TokioIo::new(stream), Requests::new(router, progress, turns))
}

#[cfg(test)]
mod tests;
