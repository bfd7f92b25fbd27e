//! The broker's answers, in a form that libkrun's guest can read.
//!
//! The guest takes what its first read brings, ignores the status, and copies bodies into buffers of fixed
//! size. The broker's answers allow for that. The answers of a gateway or proxy between broker and relay may
//! not.

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header},
    response::Response as Answer,
};
use keybroker_common::{http::reply, problem::error_information};

/// The header fields of an answer that a client can use. The relay sets the length itself.
const PASSED: [HeaderName; 4] =
    [header::CONTENT_TYPE, header::RETRY_AFTER, header::ALLOW, header::WWW_AUTHENTICATE];

/// A client, by what it can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reader {
    /// libkrun's guest.
    Libkrun,
    /// libkrun's guest, which asks for its key: it would read on in its memory unless a NUL ends the text.
    LibkrunsKey,
    /// A client that reads the length, and as much as there is.
    Http,
    /// The same, on a route whose refusals have the form that Trustee's clients read.
    Trustee,
}

impl Reader {
    /// The longest refusal that it reads, in bytes.
    fn longest(self) -> usize {
        match self {
            Self::Libkrun | Self::LibkrunsKey => 199,
            Self::Http | Self::Trustee => 1024,
        }
    }

    /// Whether it takes this body for a refusal. To libkrun's guest an empty body means success, and so does
    /// one that begins with a NUL; a longer body overruns its buffer.
    fn understands(self, body: &[u8]) -> bool {
        (3..=self.longest()).contains(&body.len()) && !body.contains(&0)
    }
}

/// The broker's answer for the client.
pub(super) fn present(answer: Response<Vec<u8>>, reader: Reader) -> Answer {
    let (parts, mut body) = answer.into_parts();
    if !parts.status.is_success() && !reader.understands(&body) {
        let text = format!("the broker answered {}", parts.status.as_u16());
        let mut refusal = refusal(parts.status, &text, reader);
        pass(&parts.headers, refusal.headers_mut());
        refusal.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        return refusal;
    }
    if parts.status.is_success() && reader == Reader::LibkrunsKey && !body.ends_with(b"\0") {
        body.push(0);
    }
    let mut whole = reply::whole(parts.status, body);
    pass(&parts.headers, whole.headers_mut());
    whole
}

/// A refusal of the relay's own, in the form that the client reads. The text must need no escape.
pub(super) fn refusal(status: StatusCode, text: &str, reader: Reader) -> Answer {
    reply::json(
        status,
        match reader {
            Reader::Trustee => error_information("RelayError", text.to_owned()),
            _ => format!(r#"{{"error":"{text}"}}"#).into_bytes(),
        },
    )
}

fn pass(from: &HeaderMap, to: &mut HeaderMap) {
    for name in PASSED {
        if let Some(value) = from.get(&name) {
            to.insert(name, value.clone());
        }
    }
    for cookie in from.get_all(header::SET_COOKIE) {
        if let Some(cookie) = over_plain_http(cookie) {
            to.append(header::SET_COOKIE, cookie);
        }
    }
}

/// The cookie without `Secure`: with it the client would not send the cookie back over plain http.
fn over_plain_http(cookie: &HeaderValue) -> Option<HeaderValue> {
    let attributes = cookie.as_bytes().split(|byte| *byte == b';');
    let kept: Vec<&[u8]> =
        attributes.filter(|attribute| !attribute.trim_ascii().eq_ignore_ascii_case(b"Secure")).collect();
    let mut cookie = HeaderValue::from_bytes(&kept.join(&b';')).ok()?;
    cookie.set_sensitive(true);
    Some(cookie)
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;

    async fn presented(status: u16, body: &[u8], reader: Reader) -> (StatusCode, Vec<u8>) {
        let answer = Response::builder().status(status).body(body.to_vec()).unwrap();
        let presented = present(answer, reader);
        let (parts, body) = presented.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap().to_vec();
        assert_eq!(parts.headers[header::CONTENT_LENGTH], body.len().to_string());
        (parts.status, body)
    }

    #[tokio::test]
    async fn a_refusal_that_the_guest_can_read_is_passed_as_it_is() {
        for body in [&br#"{"message":"Forbidden"}"#[..], b"no!", &[b'x'; 199]] {
            for status in [400, 403, 429, 500, 503] {
                let (passed, text) = presented(status, body, Reader::LibkrunsKey).await;
                assert_eq!((passed.as_u16(), text.as_slice()), (status, body));
            }
        }
    }

    #[tokio::test]
    async fn a_refusal_that_it_cannot_is_replaced() {
        for body in [&b""[..], b"{}", &[b'x'; 200], &[b'x'; 60_000], b"\0no", b"no\0"] {
            for status in [400, 403, 500, 503] {
                let (passed, text) = presented(status, body, Reader::Libkrun).await;
                assert_eq!(passed.as_u16(), status);
                assert_eq!(
                    String::from_utf8(text).unwrap(),
                    format!(r#"{{"error":"the broker answered {status}"}}"#)
                );
            }
        }
    }

    /// The broker's own refusals of Trustee's guests are longer than libkrun's guest could read.
    #[tokio::test]
    async fn a_client_that_reads_lengths_gets_longer_refusals_as_they_are() {
        for reader in [Reader::Http, Reader::Trustee] {
            for body in [&[b'x'; 200][..], &[b'x'; 1024], br#"{"type":"t","detail":"d"}"#] {
                assert_eq!(presented(401, body, reader).await, (StatusCode::UNAUTHORIZED, body.to_vec()));
            }
            let (status, text) = presented(503, &[b'x'; 1025], reader).await;
            let text = String::from_utf8(text).unwrap();
            let trustees = r#"{"type":"https://github.com/confidential-containers/kbs/errors/RelayError","#;
            assert_eq!(
                (status.as_u16(), text.starts_with(trustees)),
                (503, reader == Reader::Trustee),
                "{text}"
            );
            assert!(text.contains(r#":"the broker answered 503"}"#), "{text}");
        }
    }

    #[tokio::test]
    async fn a_key_ends_with_one_nul_for_a_client_that_needs_it() {
        for (body, reader, expected) in [
            (&b"\"00\""[..], Reader::LibkrunsKey, &b"\"00\"\0"[..]),
            (b"\"00\"\0", Reader::LibkrunsKey, b"\"00\"\0"),
            (b"\"00\"", Reader::Http, b"\"00\""),
            (b"", Reader::Libkrun, b""),
        ] {
            assert_eq!(presented(200, body, reader).await, (StatusCode::OK, expected.to_vec()));
        }
    }

    #[test]
    fn the_client_gets_the_header_fields_that_it_can_use() {
        let answer = Response::builder()
            .status(429)
            .header("content-type", "text/plain")
            .header("retry-after", "7")
            .header("allow", "GET")
            .header("www-authenticate", "Basic")
            .header("set-cookie", "a=1; Secure; Path=/")
            .header("set-cookie", "b=2;HttpOnly;secure")
            .header("location", "https://elsewhere")
            .header("transfer-encoding", "chunked")
            .header("x-amzn-requestid", "1")
            .header("server", "x")
            .body(b"no!".to_vec())
            .unwrap();
        let presented = present(answer, Reader::Http);
        let head = presented.headers();
        let mut names: Vec<_> = head.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        let expected = [
            "allow",
            "cache-control",
            "content-length",
            "content-type",
            "retry-after",
            "set-cookie",
            "www-authenticate",
        ];
        assert_eq!(names, expected);
        assert_eq!(
            (&head["content-type"], &head["retry-after"]),
            (&"text/plain".parse().unwrap(), &"7".parse().unwrap())
        );
        let cookies: Vec<_> = head.get_all("set-cookie").iter().collect();
        assert_eq!(cookies, ["a=1; Path=/", "b=2;HttpOnly"]);
        assert!(cookies.iter().all(|cookie| cookie.is_sensitive()));
    }
}
