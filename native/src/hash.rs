//! The hash of a request.

use std::fmt;

/// SHA-512 of a request: REPORT_DATA of the report that goes with it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct AskHash(pub [u8; 64]);

impl AsRef<[u8]> for AskHash {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for AskHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AskHash({})", data_encoding::HEXLOWER.encode(&self.0))
    }
}
