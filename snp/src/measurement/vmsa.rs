//! The state that a vCPU of libkrun's guest starts in: its VMSA, one page (AMD's APM volume 2, table B-4).

use super::{PAGE_SIZE, PageBytes};

/// Whether the host's KVM writes the initial state of the FPU into the VMSA.
///
/// libkrunfw's own tool, whose measurements buildah registers, knows only [`Fpu::Zero`]. Linux's sources say
/// that KVM writes it from 6.10 on. That has not been tried on hardware.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Fpu {
    /// It does not: the fields are zero.
    #[default]
    Zero,
    /// It does: MXCSR is 0x1F80, and the control word is 0x37F.
    Initial,
}

impl Fpu {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Zero, Self::Initial];
}

/// The segment registers and the four descriptor-table registers, in their order: selector, attributes,
/// limit, base. These are KVM's reset values.
const SEGMENTS: [(u16, u16, u32, u64); 10] = [
    (0, 0x93, 0xFFFF, 0),                // ES
    (0xF000, 0x9A, 0xFFFF, 0xFFFF_0000), // CS
    (0, 0x92, 0xFFFF, 0),                // SS
    (0, 0x93, 0xFFFF, 0),                // DS
    (0, 0x93, 0xFFFF, 0),                // FS
    (0, 0x93, 0xFFFF, 0),                // GS
    (0, 0, 0xFFFF, 0),                   // GDTR
    (0, 0x82, 0xFFFF, 0),                // LDTR
    (0, 0, 0xFFFF, 0),                   // IDTR
    (0, 0x83, 0xFFFF, 0),                // TR
];

/// The registers that every vCPU starts with, by their offset.
const REGISTERS: [(usize, u64); 9] = [
    (0xD0, 0x1000),                 // EFER
    (0x148, 0x40),                  // CR4
    (0x158, 0x10),                  // CR0
    (0x160, 0x400),                 // DR7
    (0x168, 0xFFFF_0FF0),           // DR6
    (0x170, 2),                     // RFLAGS
    (0x268, 0x0007_0406_0007_0406), // G_PAT
    (0x3B0, 1),                     // SEV_FEATURES: SNP is active
    (0x3E8, 1),                     // XCR0
];

const RIP: usize = 0x178;
const RSP: usize = 0x1D8;
const RBP: usize = 0x328;
const RSI: usize = 0x330;
const MXCSR: usize = 0x408;
const X87_FCW: usize = 0x410;

/// The page of the first vCPU, which starts in qboot with the boot parameters at hand.
pub(super) fn first(fpu: Fpu) -> PageBytes {
    page(&[(RIP, 0xFFF0), (RSP, 0x8FF0), (RBP, 0x8FF0), (RSI, 0x7000)], fpu)
}

/// The page of every other vCPU, which waits three bytes further in qboot.
pub(super) fn other(fpu: Fpu) -> PageBytes {
    page(&[(RIP, 0xFFF3)], fpu)
}

fn page(registers: &[(usize, u64)], fpu: Fpu) -> PageBytes {
    let mut page = [0; PAGE_SIZE];
    for (index, (selector, attributes, limit, base)) in SEGMENTS.into_iter().enumerate() {
        let at = index * 16;
        put(&mut page, at, &selector.to_le_bytes());
        put(&mut page, at + 2, &attributes.to_le_bytes());
        put(&mut page, at + 4, &limit.to_le_bytes());
        put(&mut page, at + 8, &base.to_le_bytes());
    }
    for (at, value) in REGISTERS.iter().chain(registers) {
        put(&mut page, *at, &value.to_le_bytes());
    }
    if fpu == Fpu::Initial {
        put(&mut page, MXCSR, &0x1F80_u32.to_le_bytes());
        put(&mut page, X87_FCW, &0x37F_u16.to_le_bytes());
    }
    page
}

/// Writes `bytes` at an offset of the page.
pub(super) fn put(page: &mut PageBytes, at: usize, bytes: &[u8]) {
    if let Some(place) = page.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}
