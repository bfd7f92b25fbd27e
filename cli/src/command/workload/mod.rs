//! `keybroker workload`: the registered workloads, and an operator's acts on them.

mod act;
mod delete;
mod export;
mod list;
mod show;

use keybroker_common::{ids::WorkloadId, store::StoreError};

use crate::{
    exit::{Exit, Failure},
    operator::{OperatorHandle, workload_id},
};

/// List, show, export, revoke, restore and delete registered workloads
///
/// The commands use the broker's store: its file, whether the broker is running or not, or with --aws the
/// tables of a deployment. They show names and lengths of secrets, and nothing else of them. From the next
/// request after a revocation on, the broker refuses guests of that workload.
#[derive(Debug, clap::Args)]
pub(crate) struct WorkloadArgs {
    #[command(subcommand)]
    command: WorkloadCommand,
}

#[derive(Debug, clap::Subcommand)]
enum WorkloadCommand {
    List(list::ListArgs),
    Show(show::ShowArgs),
    Export(export::ExportArgs),
    Revoke(act::RevokeArgs),
    Restore(act::RestoreArgs),
    Delete(delete::DeleteArgs),
}

/// Runs the command.
pub(crate) fn run(args: &WorkloadArgs) -> Result<Exit, Failure> {
    crate::operator::block_on(async {
        match &args.command {
            WorkloadCommand::List(args) => list::run(args).await,
            WorkloadCommand::Show(args) => show::run(args).await,
            WorkloadCommand::Export(args) => export::run(args).await,
            WorkloadCommand::Revoke(args) => act::revoke(args).await,
            WorkloadCommand::Restore(args) => act::restore(args).await,
            WorkloadCommand::Delete(args) => delete::run(args).await,
        }
    })
}

/// The result of a write to a row that was there a moment ago.
fn written(
    operator: &OperatorHandle,
    id: &WorkloadId,
    result: Result<(), StoreError>,
) -> Result<(), Failure> {
    match result {
        Err(StoreError::Conflict) => Err(operator.no_workload(id)),
        result => result.map_err(|error| operator.failure(error)),
    }
}
