//! Finds out which launch a digest is of, if the expected one does not fit: the likely neighbours of the
//! expected launch are measured one after the other, until one fits.
//!
//! A digest that no neighbour has says nothing: a kernel, an initrd or a firmware may be another one.

use std::iter;

use super::{
    Page, VMSA_ADDRESS,
    direct_boot::{DirectBoot, NOTHING},
    ovmf::Ovmf,
    qemu::{Launch, MOST_VCPUS, Vmm, before_vcpus, vcpus},
    vcpu::{GuestFeatures, HOST_SIGNATURES, MODELS},
};

/// A launch that has the digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its firmware: the expected one, or the one with this index in the list.
    pub firmware: Option<usize>,
    /// Its VMM.
    pub vmm: Vmm,
    /// Its kernel. Without one no hashes are measured.
    pub boot: Option<Boot>,
    /// Its number of vCPUs.
    pub vcpus: u32,
    /// The signature of its CPU model.
    pub signature: u32,
    /// The features of its vCPUs.
    pub features: GuestFeatures,
}

/// How a candidate hands over the expected kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boot {
    /// Whether with the expected initrd, or with none.
    pub initrd: bool,
    /// The command line.
    pub command_line: String,
}

/// The number of vCPUs up to which a launch is likely.
pub const LIKELY_VCPUS: u32 = 128;

/// The features that hosts set, the most usual ones first.
pub const LIKELY_FEATURES: [GuestFeatures; 7] = [
    GuestFeatures(0x1),
    GuestFeatures(0x21),  // DebugSwap
    GuestFeatures(0x201), // SecureTSC
    GuestFeatures(0x221),
    GuestFeatures(0x9),  // RestrictedInjection
    GuestFeatures(0x81), // BTBIsolation
    GuestFeatures(0x0),  // no guest has none, but a reference value may have been computed so
];

/// The first neighbour of the expected launch that has this digest.
///
/// The firmware is the expected one or one of `others`. All numbers of vCPUs, CPU models and features are
/// tried with the expected VMM and kernel first.
pub fn explain(digest: &[u8; 48], expected: &Launch<'_>, others: &[Ovmf<'_>]) -> Option<Candidate> {
    let firmware =
        iter::once((None, expected.ovmf)).chain(others.iter().enumerate().map(|(at, ovmf)| (Some(at), ovmf)));
    let boots = boots(expected.boot.as_ref());
    for (firmware, ovmf) in firmware {
        for boot in &boots {
            for vmm in first_and(expected.vmm, Vmm::ALL) {
                let given = Launch { vmm, ovmf, ..*expected };
                let Some((vcpus, signature, features)) = with_boot(digest, &given, boot.as_ref()) else {
                    continue;
                };
                let boot = boot.clone();
                return Some(Candidate { firmware, vmm, boot, vcpus, signature, features });
            }
        }
    }
    None
}

/// The ways to hand over the expected kernel, the expected way first.
fn boots(expected: Option<&DirectBoot<'_>>) -> Vec<Option<Boot>> {
    let Some(expected) = expected else { return vec![None] };
    let line = expected.command_line;
    // Files end with a line feed, and programs that read them remove it, or all white space, or nothing.
    let mut lines = vec![line.to_owned(), format!("{line}\n"), String::new()];
    lines.extend([line.trim_end_matches('\n'), line.trim_end(), line.trim()].map(str::to_owned));
    let mut boots: Vec<Option<Boot>> = Vec::new();
    let initrds: &[bool] = if expected.initrd == NOTHING { &[true] } else { &[true, false] };
    for initrd in initrds.iter().copied() {
        for command_line in &lines {
            let boot = Some(Boot { initrd, command_line: command_line.clone() });
            if !boots.contains(&boot) {
                boots.push(boot);
            }
        }
    }
    boots.push(None);
    boots
}

/// The number of vCPUs, the CPU model and the features that have the digest with this firmware, VMM and
/// kernel.
fn with_boot(
    digest: &[u8; 48],
    launch: &Launch<'_>,
    boot: Option<&Boot>,
) -> Option<(u32, u32, GuestFeatures)> {
    let boot = launch.boot.zip(boot).map(|(expected, boot)| DirectBoot {
        initrd: if boot.initrd { expected.initrd } else { NOTHING },
        command_line: &boot.command_line,
        ..expected
    });
    // An OVMF that takes no hashes has no launch with a kernel.
    let before = before_vcpus(launch.vmm, launch.ovmf, boot.as_ref()).ok()?;
    let models = MODELS.iter().map(|model| model.signature).chain(HOST_SIGNATURES.iter().copied());
    let models = if launch.vmm.measures_model() {
        first_and(launch.signature, models)
    } else {
        vec![launch.signature]
    };
    for features in first_and(launch.features, LIKELY_FEATURES) {
        for signature in &models {
            let (first, other) = vcpus(launch.vmm, launch.ovmf, *signature, features);
            let mut measured = before.clone();
            measured.add(Page::Vmsa(&first), VMSA_ADDRESS);
            let other = Page::Vmsa(&other).contents();
            for vcpus in 1..=LIKELY_VCPUS.max(launch.vcpus).min(MOST_VCPUS) {
                if measured.0 == *digest {
                    return Some((vcpus, *signature, features));
                }
                measured.add_vmsa(other);
            }
        }
    }
    None
}

/// The expected value, and then every other.
fn first_and<T: PartialEq>(expected: T, all: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut values = vec![expected];
    for value in all {
        if !values.contains(&value) {
            values.push(value);
        }
    }
    values
}
