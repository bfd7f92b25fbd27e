//! An audit record in words.

use keybroker_common::audit::AuditRecord;

/// Why it was refused, as the broker recorded it.
pub(super) fn words(record: &AuditRecord) -> Vec<String> {
    record.failed.iter().map(|failed| failed.cause.clone()).collect()
}
