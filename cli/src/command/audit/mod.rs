//! `keybroker audit`: what was decided, and why.

mod basis;
mod explain;

use anyhow::anyhow;
use jiff::Timestamp;
use keybroker_common::{
    audit::{AuditRecord, Decision, Operation},
    ids::{AuditId, WorkloadId},
    store::{AuditQuery, Cursor, Unreadable},
};
use serde::Serialize;

use crate::{
    chip_prefix::ChipPrefix,
    exit::{Exit, Failure},
    operator::{self, OperatorHandle, StoreArgs, no_such, workload_id},
    table::{self, NONE, printable, time},
    when::When,
};

/// Explain why a guest got nothing, or list the decisions about a workload
///
/// Give the id that a guest printed on its console: the command explains that decision in words. Give
/// --workload or a span of time: the command prints one line for each decision, the oldest first.
///
/// On AWS the records of a workload come from an index, which may lag a moment behind the table. Without
/// --workload the command reads the whole table, and AWS charges for that.
#[derive(Debug, clap::Args)]
#[command(after_help = Exit::TABLE, after_long_help = format!("\
Examples:
  keybroker audit 019387a2-6f3c-7c41-9d2e-0b6a5f1c2d3e
  keybroker audit --workload billing-7f3a --since 24h
  keybroker audit --workload billing-7f3a --since 2026-11-01T00:00:00Z --until 7d --json
  keybroker audit --since 1h --aws

{}", Exit::TABLE))]
#[command(group = clap::ArgGroup::new("which").required(true).multiple(true)
    .args(["id", "workload", "chip_id", "since", "until"]))]
pub(crate) struct AuditArgs {
    /// The id of a decision, which the guest was told
    #[arg(
        value_name = "ID",
        value_parser = audit_id,
        conflicts_with_all = ["workload", "chip_id", "since", "until"]
    )]
    id: Option<AuditId>,
    /// Only decisions about this workload
    #[arg(long, value_name = "ID", value_parser = workload_id)]
    workload: Option<WorkloadId>,
    /// Only decisions about guests on this chip: its id in hex, or the first 16 or more digits of it. On AWS
    /// this reads the whole table unless you also give --workload
    #[arg(long, value_name = "HEX", value_parser = ChipPrefix::parse)]
    chip_id: Option<ChipPrefix>,
    /// Only decisions since this time: 24h or 7d ago, or a time in RFC 3339
    #[arg(long, value_name = "WHEN", value_parser = When::parse)]
    since: Option<When>,
    /// Only decisions before this time, in the same form
    #[arg(long, value_name = "WHEN", value_parser = When::parse)]
    until: Option<When>,
    /// Print one JSON document in place of the text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

fn audit_id(text: &str) -> Result<AuditId, &'static str> {
    text.parse()
        .map(AuditId)
        .map_err(|_| "not the id of a decision, which is a UUID such as 019387a2-6f3c-7c41-9d2e-0b6a5f1c2d3e")
}

/// Runs the command.
pub(crate) fn run(args: &AuditArgs) -> Result<Exit, Failure> {
    operator::block_on(async {
        let operator = args.store.open().await?;
        match args.id {
            Some(id) => one(args, &operator, id).await,
            None => several(args, &operator).await,
        }
    })
}

/// The document that `--json` prints about one decision.
#[derive(Debug, Serialize)]
struct Explained<'a> {
    /// Version of this form.
    schema: u8,
    record: &'a AuditRecord,
    explanation: Vec<String>,
}

async fn one(args: &AuditArgs, operator: &OperatorHandle, id: AuditId) -> Result<Exit, Failure> {
    let record = operator.store.audit_record(id).await.map_err(|error| operator.failure(error))?;
    let record = record.ok_or_else(|| {
        no_such("audit record", id).hint(
            "check that this is the store of the broker that the guest asked, and that no digit of the \
             id is wrong",
        )
    })?;
    let id = record.workload_id.as_ref().map(WorkloadId::as_str);
    let whole = |words: String| operator.place.advice_about(&words, id);
    let mut explanation: Vec<_> = explain::words(&record).into_iter().map(whole).collect();
    if let Some(attestation) = attestation(operator, &record).await? {
        explanation.extend(basis::words(&attestation));
    }
    if args.json {
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

/// The record of the attestation that a release rested on. It has the basis.
async fn attestation(
    operator: &OperatorHandle,
    record: &AuditRecord,
) -> Result<Option<AuditRecord>, Failure> {
    let Some(id) = record.attestation else { return Ok(None) };
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
        ("registration", record.registration.map(|digest| digest.to_string())),
        ("token", record.token.map(|id| id.to_string())),
        ("secret", record.secret.clone()),
        ("attestation", record.attestation.map(|id| id.to_string())),
        ("check", record.failed.as_ref().map(|failed| failed.check.clone())),
        ("chip", record.evidence.as_ref().map(|evidence| evidence.chip_id.clone())),
        ("measurement", record.evidence.as_ref().map(|evidence| evidence.measurement.clone())),
    ];
    fields.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?))));
    fields
}

/// The document that `--json` prints about several decisions.
#[derive(Debug, Serialize)]
struct Records {
    /// Version of this form.
    schema: u8,
    records: Vec<AuditRecord>,
    unreadable: Vec<Unreadable>,
}

async fn several(args: &AuditArgs, operator: &OperatorHandle) -> Result<Exit, Failure> {
    let now = Timestamp::now();
    let query = AuditQuery {
        workload: args.workload.clone(),
        since: args.since.map(|since| since.seen_from(now)),
        until: args.until.map(|until| until.seen_from(now)),
    };
    if query.since.zip(query.until).is_some_and(|(since, until)| since >= until) {
        return Err(Failure::new(Exit::Usage, anyhow!("--since must be before --until")));
    }
    let page = async |after: Option<&Cursor>| operator.store.audit_records(&query, after).await;
    let (mut records, unreadable) = operator::all(page).await.map_err(|error| operator.failure(error))?;
    records.retain(|record| {
        let of_chip = |chip: &ChipPrefix| {
            record.evidence.as_ref().is_some_and(|evidence| chip.begins(&evidence.chip_id))
        };
        args.chip_id.as_ref().is_none_or(of_chip)
    });
    records.sort_by_key(|record| (record.time, record.id));
    if args.json {
        table::json(&Records { schema: 1, records, unreadable: unreadable.clone() })?;
    } else if records.is_empty() {
        anstream::eprintln!("no audit records");
    } else {
        table::print(&["time", "decision", "operation", "workload", "check", "id"], records.iter().map(row))?;
        if let Some(last) = records.last() {
            let one = operator.place.command("audit", &[&last.id.to_string()]);
            anstream::eprintln!("to see one decision in words: {one}");
        }
    }
    Ok(operator::tell_unreadable("the audit record", &unreadable))
}

fn row(record: &AuditRecord) -> Vec<String> {
    let none = || NONE.to_owned();
    vec![
        time(record.time),
        decision(record.decision).to_owned(),
        operation(record.operation).to_owned(),
        record.workload_id.as_ref().map_or_else(none, ToString::to_string),
        record.failed.as_ref().map_or_else(none, |failed| failed.check.clone()),
        record.id.to_string(),
    ]
}

fn decision(decision: Decision) -> &'static str {
    match decision {
        Decision::Registered => "registered",
        Decision::Replaced => "replaced",
        Decision::Revoked => "revoked",
        Decision::Restored => "restored",
        Decision::Deleted => "deleted",
        Decision::TokenCreated => "token-created",
        Decision::TokenRevoked => "token-revoked",
        Decision::Attested => "attested",
        Decision::Released => "released",
        Decision::Withheld => "withheld",
        Decision::Refused => "refused",
        Decision::Unavailable => "unavailable",
    }
}

fn operation(operation: Operation) -> &'static str {
    match operation {
        Operation::Register => "register",
        Operation::Attest => "attest",
        Operation::Key => "key",
        Operation::Resource => "resource",
        Operation::Operate => "operate",
    }
}
