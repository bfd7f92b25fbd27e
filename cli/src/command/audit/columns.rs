//! The columns of a listing of records: few for people, and all in CSV.

use keybroker_common::audit::AuditRecord;

use super::name::{decision, operation};
use crate::{
    listing::Form,
    table::{NONE, time},
};

/// For people.
pub(super) const TABLE: Form<AuditRecord> = Form {
    header: &["time", "decision", "operation", "workload", "check", "id"],
    cells: |record| {
        let none = || NONE.to_owned();
        vec![
            time(record.time),
            decision(record.decision).to_owned(),
            operation(record.operation).to_owned(),
            record.workload_id.as_ref().map_or_else(none, ToString::to_string),
            record.failed.as_ref().map_or_else(none, |failed| failed.check.clone()),
            record.id.to_string(),
        ]
    },
};

/// For other programs. A later release may add columns at the end.
pub(super) const CSV: Form<AuditRecord> = Form {
    header: &[
        "time",
        "decision",
        "operation",
        "workload",
        "principal",
        "token",
        "registration",
        "secrets",
        "check",
        "cause",
        "verified",
        "product",
        "chip_id",
        "measurement",
        "attestation",
        "reason",
        "id",
    ],
    cells: |record| {
        let (evidence, failed) = (record.evidence.as_ref(), record.failed.as_ref());
        let text = |text: Option<String>| text.unwrap_or_default();
        vec![
            record.time.to_string(),
            decision(record.decision).to_owned(),
            operation(record.operation).to_owned(),
            text(record.workload_id.as_ref().map(ToString::to_string)),
            text(record.principal.clone()),
            text(record.token.map(|id| id.to_string())),
            text(record.registration.map(|digest| digest.to_string())),
            secrets(record).join(" "),
            text(failed.map(|failed| failed.check.clone())),
            text(failed.map(|failed| failed.cause.clone())),
            text(evidence.map(|evidence| evidence.verified.to_string())),
            text(evidence.and_then(|evidence| Some(evidence.product?.to_string()))),
            text(evidence.map(|evidence| evidence.chip_id.clone())),
            text(evidence.map(|evidence| evidence.measurement.clone())),
            text(record.attestation.map(|id| id.to_string())),
            text(record.reason.clone()),
            record.id.to_string(),
        ]
    },
};

/// The names of the secrets that a record is about. No name has a blank in it.
pub(super) fn secrets(record: &AuditRecord) -> Vec<String> {
    record.secret.iter().chain(&record.secrets).cloned().collect()
}
