//! The forms that are text.

use serde::Deserialize;
use serde_json::Value;

use super::{Evidence, Unread, binary, characters, pem};
use crate::pem::BOM;

/// The content of `text`.
pub(super) fn evidence(text: &str) -> Result<Evidence, Unread> {
    let text = text.trim_start_matches(BOM).trim();
    if text.contains(pem::BEGIN) && !text.starts_with('{') {
        return pem::blocks(text).map(Evidence::ders);
    }
    if text.starts_with(['{', '[']) {
        return json(text).map(Evidence::ders);
    }
    let bytes = characters::decode(text).ok_or(Unread::Text)?;
    match characters::text(&bytes) {
        // One level only: no tool writes text in text in text.
        Some(inner) if inner.contains(pem::BEGIN) => pem::blocks(inner).map(Evidence::ders),
        Some(_) => Err(Unread::Text),
        None => binary::evidence(&bytes).map_err(|unread| match unread {
            Unread::Unknown(_) => Unread::Text,
            other => other,
        }),
    }
}

/// An answer of Azure's THIM. Its other members say nothing about certificates.
#[derive(Deserialize)]
struct Thim {
    #[serde(rename = "vcekCert")]
    vcek: String,
    #[serde(rename = "certificateChain")]
    chain: String,
}

fn json(text: &str) -> Result<Vec<Vec<u8>>, Unread> {
    if let Ok(Thim { vcek, chain }) = serde_json::from_str(text) {
        return Ok([pem::blocks(&vcek)?, pem::blocks(&chain)?].concat());
    }
    let members =
        |value: &Value| value.get("attestation_report").is_some() || value.get("reported_tcb").is_some();
    let trustees = serde_json::from_str(text).is_ok_and(|value: Value| members(&value));
    Err(if trustees { Unread::ReportMembers } else { Unread::Json })
}
