//! AMD's products and their layouts of a TCB version.

use std::fmt;

/// A product line with a root of its own. Bergamo and Siena are Genoa.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Product {
    /// EPYC 7003.
    Milan,
    /// EPYC 9004 and 8004.
    Genoa,
    /// EPYC 9005.
    Turin,
}

impl Product {
    /// Every product, oldest first.
    pub const ALL: [Product; 3] = [Product::Milan, Product::Genoa, Product::Turin];

    /// The name in common names and in the KDS's paths.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Milan => "Milan",
            Self::Genoa => "Genoa",
            Self::Turin => "Turin",
        }
    }

    /// The value of a VCEK's product-name extension: Milan's names the stepping.
    pub const fn vcek_name(self) -> &'static str {
        match self {
            Self::Milan => "Milan-B0",
            Self::Genoa | Self::Turin => self.name(),
        }
    }

    /// CPUID family, model and stepping of a CPU of this line, as report version 3 and later carry them at
    /// 188h.
    pub const fn cpuid(self) -> [u8; 3] {
        match self {
            Self::Milan => [0x19, 0x01, 0x01],
            Self::Genoa => [0x19, 0x11, 0x01],
            Self::Turin => [0x1A, 0x02, 0x01],
        }
    }

    /// How many bytes of CHIP_ID identify a chip: the length of a VCEK's HWID and of the id in the KDS's
    /// paths.
    pub const fn hwid_len(self) -> usize {
        match self {
            Self::Milan | Self::Genoa => 64,
            Self::Turin => 8,
        }
    }
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Security patch levels of a platform's components (SEV-SNP firmware ABI, TCB_VERSION).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Tcb {
    /// Firmware management controller: read on Turin only.
    pub fmc: u8,
    /// Bootloader.
    pub boot_loader: u8,
    /// PSP operating system.
    pub tee: u8,
    /// SNP firmware.
    pub snp: u8,
    /// CPU microcode.
    pub microcode: u8,
}

impl Tcb {
    /// The usual TCB of a simulated chip of `product`. Milan's microcode is above 127, so that a
    /// certificate's INTEGER takes two bytes.
    pub const fn of(product: Product) -> Self {
        match product {
            Product::Milan => Self { fmc: 0, boot_loader: 4, tee: 0, snp: 24, microcode: 219 },
            Product::Genoa => Self { fmc: 0, boot_loader: 10, tee: 0, snp: 23, microcode: 84 },
            Product::Turin => Self { fmc: 1, boot_loader: 1, tee: 1, snp: 4, microcode: 81 },
        }
    }

    /// The eight bytes in a report: Milan and Genoa have the SNP firmware at byte 6, Turin puts the FMC
    /// first.
    pub const fn encode(self, product: Product) -> [u8; 8] {
        let Self { fmc, boot_loader, tee, snp, microcode } = self;
        match product {
            Product::Milan | Product::Genoa => [boot_loader, tee, 0, 0, 0, 0, snp, microcode],
            Product::Turin => [fmc, boot_loader, tee, snp, 0, 0, 0, microcode],
        }
    }
}
