//! `keybroker measure`: the launch measurement of a guest, computed from what it is launched from.

mod boot;
mod digest;
mod ec2;
mod explain;
mod guests;
mod input;
mod kata;
mod krun;
mod output;
mod qemu;
mod vcpus;

pub(crate) use krun::{KrunMeasurements, measured};

use crate::exit::{Exit, Failure};

/// Compute the launch measurement that a guest will report
///
/// Nothing is launched, and no chip is asked: the command computes the digest of what the firmware will be
/// given. With --explain it says what differs in a guest that reported another measurement.
#[derive(Debug, clap::Args)]
pub(crate) struct MeasureArgs {
    #[command(subcommand)]
    launched_by: LaunchedBy,
}

#[derive(Debug, clap::Subcommand)]
enum LaunchedBy {
    Qemu(qemu::QemuArgs),
    Ec2(ec2::Ec2Args),
    Krun(krun::KrunArgs),
    Kata(kata::KataArgs),
}

/// Runs the command.
pub(crate) fn run(args: &MeasureArgs) -> Result<Exit, Failure> {
    match &args.launched_by {
        LaunchedBy::Qemu(args) => qemu::run(args),
        LaunchedBy::Ec2(args) => ec2::run(args),
        LaunchedBy::Krun(args) => krun::run(args),
        LaunchedBy::Kata(args) => kata::run(args),
    }
}
