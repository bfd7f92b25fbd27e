//! Numbers and texts at fixed places. LUKS writes numbers in big-endian order.

use super::error::HeaderError;

/// `N` bytes at `offset`.
pub(super) fn array<const N: usize>(bytes: &[u8], offset: usize) -> Result<[u8; N], HeaderError> {
    let at = bytes.get(offset..).and_then(|rest| rest.first_chunk::<N>());
    at.copied().ok_or(HeaderError::Truncated)
}

pub(super) fn number16(bytes: &[u8], offset: usize) -> Result<u16, HeaderError> {
    array(bytes, offset).map(u16::from_be_bytes)
}

pub(super) fn number32(bytes: &[u8], offset: usize) -> Result<u32, HeaderError> {
    array(bytes, offset).map(u32::from_be_bytes)
}

pub(super) fn number64(bytes: &[u8], offset: usize) -> Result<u64, HeaderError> {
    array(bytes, offset).map(u64::from_be_bytes)
}

/// A text in a field: printable ASCII, then zeros to the end of the field, of which there is at least one.
pub(super) fn text(field: &[u8]) -> Option<&str> {
    let end = field.iter().position(|&byte| byte == 0)?;
    let (text, rest) = field.split_at_checked(end)?;
    let printable = text.iter().all(u8::is_ascii_graphic) && rest.iter().all(|&byte| byte == 0);
    if printable { std::str::from_utf8(text).ok() } else { None }
}
