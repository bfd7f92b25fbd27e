//! One HTTP/1.1 exchange, byte for byte.
//!
//! Tests assert the bytes on the wire, so this adds nothing to a request, and normalises and hides nothing in
//! a response.

use std::{io, time::Duration};

use data_encoding::BASE64;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// A response as received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Every byte that came, head and body.
    pub raw: Vec<u8>,
    /// The status code.
    pub status: u16,
    /// Names (as written) and values, in their order, with duplicates.
    pub headers: Vec<(String, String)>,
    /// The body, chunks put together.
    pub body: Vec<u8>,
    /// Whether the body came in chunks.
    pub chunked: bool,
}

impl Response {
    /// The values of every field of that name, in any case.
    pub fn header(&self, name: &str) -> Vec<&str> {
        let matching = self.headers.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name));
        matching.map(|(_, value)| value.as_str()).collect()
    }

    /// The body as text, with replacement characters for what is not UTF-8.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Whether the status is 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Reads a response. `None` if more bytes have to come. With `at_end` no more will come: a body without a
    /// declared length ends here.
    pub fn parse(raw: &[u8], at_end: bool) -> io::Result<Option<Self>> {
        let Some((head, rest)) = split_once(raw, b"\r\n\r\n") else {
            return if at_end { Err(malformed("no complete head")) } else { Ok(None) };
        };
        let head = std::str::from_utf8(head).map_err(|_| malformed("a head that is not text"))?;
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok());
        let status = status.ok_or_else(|| malformed("no status line of HTTP/1.1"))?;
        let mut headers = Vec::new();
        for line in lines {
            let (name, value) = line.split_once(':').ok_or_else(|| malformed("a header without a colon"))?;
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
        let mut response = Self { raw: raw.to_vec(), status, headers, body: Vec::new(), chunked: false };
        response.chunked = response.header("transfer-encoding") == ["chunked"];
        let lengths = response.header("content-length");
        let length = match lengths.as_slice() {
            [] => None,
            [length] => Some(length.parse::<usize>().map_err(|_| malformed("a length that is no number"))?),
            _ => return Err(malformed("more than one Content-Length")),
        };
        let body = match (response.chunked, length) {
            (true, Some(_)) => return Err(malformed("a length for chunks")),
            (true, None) => unchunk(rest)?,
            _ if matches!(status, 204 | 304) => Some(Vec::new()),
            (false, Some(length)) => rest.get(..length).map(<[u8]>::to_vec),
            (false, None) => at_end.then(|| rest.to_vec()),
        };
        match body {
            Some(body) => Ok(Some(Self { body, ..response })),
            None if at_end => Err(malformed("less than the whole body")),
            None => Ok(None),
        }
    }
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the response has {what}"))
}

fn split_once<'a>(bytes: &'a [u8], mark: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = bytes.windows(mark.len()).position(|window| window == mark)?;
    Some((bytes.get(..at)?, bytes.get(at + mark.len()..)?))
}

/// The chunks put together; `None` if there is more to come.
fn unchunk(mut rest: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let mut body = Vec::new();
    loop {
        let Some((size, tail)) = split_once(rest, b"\r\n") else { return Ok(None) };
        let size = std::str::from_utf8(size).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
        let size = size.ok_or_else(|| malformed("a chunk without a size"))?;
        let Some((chunk, tail)) = tail.split_at_checked(size) else { return Ok(None) };
        let Some((end, tail)) = tail.split_at_checked(2) else { return Ok(None) };
        if end != b"\r\n" {
            return Err(malformed("a chunk that does not end"));
        }
        if size == 0 {
            return Ok(Some(body));
        }
        body.extend(chunk);
        rest = tail;
    }
}

/// Sends exactly `request` to `authority` (`host:port`) on a connection of its own and reads one response.
///
/// Gives an error of kind `TimedOut` if the whole exchange takes longer than `deadline`.
pub async fn exchange(authority: &str, request: &[u8], deadline: Duration) -> io::Result<Response> {
    timeout(deadline, async {
        let mut stream = TcpStream::connect(authority).await?;
        // A server may refuse a request before it has read all of it. Then the response counts, not the
        // broken pipe.
        let sent = stream.write_all(request).await;
        let mut raw = Vec::new();
        loop {
            let at_end = match stream.read_buf(&mut raw).await {
                Ok(read) => read == 0,
                Err(_) if !raw.is_empty() => true,
                Err(error) => return Err(sent.err().unwrap_or(error)),
            };
            if let Some(response) = Response::parse(&raw, at_end)? {
                return Ok(response);
            }
        }
    })
    .await
    .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// A plain-http URL in the parts that a client needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Host and port, for the connection and the Host header.
    pub authority: String,
    /// Path before the protocol's own, without a slash at the end; often empty.
    pub base: String,
    /// User and password as the value of an Authorization header, if the URL has them.
    pub authorization: Option<String>,
}

impl Endpoint {
    /// Splits `http://[user:password@]host:port[/base]`. `None` for anything else.
    pub fn parse(url: &str) -> Option<Self> {
        let rest = url.strip_prefix("http://")?;
        let (authority, base) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (userinfo, authority) = match authority.rsplit_once('@') {
            Some((userinfo, authority)) => (Some(userinfo), authority),
            None => (None, authority),
        };
        Some(Self {
            authority: authority.to_owned(),
            base: base.trim_end_matches('/').to_owned(),
            authorization: userinfo.map(|userinfo| format!("Basic {}", BASE64.encode(userinfo.as_bytes()))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_keep_their_order_and_duplicates() {
        let raw =
            b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nX: y\r\nset-cookie: b=2\r\nContent-Length: 2\r\n\r\nok!";
        let response = Response::parse(raw, false).expect("well-formed").expect("complete");
        assert_eq!(response.header("Set-Cookie"), ["a=1", "b=2"]);
        assert_eq!(response.headers[1], ("X".to_owned(), "y".to_owned()));
        assert_eq!((response.status, response.body.as_slice()), (200, &b"ok"[..]));
        assert_eq!(response.raw, raw);
    }

    #[test]
    fn a_response_is_complete_when_its_body_is() {
        let raw = b"HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nno!";
        for end in 0..raw.len() {
            assert_eq!(Response::parse(&raw[..end], false).expect("so far so good"), None, "{end}");
            assert!(Response::parse(&raw[..end], true).is_err(), "{end}");
        }
        assert!(Response::parse(raw, false).expect("well-formed").is_some());
    }

    #[test]
    fn chunks_are_put_together_and_told() {
        let raw =
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\nA\r\n0123456789\r\n0\r\n\r\n";
        let response = Response::parse(raw, false).expect("well-formed").expect("complete");
        assert_eq!(response.text(), "ab0123456789");
        assert!(response.chunked);
    }

    #[test]
    fn a_url_has_a_base_and_may_have_userinfo() {
        let plain = Endpoint::parse("http://127.0.0.1:8000").expect("a URL");
        assert_eq!((plain.authority.as_str(), plain.base.as_str()), ("127.0.0.1:8000", ""));
        assert_eq!(plain.authorization, None);
        let full = Endpoint::parse("http://build:secret@localhost:1/prod/").expect("a URL");
        assert_eq!((full.authority.as_str(), full.base.as_str()), ("localhost:1", "/prod"));
        assert_eq!(full.authorization.as_deref(), Some("Basic YnVpbGQ6c2VjcmV0"));
        assert_eq!(Endpoint::parse("https://localhost:1"), None);
    }
}
