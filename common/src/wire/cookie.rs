//! The cookie that names a guest's session. Its own name tells in which dialects the guest may be speaking:
//! which of them counts is decided by the challenge, as it is stored.

use http::{HeaderMap, header};

use super::{Invalid, manners};
use crate::{dialect::Dialect, ids::SessionId};

/// The session that the Cookie fields name, and the dialects in which they may be meant, at least one; `None`
/// if none does, or none in the form that sessions have.
///
/// libkrun's guest sends the cookie twice, in two fields or, over HTTP/2, joined in one: the same cookie any
/// number of times is one session. Fields that a proxy joined like any other are separated by commas, which
/// no session id holds.
pub fn session(headers: &HeaderMap) -> Result<Option<(Vec<Dialect>, SessionId)>, Invalid> {
    let mut cookies = headers
        .get_all(header::COOKIE)
        .iter()
        .flat_map(|field| field.as_bytes().split(|byte| matches!(byte, b';' | b',')))
        .filter_map(|pair| dialects_and_value(pair.trim_ascii()));
    let Some(first) = cookies.next() else { return Ok(None) };
    if cookies.any(|other| other != first) {
        return Err(Invalid::Cookies);
    }
    let (dialects, value) = first;
    Ok(std::str::from_utf8(value).ok().and_then(SessionId::parse).map(|id| (dialects, id)))
}

/// The dialects whose cookie `pair` is, and its value.
fn dialects_and_value(pair: &[u8]) -> Option<(Vec<Dialect>, &[u8])> {
    let equals = pair.iter().position(|byte| *byte == b'=')?;
    let (name, value) = pair.split_at_checked(equals)?;
    let cookie = |dialect: &Dialect| manners(*dialect).session.map(|session| session.cookie.as_bytes());
    let named = |dialect: &Dialect| cookie(dialect) == Some(name);
    let dialects: Vec<_> = Dialect::ALL.into_iter().filter(named).collect();
    if dialects.is_empty() { None } else { Some((dialects, value.strip_prefix(b"=")?)) }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const A: &str = "EAAzqgABAgMEBQYHCAkKCwwNDg8QERITFBU";
    const B: &str = "EQAzqgABAgMEBQYHCAkKCwwNDg8QERITFBUw";

    fn read(fields: &[&[u8]]) -> Result<Option<(Vec<Dialect>, String)>, Invalid> {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(header::COOKIE, HeaderValue::from_bytes(field).unwrap());
        }
        Ok(session(&headers)?.map(|(dialects, id)| (dialects, id.expose())))
    }

    fn parse(fields: &[&[u8]]) -> Result<Option<String>, Invalid> {
        Ok(read(fields)?.map(|(dialects, id)| {
            assert_eq!(dialects, [Dialect::Libkrun]);
            id
        }))
    }

    fn one(field: &str) -> Result<Option<String>, Invalid> {
        parse(&[field.as_bytes()])
    }

    #[test]
    fn the_same_session_twice_is_one_session() {
        let field = format!("session_id={A}");
        assert_eq!(parse(&[field.as_bytes()]), Ok(Some(A.to_owned())));
        assert_eq!(parse(&[field.as_bytes(), field.as_bytes()]), Ok(Some(A.to_owned())));
        for separator in ["; ", ";", ", ", ","] {
            assert_eq!(one(&format!("{field}{separator}{field}")), Ok(Some(A.to_owned())), "{separator:?}");
        }
    }

    #[test]
    fn two_sessions_are_refused() {
        assert_eq!(one(&format!("session_id={A}; session_id={B}")), Err(Invalid::Cookies));
        let (a, b) = (format!("session_id={A}"), format!("session_id={B}"));
        assert_eq!(parse(&[a.as_bytes(), b.as_bytes()]), Err(Invalid::Cookies));
        assert_eq!(one(&format!("session_id={A}; session_id=")), Err(Invalid::Cookies));
    }

    #[test]
    fn the_cookies_name_tells_the_dialects() {
        let rvp = format!("kbs-session-id={A}");
        assert_eq!(
            read(&[rvp.as_bytes()]),
            Ok(Some((vec![Dialect::Keybroker, Dialect::Trustee], A.to_owned())))
        );
        assert_eq!(
            read(&[rvp.as_bytes(), rvp.as_bytes()]),
            Ok(Some((vec![Dialect::Keybroker, Dialect::Trustee], A.to_owned())))
        );
        // Even of the same session: which dialect is meant cannot be known.
        assert_eq!(one(&format!("{rvp}; session_id={A}")), Err(Invalid::Cookies));
    }

    #[test]
    fn other_cookies_are_passed_over() {
        assert_eq!(one(&format!("a=b; session_id={A};c")), Ok(Some(A.to_owned())));
        assert_eq!(one(&format!("xsession_id={B}; session_id={A}")), Ok(Some(A.to_owned())));
        assert_eq!(one(&format!("SESSION_ID={A}")), Ok(None));
    }

    #[test]
    fn text_that_is_no_session_id_gives_no_session() {
        assert_eq!(parse(&[]), Ok(None));
        for value in ["", "x", &A[1..], &A.replacen('E', "A", 1), &format!("{A}0"), &format!("\"{A}\"")] {
            assert_eq!(one(&format!("session_id={value}")), Ok(None), "{value}");
        }
        assert_eq!(parse(&[b"session_id=\xff"]), Ok(None));
    }
}
