//! The token that an Authorization header brings along.

use data_encoding::BASE64;
use http::{HeaderMap, header};
use zeroize::Zeroizing;

use super::Invalid;
use crate::token::TokenText;

/// The token of `headers`: after Bearer, or either half of Basic, where `https://x:TOKEN@host` and
/// `https://TOKEN@host` put it; the password's half first. `None` where there is none that has a token's
/// form, or more than one such header.
pub fn token(headers: &HeaderMap) -> Option<TokenText> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let space = value.as_bytes().iter().position(|byte| *byte == b' ')?;
    let (scheme, rest) = value.as_bytes().split_at_checked(space)?;
    let credentials = rest.trim_ascii();
    if scheme.eq_ignore_ascii_case(b"bearer") {
        return TokenText::parse(credentials);
    }
    if !scheme.eq_ignore_ascii_case(b"basic") {
        return None;
    }
    let pair = Zeroizing::new(BASE64.decode(credentials).ok()?);
    let mut halves = pair.splitn(2, |byte| *byte == b':');
    let (user, password) = (halves.next().unwrap_or_default(), halves.next().unwrap_or_default());
    TokenText::parse(password).or_else(|| TokenText::parse(user))
}

/// The text after Bearer, as a guest of Trustee's sends its attestation result. `None` where there is no such
/// header; anything else in it, or more than one, is a fault.
pub fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Invalid> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = match (values.next(), values.next()) {
        (None, _) => return Ok(None),
        (Some(value), None) => value.to_str().map_err(|_| Invalid::Authorization)?,
        _ => return Err(Invalid::Authorization),
    };
    let (scheme, text) = value.split_once(' ').ok_or(Invalid::Authorization)?;
    if scheme.eq_ignore_ascii_case("bearer") { Ok(Some(text)) } else { Err(Invalid::Authorization) }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const TOKEN: &str = "AAECAwQFBgcICQ";
    const OTHER: &str = "AAAAAAAAAAAAAA";

    fn read(values: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        token(&headers).map(|token| token.expose())
    }

    fn basic(pair: &str) -> String {
        format!("Basic {}", BASE64.encode(pair.as_bytes()))
    }

    #[test]
    fn a_token_is_taken_from_bearer_and_from_either_half_of_basic() {
        let rows = [
            format!("Bearer {TOKEN}"),
            format!("bearer  {TOKEN} "),
            basic(&format!("x:{TOKEN}")),
            basic(&format!("{TOKEN}:")),
            basic(&format!("{TOKEN}:x")),
            basic(&format!(":{TOKEN}")),
            basic(&format!("{OTHER}:{TOKEN}")),
            basic(TOKEN),
        ];
        for row in rows {
            assert_eq!(read(&[&row]).as_deref(), Some(TOKEN), "{row}");
        }
    }

    #[test]
    fn text_that_is_no_token_gives_none() {
        let rows = [
            "Bearer".to_owned(),
            "Bearer ".to_owned(),
            format!("Bearer x:{TOKEN}"),
            format!("Token {TOKEN}"),
            TOKEN.to_owned(),
            "Basic !".to_owned(),
            basic("x:y"),
            basic(&format!("x:{TOKEN}:")),
            format!("AWS4-HMAC-SHA256 Credential={TOKEN}"),
        ];
        for row in rows {
            assert_eq!(read(&[&row]), None, "{row}");
        }
        assert_eq!(read(&[]), None);
        let bearer = format!("Bearer {TOKEN}");
        assert_eq!(read(&[&bearer, &bearer]), None, "two headers");
    }
}
