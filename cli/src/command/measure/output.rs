//! Measurements, as they are printed.

use keybroker_common::requirements::Measurement;
use keybroker_snp::measurement::qemu::Vmm;
use serde::{Serialize, Serializer};

use super::{boot::Boot, digest::Format, input::FileName, vcpus::VcpuType};
use crate::{exit::Failure, table};

/// How measurements are printed.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Output")]
pub(super) struct OutputArgs {
    /// Print the measurements alone, one a line, as other tools print them
    #[arg(long, value_enum, value_name = "FORM")]
    format: Option<Format>,
    /// Print one JSON document: each measurement with all that it was computed from. `register
    /// --measurements` reads it
    #[arg(long, conflicts_with = "format")]
    pub(super) json: bool,
}

/// The document that `--json` prints.
#[derive(Debug, Serialize)]
struct Document<'a> {
    /// Version of this form.
    schema: u8,
    measurements: &'a [Measured],
}

/// A measurement, and all that it was computed from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Measured {
    pub(super) measurement: Measurement,
    /// The program or the cloud that launches the guest.
    pub(super) vmm: Host,
    pub(super) vcpus: u32,
    #[serde(flatten)]
    pub(super) of: LaunchedFrom,
}

/// The program or the cloud that launches a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Host {
    /// A VMM that starts OVMF.
    Ovmf(Vmm),
    /// libkrun.
    Krun,
}

impl Host {
    /// Its name in JSON.
    fn id(self) -> &'static str {
        match self {
            Self::Ovmf(Vmm::Qemu) => "qemu",
            Self::Ovmf(Vmm::QemuZeroFpu) => "qemu-zero-fpu",
            Self::Ovmf(Vmm::Ec2) => "ec2",
            Self::Ovmf(Vmm::Ec2ZeroRdx) => "ec2-zero-rdx",
            Self::Ovmf(Vmm::Gce) => "gce",
            Self::Krun => "krun",
        }
    }
}

impl Serialize for Host {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.id())
    }
}

/// The content of a launch, beside the number of vCPUs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(super) enum LaunchedFrom {
    /// OVMF, and what it starts.
    Ovmf {
        /// The type of QEMU's vCPUs. That of EC2's is not in the measurement.
        #[serde(flatten)]
        vcpu: Option<VcpuType>,
        guest_features: String,
        ovmf: FileName,
        #[serde(flatten)]
        boot: Option<Boot>,
    },
    /// libkrunfw-sev.
    Krun {
        /// RAM in MiB.
        memory: u32,
        /// Whether the host's kernel gives vCPUs the initial state of the FPU.
        fpu: bool,
        library: FileName,
    },
}

impl OutputArgs {
    /// Prints the measurements.
    pub(super) fn print(&self, measured: &[Measured]) -> Result<(), Failure> {
        if self.json {
            table::json(&Document { schema: 1, measurements: measured })?;
        } else if let Some(format) = self.format {
            for one in measured {
                table::line(&format.of(&one.measurement))?;
            }
        } else if let Some(first) = measured.first() {
            let header: Vec<_> = first.fields().into_iter().map(|(name, _)| name).collect();
            let row = |one: &Measured| one.fields().into_iter().map(|(_, value)| value).collect();
            table::print(&header, measured.iter().map(row))?;
        }
        Ok(())
    }
}

impl Measured {
    /// The columns of the table: what can differ among the measurements of one run.
    fn fields(&self) -> Vec<(&'static str, String)> {
        let mut fields = vec![("launched by", self.vmm.id().to_owned()), ("vcpus", self.vcpus.to_string())];
        match &self.of {
            LaunchedFrom::Ovmf { vcpu, guest_features, .. } => {
                fields.extend(vcpu.as_ref().map(|vcpu| ("vcpu type", vcpu.to_string())));
                fields.push(("guest features", guest_features.clone()));
            }
            LaunchedFrom::Krun { memory, fpu, .. } => {
                fields.push(("memory", format!("{memory} MiB")));
                fields.push(("fpu", if *fpu { "initial" } else { "zero" }.to_owned()));
            }
        }
        fields.push(("measurement", self.measurement.to_string()));
        fields
    }

    /// The same, computed from another kernel, initrd or command line.
    pub(super) fn with_boot(mut self, with: Option<Boot>) -> Self {
        if let LaunchedFrom::Ovmf { boot, .. } = &mut self.of {
            *boot = with;
        }
        self
    }

    /// The launch in words.
    pub(super) fn summary(&self) -> String {
        let vcpus = vcpus(self.vcpus);
        match &self.of {
            LaunchedFrom::Ovmf { vcpu: Some(vcpu), guest_features, .. } => {
                format!("{vcpus} of the type {vcpu}, and guest features {guest_features}")
            }
            LaunchedFrom::Ovmf { vcpu: None, guest_features, .. } => {
                format!("{vcpus}, and guest features {guest_features}")
            }
            LaunchedFrom::Krun { memory, .. } => format!("{vcpus}, and {memory} MiB of RAM"),
        }
    }
}

/// So many vCPUs, in words.
pub(super) fn vcpus(number: u32) -> String {
    if number == 1 { "1 vCPU".to_owned() } else { format!("{number} vCPUs") }
}
