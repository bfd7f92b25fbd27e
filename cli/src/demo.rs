//! `keybroker demo`.

use crate::exit::{Exit, Failure};

/// The whole story in one process: a build, a guest on a simulated chip, and attacks.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Runs the command.
pub(crate) fn run(_args: Args) -> Result<(), Failure> {
    Err(Failure::new(Exit::Failure, anyhow::anyhow!("this command is not part of this build")))
}
