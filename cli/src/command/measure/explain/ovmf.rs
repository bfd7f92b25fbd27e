//! The explanation of a guest that starts in OVMF.

use keybroker_common::requirements::Measurement;
use keybroker_snp::measurement::{
    direct_boot::DirectBoot,
    explain::{self, Candidate},
    ovmf::Ovmf,
    qemu::{Launch, Vmm},
    vcpu::{GuestFeatures, MODELS},
};

use super::{Change, Difference, Explanation, Fit, act, differs, other_file};
use crate::{
    command::measure::{
        guests::{Guests, Shape, ovmf},
        input::Input,
        output::vcpus,
        vcpus::VcpuType,
    },
    exit::Failure,
};

/// The most processors of a node that are tried.
const LARGEST_NODE: u32 = 1024;

impl Guests {
    /// Finds out which launch has the measurement: one of those that were given, or a neighbour.
    pub(in crate::command::measure) fn explain(
        &self,
        digest: Measurement,
        given: &Ovmf<'_>,
        others: &[Input],
    ) -> Result<Explanation, Failure> {
        let otherwise = match &self.boot {
            Some(_) => "the firmware, the kernel, the initrd or the command line is another one",
            None => "the firmware is another one, or a kernel is measured with it",
        };
        let parsed = others.iter().map(ovmf).collect::<Result<Vec<_>, _>>()?;
        let as_given = self.measured(given)?.into_iter().find(|one| one.measurement == digest);
        let fit = match as_given {
            Some(measured) => Some(Fit { differences: Vec::new(), measured }),
            None => explain::explain(&digest.0, &self.expected(given), &parsed)
                .map(|candidate| self.fit(digest, &candidate, others))
                .or_else(|| self.on_another_node(digest, given)),
        };
        Ok(Explanation { digest, fit, otherwise })
    }

    /// The launch whose neighbours are tried: the first of those that were given.
    fn expected<'a>(&'a self, ovmf: &'a Ovmf<'a>) -> Launch<'a> {
        let model = MODELS.last().map_or(0, |model| model.signature);
        Launch {
            vmm: self.vmms.first().copied().unwrap_or(Vmm::Qemu),
            ovmf,
            boot: self.boot.as_ref().map(|boot| boot.direct()),
            vcpus: self.vcpus.first().map_or(1, |vcpus| vcpus.get()),
            signature: self.vcpu_types.first().map_or(model, |one| one.signature),
            features: self.features.first().copied().unwrap_or_default(),
        }
    }

    fn fit(&self, digest: Measurement, candidate: &Candidate, others: &[Input]) -> Fit {
        let firmware = candidate.firmware.and_then(|index| others.get(index));
        let mut differences = Vec::new();
        let other = |firmware| other_file(("ovmf", "--ovmf"), firmware, &self.ovmf);
        differences.extend(firmware.map(other));
        differences.extend(self.other_vmm(candidate.vmm));
        differences.extend(self.other_boot(candidate.boot.as_ref()));
        let given: Vec<_> = self.vcpus.iter().map(|vcpus| vcpus.get()).collect();
        let vcpus = |number: &u32| format!("with {}", vcpus(*number));
        differences.extend(differs(("vcpus", "--vcpus"), &candidate.vcpus, &given, vcpus));
        differences.extend(self.other_type(candidate));
        differences.extend(self.other_features(candidate.features));
        let Candidate { vmm, vcpus, signature, features, .. } = *candidate;
        let shape = Shape { vmm, vcpus, signature, features };
        let boot = self.boot.as_ref().zip(candidate.boot.as_ref());
        let boot = boot.map(|(given, found)| given.altered(found.initrd, &found.command_line));
        let measured = self.of_shape(shape, digest, firmware.unwrap_or(&self.ovmf), boot);
        Fit { differences, measured }
    }

    fn other_vmm(&self, found: Vmm) -> Option<Difference> {
        let given = |vmm| self.vmms.contains(&vmm);
        let change = match found {
            _ if given(found) => return None,
            Vmm::QemuZeroFpu if given(Vmm::Qemu) => Change::Give("--earlier-hosts".to_owned()),
            Vmm::Ec2ZeroRdx if given(Vmm::Ec2) => Change::Give("--earlier-hosts".to_owned()),
            Vmm::Qemu | Vmm::QemuZeroFpu => act("compute it with `measure qemu`"),
            Vmm::Ec2 | Vmm::Ec2ZeroRdx => act("compute it with `measure ec2`"),
            Vmm::Gce => act("do not register it, unless you want guests of that cloud"),
        };
        Some(Difference { input: "vmm", launched: format!("by {}", found.name()), change })
    }

    fn other_type(&self, found: &Candidate) -> Option<Difference> {
        let known = self.vcpu_types.iter().any(|one| one.signature == found.signature);
        if known || !found.vmm.measures_model() {
            return None;
        }
        let found = VcpuType::of(found.signature);
        let names = |found: &VcpuType| format!("with vCPUs of the type {found}");
        differs(("vcpu_type", "--vcpu-type"), &found, &self.vcpu_types, names)
    }

    fn other_features(&self, found: GuestFeatures) -> Option<Difference> {
        let words = |found: &GuestFeatures| format!("with guest features {found}");
        let difference = differs(("guest_features", "--guest-features"), &found, &self.features, words)?;
        Some(if found.0 & GuestFeatures::SNP.0 == 0 {
            let change = act("compute it with bit 0, which every guest of SEV-SNP has");
            Difference { change, ..difference }
        } else {
            difference
        })
    }

    fn other_boot(&self, found: Option<&explain::Boot>) -> Vec<Difference> {
        let mut differences = Vec::new();
        let Some(given) = &self.boot else { return differences };
        let Some(found) = found else {
            return vec![Difference {
                input: "kernel",
                launched: "without kernel hashes, so that the measurement says nothing about its kernel"
                    .to_owned(),
                change: act("have it launched with kernel-hashes=on"),
            }];
        };
        if !found.initrd && given.has_initrd() {
            differences.push(Difference {
                input: "initrd",
                launched: "without the initrd".to_owned(),
                change: act("leave --initrd out"),
            });
        }
        differences.extend(line_differs(given.append(), &found.command_line));
        differences
    }

    /// kata writes the node's number of processors into the command line.
    fn on_another_node(&self, digest: Measurement, ovmf: &Ovmf<'_>) -> Option<Fit> {
        const NAME: &str = "nr_cpus=";
        let line = self.boot.as_ref()?.append();
        let at = line.match_indices(NAME).map(|(at, _)| at + NAME.len()).last()?;
        let (before, after) = line.split_at_checked(at)?;
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        let (given, after) = after.split_at_checked(digits)?;
        let launches = self.launches(ovmf);
        (1..=LARGEST_NODE).find_map(|number| {
            let line = format!("{before}{number}{after}");
            let found = launches.iter().find_map(|launch| {
                let boot = launch.boot.map(|boot| DirectBoot { command_line: &line, ..boot });
                let found = self.digest(&Launch { boot, ..*launch }).ok()?;
                (found == digest).then(|| self.of(launch, digest))
            });
            let measured = found?.with_boot(self.boot.as_ref().map(|boot| boot.altered(true, &line)));
            let found = format!("{NAME}{number}");
            let difference = Difference {
                input: "append",
                launched: format!("with {found} on its command line, not {NAME}{given}"),
                change: Change::Do(format!("give --append with {found}")),
            };
            Some(Fit { differences: vec![difference], measured })
        })
    }
}

/// How the command line differs, where the two are neighbours.
fn line_differs(given: &str, found: &str) -> Option<Difference> {
    let difference =
        |launched: &str, change| Some(Difference { input: "append", launched: launched.to_owned(), change });
    let give = |how: &str| Change::Do(format!("give --append {how}"));
    match found {
        _ if found == given => None,
        "" => difference("without the command line", act("leave --append out")),
        _ if found.strip_suffix('\n') == Some(given) => {
            difference("with a line feed at the end of its command line", give("with it"))
        }
        _ if given.trim_end_matches('\n') == found => {
            difference("without the line feed at the end of its command line", give("without it"))
        }
        _ => difference("without the white space at an end of its command line", give("without it")),
    }
}
