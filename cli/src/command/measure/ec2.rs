//! `keybroker measure ec2`.

use std::{num::NonZeroU32, path::PathBuf};

use keybroker_snp::measurement::{qemu::Vmm, vcpu::GuestFeatures};

use super::{
    explain::ExplainArgs,
    guests::Guests,
    input::Input,
    output::OutputArgs,
    vcpus::{features, vcpus},
};
use crate::exit::{Exit, Failure};

/// Compute the launch measurement of an EC2 instance
///
/// The measurement covers the firmware, which AWS publishes, and the number of vCPUs. All instances of a size
/// share it: it says nothing about the kernel or the disk.
#[derive(Debug, clap::Args)]
#[command(after_help = Exit::TABLE, after_long_help = format!("\
Examples:
  keybroker measure ec2 --ovmf ovmf_img.fd --vcpus 2
  keybroker measure ec2 --ovmf ovmf_img.fd --vcpus 2,4,8 --earlier-hosts --json

{}", Exit::TABLE))]
pub(super) struct Ec2Args {
    /// The firmware, as the host launches guests with it
    #[arg(long, value_name = "FILE")]
    ovmf: PathBuf,
    /// The number of vCPUs, or several with commas. Only --explain does without it
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = vcpus)]
    #[arg(required_unless_present = "explain")]
    vcpus: Vec<NonZeroU32>,
    /// The features that the host sets in SEV_FEATURES
    #[arg(long, value_name = "BITS", value_delimiter = ',', value_parser = features, default_value = "0x1")]
    guest_features: Vec<GuestFeatures>,
    /// Also for instances that have run since before April 2026, which EC2 launched with another state of
    /// their vCPUs
    #[arg(long)]
    earlier_hosts: bool,
    #[command(flatten)]
    explain: ExplainArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn run(args: &Ec2Args) -> Result<Exit, Failure> {
    let guests = Guests {
        vmms: if args.earlier_hosts { vec![Vmm::Ec2, Vmm::Ec2ZeroRdx] } else { vec![Vmm::Ec2] },
        ovmf: Input::read(&args.ovmf)?,
        boot: None,
        vcpus: args.vcpus.clone(),
        vcpu_types: Vec::new(),
        features: args.guest_features.clone(),
    };
    guests.tell(&args.explain, &args.output)
}
