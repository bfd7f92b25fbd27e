//! The launch measurement of a guest that starts in OVMF: QEMU's, and with it Kata's, and those of the clouds
//! that are measured like it.
//!
//! First come the pages of OVMF, then the sections that it asks for, in their order, then one VMSA for each
//! vCPU. The pages are hashed once for all launches of one [`Ovmf`].

use super::{
    LaunchDigest, PAGE_SIZE, Page, PageBytes,
    direct_boot::DirectBoot,
    ovmf::{Ovmf, Section, SectionKind},
    vcpu::GuestFeatures,
    vmsa::{self, Fpu, G_PAT, RDX, SEV_FEATURES, State},
};

/// Everything that a guest is launched from.
#[derive(Debug, Clone, Copy)]
pub struct Launch<'a> {
    /// The VMM that launches it.
    pub vmm: Vmm,
    /// The firmware.
    pub ovmf: &'a Ovmf<'a>,
    /// The kernel that the VMM hands to OVMF. Without one the guest boots from its disk, or the VMM does not
    /// add its hashes (`kernel-hashes=off`), and nothing is said about its kernel.
    pub boot: Option<DirectBoot<'a>>,
    /// The number of vCPUs.
    pub vcpus: u32,
    /// The signature of the vCPUs' model: QEMU writes it into the VMSA, the clouds do not.
    pub signature: u32,
    /// The features of the vCPUs.
    pub features: GuestFeatures,
}

/// The VMMs whose way to launch OVMF is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Vmm {
    /// QEMU.
    Qemu,
    /// QEMU on a host whose KVM leaves the FPU zero in the VMSA: hosts before KVM_SEV_INIT2, Linux 6.10.
    QemuZeroFpu,
    /// Amazon EC2.
    Ec2,
    /// Amazon EC2 as it launched guests before it set RDX to 0x600, in or before April 2026. An instance that
    /// has run since then has the earlier measurement.
    Ec2ZeroRdx,
    /// Google Compute Engine.
    Gce,
}

/// Why no VMM could launch such a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// No guest has so many vCPUs, or none.
    #[error("{0} vCPUs: a guest has 1 to {MOST_VCPUS}")]
    Vcpus(u32),
    /// The OVMF does not take the hashes of a kernel, so they would not be measured.
    #[error("this OVMF does not check a kernel's hashes: OVMF's AmdSev builds do")]
    NoKernelHashes,
    /// QEMU's command line for the kernel ends with its first NUL.
    #[error("the kernel's command line has a NUL")]
    CommandLine,
}

/// The most vCPUs that KVM gives to a guest.
pub const MOST_VCPUS: u32 = 4096;

/// Where the first vCPU starts.
const FIRST_START: u32 = 0xFFFF_FFF0;

/// The launch measurement of a guest.
pub fn measure(launch: &Launch<'_>) -> Result<[u8; 48], LaunchError> {
    if !(1..=MOST_VCPUS).contains(&launch.vcpus) {
        return Err(LaunchError::Vcpus(launch.vcpus));
    }
    let mut digest = before_vcpus(launch.vmm, launch.ovmf, launch.boot.as_ref())?;
    let (first, other) = vcpus(launch.vmm, launch.ovmf, launch.signature, launch.features);
    digest.add_vcpus(&first, &other, launch.vcpus);
    Ok(digest.finish())
}

impl Vmm {
    /// Every VMM.
    pub const ALL: [Self; 5] = [Self::Qemu, Self::QemuZeroFpu, Self::Ec2, Self::Ec2ZeroRdx, Self::Gce];

    /// Its name in words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Qemu => "QEMU",
            Self::QemuZeroFpu => "QEMU on a host before Linux 6.10",
            Self::Ec2 => "EC2",
            Self::Ec2ZeroRdx => "EC2 before April 2026",
            Self::Gce => "Google Compute Engine",
        }
    }

    /// Whether it writes the signature of the vCPUs' model into the VMSA.
    pub fn measures_model(self) -> bool {
        self.row().rdx.is_none()
    }

    fn row(self) -> Row {
        const KVM: (u16, u16, u16) = (0x9B, 0x93, 0x8B);
        const QEMU: Row = Row {
            first: KVM,
            others: KVM,
            rdx: None,
            g_pat: 0x0007_0406_0007_0406,
            fpu: Fpu::Initial,
            memory: Page::Zero,
            cpuid_last: false,
        };
        // KVM's own value at a reset, for a vCPU whose CPUID is not set yet.
        const RDX_AT_RESET: Option<u64> = Some(0x600);
        const EC2: Row = Row {
            first: (0x9A, 0x92, 0x83),
            others: (0x9B, 0x92, 0x83),
            rdx: RDX_AT_RESET,
            fpu: Fpu::Zero,
            cpuid_last: true,
            ..QEMU
        };
        match self {
            Self::Qemu => QEMU,
            Self::QemuZeroFpu => Row { fpu: Fpu::Zero, ..QEMU },
            // An engineer of EC2 made sev-snp-measure 0.0.13 agree with an instance of April 2026, by this
            // value (its pull request 60). The crate `sev` 8.0.0 has the zero of earlier instances.
            Self::Ec2 => EC2,
            Self::Ec2ZeroRdx => Row { rdx: Some(0), ..EC2 },
            Self::Gce => Row {
                rdx: RDX_AT_RESET,
                g_pat: 0x0007_0106,
                fpu: Fpu::Zero,
                memory: Page::Unmeasured,
                ..QEMU
            },
        }
    }
}

/// How a VMM launches OVMF.
struct Row {
    /// The attributes of the first vCPU's CS, SS and TR.
    first: (u16, u16, u16),
    /// Those of the others.
    others: (u16, u16, u16),
    /// RDX. `None`: the signature of the vCPUs' model.
    rdx: Option<u64>,
    /// G_PAT.
    g_pat: u64,
    fpu: Fpu,
    /// How the memory is added that OVMF uses before it can accept any.
    memory: Page<'static>,
    /// Whether the page of CPUID values comes after all other sections.
    cpuid_last: bool,
}

/// The digest before the VMSAs.
pub(super) fn before_vcpus(
    vmm: Vmm,
    ovmf: &Ovmf<'_>,
    boot: Option<&DirectBoot<'_>>,
) -> Result<LaunchDigest, LaunchError> {
    let row = vmm.row();
    let hashes = match boot {
        None => None,
        Some(boot) if boot.command_line.contains('\0') => return Err(LaunchError::CommandLine),
        Some(boot) => Some(boot.page(ovmf.hash_table_offset().ok_or(LaunchError::NoKernelHashes)?)),
    };
    let mut digest = ovmf.launch_digest().clone();
    let is_late = |section: &&Section| row.cpuid_last && section.kind == SectionKind::Cpuid;
    let sections = || ovmf.sections().iter();
    for section in sections().filter(|section| !is_late(section)).chain(sections().filter(is_late)) {
        let page = match (section.kind, &hashes) {
            (SectionKind::Memory, _) => row.memory,
            (SectionKind::Secrets, _) => Page::Secrets,
            (SectionKind::Cpuid, _) => Page::Cpuid,
            (SectionKind::KernelHashes, Some(hashes)) => Page::Normal(hashes),
            (SectionKind::CallingArea | SectionKind::KernelHashes, _) => Page::Zero,
        };
        let start = u64::from(section.address);
        for address in (start..start + u64::from(section.size)).step_by(PAGE_SIZE) {
            digest.add(page, address);
        }
    }
    Ok(digest)
}

/// The VMSA of the first vCPU, and of every other.
pub(super) fn vcpus(
    vmm: Vmm,
    ovmf: &Ovmf<'_>,
    signature: u32,
    features: GuestFeatures,
) -> (PageBytes, PageBytes) {
    let row = vmm.row();
    let registers =
        [(RDX, row.rdx.unwrap_or(signature.into())), (G_PAT, row.g_pat), (SEV_FEATURES, features.0)];
    let page =
        |attributes, start| vmsa::page(&State { attributes, start, registers: &registers, fpu: row.fpu });
    (page(row.first, FIRST_START), page(row.others, ovmf.reset_vector()))
}
