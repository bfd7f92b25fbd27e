//! The lifetime of a command that serves, from the port to the last signal.

use std::{io, net::SocketAddr, sync::Arc};

use anyhow::{Context, anyhow};
use axum::Router;
use rustix::process::{Resource, getrlimit, setrlimit};
use sd_notify::NotifyState;
use tokio::{
    net::{TcpListener, TcpStream},
    signal::unix::{SignalKind, signal},
    sync::{oneshot, watch},
};
use tokio_rustls::TlsAcceptor;

use super::{Ended, FAREWELL, Limits, Listener, Peer, address, run};
use crate::{
    exit::{Exit, Failure},
    tls::Tls,
};

/// Serves `router` at `address`, over TLS if there is a certificate, and the router of `beside` at its
/// listener, until SIGTERM or SIGINT, and then for at most 10 seconds until the requests under way are
/// answered, as [`run`] does. A second signal ends it at once. If systemd has started it, tells systemd when
/// it is ready and when it stops.
pub(crate) async fn until_signalled<L: Listener>(
    address: SocketAddr,
    tls: Option<Arc<Tls>>,
    router: Router,
    beside: Option<(L, Router)>,
) -> Result<Exit, Failure> {
    let (first, second) = signals().context("handling signals")?;
    allow_files();
    let listener = listen(address, tls)?;
    tell(NotifyState::Ready);
    let (stop, stopping) = watch::channel(());
    let stop = async {
        first.await;
        tracing::info!("stopping: requests under way have {} seconds", FAREWELL.as_secs());
        tell(NotifyState::Stopping);
        drop(stop);
    };
    let main = run(listener, router, stopped(stopping.clone()));
    let beside = async {
        match beside {
            Some((listener, router)) => run(listener, router, stopped(stopping)).await,
            None => Ended::Drained,
        }
    };
    let ended = tokio::select! {
        (main, beside, ()) = async { tokio::join!(main, beside, stop) } => [main, beside],
        () = second => [Ended::CutOff; 2],
    };
    match ended {
        [Ended::Drained, Ended::Drained] => Ok(Exit::Ok),
        _ => Err(anyhow!("ended before all requests were answered").into()),
    }
}

/// Raises the number of files that this process may have open to the most that it is allowed. Each connection
/// is a file. Systems start processes with few for the sake of old programs.
fn allow_files() {
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    if let Err(cause) = setrlimit(Resource::Nofile, files) {
        tracing::debug!(%cause, "the limit of open files stays as it is");
    }
}

/// A port of TCP, with a certificate or without.
struct Port {
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
}

impl Listener for Port {
    type Stream = TcpStream;

    fn limits(&self) -> Limits {
        self.listener.limits()
    }

    async fn accept(&self) -> io::Result<(TcpStream, Peer)> {
        Listener::accept(&self.listener).await
    }

    fn tls(&self) -> Option<TlsAcceptor> {
        self.tls.as_ref().map(|tls| tls.acceptor())
    }

    fn router_for(&self, stream: &TcpStream, router: &Router) -> Router {
        self.listener.router_for(stream, router)
    }
}

/// Ends once the other end of the channel is gone.
async fn stopped(mut stopping: watch::Receiver<()>) {
    while stopping.changed().await.is_ok() {}
}

/// Tells the service manager. Without `NOTIFY_SOCKET` in the environment there is none.
fn tell(state: NotifyState<'_>) {
    if let Err(cause) = sd_notify::notify(&[state]) {
        tracing::warn!(%cause, "the service manager cannot be told");
    }
}

fn listen(address: SocketAddr, tls: Option<Arc<Tls>>) -> Result<Port, Failure> {
    let listener = address::listen(address).map_err(|error| cannot_listen(address, error))?;
    // If port 0 was asked for, the log must have the port that the system chose.
    let address = listener.local_addr().map_err(|error| cannot_listen(address, error))?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    tracing::info!("listening on {scheme}://{address}");
    Ok(Port { listener, tls })
}

fn cannot_listen(address: SocketAddr, error: io::Error) -> Failure {
    let in_use = error.kind() == io::ErrorKind::AddrInUse;
    let failure = Failure::new(Exit::Failure, error).context(format!("listening on {address}"));
    if in_use { failure.hint("another process has this port: choose another with --listen") } else { failure }
}

/// The first SIGTERM or SIGINT, and the second. From this call on they do not end the process by themselves.
fn signals() -> io::Result<(impl Future<Output = ()>, impl Future<Output = ()>)> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (first, on_first) = oneshot::channel();
    let (second, on_second) = oneshot::channel();
    tokio::spawn(async move {
        for sender in [first, second] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            let _ = sender.send(());
        }
    });
    let received = async |on: oneshot::Receiver<()>| drop(on.await);
    Ok((received(on_first), received(on_second)))
}
