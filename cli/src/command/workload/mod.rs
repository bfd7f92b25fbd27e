//! `keybroker workload`: the registered workloads, and an operator's acts on them.

mod delete;
mod export;
mod list;
mod restore;
mod revoke;
mod show;

use crate::{
    exit::{Exit, Failure},
    operator::workload_id,
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
    Revoke(revoke::RevokeArgs),
    Restore(restore::RestoreArgs),
    Delete(delete::DeleteArgs),
}

/// Runs the command.
pub(crate) fn run(args: &WorkloadArgs) -> Result<Exit, Failure> {
    crate::operator::block_on(async {
        match &args.command {
            WorkloadCommand::List(args) => list::run(args).await,
            WorkloadCommand::Show(args) => show::run(args).await,
            WorkloadCommand::Export(args) => export::run(args).await,
            WorkloadCommand::Revoke(args) => revoke::run(args).await,
            WorkloadCommand::Restore(args) => restore::run(args).await,
            WorkloadCommand::Delete(args) => delete::run(args).await,
        }
    })
}
