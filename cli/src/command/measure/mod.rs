//! `keybroker measure`: the launch measurement of a guest, computed from what it is launched from.

mod krun;

pub(crate) use krun::{KrunMeasurements, measured};

use crate::exit::{Exit, Failure};

/// Compute the launch measurement that a guest will report
///
/// Nothing is launched, and no chip is asked: the command computes the digest of what the firmware will be
/// given.
#[derive(Debug, clap::Args)]
pub(crate) struct MeasureArgs {
    #[command(subcommand)]
    launched_by: LaunchedBy,
}

#[derive(Debug, clap::Subcommand)]
enum LaunchedBy {
    Krun(krun::KrunArgs),
}

/// Runs the command.
pub(crate) fn run(args: &MeasureArgs) -> Result<Exit, Failure> {
    match &args.launched_by {
        LaunchedBy::Krun(args) => krun::run(args),
    }
}
