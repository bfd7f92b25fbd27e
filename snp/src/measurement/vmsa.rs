//! The state that a vCPU starts in: its VMSA, one page (AMD's APM volume 2, table B-4).

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

/// Where VMMs differ in the state of a vCPU.
pub(super) struct State<'a> {
    /// The attributes of CS, SS and TR.
    pub(super) attributes: (u16, u16, u16),
    /// The address of the first instruction.
    pub(super) start: u32,
    /// Registers by their offset. A register that every vCPU starts with is replaced.
    pub(super) registers: &'a [(usize, u64)],
    pub(super) fpu: Fpu,
}

/// The segment registers and the four descriptor-table registers, in their order: selector, attributes,
/// limit, base. These are KVM's reset values. The attributes of CS, SS and TR and CS's base are the VMM's.
const SEGMENTS: [(u16, u16, u32, u64); 10] = [
    (0, 0x93, 0xFFFF, 0),   // ES
    (0xF000, 0, 0xFFFF, 0), // CS
    (0, 0, 0xFFFF, 0),      // SS
    (0, 0x93, 0xFFFF, 0),   // DS
    (0, 0x93, 0xFFFF, 0),   // FS
    (0, 0x93, 0xFFFF, 0),   // GS
    (0, 0, 0xFFFF, 0),      // GDTR
    (0, 0x82, 0xFFFF, 0),   // LDTR
    (0, 0, 0xFFFF, 0),      // IDTR
    (0, 0, 0xFFFF, 0),      // TR
];

const CS: usize = 0x10;
const SS: usize = 0x20;
const TR: usize = 0x90;

/// The registers that every vCPU starts with, by their offset.
const REGISTERS: [(usize, u64); 9] = [
    (0xD0, 0x1000),                 // EFER
    (0x148, 0x40),                  // CR4
    (0x158, 0x10),                  // CR0
    (0x160, 0x400),                 // DR7
    (0x168, 0xFFFF_0FF0),           // DR6
    (0x170, 2),                     // RFLAGS
    (G_PAT, 0x0007_0406_0007_0406), // the reset value
    (SEV_FEATURES, 1),              // SNP is active
    (0x3E8, 1),                     // XCR0
];

const RIP: usize = 0x178;
pub(super) const RSP: usize = 0x1D8;
pub(super) const G_PAT: usize = 0x268;
pub(super) const RDX: usize = 0x310;
pub(super) const RBP: usize = 0x328;
pub(super) const RSI: usize = 0x330;
pub(super) const SEV_FEATURES: usize = 0x3B0;
const MXCSR: usize = 0x408;
const X87_FCW: usize = 0x410;

/// The page of a vCPU in this state.
pub(super) fn page(state: &State<'_>) -> PageBytes {
    let mut page = [0; PAGE_SIZE];
    for (index, (selector, attributes, limit, base)) in SEGMENTS.into_iter().enumerate() {
        let at = index * 16;
        put(&mut page, at, &selector.to_le_bytes());
        put(&mut page, at + 2, &attributes.to_le_bytes());
        put(&mut page, at + 4, &limit.to_le_bytes());
        put(&mut page, at + 8, &base.to_le_bytes());
    }
    let (cs, ss, tr) = state.attributes;
    for (segment, attributes) in [(CS, cs), (SS, ss), (TR, tr)] {
        put(&mut page, segment + 2, &attributes.to_le_bytes());
    }
    // A vCPU starts in real mode: the instruction pointer has 16 bits, the rest is the base of CS.
    put(&mut page, CS + 8, &u64::from(state.start & 0xFFFF_0000).to_le_bytes());
    put(&mut page, RIP, &u64::from(state.start & 0xFFFF).to_le_bytes());
    for (at, value) in REGISTERS.iter().chain(state.registers) {
        put(&mut page, *at, &value.to_le_bytes());
    }
    if state.fpu == Fpu::Initial {
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
