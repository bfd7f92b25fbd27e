//! The CPU models of QEMU, and the features of a vCPU: both are in its VMSA.

use std::fmt;

/// A CPU model of QEMU (`-cpu`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VcpuModel {
    /// Its name.
    pub name: &'static str,
    /// CPUID Fn0000_0001_EAX: what QEMU sets RDX to at a reset. Nothing else of a model counts.
    pub signature: u32,
}

const EPYC: u32 = 0x0080_0F12;
const ROME: u32 = 0x0083_0F10;
const MILAN: u32 = 0x00A0_0F11;
const GENOA: u32 = 0x00A1_0F10;
const TURIN: u32 = 0x00B0_0F00;

/// Every EPYC model of QEMU. A version changes which features the guest sees, not the signature.
pub const MODELS: &[VcpuModel] = &[
    model("EPYC", EPYC),
    model("EPYC-v1", EPYC),
    model("EPYC-v2", EPYC),
    model("EPYC-IBPB", EPYC),
    model("EPYC-v3", EPYC),
    model("EPYC-v4", EPYC),
    model("EPYC-v5", EPYC),
    model("EPYC-Rome", ROME),
    model("EPYC-Rome-v1", ROME),
    model("EPYC-Rome-v2", ROME),
    model("EPYC-Rome-v3", ROME),
    model("EPYC-Rome-v4", ROME),
    model("EPYC-Rome-v5", ROME),
    model("EPYC-Milan", MILAN),
    model("EPYC-Milan-v1", MILAN),
    model("EPYC-Milan-v2", MILAN),
    model("EPYC-Milan-v3", MILAN),
    model("EPYC-Genoa", GENOA),
    model("EPYC-Genoa-v1", GENOA),
    model("EPYC-Genoa-v2", GENOA),
    model("EPYC-Turin", TURIN),
    model("EPYC-Turin-v1", TURIN),
    model("EPYC-Turin-v2", TURIN),
];

/// The signatures of real chips, which a guest has that is started with `-cpu host`.
pub const HOST_SIGNATURES: &[u32] = &[
    0x00A0_0F10, // Milan
    0x00A0_0F12, // Milan-X
    0x00A1_0F11, // Genoa
    0x00A1_0F12, // Genoa-X
    0x00AA_0F01, // Bergamo
    0x00AA_0F02, // Bergamo, Siena
    0x00B0_0F10, // Turin Dense
    0x00B0_0F20, // Turin
    0x00B0_0F21, // Turin
    0x00B1_0F10, // Turin Dense
];

const fn model(name: &'static str, signature: u32) -> VcpuModel {
    VcpuModel { name, signature }
}

impl VcpuModel {
    /// The model of this name, in any case, with or without `EPYC-` in front: `EPYC-Milan-v2`, `milan`.
    pub fn parse(name: &str) -> Option<Self> {
        let matches = |model: &Self, name: &str| model.name.eq_ignore_ascii_case(name);
        let models = || MODELS.iter().copied();
        models().find(|model| matches(model, name)).or_else(|| {
            let name = format!("EPYC-{name}");
            // A bare version is no name of a model.
            models().find(|model| matches(model, &name) && !name.starts_with("EPYC-v"))
        })
    }

    /// The first model that has this signature: all that have it are measured alike.
    pub fn of_signature(signature: u32) -> Option<Self> {
        MODELS.iter().copied().find(|model| model.signature == signature)
    }
}

/// The signature in a text: a model's name, or the number itself as `0x00A00F11`.
pub fn parse_signature(text: &str) -> Option<u32> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            u32::from_str_radix(digits, 16).ok()
        }
        Some(_) => None,
        None => VcpuModel::parse(text).map(|model| model.signature),
    }
}

/// The signature of a CPU, by its combined family and model and its stepping. `None` if a signature has no
/// room for them.
pub fn signature(family: u32, model: u32, stepping: u32) -> Option<u32> {
    let (base, extended) = if family > 0xF { (0xF, family - 0xF) } else { (family, 0) };
    let fits = extended <= 0xFF && model <= 0xFF && stepping <= 0xF;
    fits.then_some(extended << 20 | (model >> 4) << 16 | base << 8 | (model & 0xF) << 4 | stepping)
}

/// SEV_FEATURES, as the VMSA has it. Bit 0 says that SNP is active: every SNP guest has it. Bit 5, DebugSwap,
/// is set by some hosts on their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GuestFeatures(pub u64);

impl GuestFeatures {
    /// SNP, and nothing else.
    pub const SNP: Self = Self(1);
}

impl Default for GuestFeatures {
    fn default() -> Self {
        Self::SNP
    }
}

impl fmt::Display for GuestFeatures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}
