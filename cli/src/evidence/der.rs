//! Values of DER, one behind the other.

use super::Unread;

/// One or more values of DER, one behind the other, and nothing else but a line break.
pub(super) fn values(bytes: &[u8]) -> Result<Vec<Vec<u8>>, Unread> {
    let mut ders = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let len = der_len(rest).ok_or(Unread::Der(rest.len()))?;
        let (der, behind) = less_one_line_break(rest, len).split_at_checked(len).ok_or(Unread::Der(len))?;
        if !matches!(behind, [] | [0x30, ..]) {
            return Err(Unread::Der(len));
        }
        ders.push(der.to_vec());
        rest = behind;
    }
    Ok(ders)
}

/// The length of the sequence at the beginning of `bytes`, by its own header and with it. AMD's are longer
/// than 127 bytes.
fn der_len(bytes: &[u8]) -> Option<usize> {
    let (header, content) = match bytes {
        [0x30, 0x81, len, ..] => (3, usize::from(*len)),
        [0x30, 0x82, high, low, ..] => (4, usize::from(u16::from_be_bytes([*high, *low]))),
        _ => return None,
    };
    Some(header + content)
}

/// `bytes` without a line break behind the first `len` of them.
pub(super) fn less_one_line_break(bytes: &[u8], len: usize) -> &[u8] {
    match bytes.split_at_checked(len) {
        Some((whole, b"\n" | b"\r\n")) => whole,
        _ => bytes,
    }
}
