//! The broker's answers, in a form that libkrun's guest can read.
//!
//! The guest takes what its first read brings, ignores the status, and copies bodies into buffers of fixed
//! size. The broker's answers allow for that. The answers of a gateway or proxy between broker and relay may
//! not.

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, Response, header},
    response::Response as Answer,
};
use keybroker_common::http::reply;

/// The header fields of an answer that a client can use. The relay sets the length itself.
const PASSED: [HeaderName; 4] =
    [header::CONTENT_TYPE, header::RETRY_AFTER, header::ALLOW, header::WWW_AUTHENTICATE];

/// The bytes that the client needs behind a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// None: it is no key, or the client reads its length.
    AsItIs,
    /// A NUL, which ends the text for a client that would read on in its memory.
    Nul,
}

/// The broker's answer for the client.
pub(super) fn present(answer: Response<Vec<u8>>, end: End) -> Answer {
    let (parts, mut body) = answer.into_parts();
    if !parts.status.is_success() && !is_legible(&body) {
        let text = format!(r#"{{"error":"the broker answered {}"}}"#, parts.status.as_u16());
        let mut refusal = reply::json(parts.status, text.into_bytes());
        pass(&parts.headers, refusal.headers_mut());
        refusal.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        return refusal;
    }
    if parts.status.is_success() && end == End::Nul && !body.ends_with(b"\0") {
        body.push(0);
    }
    let mut whole = reply::whole(parts.status, body);
    pass(&parts.headers, whole.headers_mut());
    whole
}

/// Whether the guest takes this body for a refusal. To the guest an empty body means success, and so does one
/// that begins with a NUL; a longer body overruns its buffer.
fn is_legible(body: &[u8]) -> bool {
    (3..=199).contains(&body.len()) && !body.contains(&0)
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
    use axum::{body::to_bytes, http::StatusCode};

    use super::*;

    async fn presented(status: u16, body: &[u8], end: End) -> (StatusCode, Vec<u8>) {
        let answer = Response::builder().status(status).body(body.to_vec()).unwrap();
        let presented = present(answer, end);
        let (parts, body) = presented.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap().to_vec();
        assert_eq!(parts.headers[header::CONTENT_LENGTH], body.len().to_string());
        (parts.status, body)
    }

    #[tokio::test]
    async fn a_refusal_that_the_guest_can_read_is_passed_as_it_is() {
        for body in [&br#"{"message":"Forbidden"}"#[..], b"no!", &[b'x'; 199]] {
            for status in [400, 403, 429, 500, 503] {
                let (passed, text) = presented(status, body, End::Nul).await;
                assert_eq!((passed.as_u16(), text.as_slice()), (status, body));
            }
        }
    }

    #[tokio::test]
    async fn a_refusal_that_it_cannot_is_replaced() {
        for body in [&b""[..], b"{}", &[b'x'; 200], &[b'x'; 60_000], b"\0no", b"no\0"] {
            for status in [400, 403, 500, 503] {
                let (passed, text) = presented(status, body, End::AsItIs).await;
                assert_eq!(passed.as_u16(), status);
                assert_eq!(
                    String::from_utf8(text).unwrap(),
                    format!(r#"{{"error":"the broker answered {status}"}}"#)
                );
            }
        }
    }

    #[tokio::test]
    async fn a_key_ends_with_one_nul_for_a_client_that_needs_it() {
        for (body, end, expected) in [
            (&b"\"00\""[..], End::Nul, &b"\"00\"\0"[..]),
            (b"\"00\"\0", End::Nul, b"\"00\"\0"),
            (b"\"00\"", End::AsItIs, b"\"00\""),
            (b"", End::AsItIs, b""),
        ] {
            assert_eq!(presented(200, body, end).await, (StatusCode::OK, expected.to_vec()));
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
        let presented = present(answer, End::AsItIs);
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
