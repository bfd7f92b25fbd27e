//! The forms in text.

use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD, HEXLOWER_PERMISSIVE};
use serde::Deserialize;
use serde_json::Value;

use super::{Evidence, Unread, binary};

/// What some editors put before text.
const BOM: char = '\u{feff}';
const BEGIN: &str = "-----BEGIN ";
const DASHES: &str = "-----";

/// `bytes` as text, if they are: UTF-8 without control characters but those of lines.
pub(super) fn of(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    let lines = |c: char| matches!(c, '\t' | '\n' | '\r' | '\u{c}');
    text.chars().all(|c| !c.is_control() || lines(c)).then_some(text)
}

/// What `text` holds.
pub(super) fn evidence(text: &str) -> Result<Evidence, Unread> {
    let text = text.trim_start_matches(BOM).trim();
    if text.contains(BEGIN) && !text.starts_with('{') {
        return pem(text).map(Evidence::ders);
    }
    if text.starts_with(['{', '[']) {
        return json(text).map(Evidence::ders);
    }
    let bytes = decode(text).ok_or(Unread::Text)?;
    match self::of(&bytes) {
        // Once only: text in text in text is nothing that a tool writes.
        Some(inner) if inner.contains(BEGIN) => pem(inner).map(Evidence::ders),
        Some(_) => Err(Unread::Text),
        None => binary::evidence(&bytes).map_err(|unread| match unread {
            Unread::Unknown(_) => Unread::Text,
            other => other,
        }),
    }
}

/// Bytes in hex, with or without 0x in front, or in one of the two alphabets of base64, padded or not; in
/// lines or one.
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

/// What the blocks hold, whatever text is around them.
pub(super) fn pem(text: &str) -> Result<Vec<Vec<u8>>, Unread> {
    let mut ders = Vec::new();
    let mut block: Option<(&str, String)> = None;
    // Files without a line break at their end, one behind the other, have END and BEGIN on one line.
    let text = text.replace(BEGIN, &format!("\n{BEGIN}"));
    for line in text.lines() {
        let line = line.trim_matches(|c: char| c.is_whitespace() || c == BOM);
        let mark = |word: &str| line.strip_prefix(word)?.strip_suffix(DASHES);
        if let Some(label) = mark(BEGIN) {
            if block.is_some() {
                return Err(Unread::Pem);
            }
            check_label(label)?;
            block = Some((label, String::new()));
        } else if let Some(label) = mark("-----END ") {
            let (_, content) = block.take().filter(|(begun, _)| *begun == label).ok_or(Unread::Pem)?;
            ders.push(BASE64.decode(content.as_bytes()).map_err(|_| Unread::Pem)?);
        } else if let Some((_, content)) = &mut block {
            content.extend(line.split_whitespace());
        }
    }
    if block.is_some() || ders.is_empty() { Err(Unread::Pem) } else { Ok(ders) }
}

fn check_label(label: &str) -> Result<(), Unread> {
    match label {
        "CERTIFICATE" | "X509 CRL" => Ok(()),
        "PKCS7" => Err(Unread::Pkcs7),
        other => Err(Unread::PemLabel(other.to_owned())),
    }
}

/// What Azure's THIM answers. Its other members say nothing about certificates.
#[derive(Deserialize)]
struct Thim {
    #[serde(rename = "vcekCert")]
    vcek: String,
    #[serde(rename = "certificateChain")]
    chain: String,
}

fn json(text: &str) -> Result<Vec<Vec<u8>>, Unread> {
    if let Ok(Thim { vcek, chain }) = serde_json::from_str(text) {
        return Ok([pem(&vcek)?, pem(&chain)?].concat());
    }
    let members =
        |value: &Value| value.get("attestation_report").is_some() || value.get("reported_tcb").is_some();
    let trustees = serde_json::from_str(text).is_ok_and(|value: Value| members(&value));
    Err(if trustees { Unread::ReportMembers } else { Unread::Json })
}
