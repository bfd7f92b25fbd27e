//! The launch measurement of a guest, computed from what it is launched from: nothing here asks a chip.
//!
//! The firmware keeps one SHA-384 digest of the launch. Each page that the host adds extends it by a record
//! of 0x70 bytes, PAGE_INFO (SEV-SNP firmware ABI, SNP_LAUNCH_UPDATE). [`LaunchDigest`] is that chain. How a
//! VMM lays a guest out, and in what order it adds the pages, is a module of its own: [`krun`].

pub mod krun;

mod boot_params;
mod vmsa;

use sha2::{Digest as _, Sha384};

/// Bytes of a page, and of every unit that a launch is measured in.
pub const PAGE_SIZE: usize = 4096;

/// One page.
pub type PageBytes = [u8; PAGE_SIZE];

/// The address that the firmware records for every VMSA.
const VMSA_ADDRESS: u64 = 0xFFFF_FFFF_F000;

/// A page that a launch adds, by the type that decides whether its content counts.
#[derive(Debug, Clone, Copy)]
pub enum Page<'a> {
    /// Code or data: its content counts.
    Normal(&'a PageBytes),
    /// The state that a vCPU starts in: its content counts, and its address is always the same.
    Vmsa(&'a PageBytes),
    /// A page of zeros.
    Zero,
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
            Self::Vmsa(_) => 2,
            Self::Zero => 3,
            Self::Secrets => 5,
            Self::Cpuid => 6,
        }
    }

    /// CONTENTS: the digest of the page, or zeros for a page whose content does not count.
    fn contents(self) -> [u8; 48] {
        match self {
            Self::Normal(bytes) | Self::Vmsa(bytes) => Sha384::digest(bytes).into(),
            Self::Zero | Self::Secrets | Self::Cpuid => [0; 48],
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
        const LENGTH: u16 = 0x70;
        let address = if let Page::Vmsa(_) = page { VMSA_ADDRESS } else { address };
        let mut info = Sha384::new();
        info.update(self.0);
        info.update(page.contents());
        info.update(LENGTH.to_le_bytes());
        // PAGE_TYPE, IMI_PAGE, the permissions of VMPL 3, 2 and 1, and a reserved byte.
        info.update([page.number(), 0, 0, 0, 0, 0]);
        info.update(address.to_le_bytes());
        self.0 = info.finalize().into();
    }

    /// The launch measurement: what a report has in MEASUREMENT.
    pub fn finish(self) -> [u8; 48] {
        self.0
    }
}
