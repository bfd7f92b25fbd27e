//! A connection that is kept, and no more of HTTP/1.1 than the broker answers with: this process shares the
//! processor with the broker that it measures.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// A connection to the broker. It is made at the first request, and anew after the broker announced its end.
#[derive(Debug)]
pub(crate) struct Connection {
    address: SocketAddr,
    stream: Option<TcpStream>,
    received: Vec<u8>,
}

/// An answer, complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer<'a> {
    /// The status.
    pub(crate) status: u16,
    /// Everything before the empty line.
    pub(crate) head: &'a str,
    /// The body.
    pub(crate) body: &'a [u8],
}

impl Connection {
    pub(crate) fn to(address: SocketAddr) -> Self {
        Self { address, stream: None, received: Vec::with_capacity(4096) }
    }

    /// Sends `request`, and reads one answer.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> Result<Answer<'_>> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(self.address).await.context("connecting to the broker")?;
                stream.set_nodelay(true)?;
                stream
            }
        };
        stream.write_all(request).await.context("sending a request")?;
        self.received.clear();
        while Answer::read(&self.received)?.is_none() {
            if stream.read_buf(&mut self.received).await.context("reading an answer")? == 0 {
                bail!("the broker ended the connection within an answer");
            }
        }
        let answer = Answer::read(&self.received)?.context("an answer")?;
        if answer.header("connection") != Some("close") {
            self.stream = Some(stream);
        }
        Ok(answer)
    }
}

impl<'a> Answer<'a> {
    /// The answer in `bytes`; `None` while it is not complete.
    fn read(bytes: &'a [u8]) -> Result<Option<Self>> {
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
        let (head, rest) = bytes.split_at(end);
        let head = std::str::from_utf8(head).context("a head that is no text")?;
        let status = head.get(9..12).and_then(|status| status.parse().ok()).context("no status")?;
        let mut answer = Self { status, head, body: &[] };
        let length = answer.header("content-length").context("an answer without a length")?;
        let length: usize = length.parse().context("a length that is no number")?;
        let Some(body) = rest.get(4..4 + length) else { return Ok(None) };
        answer.body = body;
        Ok(Some(answer))
    }

    /// The value of the field of this name, which the broker writes in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&'a str> {
        let mut fields = self.head.split("\r\n").skip(1).filter_map(|line| line.split_once(": "));
        fields.find(|(own, _)| *own == name).map(|(_, value)| value)
    }

    /// Fails unless the status is 200.
    pub(crate) fn ok(self, step: &str) -> Result<Self> {
        if self.status != 200 {
            bail!("{step}: the broker answers {} {}", self.status, String::from_utf8_lossy(self.body));
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_complete_with_its_last_byte() {
        let bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
        for end in 0..bytes.len() {
            assert_eq!(Answer::read(&bytes[..end]).unwrap(), None, "{end}");
        }
        let answer = Answer::read(bytes).unwrap().unwrap();
        assert_eq!((answer.status, answer.body), (200, &b"ok"[..]));
        assert_eq!(answer.header("connection"), Some("close"));
        assert_eq!(answer.header("set-cookie"), None);
    }
}
