//! `keybroker keys`: the broker's own keys, by which it recognises its challenges and its sessions, and signs
//! its answers.

mod documents;
mod import;
mod list;
mod prepare;
mod retire;
mod rewrap;
mod rotate;
mod rotate_signature;
mod signing;

use crate::{
    exit::{Exit, Failure},
    operator,
};

/// List and rotate the broker's own keys
///
/// The broker has four rings of keys. By the ring `challenge` it recognises the challenges that it gave, and
/// by the ring `session` the guests that have attested. With the ring `result` it signs what others may know
/// of those guests. These three rotate by themselves each week.
///
/// With a key of the ring `signature` the broker signs its answers to guests whose init data document names
/// that key. This ring rotates on your word alone: `prepare` makes the next key and prints it, you register
/// the workloads again with documents that name it, and `rotate signature` has the broker sign with it.
///
/// The keys are wrapped in the store: no command shows them. They wrap no secret of a workload.
///
/// The wrapping key wraps these keys and every secret. `rewrap` moves all of it to another wrapping key.
#[derive(Debug, clap::Args)]
pub(crate) struct KeysArgs {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, clap::Subcommand)]
enum KeysCommand {
    List(list::ListArgs),
    Prepare(prepare::PrepareArgs),
    Import(import::ImportArgs),
    Rotate(rotate::RotateArgs),
    Retire(retire::RetireArgs),
    Rewrap(rewrap::RewrapArgs),
}

/// Runs the command.
pub(crate) fn run(args: &KeysArgs) -> Result<Exit, Failure> {
    operator::block_on(async {
        match &args.command {
            KeysCommand::List(args) => list::run(args).await,
            KeysCommand::Prepare(args) => prepare::run(args).await,
            KeysCommand::Import(args) => import::run(args).await,
            KeysCommand::Rotate(args) => rotate::run(args).await,
            KeysCommand::Retire(args) => retire::run(args).await,
            KeysCommand::Rewrap(args) => rewrap::run(args).await,
        }
    })
}
