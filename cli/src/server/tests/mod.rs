//! One connection, a listener's places, and its end.

mod connection;
mod end;
mod places;

use std::net::SocketAddr;

use axum::routing::{any, get};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::{Notify, oneshot},
    task::JoinHandle,
};

use super::*;

/// The answer at `/held` comes once `gate` opens.
fn router(gate: Arc<Notify>) -> Router {
    let held = || async move {
        gate.notified().await;
        "held"
    };
    let slow = || async {
        sleep(Duration::from_secs(1)).await;
        "slow"
    };
    let stuck = || async {
        sleep(FAREWELL * 2).await;
        "stuck"
    };
    let body = async |body: axum::body::Bytes| {
        sleep(Duration::from_secs(1)).await;
        body
    };
    Router::new()
        .route("/", get(|| async { "x".repeat(4096) }))
        .route("/held", get(held))
        .route("/slow", any(slow))
        .route("/body", any(body))
        .route("/echo", any(async |body: axum::body::Bytes| body))
        .route("/stuck", get(stuck))
        // More than the system takes of an answer that nobody reads.
        .route("/large", get(|| async { "x".repeat(32 << 20) }))
}

/// Lets everything come as far as it can: the bytes that are with a socket reach their handler. In each pause
/// all run that can, whether or not the machine is slow: the number of pauses counts, and not their time.
async fn turns() {
    for _ in 0..50 {
        tokio::time::sleep(Duration::from_millis(4)).await;
    }
}

struct Running {
    address: SocketAddr,
    /// Opens the gate of `/held`.
    gate: Arc<Notify>,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<Ended>,
}

/// A listener with these limits.
struct Limited(TcpListener, Limits);

impl Listener for Limited {
    type Stream = TcpStream;

    fn limits(&self) -> Limits {
        self.1
    }

    async fn accept(&self) -> io::Result<(TcpStream, Peer)> {
        Listener::accept(&self.0).await
    }

    fn router_for(&self, _: &TcpStream, router: &Router) -> Router {
        router.clone()
    }
}

async fn start() -> Running {
    start_with(Limits::shared(CONNECTIONS, WAITING)).await
}

async fn start_with(limits: Limits) -> Running {
    let listener = address::listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let listener = Limited(listener, limits);
    let (stop, stopped) = oneshot::channel();
    let gate = Arc::<Notify>::default();
    let ended = tokio::spawn(run(listener, router(Arc::clone(&gate)), async { drop(stopped.await) }));
    Running { address, gate, stop, ended }
}

impl Running {
    /// Asks for `path`, without waiting for the answer.
    async fn ask(&self, path: &str) -> JoinHandle<String> {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await
    }

    async fn send(&self, bytes: &str) -> JoinHandle<String> {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        let answer = tokio::spawn(async move {
            let mut text = String::new();
            // A connection that is cut off counts as no answer.
            let _ = stream.read_to_string(&mut text).await;
            text
        });
        turns().await;
        answer
    }
}

/// Everything until the server closes the connection.
async fn answer(mut stream: TcpStream) -> String {
    let mut text = String::new();
    timeout(Duration::from_secs(60), stream.read_to_string(&mut text)).await.expect("an answer").unwrap();
    text
}
