//! A connection by itself, on a pipe in memory.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadBuf, duplex},
    time::Instant,
};

use super::{
    super::{deadline::WRITE_TIMEOUT, requests::MAX_REQUESTS},
    *,
};

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
