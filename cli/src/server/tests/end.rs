//! A listener that is told to end.

use tokio::{io::AsyncWriteExt, time::Instant};

use super::*;

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
