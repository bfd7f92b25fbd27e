//! The launch measurement of libkrun's SEV-SNP guest, from the three blobs of its firmware library
//! (libkrunfw-sev), the number of vCPUs and the amount of RAM.
//!
//! The kernel's command line is part of the kernel: libkrunfw-sev builds it with CONFIG_CMDLINE_OVERRIDE. So
//! the measurement covers it, and the host cannot add to it.

use std::num::NonZeroU8;

use super::{
    LaunchDigest, PAGE_SIZE, Page, PageBytes, boot_params,
    vmsa::{self, RBP, RSI, RSP, State},
};

pub use super::vmsa::Fpu;

/// Where libkrun loads the initrd.
pub const INITRD_ADDRESS: u32 = 0xA0_0000;

const MIB: u64 = 1024 * 1024;

/// qboot ends with the address space of 32 bits, where a vCPU starts.
const QBOOT_ADDRESS: u64 = 0xFFFF_0000;
const QBOOT_SIZE: usize = 0x1_0000;

/// The contents of a libkrunfw-sev library: a guest is launched from them.
#[derive(Debug, Clone, Copy)]
pub struct Firmware<'a> {
    /// The firmware, 64 KiB at most.
    pub qboot: &'a [u8],
    /// The kernel, uncompressed, as it lies in memory.
    pub kernel: &'a [u8],
    /// The guest physical address that the kernel is loaded at.
    pub kernel_address: u64,
    /// The initrd, with the zeros that fill its last page.
    pub initrd: &'a [u8],
}

/// The parts of a [`Firmware`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// qboot.
    Qboot,
    /// The kernel.
    Kernel,
    /// The initrd.
    Initrd,
}

impl Part {
    /// The part's name in libkrunfw's words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Qboot => "qboot",
            Self::Kernel => "kernel",
            Self::Initrd => "initrd",
        }
    }
}

/// Why libkrun could not launch such a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KrunError {
    /// A part is empty.
    #[error("the {} is empty", .0.name())]
    Empty(Part),
    /// A launch adds whole pages.
    #[error("the {} has {bytes} bytes: not a multiple of 4096", .part.name())]
    NotWholePages {
        /// Which part.
        part: Part,
        /// Its size.
        bytes: usize,
    },
    /// qboot has no more room below 4 GiB.
    #[error("qboot has {0} bytes: libkrun has room for 65536")]
    QbootSize(usize),
    /// The kernel is not loaded at the start of a page.
    #[error("the kernel's address {0:#x} is not the start of a page")]
    KernelAddress(u64),
    /// The initrd and the kernel lie in the same memory.
    #[error(
        "the initrd lies at 0xa00000 and ends at {initrd_end:#x}, in the kernel, which lies at {kernel:#x}"
    )]
    Overlap {
        /// The first address behind the initrd.
        initrd_end: u64,
        /// The address of the kernel.
        kernel: u64,
    },
    /// The guest has too little RAM for its kernel and initrd, or they reach into the memory of devices.
    #[error("kernel and initrd end at {end:#x}, behind the guest's {ram_mib} MiB of RAM below 3328 MiB")]
    Ram {
        /// The first address behind kernel and initrd.
        end: u64,
        /// The RAM that was given.
        ram_mib: u32,
    },
}

/// The launch measurement of a guest of `vcpus` vCPUs and `ram_mib` MiB of RAM.
pub fn measure(
    firmware: &Firmware<'_>,
    vcpus: NonZeroU8,
    ram_mib: u32,
    fpu: Fpu,
) -> Result<[u8; 48], KrunError> {
    Prepared::new(firmware)?.measure(vcpus, ram_mib, fpu)
}

/// A launch up to the end of the initrd, which guests of any size have in common.
#[derive(Debug, Clone)]
pub struct Prepared<'a> {
    firmware: Firmware<'a>,
    digest: LaunchDigest,
}

impl<'a> Prepared<'a> {
    /// Measures what every guest of this firmware is launched from.
    pub fn new(firmware: &Firmware<'a>) -> Result<Self, KrunError> {
        let qboot = pages(Part::Qboot, firmware.qboot)?;
        let kernel = pages(Part::Kernel, firmware.kernel)?;
        let initrd = pages(Part::Initrd, firmware.initrd)?;
        check_firmware(firmware)?;
        let mut digest = LaunchDigest::new();
        normal(&mut digest, qboot, QBOOT_ADDRESS);
        normal(&mut digest, kernel, firmware.kernel_address);
        normal(&mut digest, initrd, INITRD_ADDRESS.into());
        Ok(Self { firmware: *firmware, digest })
    }

    /// The launch measurement of a guest of `vcpus` vCPUs and `ram_mib` MiB of RAM.
    pub fn measure(&self, vcpus: NonZeroU8, ram_mib: u32, fpu: Fpu) -> Result<[u8; 48], KrunError> {
        check_ram(&self.firmware, ram_mib)?;
        let initrd_size = u32::try_from(self.firmware.initrd.len()).unwrap_or(u32::MAX);
        let ram = u64::from(ram_mib) * MIB;
        let boot_params = boot_params::page(vcpus.get(), ram, (INITRD_ADDRESS, initrd_size));

        let mut digest = self.digest.clone();
        digest.add(Page::Normal(&boot_params), 0x7000);
        digest.add(Page::Zero, 0); // the first interrupt descriptor table
        digest.add(Page::Secrets, 0x5000);
        digest.add(Page::Cpuid, 0x6000);
        for address in (0x8000..0xF000).step_by(PAGE_SIZE) {
            digest.add(Page::Zero, address); // qboot's stack, and the first page tables
        }
        // The first vCPU starts in qboot with the boot parameters at hand. Every other waits three bytes
        // further.
        let first = vcpu(0xFFFF_FFF0, &[(RSP, 0x8FF0), (RBP, 0x8FF0), (RSI, 0x7000)], fpu);
        digest.add_vcpus(&first, &vcpu(0xFFFF_FFF3, &[], fpu), vcpus.get().into());
        Ok(digest.finish())
    }
}

/// The most bytes that an initrd can have in front of a kernel at `kernel_address`.
pub fn initrd_room(kernel_address: u64) -> Option<u64> {
    kernel_address.checked_sub(INITRD_ADDRESS.into()).filter(|room| *room > 0)
}

fn vcpu(start: u32, registers: &[(usize, u64)], fpu: Fpu) -> PageBytes {
    vmsa::page(&State { attributes: (0x9A, 0x92, 0x83), start, registers, fpu })
}

fn pages(part: Part, bytes: &[u8]) -> Result<&[PageBytes], KrunError> {
    match bytes.as_chunks() {
        ([], []) => Err(KrunError::Empty(part)),
        (pages, []) => Ok(pages),
        _ => Err(KrunError::NotWholePages { part, bytes: bytes.len() }),
    }
}

/// Refuses parts that have no place in memory.
fn check_firmware(firmware: &Firmware<'_>) -> Result<(), KrunError> {
    if firmware.qboot.len() > QBOOT_SIZE {
        return Err(KrunError::QbootSize(firmware.qboot.len()));
    }
    let kernel = firmware.kernel_address;
    if !kernel.is_multiple_of(PAGE_SIZE as u64) {
        return Err(KrunError::KernelAddress(kernel));
    }
    let (initrd_end, kernel_end) = ends(firmware);
    if kernel < initrd_end && u64::from(INITRD_ADDRESS) < kernel_end {
        return Err(KrunError::Overlap { initrd_end, kernel });
    }
    Ok(())
}

/// Refuses a guest whose RAM does not hold kernel and initrd.
fn check_ram(firmware: &Firmware<'_>, ram_mib: u32) -> Result<(), KrunError> {
    let (initrd_end, kernel_end) = ends(firmware);
    let end = initrd_end.max(kernel_end);
    if end > (u64::from(ram_mib) * MIB).min(0xD000_0000) {
        return Err(KrunError::Ram { end, ram_mib });
    }
    Ok(())
}

/// The first addresses behind initrd and kernel.
fn ends(firmware: &Firmware<'_>) -> (u64, u64) {
    let initrd_end = u64::from(INITRD_ADDRESS).saturating_add(firmware.initrd.len() as u64);
    (initrd_end, firmware.kernel_address.saturating_add(firmware.kernel.len() as u64))
}

fn normal(digest: &mut LaunchDigest, pages: &[PageBytes], mut address: u64) {
    for page in pages {
        digest.add(Page::Normal(page), address);
        address = address.saturating_add(PAGE_SIZE as u64);
    }
}
