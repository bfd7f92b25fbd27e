//! A raw connection: sends any bytes, and reads one response after the other.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
};

use keybroker_simulator::http::Response;
use serde_json::Value;

use crate::DEADLINE;

/// A connection to a broker.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Connection {
    /// Connects to `host:port`.
    pub fn open(authority: &str) -> Self {
        let stream = TcpStream::connect(authority).expect("a connection");
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, received: Vec::new() }
    }

    /// Sends bytes. `false` if the server no longer takes them: it may have refused before it read them all.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Sends no more.
    pub fn finish(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// The result of one read, with room for all bytes that are there.
    pub fn one_read(&mut self) -> Vec<u8> {
        let mut buffer = vec![0; 256 * 1024];
        let length = self.stream.read(&mut buffer).expect("something to read");
        buffer.truncate(length);
        buffer
    }

    /// The next response. `None` if the connection ends before one begins.
    pub fn response(&mut self) -> Option<Response> {
        loop {
            if let Some(response) = self.whole(false) {
                return Some(response);
            }
            if self.read_more() == 0 {
                return if self.received.is_empty() { None } else { self.whole(true) };
            }
        }
    }

    /// Everything until the connection ends.
    pub fn rest(&mut self) -> Vec<u8> {
        while self.read_more() > 0 {}
        std::mem::take(&mut self.received)
    }

    fn read_more(&mut self) -> usize {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(length) => {
                self.received.extend(buffer.iter().take(length));
                length
            }
            // The server closed before it had read everything.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => 0,
            Err(error) => panic!("neither an answer nor an end: {error}"),
        }
    }

    /// Takes a complete response from the front of the received bytes.
    fn whole(&mut self, at_end: bool) -> Option<Response> {
        let response = Response::parse(&self.received, at_end).expect("well-formed HTTP")?;
        assert!(!response.chunked, "the broker never sends chunks");
        let head = self.received.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        let rest = self.received.split_off(head + response.body.len());
        let raw = std::mem::replace(&mut self.received, rest);
        Some(Response { raw, ..response })
    }
}

/// Asserts what every refusal must be for libkrun's guest to survive it: JSON of 3 to 199 bytes with an
/// `error`, whole, and no redirect.
pub fn assert_short_refusal(response: &Response) {
    assert_refusal_within(response, 199);
}

/// The same with up to `most` bytes, for the longer texts about policies, which no guest receives.
pub fn assert_refusal_within(response: &Response, most: usize) {
    let what = String::from_utf8_lossy(&response.raw);
    assert!((400..500).contains(&response.status), "{what}");
    assert!((3..=most).contains(&response.body.len()), "{what}");
    assert_eq!(response.header("content-length"), [response.body.len().to_string()], "{what}");
    assert!(!response.chunked && response.header("location").is_empty(), "{what}");
    let json: Value = serde_json::from_slice(&response.body).expect("JSON");
    assert!(json.get("error").is_some_and(Value::is_string), "{what}");
}
