//! `keybroker id-block`: the owner of a key vouches for launch measurements.

mod certify;
mod digest;
mod generate;
mod inspect;
mod sign;

use crate::exit::{Exit, Failure};

/// Make keys and sign ID blocks, with which registrations survive a rebuild
///
/// An ID block says which launch measurement a guest must have, and the owner of an ID key signs it. The
/// firmware starts no other guest with it. Register a workload by the digest of that key: it then accepts
/// every image for which the key vouches, and a rebuild needs a new ID block and no new registration.
///
/// An ID key that leaks vouches for anything. docs/id-blocks.md tells how to live with that.
#[derive(Debug, clap::Args)]
pub(crate) struct IdBlockArgs {
    #[command(subcommand)]
    command: IdBlockCommand,
}

#[derive(Debug, clap::Subcommand)]
enum IdBlockCommand {
    Generate(generate::GenerateArgs),
    Digest(digest::DigestArgs),
    Certify(certify::CertifyArgs),
    Sign(Box<sign::SignArgs>),
    Inspect(inspect::InspectArgs),
}

/// Runs the command.
pub(crate) fn run(args: &IdBlockArgs) -> Result<Exit, Failure> {
    match &args.command {
        IdBlockCommand::Generate(args) => generate::run(args),
        IdBlockCommand::Digest(args) => digest::run(args),
        IdBlockCommand::Certify(args) => certify::run(args),
        IdBlockCommand::Sign(args) => sign::run(args),
        IdBlockCommand::Inspect(args) => inspect::run(args),
    }
}
