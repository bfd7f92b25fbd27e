//! From the port to the last signal: how a command that serves begins and ends.

use std::{io, net::SocketAddr};

use anyhow::{Context, anyhow};
use axum::Router;
use sd_notify::NotifyState;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

use super::{Ended, run};
use crate::exit::{Exit, Failure};

/// Serves `router` at `address` until SIGTERM or SIGINT, and then until the requests under way are answered, for 10 seconds
/// at most; a second signal ends it at once. Tells systemd, where that has started it, when it is ready and when it stops.
pub(crate) async fn until_signalled(address: SocketAddr, router: Router) -> Result<Exit, Failure> {
    let (first, second) = signals().context("handling signals")?;
    let listener = listen(address).await?;
    tell(NotifyState::Ready);
    let first = async {
        first.await;
        tell(NotifyState::Stopping);
    };
    let ended = tokio::select! {
        ended = run(listener, router, first) => ended,
        () = second => Ended::CutOff,
    };
    match ended {
        Ended::Drained => Ok(Exit::Ok),
        Ended::CutOff => Err(anyhow!("ended with requests unanswered").into()),
    }
}

/// Without `NOTIFY_SOCKET` in the environment nobody wants to know.
fn tell(state: NotifyState<'_>) {
    if let Err(cause) = sd_notify::notify(&[state]) {
        tracing::warn!(%cause, "the service manager cannot be told");
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    let listener = TcpListener::bind(address).await.map_err(|error| cannot_listen(address, error))?;
    // Port 0 was a wish: tell the port that it became.
    let address = listener.local_addr().map_err(|error| cannot_listen(address, error))?;
    tracing::info!("listening on http://{address}");
    Ok(listener)
}

fn cannot_listen(address: SocketAddr, error: io::Error) -> Failure {
    let in_use = error.kind() == io::ErrorKind::AddrInUse;
    let failure = Failure::new(Exit::Failure, error).context(format!("listening on {address}"));
    if in_use { failure.hint("another process has this port: choose another with --listen") } else { failure }
}

/// The first SIGTERM or SIGINT, and the second. From here on they no longer end the process by themselves.
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
