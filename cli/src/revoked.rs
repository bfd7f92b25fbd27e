//! Revocations that operators see, in words.

use jiff::Timestamp;
use keybroker_common::revocation::Revocation;

use crate::table::{printable, time};

/// Since when a row is revoked, by whom and why, as far as the row tells.
pub(crate) fn since(at: Timestamp, revocation: Option<&Revocation>) -> String {
    let by = revocation.and_then(|revocation| revocation.by.as_deref());
    let reason = revocation.and_then(|revocation| revocation.reason.as_deref());
    let by = by.map(|by| format!(" by {}", printable(by))).unwrap_or_default();
    let reason = reason.map(|reason| format!(" ({})", printable(reason))).unwrap_or_default();
    format!("since {}{by}{reason}", time(at))
}

/// That a row was revoked before: the new revocation changes nothing in it.
pub(crate) fn already(id: &str, at: Timestamp, revocation: Option<&Revocation>) -> String {
    let since = since(at, revocation);
    format!("{id} has been revoked {since}, and its row keeps that. This revocation is on record beside it")
}
