//! Connections beyond those that a listener has places for.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use super::*;

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
