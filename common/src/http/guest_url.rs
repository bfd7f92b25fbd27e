//! Whether libkrun's guest can hold the URL that it will fetch its key from.

use data_encoding::BASE64;
use http::{HeaderMap, header};

use crate::ids::WorkloadId;

/// Longest URL of a key, in bytes: the guest prints it into 100, with a NUL at the end.
pub const MAX_LEN: usize = 99;

/// The path between the base URL and the workload's id.
const KEY_PATH: &str = "/kbs/v0/key/";

/// How many bytes a workload's id may have behind a base URL of `base_len` bytes, `user:password@` included.
/// Below 1 no id fits.
pub fn room_for_id(base_len: usize) -> i64 {
    let signed = |len: usize| i64::try_from(len).unwrap_or(i64::MAX);
    signed(MAX_LEN - KEY_PATH.len()).saturating_sub(signed(base_len))
}

/// By how many characters the key's URL will be too long for a guest that uses the URL by which this request
/// came. `None` if it fits, or if the request does not say how it came.
pub(super) fn overflow(headers: &HeaderMap, id: &WorkloadId) -> Option<usize> {
    let host = headers.get(header::HOST)?;
    let base = scheme(headers).len() + "://".len() + userinfo_len(headers) + host.len();
    let len = i64::try_from(id.as_str().len()).ok()?;
    usize::try_from(len - room_for_id(base)).ok().filter(|excess| *excess > 0)
}

fn scheme(headers: &HeaderMap) -> &'static str {
    let behind_tls =
        headers.get("x-forwarded-proto").is_some_and(|proto| proto.as_bytes().eq_ignore_ascii_case(b"https"));
    if behind_tls { "https" } else { "http" }
}

/// buildah sends the `user:password@` of its URL as Basic credentials, and writes the URL into the image with
/// them.
fn userinfo_len(headers: &HeaderMap) -> usize {
    let credentials = || {
        let encoded = headers.get(header::AUTHORIZATION)?.as_bytes().strip_prefix(b"Basic ")?;
        Some(BASE64.decode(encoded).ok()?.len() + "@".len())
    };
    credentials().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
    }

    fn id(length: usize) -> WorkloadId {
        WorkloadId::new("w".repeat(length)).unwrap()
    }

    /// 14 characters, so that `http://host` has 21 and the id 66 at most.
    const LOOPBACK: (&str, &str) = ("host", "127.0.0.1:8080");

    #[test]
    fn a_url_of_99_characters_fits() {
        assert_eq!(overflow(&headers(&[LOOPBACK]), &id(66)), None);
        assert_eq!(overflow(&headers(&[LOOPBACK]), &id(67)), Some(1));
    }

    #[test]
    fn https_takes_one_more() {
        let headers = headers(&[LOOPBACK, ("x-forwarded-proto", "https")]);
        assert_eq!(overflow(&headers, &id(66)), Some(1));
    }

    #[test]
    fn credentials_in_the_url_count() {
        // "user:token@"
        let headers = headers(&[LOOPBACK, ("authorization", "Basic dXNlcjp0b2tlbg==")]);
        assert_eq!(overflow(&headers, &id(66)), Some(11));
    }

    #[test]
    fn behind_a_default_api_host_the_id_has_33_characters_at_most() {
        let host = ("host", "abcdefghij.execute-api.us-east-1.amazonaws.com");
        let headers = headers(&[host, ("x-forwarded-proto", "https")]);
        assert_eq!(overflow(&headers, &id(33)), None);
        assert_eq!(overflow(&headers, &id(64)), Some(31));
    }

    #[test]
    fn a_base_url_alone_may_be_too_long() {
        assert_eq!([0, 21, 86, 87, 90].map(room_for_id), [87, 66, 1, 0, -3]);
        let host: &'static str =
            "a23456789.123456789.123456789.123456789.123456789.123456789.123456789.123456789.123";
        assert_eq!(host.len() + "http://".len(), 90);
        assert_eq!(overflow(&headers(&[("host", host)]), &id(1)), Some(4));
    }

    #[test]
    fn a_request_without_a_host_says_nothing() {
        assert_eq!(overflow(&headers(&[]), &id(256)), None);
    }
}
