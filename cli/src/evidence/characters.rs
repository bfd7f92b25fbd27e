//! Bytes that are text, and bytes that are written as text.

use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD, HEXLOWER_PERMISSIVE};

use crate::pem::BOM;

/// `bytes` as text, if they are UTF-8 and the only control characters are tabs and line breaks.
pub(super) fn text(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    let lines = |c: char| matches!(c, '\t' | '\n' | '\r' | '\u{c}');
    text.chars().all(|c| !c.is_control() || lines(c)).then_some(text)
}

/// The bytes that `text` encodes: in hex, with or without 0x in front, or in one of the two alphabets of
/// base64, padded or not; on one line or several.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let text: String = text.trim_start_matches(BOM).split_whitespace().collect();
    if text.is_empty() {
        return None;
    }
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(&text);
    let hex = HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).ok();
    hex.or_else(|| {
        let alphabets = [BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD];
        alphabets.iter().find_map(|alphabet| alphabet.decode(text.as_bytes()).ok())
    })
}
