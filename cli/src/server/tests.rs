use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use axum::routing::{any, get};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadBuf, duplex},
    net::{TcpSocket, TcpStream},
    sync::{Notify, oneshot},
    task::JoinHandle,
    time::Instant,
};

use super::{deadline::WRITE_TIMEOUT, requests::MAX_REQUESTS, *};

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

    /// The stream claims to support vectored writes, and takes one buffer at a time: an answer in two buffers
    /// would be two writes.
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
    connect_to(Places::new(Limits::alone(1)))
}

/// A connection that has one of `places`.
fn connect_to(places: Arc<Places>) -> Client {
    let (stream, server) = duplex(128 * 1024);
    let writes = Arc::new(AtomicUsize::new(0));
    let counting = Counting { stream: server, writes: Arc::clone(&writes) };
    tokio::spawn(async move {
        let place = places.take(Peer::Local).unwrap();
        connection(counting, None, router(Arc::default()), place.progress(), Arc::<Pace>::default().join())
            .await
    });
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
async fn an_unfinished_head_is_given_up_after_10_seconds() {
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

/// Lets everything come as far as it can: the bytes that are with a socket reach their handler. In each pause
/// all run that can, whether or not the machine is slow: the number of pauses counts, and not their time.
async fn turns() {
    for _ in 0..50 {
        tokio::time::sleep(Duration::from_millis(4)).await;
    }
}

struct Running {
    address: std::net::SocketAddr,
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

#[tokio::test]
async fn the_end_answers_a_request_under_way_and_takes_no_other() {
    let running = start().await;
    let answer = running.ask("/held").await;
    let idle = running.ask("/").await;
    running.stop.send(()).unwrap();
    turns().await;
    running.gate.notify_one();
    assert!(answer.await.unwrap().ends_with("held"));
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

/// Halves of requests, of which the other halves never come.
const HALVES: [&str; 3] = [
    "GET / HTTP/1.1\r\nHost",
    "POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\na",
    "POST /body HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n",
];

impl Running {
    /// Stops it, and returns how it ended and after how long. The clock must be paused, and runs ahead while
    /// nothing happens: nothing in the meantime may depend on when bytes arrive.
    async fn end(self) -> (Ended, Duration) {
        let begin = Instant::now();
        self.stop.send(()).unwrap();
        let ended = self.ended.await.unwrap();
        (ended, begin.elapsed())
    }
}

/// An end without anything but clients to wait for.
fn assert_two_seconds((ended, took): (Ended, Duration)) {
    assert_eq!(ended, Ended::Drained);
    assert!((Duration::from_secs(2)..Duration::from_secs(3)).contains(&took), "{took:?}");
}

/// Anybody could hold up each stop otherwise.
#[tokio::test]
async fn the_end_has_two_seconds_for_clients_that_owe_the_rest_of_a_request() {
    let running = start().await;
    let mut strangers = Vec::new();
    for half in HALVES {
        strangers.push(running.send(half).await);
    }
    tokio::time::pause();
    assert_two_seconds(running.end().await);
    for stranger in strangers {
        assert_eq!(stranger.await.unwrap(), "");
    }
}

#[tokio::test]
async fn the_end_has_its_whole_time_for_a_request_in_hand() {
    let running = start().await;
    let stranger = running.send(HALVES[0]).await;
    let held = running.ask("/held").await;
    let gate = Arc::clone(&running.gate);
    let opening = async {
        sleep(FAREWELL / 2).await;
        gate.notify_one();
    };
    tokio::time::pause();
    let ((ended, took), ()) = tokio::join!(running.end(), opening);
    assert_eq!((ended, took.as_secs()), (Ended::Drained, FAREWELL.as_secs() / 2));
    assert!(held.await.unwrap().ends_with("held"));
    assert_eq!(stranger.await.unwrap(), "");
}

/// hyper has a time for heads alone.
#[tokio::test]
async fn a_head_that_is_completed_at_the_end_gets_no_more_time_for_its_body() {
    let running = start().await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(b"POST /body HTTP/1.1\r\nHost: x\r\n").await.unwrap();
    turns().await;
    let late = async {
        turns().await;
        stream.write_all(b"Content-Length: 2\r\n\r\na").await.unwrap();
    };
    tokio::time::pause();
    let (ended, ()) = tokio::join!(running.end(), late);
    assert_two_seconds(ended);
}

/// The end begins in the middle of a request, and the rest comes in time: the clock stands still.
#[tokio::test]
async fn a_request_that_is_whole_soon_after_the_end_began_is_answered() {
    let (head, length) = ("POST /echo HTTP/1.1\r\nHost: x\r\n", "Content-Length: 2\r\n\r\n");
    for (first, rest) in
        [(head.to_owned(), format!("{length}ab")), (format!("{head}{length}"), "ab".to_owned())]
    {
        let running = start().await;
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream.write_all(first.as_bytes()).await.unwrap();
        turns().await;
        tokio::time::pause();
        // A paused clock does not run ahead while a thread has work.
        let (go_on, told) = std::sync::mpsc::channel::<()>();
        let still = tokio::task::spawn_blocking(move || told.recv());
        running.stop.send(()).unwrap();
        while TcpStream::connect(running.address).await.is_ok() {}
        stream.write_all(rest.as_bytes()).await.unwrap();
        let text = answer(stream).await;
        assert!(text.starts_with("HTTP/1.1 200 OK") && text.ends_with("ab"), "{first}: {text}");
        assert_eq!(running.ended.await.unwrap(), Ended::Drained);
        drop(go_on);
        still.await.unwrap().unwrap_err();
        tokio::time::resume();
    }
}

#[tokio::test]
async fn the_end_has_two_seconds_for_a_client_that_does_not_read() {
    let running = start().await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    turns().await;
    tokio::time::pause();
    assert_two_seconds(running.end().await);
}

/// Their clients try again elsewhere, or at the next process.
#[tokio::test]
async fn the_end_closes_connections_without_a_place_at_once() {
    let running = start_with(Limits::alone(1)).await;
    let held = running.ask("/held").await;
    let waiting = running.ask("/").await;
    running.stop.send(()).unwrap();
    assert_eq!(waiting.await.unwrap(), "");
    assert!(!held.is_finished());
    running.gate.notify_one();
    assert!(held.await.unwrap().ends_with("held"));
    assert_eq!(running.ended.await.unwrap(), Ended::Drained);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_nobody_reads_is_given_up_after_10_seconds() {
    for trickled in [false, true] {
        let mut client = connect();
        let started = Instant::now();
        // As many requests as a connection may have: their answers are more than fits into the pipe.
        client.send(&"GET / HTTP/1.1\r\nHost: x\r\n\r\n".repeat(MAX_REQUESTS as usize - 1)).await;
        let mut taken = 0;
        if trickled {
            // A byte now and then does not put it off.
            for _ in 0..12 {
                sleep(Duration::from_millis(1_500)).await;
                taken += client.stream.read(&mut [0; 1]).await.unwrap();
            }
        } else {
            sleep(WRITE_TIMEOUT * 2).await;
        }
        let (rest, took) = (client.rest().await, started.elapsed());
        // The bytes that the pipe holds, and those that the trickle made room for.
        assert!(taken + rest.len() < 128 * 1024 + 20, "{}", rest.len());
        assert!(took < WRITE_TIMEOUT * 2 + Duration::from_secs(1), "{took:?}");
    }
}

#[tokio::test]
async fn a_connection_has_100_requests() {
    let client = connect();
    let request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    let (mut reader, mut writer) = tokio::io::split(client.stream);
    let sending = async {
        // The server may have closed the connection before the last request is written.
        let _ = writer.write_all(request.repeat(2 * MAX_REQUESTS as usize).as_bytes()).await;
    };
    let mut text = String::new();
    let (_, read) = tokio::join!(sending, reader.read_to_string(&mut text));
    read.unwrap();
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), MAX_REQUESTS as usize);
    assert_eq!(text.matches("connection: close").count(), 1);
}

/// A listener's connection, once it has a place and until its task ends.
#[tokio::test]
async fn a_connection_that_loses_its_place_is_closed() {
    let running = start_with(Limits::alone(1)).await;
    let mut first = TcpStream::connect(running.address).await.unwrap();
    let answer = running.ask("/").await;
    let mut text = String::new();
    first.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "", "it asked for nothing");
    running.stop.send(()).unwrap();
    assert!(answer.await.unwrap().starts_with("HTTP/1.1 200 OK"));
}

/// It would answer a hundred requests otherwise, while others wait for the connection to end.
#[tokio::test(start_paused = true)]
async fn a_connection_that_has_lost_its_place_answers_one_request() {
    let places = Places::new(Limits::alone(1));
    let mut client = connect_to(Arc::clone(&places));
    sleep(Duration::from_secs(1)).await;
    let _next = places.take(Peer::Local).unwrap();
    client.send(&"GET / HTTP/1.1\r\nHost: x\r\n\r\n".repeat(3)).await;
    let text = client.rest().await;
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 1, "{text}");
    assert!(text.contains("connection: close"), "{text}");
}

#[tokio::test]
async fn a_connection_beyond_the_limit_waits_while_all_have_requests() {
    let running = start_with(Limits::alone(1)).await;
    let held = running.ask("/held").await;
    let quick = running.ask("/").await;
    assert!(!held.is_finished() && !quick.is_finished());
    running.gate.notify_one();
    assert!(held.await.unwrap().ends_with("held"));
    running.stop.send(()).unwrap();
    assert!(quick.await.unwrap().ends_with("xxx"));
}

/// Sends one request from `address`.
async fn ask_from(address: &str, running: &Running) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(address.parse().unwrap()).unwrap();
    let mut stream = socket.connect(running.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    stream
}

async fn answer(mut stream: TcpStream) -> String {
    let mut text = String::new();
    timeout(Duration::from_secs(60), stream.read_to_string(&mut text)).await.expect("an answer").unwrap();
    text
}

/// All places of an address have requests in hand. A newcomer of this address waits, and not before another
/// address's.
#[tokio::test]
async fn an_address_with_all_its_places_keeps_no_other_waiting() {
    let limits = Limits::shared(16, 8);
    let running = start_with(limits).await;
    for _ in 0..limits.per_peer {
        running.ask("/held").await;
    }
    let newcomer = ask_from("127.0.0.1:0", &running).await;
    let other = ask_from("127.0.0.2:0", &running).await;
    assert!(answer(other).await.ends_with("xxx"));
    assert_eq!(newcomer.try_read(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    running.gate.notify_one();
    assert!(answer(newcomer).await.ends_with("xxx"));
}

/// A connection with a body that does not end counts as waiting, and so does one with a body that nobody
/// reads.
#[tokio::test]
async fn a_request_is_in_hand_once_its_body_is_whole() {
    let running = start_with(Limits::alone(1)).await;
    for (sent, kept) in [
        ("POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\na", false),
        ("POST /body HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n", false),
        ("POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab", true),
        ("POST /body HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n", true),
        ("POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", true),
    ] {
        let first = running.send(sent).await;
        let second = running.send("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
        let text = first.await.unwrap();
        assert_eq!(text.starts_with("HTTP/1.1 200 OK"), kept, "{sent}: {text}");
        assert!(second.await.unwrap().starts_with("HTTP/1.1 200 OK"));
    }
}
