//! `keybroker audit --workload`, `--since` and the like: a line for each decision.

use keybroker_common::{audit::AuditRecord, store::Cursor};

use super::{
    AuditArgs,
    name::{decision, operation},
};
use crate::{
    exit::{Exit, Failure},
    listing::{self, Form, Output, Window},
    operator::Backend,
    table::{NONE, time},
};

const FORM: Form<AuditRecord> =
    Form { header: &["time", "decision", "operation", "workload", "check", "id"], cells };

pub(super) async fn run(args: &AuditArgs) -> Result<Exit, Failure> {
    let query = args.query()?;
    let operator = args.store.open().await?;
    let page = async |after: Option<&Cursor>| operator.store.audit_records(&query, after).await;
    // DynamoDB gives them in no order of time: the first may come last.
    let size = if operator.backend == Backend::Aws { usize::MAX } else { Window::<(), ()>::ROWS };
    let mut window = Window::new(size);
    let mut output = if args.json { Output::json("records")? } else { Output::table(FORM) };
    let mut last = None;
    let mut in_order = |record: AuditRecord| {
        let key = (record.time, record.id);
        last = last.max(Some(key));
        window.push(key, record)
    };
    let unreadable = listing::pages(&operator, page, |rows| {
        Ok(output.print(rows.into_iter().filter(|record| args.wants(record)).filter_map(&mut in_order))?)
    });
    let unreadable = unreadable.await?;
    output.print(window.rest())?;
    let exit = output.end("no audit records", "the audit record", &unreadable)?;
    if let Some((_, last)) = last
        && !args.json
    {
        let one = operator.place.command("audit", &[&last.to_string()]);
        anstream::eprintln!("to see one decision in words: {one}");
    }
    Ok(exit)
}

fn cells(record: &AuditRecord) -> Vec<String> {
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
