//! The bounds of the certificates that a guest sends along.

use super::Invalid;

/// Most entries: each of the table's kinds once, and room to spare.
pub(super) const MAX_ENTRIES: usize = 8;

/// Longest entry, in bytes: ten times AMD's longest certificate.
pub(super) const MAX_LEN: usize = 16 * 1024;

/// Certificates of these lengths are within the bounds.
pub(super) fn check(mut lengths: impl ExactSizeIterator<Item = usize>) -> Result<(), Invalid> {
    if lengths.len() > MAX_ENTRIES {
        return Err(Invalid::CertificateCount);
    }
    if lengths.any(|length| length > MAX_LEN) { Err(Invalid::CertificateLength) } else { Ok(()) }
}
