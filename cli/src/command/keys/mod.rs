//! `keybroker keys`: the broker's own keys, by which it recognises its challenges and its sessions.

mod list;
mod rotate;

use crate::{
    exit::{Exit, Failure},
    operator,
};

/// List and rotate the broker's own keys
///
/// The broker has two rings of keys. By the ring `challenge` it recognises the challenges that it gave, and
/// by the ring `session` the guests that have attested. Both rotate by themselves each week, so these
/// commands are for looking, and for keys that were stolen. The keys are wrapped in the store: no command
/// shows them. They wrap no secret of a workload.
#[derive(Debug, clap::Args)]
pub(crate) struct KeysArgs {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, clap::Subcommand)]
enum KeysCommand {
    List(list::ListArgs),
    Rotate(rotate::RotateArgs),
}

/// Runs the command.
pub(crate) fn run(args: &KeysArgs) -> Result<Exit, Failure> {
    operator::block_on(async {
        match &args.command {
            KeysCommand::List(args) => list::run(args).await,
            KeysCommand::Rotate(args) => rotate::run(args).await,
        }
    })
}
