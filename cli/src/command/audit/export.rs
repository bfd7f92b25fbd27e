//! `keybroker audit export`.

use keybroker_common::store::Cursor;

use super::SpanArgs;
use crate::{
    exit::{Exit, Failure},
    listing,
    operator::{self, StoreArgs},
    table,
};

/// Print audit records as JSON lines, for another log
///
/// Each line is a record as the broker prints it. The records come in the order of their ids, which is almost
/// that of their times; on AWS in the order of the tables. A record that cannot be read is named on stderr,
/// and the command then ends with 1.
#[derive(Debug, clap::Args)]
#[command(after_help = Exit::TABLE, after_long_help = format!("\
Examples:
  keybroker audit export >audit.jsonl
  Before `keybroker audit prune --before 2026-01-01T00:00:00Z`, by the same time:
      keybroker audit export --until 2026-01-01T00:00:00Z >>old.jsonl
  keybroker audit export --since 2026-11-01T00:00:00Z --aws | gzip >november.jsonl.gz

{}", Exit::TABLE))]
pub(super) struct ExportArgs {
    #[command(flatten)]
    span: SpanArgs,
    #[command(flatten)]
    store: StoreArgs,
}

pub(super) async fn run(args: &ExportArgs) -> Result<Exit, Failure> {
    let query = args.span.query()?;
    let operator = args.store.open().await?;
    let page = async |after: Option<&Cursor>| operator.store.audit_records(&query, after).await;
    let mut printed = 0_usize;
    let unreadable = listing::pages(&operator, page, |records| {
        printed += records.len();
        Ok(table::json_lines(&records)?)
    });
    let unreadable = unreadable.await?;
    say!("{printed} exported");
    Ok(operator::tell_unreadable("the audit record", &unreadable))
}
