//! `keybroker token`: what lets a build register.

mod create;
mod list;
mod revoke;

use crate::{
    exit::{Exit, Failure},
    operator,
};

/// Make, list and revoke the tokens that let builds register
///
/// A token is for one workload and one build. It is bound to the first workload id that it registers, may
/// register that again within the build (buildah --layers does), and ends with its time, 30 minutes after its
/// first use, or with the first guest that attests: so the copy that buildah leaves in the image is worth
/// nothing.
#[derive(Debug, clap::Args)]
pub(crate) struct TokenArgs {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Debug, clap::Subcommand)]
enum TokenCommand {
    Create(create::CreateArgs),
    List(list::ListArgs),
    Revoke(revoke::RevokeArgs),
}

/// Runs the command.
pub(crate) fn run(args: &TokenArgs) -> Result<Exit, Failure> {
    operator::block_on(async {
        match &args.command {
            TokenCommand::Create(args) => create::run(args).await,
            TokenCommand::List(args) => list::run(args).await,
            TokenCommand::Revoke(args) => revoke::run(args).await,
        }
    })
}
