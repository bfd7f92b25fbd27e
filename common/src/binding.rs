//! The value that binds evidence to a challenge.

use std::fmt::Debug;

use crate::challenge::Nonce;

/// The key of a guest as its dialect binds a report to it.
///
/// REPORT_DATA is the one field of a report that the guest chooses. A report whose REPORT_DATA is what this
/// gives was made for this nonce and this key, and for no others.
pub trait Binding: Debug + Send + Sync {
    /// The report must carry these 64 bytes as REPORT_DATA.
    fn report_data(&self, nonce: &Nonce) -> [u8; 64];
}
