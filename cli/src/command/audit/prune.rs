//! `keybroker audit prune`.

use anyhow::anyhow;
use jiff::{SignedDuration, Timestamp};
use keybroker_common::{
    audit::Decision,
    store::{AuditQuery, Cursor},
};

use crate::{
    confirm::ConfirmArgs,
    counted::counted,
    exit::{Exit, Failure},
    listing,
    operator::{OperatorHandle, StoreArgs, nothing_on_aws},
    table::time,
    when,
};

/// Delete old audit records from the store of this machine, for good
///
/// The command says how many records are older than the time that you give, and asks. Export them first, up
/// to the same time: nothing brings them back. The broker may be running. Nothing is deleted that the broker
/// still needs: a decision about a guest stays until its challenge, and a session of it, could no longer
/// count. A record of the act stays in the log.
///
/// The space goes to later records. `keybroker audit compact` gives it back to the file system.
#[derive(Debug, clap::Args)]
#[command(after_help = Exit::TABLE, group(clap::ArgGroup::new("which").required(true)
    .args(["before", "older_than"])), after_long_help = format!("\
Examples:
  To see how many there are:
      keybroker audit prune --older-than 400d --dry-run
  After `keybroker audit export --until 2026-01-01T00:00:00Z >>old.jsonl`, by the same time:
      keybroker audit prune --before 2026-01-01T00:00:00Z --yes

{}", Exit::TABLE))]
pub(super) struct PruneArgs {
    /// Only records from before this time, in RFC 3339
    #[arg(long, value_name = "TIME", value_parser = when::time)]
    before: Option<Timestamp>,
    /// Only records that are older than this: 400d, 52w
    #[arg(long, value_name = "DURATION", value_parser = when::duration)]
    older_than: Option<SignedDuration>,
    #[command(flatten)]
    confirm: ConfirmArgs,
    #[command(flatten)]
    store: StoreArgs,
}

impl PruneArgs {
    fn before(&self) -> Result<Timestamp, Failure> {
        let now = Timestamp::now();
        let older_than = self.older_than.map(|age| now.checked_sub(age).unwrap_or(Timestamp::MIN));
        let before = self.before.or(older_than).unwrap_or(Timestamp::MIN);
        if before > now {
            return Err(Failure::new(Exit::Usage, anyhow!("--before must not be in the future")));
        }
        Ok(before)
    }
}

pub(super) async fn run(args: &PruneArgs) -> Result<Exit, Failure> {
    if args.store.aws {
        return Err(nothing_on_aws("prune"));
    }
    let before = args.before()?;
    let operator = args.store.open().await?;
    let older = count(&operator, before).await?;
    let from = time(before);
    if older == 0 || args.confirm.dry_run {
        let would = if older == 0 { "there is nothing to delete" } else { "this would be deleted" };
        say!("{} from before {from}: {would}", counted(older, "audit record"));
        return Ok(Exit::Ok);
    }
    // The command does not hold the file open while a person thinks: nobody else could open it.
    drop(operator);
    let question = format!("Delete {} from before {from}, for good?", counted(older, "audit record"));
    if !args.confirm.agreed(&question)? {
        say!("nothing was deleted");
        return Ok(Exit::Failure);
    }
    let operator = args.store.open().await?;
    let local = operator.local.as_ref().ok_or_else(|| nothing_on_aws("prune"))?;
    let audit = operator.act(Decision::Pruned);
    let deleted = local.prune(before, &audit).await.map_err(|error| operator.failure(error))?;
    match deleted {
        0 => say!("nothing was deleted"),
        _ => say!("deleted {deleted}; the record of this is {}", audit.id),
    }
    if let left @ 1.. = older.saturating_sub(deleted) {
        say!("kept {left}: the broker needs a decision for up to two days");
    }
    Ok(Exit::Ok)
}

/// The number of records from before `before`.
async fn count(operator: &OperatorHandle, before: Timestamp) -> Result<u64, Failure> {
    let query = AuditQuery { until: Some(before), ..AuditQuery::default() };
    let page = async |after: Option<&Cursor>| operator.store.audit_records(&query, after).await;
    let mut older = 0;
    let unreadable = listing::pages(operator, page, |records| {
        older += records.len() as u64;
        Ok(())
    });
    unreadable.await?;
    Ok(older)
}
