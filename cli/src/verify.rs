//! `keybroker verify`.

use crate::exit::{Exit, Failure};

/// Check one attestation report offline.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Runs the command.
pub(crate) fn run(_args: Args) -> Result<(), Failure> {
    Err(Failure::new(Exit::Failure, anyhow::anyhow!("this command is not part of this build")))
}
