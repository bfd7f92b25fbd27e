//! `keybroker audit ID`: one decision in words.

use keybroker_common::{
    audit::AuditRecord,
    ids::{AuditId, WorkloadId},
};
use serde::Serialize;

use super::{
    AuditArgs, basis, explain, measurement,
    name::{decision, operation},
};
use crate::{
    exit::{Exit, Failure},
    operator::{OperatorHandle, no_such},
    table::{self, printable, time},
};

/// The document that `--json` prints.
#[derive(Debug, Serialize)]
struct Explained<'a> {
    /// Version of this form.
    schema: u8,
    record: &'a AuditRecord,
    explanation: Vec<String>,
}

pub(super) async fn run(args: &AuditArgs, id: AuditId) -> Result<Exit, Failure> {
    args.form.check_is_no_listing()?;
    let operator = args.store.open().await?;
    let record = operator.store.audit_record(id).await.map_err(|error| operator.failure(error))?;
    let record = record.ok_or_else(|| {
        no_such("audit record", id).hint(
            "a guest that got 503 has an id without a record, because nothing was decided: search the broker's \
             log for it. Otherwise check that this is the store of the broker that the guest asked, that no \
             digit of the id is wrong, and that the record was not pruned",
        )
    })?;
    let id = record.workload_id.as_ref().map(WorkloadId::as_str);
    let whole = |words: String| operator.place.advice_about(&words, id);
    let mut explanation: Vec<_> = explain::words(&record).into_iter().map(whole).collect();
    explanation.extend(measurement::advice(&operator, &record).await);
    if let Some(attestation) = attestation(&operator, &record).await? {
        explanation.extend(basis::words(&attestation));
    }
    if args.form.json {
        table::json(&Explained { schema: 1, record: &record, explanation })?;
        return Ok(Exit::Ok);
    }
    table::print_fields(&fields(&record))?;
    table::line("")?;
    for words in explanation {
        table::line(&printable(&words))?;
    }
    Ok(Exit::Ok)
}

/// The record of the attestation that a release rested on. It has the basis, unless the release's own has.
async fn attestation(
    operator: &OperatorHandle,
    record: &AuditRecord,
) -> Result<Option<AuditRecord>, Failure> {
    let Some(id) = record.attestation.filter(|_| record.basis.is_none()) else { return Ok(None) };
    operator.store.audit_record(id).await.map_err(|error| operator.failure(error))
}

/// The record's fields, which stand above the explanation.
fn fields(record: &AuditRecord) -> Vec<(&'static str, String)> {
    let mut fields = vec![
        ("id", record.id.to_string()),
        ("time", time(record.time)),
        ("decision", format!("{} ({})", decision(record.decision), operation(record.operation))),
    ];
    let optional = [
        ("workload", record.workload_id.as_ref().map(ToString::to_string)),
        ("principal", record.principal.clone()),
        ("reason", record.reason.clone()),
        ("registration", record.registration.map(|digest| digest.to_string())),
        ("token", record.token.map(|id| id.to_string())),
        ("secret", record.secret.clone()),
        ("secrets", (!record.secrets.is_empty()).then(|| record.secrets.join(", "))),
        ("attestation", record.attestation.map(|id| id.to_string())),
        ("check", record.failed.as_ref().map(|failed| failed.check.clone())),
        ("chip", record.evidence.as_ref().map(|evidence| evidence.chip_id.clone())),
        ("measurement", record.evidence.as_ref().map(|evidence| evidence.measurement.clone())),
    ];
    fields.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?))));
    fields
}
