use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use axum::routing::get;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadBuf, duplex},
    net::TcpStream,
    sync::oneshot,
    task::JoinHandle,
    time::Instant,
};

use super::*;

fn router() -> Router {
    let slow = || async {
        sleep(Duration::from_secs(1)).await;
        "slow"
    };
    let stuck = || async {
        sleep(FAREWELL * 2).await;
        "stuck"
    };
    Router::new()
        .route("/", get(|| async { "x".repeat(4096) }))
        .route("/slow", get(slow))
        .route("/stuck", get(stuck))
}

/// Counts the writes that reach a stream.
struct Counting {
    stream: DuplexStream,
    writes: Arc<AtomicUsize>,
}

impl AsyncRead for Counting {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counting {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    /// Claims to be able to, and takes one buffer at a time: what is not in one buffer is not one write.
    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

struct Client {
    stream: DuplexStream,
    writes: Arc<AtomicUsize>,
}

fn connect() -> Client {
    let (stream, server) = duplex(128 * 1024);
    let writes = Arc::new(AtomicUsize::new(0));
    let counting = Counting { stream: server, writes: Arc::clone(&writes) };
    tokio::spawn(async move { connection(counting, router()).await });
    Client { stream, writes }
}

impl Client {
    async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// Everything until the server closes the connection.
    async fn rest(&mut self) -> String {
        let mut text = String::new();
        self.stream.read_to_string(&mut text).await.unwrap();
        text
    }
}

#[tokio::test]
async fn an_answer_is_one_write() {
    let mut client = connect();
    client.send("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    let answer = client.rest().await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with(&"x".repeat(4096)), "{answer}");
    assert_eq!(client.writes.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_come_to_its_end_is_given_up_after_10_seconds() {
    let mut client = connect();
    let started = Instant::now();
    client.send("GET / HTTP/1.1\r\nHost: x\r\n").await;
    client.rest().await;
    assert_eq!(started.elapsed().as_secs(), HEAD_TIMEOUT.as_secs());
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_after_10_seconds() {
    let mut client = connect();
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let started = Instant::now();
    let answer = client.rest().await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert_eq!(started.elapsed().as_secs(), HEAD_TIMEOUT.as_secs());
}

#[tokio::test]
async fn more_header_fields_than_64_are_refused() {
    let fields = |count: usize| "A: b\r\n".repeat(count);
    for (count, status) in [(63, "200"), (64, "431")] {
        let mut client = connect();
        // One of them is the Connection field.
        client.send(&format!("GET / HTTP/1.1\r\nConnection: close\r\n{}\r\n", fields(count))).await;
        let answer = client.rest().await;
        assert_eq!(answer.get(9..12), Some(status), "{count}");
    }
}

#[tokio::test]
async fn a_head_that_fills_the_buffer_is_refused() {
    // hyper looks at the limit before each read: the last one may go beyond it.
    for (length, status) in [(MAX_HEAD_LEN / 2, "200"), (2 * MAX_HEAD_LEN, "431")] {
        let mut client = connect();
        let padding = "b".repeat(length);
        client.send(&format!("GET / HTTP/1.1\r\nConnection: close\r\nA: {padding}\r\n\r\n")).await;
        let answer = client.rest().await;
        assert_eq!(answer.get(9..12), Some(status), "{length}");
    }
}

struct Running {
    address: std::net::SocketAddr,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<Ended>,
}

async fn start() -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let ended = tokio::spawn(run(listener, router(), async { drop(stopped.await) }));
    Running { address, stop, ended }
}

impl Running {
    /// Asks for `path`; the answer comes when it comes.
    async fn ask(&self, path: &str) -> JoinHandle<String> {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
        let answer = tokio::spawn(async move {
            let mut text = String::new();
            // A connection that is cut off counts as no answer.
            let _ = stream.read_to_string(&mut text).await;
            text
        });
        // Real time: the request must be with its handler before anything else happens.
        tokio::time::sleep(Duration::from_millis(200)).await;
        answer
    }
}

#[tokio::test]
async fn at_the_end_a_request_under_way_is_answered_and_no_other_is_taken() {
    let running = start().await;
    let answer = running.ask("/slow").await;
    let idle = running.ask("/").await;
    running.stop.send(()).unwrap();
    assert!(answer.await.unwrap().ends_with("slow"));
    assert!(idle.await.unwrap().ends_with("xxx"), "an idle connection is closed, not waited for");
    assert_eq!(running.ended.await.unwrap(), Ended::Drained);
    assert!(TcpStream::connect(running.address).await.is_err());
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_cut_off_after_10_seconds() {
    let running = start().await;
    let _answer = running.ask("/stuck").await;
    tokio::time::pause();
    let started = Instant::now();
    running.stop.send(()).unwrap();
    assert_eq!(running.ended.await.unwrap(), Ended::CutOff);
    assert_eq!(started.elapsed().as_secs(), FAREWELL.as_secs());
}

#[tokio::test]
async fn a_connection_beyond_the_limit_waits_until_another_is_over() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let limit = Arc::new(Semaphore::new(1));
    let _clients = [TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap()];
    let (_stream, permit) = accept(&listener, &limit).await;
    assert!(timeout(Duration::from_millis(100), accept(&listener, &limit)).await.is_err());
    drop(permit);
    assert!(timeout(Duration::from_secs(5), accept(&listener, &limit)).await.is_ok());
}
