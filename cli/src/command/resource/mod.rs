//! `keybroker resource`: the secrets of a workload, and an operator's change of one of them.

mod change;
mod delete;
mod list;
mod set;

use crate::exit::{Exit, Failure};

/// List, set and delete the secrets of a workload, one at a time
///
/// A guest gets these secrets by their names: guests of Trustee ask for repository/type/tag, all others for a
/// plain name. A change leaves the other secrets and everything that is required of a guest as they are. It
/// gives the workload a new registration digest, so that a guest that attested before gets nothing more and
/// must attest again. A revoked workload stays revoked. The command never shows a secret.
#[derive(Debug, clap::Args)]
pub(crate) struct ResourceArgs {
    #[command(subcommand)]
    command: ResourceCommand,
}

#[derive(Debug, clap::Subcommand)]
enum ResourceCommand {
    List(list::ListArgs),
    Set(set::SetArgs),
    Delete(delete::DeleteArgs),
}

/// Runs the command.
pub(crate) fn run(args: &ResourceArgs) -> Result<Exit, Failure> {
    crate::operator::block_on(async {
        match &args.command {
            ResourceCommand::List(args) => list::run(args).await,
            ResourceCommand::Set(args) => set::run(args).await,
            ResourceCommand::Delete(args) => delete::run(args).await,
        }
    })
}
