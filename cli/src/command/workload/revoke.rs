//! `keybroker workload revoke`.

use std::{cell::Cell, collections::BTreeSet};

use anyhow::anyhow;
use clap::ArgGroup;
use jiff::Timestamp;
use keybroker_common::{
    audit::{AuditRecord, Decision},
    ids::WorkloadId,
    store::StoreError,
    workload::Workload,
};
use serde::Serialize;

use super::{list, workload_id};
use crate::{
    confirm::ConfirmArgs,
    exit::{Exit, Failure},
    note::note,
    operator::{self, OperatorHandle, StoreArgs},
    revoked, table,
};

/// Revoke workloads: the broker releases nothing more for them
///
/// From its next request on, a guest gets nothing, even if it has attested before. It keeps the secrets that
/// it has. `restore` takes the revocation back. The id stays taken.
///
/// The command revokes one workload at once. It shows several, or those of an owner, and asks. If one of them
/// cannot be revoked, the command revokes the others, names it, and ends with the exit code of the first
/// failure. With --owner it leaves out workloads that are revoked already, and those that are registered
/// after it has shown the others.
#[derive(Debug, clap::Args)]
#[group(skip)]
#[command(group(ArgGroup::new("which").args(["ids", "owner"]).required(true)))]
#[command(after_help = Exit::TABLE, after_long_help = format!("\
Examples:
  keybroker workload revoke billing-7f3a
  keybroker workload revoke billing-7f3a --aws --prefix keybroker
  keybroker workload revoke billing-7f3a billing-80c1 --reason 'INC-4711: image was published' --yes
  Everything that a token registered, first to see and then to revoke:
      keybroker workload revoke --owner token/0a9f5c1e2b7d4c3f8e6a1b2c3d4e5f60 --dry-run
      keybroker workload revoke --owner token/0a9f5c1e2b7d4c3f8e6a1b2c3d4e5f60 --yes

{}", Exit::TABLE))]
pub(super) struct RevokeArgs {
    /// The workloads
    #[arg(value_name = "ID", value_parser = workload_id)]
    ids: Vec<WorkloadId>,
    /// All workloads that this principal registered, as `workload show` prints the owner
    #[arg(long, value_name = "PRINCIPAL")]
    owner: Option<String>,
    /// The reason: a line of up to 200 characters. It stands in the audit record, and `workload show` prints
    /// it
    #[arg(long, value_parser = note, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    confirm: ConfirmArgs,
    /// Print the revoked workloads, or with --dry-run the ones that would be revoked, as one JSON document in
    /// place of the text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

impl RevokeArgs {
    /// One workload, by its id, is revoked without a question.
    fn names_one(&self) -> bool {
        self.owner.is_none() && self.ids.len() == 1
    }
}

/// The document that `--json` prints.
#[derive(Debug, Serialize)]
struct Revoked {
    /// Version of this form.
    schema: u8,
    dry_run: bool,
    /// The revoked workloads; in a dry run those that would be revoked.
    revoked: Vec<WorkloadId>,
    failed: Vec<NotRevoked>,
}

/// A workload that was not revoked.
#[derive(Debug, Serialize)]
struct NotRevoked {
    id: WorkloadId,
    cause: String,
    #[serde(skip)]
    exit: Exit,
}

impl NotRevoked {
    fn new(id: WorkloadId, failure: &Failure) -> Self {
        Self { id, cause: failure.told().0, exit: failure.exit() }
    }
}

pub(super) async fn run(args: &RevokeArgs) -> Result<Exit, Failure> {
    let operator = args.store.open().await?;
    if let ([id], false, false) = (args.ids.as_slice(), args.confirm.dry_run, args.json) {
        return one(args, &operator, id).await;
    }
    let (seen, mut failed, exit) = seen(args, &operator).await?;
    // A mistyped id is told before the question about the others.
    failed.iter().for_each(tell);
    if let (Some(owner), true) = (&args.owner, seen.is_empty()) {
        say!("every workload of {owner} is revoked already");
    }
    if args.confirm.dry_run || seen.is_empty() {
        if !args.json && !seen.is_empty() {
            list::print(&seen)?;
        }
        return report(args, seen.into_iter().map(|row| row.id).collect(), failed, exit);
    }
    let operator = if args.names_one() {
        operator
    } else {
        args.confirm.check_shown(args.json)?;
        if !args.json {
            list::print(&seen)?;
        }
        // The command does not hold the file open while a person thinks: nobody else could open it.
        drop(operator);
        if !args.confirm.agreed(&question(seen.len()))? {
            say!("nothing was revoked");
            return Ok(Exit::Failure);
        }
        args.store.open().await?
    };
    let mut revoked = Vec::new();
    for Workload { id, .. } in seen {
        match revoke(args, &operator, &id).await {
            Ok(before) => {
                before.revoked_at.into_iter().for_each(|at| tell_already(&before, at));
                revoked.push(id);
            }
            Err(failure) => {
                let not = NotRevoked::new(id, &failure);
                tell(&not);
                failed.push(not);
            }
        }
    }
    report(args, revoked, failed, exit)
}

async fn one(args: &RevokeArgs, operator: &OperatorHandle, id: &WorkloadId) -> Result<Exit, Failure> {
    let before = revoke(args, operator, id).await?;
    match before.revoked_at {
        Some(at) => tell_already(&before, at),
        None => say!("{id} is revoked: the broker releases nothing for it"),
    }
    say!("to undo this: {}", operator.place.command("workload restore", &[id.as_str()]));
    Ok(Exit::Ok)
}

fn tell_already(before: &Workload, at: Timestamp) {
    say!("{}", revoked::already(before.id.as_str(), at, before.revoked_by()));
}

/// Revokes a workload, and returns its row from before.
async fn revoke(args: &RevokeArgs, operator: &OperatorHandle, id: &WorkloadId) -> Result<Workload, Failure> {
    let row = operator.workload(id).await?;
    if args.owner.is_some() && owner(&row) != args.owner {
        return Err(Failure::new(Exit::Failure, anyhow!("it is registered by another principal since")));
    }
    let audit = AuditRecord { reason: args.reason.clone(), ..operator.record(Decision::Revoked, &row) };
    match operator.store.revoke(id, &audit).await {
        Ok(()) => Ok(row),
        Err(StoreError::Conflict) => Err(operator.no_workload(id)),
        Err(error) => Err(operator.failure(error)),
    }
}

/// The rows to revoke, as they are now, what cannot be revoked, and the exit code that follows from rows that
/// cannot be read.
async fn seen(
    args: &RevokeArgs,
    operator: &OperatorHandle,
) -> Result<(Vec<Workload>, Vec<NotRevoked>, Exit), Failure> {
    if let Some(asked) = &args.owner {
        let has_some = Cell::new(false);
        let owned = |row: &Workload| row.read().map_or(true, |_| owner(row).as_ref() == Some(asked));
        let wanted = |row: &Workload| {
            let (owned, is_readable) = (owned(row), row.read().is_ok());
            has_some.set(has_some.get() || (owned && is_readable));
            owned && row.revoked_at.is_none()
        };
        let (mut rows, unreadable) = list::find(operator, wanted).await?;
        // Nobody can tell whose an unreadable one is. It can be revoked by its id.
        rows.retain(|row| row.read().is_ok());
        let exit = operator::tell_unreadable("the workload", &unreadable);
        if !has_some.get() {
            let list = operator.place.command("workload list", &[]);
            let error = anyhow!("no workload has the owner {asked}");
            return Err(Failure::new(Exit::Failure, error).hint(format!("to see the owners: {list}")));
        }
        return Ok((rows, Vec::new(), exit));
    }
    let (mut rows, mut failed, mut met) = (Vec::new(), Vec::new(), BTreeSet::new());
    for id in args.ids.iter().filter(|id| met.insert((*id).clone())) {
        match operator.workload(id).await {
            Ok(row) => rows.push(row),
            Err(failure) => failed.push(NotRevoked::new(id.clone(), &failure)),
        }
    }
    Ok((rows, failed, Exit::Ok))
}

/// The owner of a registration that can be read.
fn owner(row: &Workload) -> Option<String> {
    row.read().ok()?.registration().owner.clone()
}

fn question(count: usize) -> String {
    match count {
        1 => "Revoke this workload?".to_owned(),
        _ => format!("Revoke these {count} workloads?"),
    }
}

fn tell(NotRevoked { id, cause, .. }: &NotRevoked) {
    say!("error: {id} is not revoked: {cause}");
}

/// Prints the result, whose failures have been told one by one, and returns the exit code: that of the first
/// failure, if there is one.
fn report(
    args: &RevokeArgs,
    revoked: Vec<WorkloadId>,
    failed: Vec<NotRevoked>,
    exit: Exit,
) -> Result<Exit, Failure> {
    let dry_run = args.confirm.dry_run;
    say!("{} {}", revoked.len(), if dry_run { "would be revoked" } else { "revoked" });
    let exit = failed.first().map_or(exit, |first| first.exit);
    if args.json {
        table::json(&Revoked { schema: 1, dry_run, revoked, failed })?;
    }
    Ok(exit)
}
