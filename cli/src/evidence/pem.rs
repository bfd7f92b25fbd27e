//! Certificates and revocation lists in PEM.

use super::Unread;
use crate::pem;

pub(super) use crate::pem::BEGIN;

/// The content of the blocks, whatever text is around them.
pub(super) fn blocks(text: &str) -> Result<Vec<Vec<u8>>, Unread> {
    let blocks = pem::blocks(text).map_err(|pem::Malformed| Unread::Pem)?;
    blocks.into_iter().map(|pem::Block { label, der }| check_label(label).map(|()| der.to_vec())).collect()
}

fn check_label(label: String) -> Result<(), Unread> {
    match label.as_str() {
        "CERTIFICATE" | "X509 CRL" => Ok(()),
        "PKCS7" => Err(Unread::Pkcs7),
        _ => Err(Unread::PemLabel(label)),
    }
}
