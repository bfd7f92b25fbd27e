//! Guests that start in OVMF: the measurement of every combination of what was given.

use std::num::NonZeroU32;

use anyhow::anyhow;
use keybroker_common::requirements::Measurement;
use keybroker_snp::measurement::{
    ovmf::{Ovmf, OvmfError},
    qemu::{Launch, LaunchError, Vmm, measure},
    vcpu::GuestFeatures,
};

use super::{
    boot::Boot,
    explain::ExplainArgs,
    input::{Input, unusable},
    output::{Host, LaunchedFrom, Measured, OutputArgs},
    vcpus::VcpuType,
};
use crate::exit::{Exit, Failure};

/// The inputs of launches. An empty list was not given.
#[derive(Debug)]
pub(super) struct Guests {
    /// The VMMs that launch them.
    pub(super) vmms: Vec<Vmm>,
    pub(super) ovmf: Input,
    /// The kernel that the firmware starts, unless it finds one on a disk.
    pub(super) boot: Option<Boot>,
    pub(super) vcpus: Vec<NonZeroU32>,
    /// None where the measurement does not cover their type.
    pub(super) vcpu_types: Vec<VcpuType>,
    pub(super) features: Vec<GuestFeatures>,
}

impl Guests {
    /// Prints the measurements, or explains the one that is asked about.
    pub(super) fn tell(&self, explain: &ExplainArgs, output: &OutputArgs) -> Result<Exit, Failure> {
        let ovmf = ovmf(&self.ovmf)?;
        let Some(digest) = explain.digest()? else {
            output.print(&self.measured(&ovmf)?)?;
            return Ok(Exit::Ok);
        };
        self.explain(digest, &ovmf, &explain.others()?)?.print(output)
    }

    /// The measurements of every combination.
    pub(super) fn measured(&self, ovmf: &Ovmf<'_>) -> Result<Vec<Measured>, Failure> {
        let launches = self.launches(ovmf);
        launches.iter().map(|launch| Ok(self.of(launch, self.digest(launch)?))).collect()
    }

    /// Every combination.
    pub(super) fn launches<'a>(&'a self, ovmf: &'a Ovmf<'a>) -> Vec<Launch<'a>> {
        let boot = self.boot.as_ref().map(Boot::direct);
        let mut signatures: Vec<_> = self.vcpu_types.iter().map(|one| one.signature).collect();
        if signatures.is_empty() {
            signatures.push(0);
        }
        let mut launches = Vec::new();
        for vmm in self.vmms.iter().copied() {
            for signature in signatures.iter().copied() {
                for features in self.features.iter().copied() {
                    launches.extend(self.vcpus.iter().map(|vcpus| {
                        let vcpus = vcpus.get();
                        Launch { vmm, ovmf, boot, vcpus, signature, features }
                    }));
                }
            }
        }
        launches
    }

    /// The measurement of a launch.
    pub(super) fn digest(&self, launch: &Launch<'_>) -> Result<Measurement, Failure> {
        measure(launch).map(Measurement).map_err(|error| {
            let failure = Failure::new(Exit::Failure, anyhow!("no host can launch this guest: {error}"));
            match error {
                LaunchError::NoKernelHashes => failure.hint(format!(
                    "give the firmware that the host has: {} checks no kernel. Its guests start any kernel that \
                     the host gives them, and `measure qemu` without --kernel measures them",
                    self.ovmf.name.path().display()
                )),
                _ => failure,
            }
        })
    }

    /// The measurement of a launch, with all that it was computed from.
    pub(super) fn of(&self, launch: &Launch<'_>, measurement: Measurement) -> Measured {
        let Launch { vmm, vcpus, signature, features, .. } = *launch;
        let shape = Shape { vmm, vcpus, signature, features };
        self.of_shape(shape, measurement, &self.ovmf, self.boot.clone())
    }

    /// The same of a launch from other files.
    pub(super) fn of_shape(
        &self,
        Shape { vmm, vcpus, signature, features }: Shape,
        measurement: Measurement,
        ovmf: &Input,
        boot: Option<Boot>,
    ) -> Measured {
        let given = self.vcpu_types.iter().find(|one| one.signature == signature).cloned();
        let vcpu = vmm.measures_model().then(|| given.unwrap_or_else(|| VcpuType::of(signature)));
        let (guest_features, ovmf) = (features.to_string(), ovmf.name.clone());
        let of = LaunchedFrom::Ovmf { vcpu, guest_features, ovmf, boot };
        Measured { measurement, vmm: Host::Ovmf(vmm), vcpus, of }
    }
}

/// How a guest is launched, whatever from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) vmm: Vmm,
    pub(super) vcpus: u32,
    pub(super) signature: u32,
    pub(super) features: GuestFeatures,
}

/// Reads a firmware's file.
pub(super) fn ovmf(input: &Input) -> Result<Ovmf<'_>, Failure> {
    Ovmf::parse(&input.bytes).map_err(|error| {
        let failure = unusable(input.name.path(), error);
        match error {
            OvmfError::NoTable | OvmfError::Missing(_) | OvmfError::Size(_) => failure.hint(
                "give the whole image that the host launches SEV-SNP guests with: not a file of variables, \
                 and not an OVMF without SEV-SNP",
            ),
            _ => failure,
        }
    })
}
