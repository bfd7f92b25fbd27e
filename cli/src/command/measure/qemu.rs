//! `keybroker measure qemu`.

use std::{num::NonZeroU32, path::PathBuf};

use keybroker_snp::measurement::{qemu::Vmm, vcpu::GuestFeatures};

use super::{
    boot::BootArgs,
    explain::ExplainArgs,
    guests::Guests,
    input::Input,
    output::OutputArgs,
    vcpus::{VcpuType, features, vcpus},
};
use crate::exit::{Exit, Failure};

/// Compute the launch measurement of a guest that QEMU or libvirt launches
///
/// The measurement covers the firmware, the number of vCPUs, their type and the guest features. With an OVMF
/// that is built as AmdSev and kernel-hashes=on it also covers kernel, initrd and command line. Lists, with
/// commas, give the measurement of every combination.
///
/// Neither memory nor disks nor HOST_DATA are in it.
#[derive(Debug, clap::Args)]
#[command(after_help = Exit::TABLE, after_long_help = format!("\
Examples:
  keybroker measure qemu --ovmf OVMF.amdsev.fd --kernel vmlinuz --initrd initrd.img \\
      --append 'root=/dev/mapper/root ro' --vcpus 4 --vcpu-type EPYC-Milan
  A fleet, registered without copying a digest:
      keybroker measure qemu --ovmf OVMF.amdsev.fd --kernel vmlinuz --initrd initrd.img \\
          --append-file cmdline --vcpus 1,2,4,8 --vcpu-type milan,genoa --json \\
          | keybroker register --measurements - --resource tls.key=key.pem --yes
  A guest that was refused, by the measurement in its report:
      keybroker measure qemu --ovmf OVMF.amdsev.fd --kernel vmlinuz --initrd initrd.img \\
          --append-file cmdline --vcpus 4 --vcpu-type milan \\
          --firmware OVMF.old.fd --explain report.bin

{}", Exit::TABLE))]
pub(super) struct QemuArgs {
    /// The firmware, as the host launches guests with it
    #[arg(long, value_name = "FILE")]
    ovmf: PathBuf,
    /// The number of vCPUs, or several with commas. Only --explain does without it
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = vcpus)]
    #[arg(required_unless_present = "explain")]
    vcpus: Vec<NonZeroU32>,
    /// QEMU's name of their type (-cpu), a short one as milan, or a CPUID signature as 0x00a00f11; several
    /// with commas. Only --explain does without it
    #[arg(long, value_name = "TYPE", value_delimiter = ',', value_parser = VcpuType::parse)]
    #[arg(required_unless_present = "explain")]
    vcpu_type: Vec<VcpuType>,
    /// The features that the host sets in SEV_FEATURES; some hosts set 0x21
    #[arg(long, value_name = "BITS", value_delimiter = ',', value_parser = features, default_value = "0x1")]
    guest_features: Vec<GuestFeatures>,
    /// Also for hosts before Linux 6.10, which launch a guest with another state of the FPU
    #[arg(long)]
    earlier_hosts: bool,
    #[command(flatten)]
    boot: BootArgs,
    #[command(flatten)]
    explain: ExplainArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn run(args: &QemuArgs) -> Result<Exit, Failure> {
    let guests = Guests {
        vmms: if args.earlier_hosts { vec![Vmm::Qemu, Vmm::QemuZeroFpu] } else { vec![Vmm::Qemu] },
        ovmf: Input::read(&args.ovmf)?,
        boot: args.boot.read()?,
        vcpus: args.vcpus.clone(),
        vcpu_types: args.vcpu_type.clone(),
        features: args.guest_features.clone(),
    };
    guests.tell(&args.explain, &args.output)
}
