//! `keybroker workload delete`.

use std::cell::Cell;

use jiff::Timestamp;
use keybroker_common::{
    audit::Decision,
    ids::WorkloadId,
    store::{StoreError, Unreadable},
    workload::{BUILD_WINDOW, Workload, build_window_is_over},
};
use serde::Serialize;

use super::{
    list::{self, Filter, WorkloadSummary},
    workload_id,
};
use crate::{
    confirm::ConfirmArgs,
    exit::{Exit, Failure},
    operator::{self, OperatorHandle, StoreArgs},
    table,
};

/// Delete registrations and their secrets, for good
///
/// The command shows what it will delete, and asks. With a filter it leaves out revoked workloads, because
/// their ids must stay taken, and for 30 minutes new ones, because a build may still use them. It also leaves
/// alone a workload that changes meanwhile, for example by a release. Nobody can bring a passphrase back: a
/// disk that is encrypted with it is lost, unless its builder has another copy. Anybody who may register can
/// register the id again. To stop releases without deleting anything, use `keybroker workload revoke`.
#[derive(Debug, clap::Args)]
#[command(mut_arg("older_than", |older_than| older_than.requires("never_released")))]
#[command(after_help = Exit::TABLE, after_long_help = format!("\
Examples:
  keybroker workload delete billing-7f3a
  Workloads that failed builds left behind, first to see and then to delete:
      keybroker workload delete --never-released --older-than 7d --dry-run
      keybroker workload delete --never-released --older-than 7d --yes

{}", Exit::TABLE))]
pub(super) struct DeleteArgs {
    /// The workload
    #[arg(
        value_name = "ID",
        value_parser = workload_id,
        required_unless_present_any = ["never_released", "older_than"],
        conflicts_with_all = ["never_released", "older_than"]
    )]
    id: Option<WorkloadId>,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    confirm: ConfirmArgs,
    /// Print the deleted workloads, or with --dry-run the ones that would be deleted, as one JSON document in
    /// place of the table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// The document that `--json` prints.
#[derive(Debug, Serialize)]
struct Deletion {
    /// Version of this form.
    schema: u8,
    dry_run: bool,
    /// The deleted workloads; in a dry run those that would be deleted.
    deleted: Vec<WorkloadSummary>,
    /// The workloads that changed after they were shown, and were left alone.
    changed: Vec<WorkloadId>,
}

pub(super) async fn run(args: &DeleteArgs) -> Result<Exit, Failure> {
    let operator = args.store.open().await?;
    let Seen { rows: seen, left_out, unreadable } = seen(args, &operator).await?;
    let exit = operator::tell_unreadable("the workload", &unreadable);
    if left_out > 0 {
        say!(
            "{left_out} left out: revoked, or registered less than {} minutes ago",
            BUILD_WINDOW.as_secs() / 60
        );
    }
    if args.confirm.dry_run || seen.is_empty() {
        report(args, &seen, Vec::new())?;
        return Ok(exit);
    }
    args.confirm.check_shown(args.json)?;
    if !args.json {
        list::print(&seen)?;
    }
    // The command does not hold the file open while a person thinks: nobody else could open it.
    drop(operator);
    if !args.confirm.agreed(&question(seen.len()))? {
        say!("nothing was deleted");
        return Ok(Exit::Failure);
    }
    let operator = args.store.open().await?;
    let (mut deleted, mut changed) = (Vec::new(), Vec::new());
    for workload in seen {
        let audit = operator.record(Decision::Deleted, &workload);
        match operator.store.delete(&workload, &audit).await {
            Ok(()) => deleted.push(workload),
            Err(StoreError::Conflict) => changed.push(workload.id),
            Err(error) => {
                return Err(operator.failure(error).context(format!(
                    "deleting {}, with {} deleted before",
                    workload.id,
                    deleted.len()
                )));
            }
        }
    }
    let exit = if changed.is_empty() { exit } else { Exit::Failure };
    report(args, &deleted, changed)?;
    Ok(exit)
}

/// The choice of the arguments.
struct Seen {
    /// The rows to delete, as they are now.
    rows: Vec<Workload>,
    /// The number of rows that the filter matches, and that stay all the same.
    left_out: usize,
    unreadable: Vec<Unreadable>,
}

async fn seen(args: &DeleteArgs, operator: &OperatorHandle) -> Result<Seen, Failure> {
    if let Some(id) = &args.id {
        let rows = vec![operator.workload(id).await?];
        return Ok(Seen { rows, left_out: 0, unreadable: Vec::new() });
    }
    let now = Timestamp::now();
    let left_out = Cell::new(0);
    let chosen = |row: &Workload| {
        if !args.filter.matches(row, now) {
            return false;
        }
        // A revoked id stays taken, and a build under way may still use its row: a filter leaves both out.
        let goes = row.revoked_at.is_none() && build_window_is_over(row.first_registered_at, now);
        left_out.update(|count| count + usize::from(!goes));
        goes
    };
    let (rows, unreadable) = list::find(operator, chosen).await?;
    Ok(Seen { rows, left_out: left_out.get(), unreadable })
}

fn report(args: &DeleteArgs, deleted: &[Workload], changed: Vec<WorkloadId>) -> Result<(), Failure> {
    for id in &changed {
        say!("warning: {id} changed after it was shown, so it was not deleted");
    }
    let verb = if args.confirm.dry_run { "would be deleted" } else { "deleted" };
    if args.json {
        let summaries = deleted.iter().map(WorkloadSummary::of).collect();
        table::json(&Deletion { schema: 1, dry_run: args.confirm.dry_run, deleted: summaries, changed })?;
    } else if args.confirm.dry_run && !deleted.is_empty() {
        list::print(deleted)?;
    }
    say!("{} {verb}", deleted.len());
    Ok(())
}

fn question(count: usize) -> String {
    match count {
        1 => "Delete this workload and its secrets, for good?".to_owned(),
        _ => format!("Delete these {count} workloads and their secrets, for good?"),
    }
}
