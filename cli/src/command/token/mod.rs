//! `keybroker token`: the tokens with which builds register.

mod create;
mod list;
mod revoke;
mod show;
mod summary;
mod which;

use keybroker_common::ids::TokenId;

use crate::{
    exit::{Exit, Failure},
    operator::{self, OperatorHandle, no_such},
};

/// Make, list, show and revoke the tokens that let builds register
///
/// A token is for one workload and one build. Its first use binds it to the workload id that it registers;
/// within the build it may register that id again, as buildah --layers does. The token ends when it expires,
/// 30 minutes after its first use, or when the first guest attests. So the copy that buildah leaves in the
/// image is worthless.
#[derive(Debug, clap::Args)]
pub(crate) struct TokenArgs {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Debug, clap::Subcommand)]
enum TokenCommand {
    Create(create::CreateArgs),
    List(list::ListArgs),
    Show(show::ShowArgs),
    Revoke(revoke::RevokeArgs),
}

/// Runs the command.
pub(crate) fn run(args: &TokenArgs) -> Result<Exit, Failure> {
    operator::block_on(async {
        match &args.command {
            TokenCommand::Create(args) => create::run(args).await,
            TokenCommand::List(args) => list::run(args).await,
            TokenCommand::Show(args) => show::run(args).await,
            TokenCommand::Revoke(args) => revoke::run(args).await,
        }
    })
}

/// The failure that there is no token with this id.
fn no_token(operator: &OperatorHandle, id: TokenId) -> Failure {
    let list = operator.place.command("token list --all", &[]);
    no_such("token", id).hint(format!("to see all of them: {list}"))
}
