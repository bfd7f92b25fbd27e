//! The launch measurement of a guest, computed from what it is launched from: nothing here asks a chip.
//!
//! The firmware keeps one SHA-384 digest of the launch. Each page that the host adds extends it by a record
//! of 0x70 bytes, PAGE_INFO (SEV-SNP firmware ABI, SNP_LAUNCH_UPDATE). [`LaunchDigest`] is that chain. How a
//! VMM lays a guest out, and in what order it adds the pages, is a module of its own: [`krun`] for libkrun,
//! [`qemu`] for those that start OVMF: QEMU, and with it Kata, and the clouds that are measured like it.
//! [`explain`] finds out which launch a digest is of, if the expected one does not fit.

pub mod direct_boot;
pub mod explain;
pub mod krun;
pub mod ovmf;
pub mod qemu;
pub mod vcpu;

mod boot_params;
mod vmsa;

use sha2::{Digest as _, Sha384};

/// Bytes of a page, and of every unit that a launch is measured in.
pub const PAGE_SIZE: usize = 4096;

/// One page.
pub type PageBytes = [u8; PAGE_SIZE];

/// The address that the firmware records for every VMSA.
const VMSA_ADDRESS: u64 = 0xFFFF_FFFF_F000;

/// The type of a page that is a VMSA.
const VMSA: u8 = 2;

/// A page that a launch adds, by the type that decides whether its content counts.
#[derive(Debug, Clone, Copy)]
pub enum Page<'a> {
    /// Code or data: its content counts.
    Normal(&'a PageBytes),
    /// The state that a vCPU starts in: its content counts, and its address is always the same.
    Vmsa(&'a PageBytes),
    /// A page of zeros.
    Zero,
    /// A page whose content does not count, and is the guest's to check.
    Unmeasured,
    /// The page that the firmware fills with keys for the guest.
    Secrets,
    /// The page of CPUID values, which the firmware checks and the guest reads.
    Cpuid,
}

impl Page<'_> {
    /// PAGE_TYPE.
    fn number(self) -> u8 {
        match self {
            Self::Normal(_) => 1,
            Self::Vmsa(_) => VMSA,
            Self::Zero => 3,
            Self::Unmeasured => 4,
            Self::Secrets => 5,
            Self::Cpuid => 6,
        }
    }

    /// CONTENTS: the digest of the page, or zeros for a page whose content does not count.
    fn contents(self) -> [u8; 48] {
        match self {
            Self::Normal(bytes) | Self::Vmsa(bytes) => Sha384::digest(bytes).into(),
            Self::Zero | Self::Unmeasured | Self::Secrets | Self::Cpuid => [0; 48],
        }
    }
}

/// The digest of a launch, page by page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaunchDigest([u8; 48]);

impl Default for LaunchDigest {
    fn default() -> Self {
        Self::new()
    }
}

impl LaunchDigest {
    /// The digest before the first page.
    pub fn new() -> Self {
        Self([0; 48])
    }

    /// Adds a page at a guest physical address. The address of a VMSA is not the caller's to choose, and is
    /// ignored.
    ///
    /// The lower VMPLs get no permission on the page, and it is no initial migration image: no VMM that is
    /// measured here asks for either.
    pub fn add(&mut self, page: Page<'_>, address: u64) {
        let address = if let Page::Vmsa(_) = page { VMSA_ADDRESS } else { address };
        self.extend(page.number(), page.contents(), address);
    }

    /// Adds the VMSAs of so many vCPUs: all but the first start in the same state.
    fn add_vcpus(&mut self, first: &PageBytes, other: &PageBytes, vcpus: u32) {
        self.add(Page::Vmsa(first), VMSA_ADDRESS);
        let other = Page::Vmsa(other).contents();
        for _ in 1..vcpus {
            self.add_vmsa(other);
        }
    }

    /// Adds the VMSA that has these contents, which are the same for many vCPUs and hashed once.
    fn add_vmsa(&mut self, contents: [u8; 48]) {
        self.extend(VMSA, contents, VMSA_ADDRESS);
    }

    fn extend(&mut self, page_type: u8, contents: [u8; 48], address: u64) {
        const LENGTH: u16 = 0x70;
        let mut info = Sha384::new();
        info.update(self.0);
        info.update(contents);
        info.update(LENGTH.to_le_bytes());
        // PAGE_TYPE, IMI_PAGE, the permissions of VMPL 3, 2 and 1, and a reserved byte.
        info.update([page_type, 0, 0, 0, 0, 0]);
        info.update(address.to_le_bytes());
        self.0 = info.finalize().into();
    }

    /// The launch measurement: what a report has in MEASUREMENT.
    pub fn finish(self) -> [u8; 48] {
        self.0
    }
}
