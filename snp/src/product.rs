//! AMD's products that sign SEV-SNP reports, and the layout that each gives to a TCB version.

use std::fmt;

/// A product line with a root of trust (ARK) of its own.
///
/// Bergamo and Siena are Genoa to AMD's KDS and its certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Product {
    /// EPYC 7003.
    Milan,
    /// EPYC 9004 and 8004 (Genoa, Bergamo, Siena).
    Genoa,
    /// EPYC 9005.
    Turin,
}

impl Product {
    /// Every product, oldest first.
    pub const ALL: [Product; 3] = [Product::Milan, Product::Genoa, Product::Turin];

    /// The product of a CPU by its combined CPUID family and model (report version 3 and later;
    /// SEV-SNP firmware ABI, ATTESTATION_REPORT at 188h). `None` for a CPU this broker does not know.
    pub fn from_cpuid(family: u8, model: u8) -> Option<Self> {
        match (family, model) {
            (0x19, 0x00..=0x0F) => Some(Self::Milan),
            (0x19, 0x10..=0x1F | 0xA0..=0xAF) => Some(Self::Genoa),
            (0x1A, 0x00..=0x11) => Some(Self::Turin),
            _ => None,
        }
    }

    /// The product named by a certificate's product-name extension, which may carry a stepping (`Milan-B0`).
    pub fn from_certificate_name(name: &str) -> Option<Self> {
        let line = name.split_once('-').map_or(name, |(line, _stepping)| line);
        Self::ALL.into_iter().find(|product| product.name() == line)
    }

    /// The product that people mean by `name`, in any case: `milan`, `genoa`, `turin`.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|product| product.name().eq_ignore_ascii_case(name))
    }

    /// The name in KDS URLs and in the common names of AMD's certificates.
    pub fn name(self) -> &'static str {
        match self {
            Self::Milan => "Milan",
            Self::Genoa => "Genoa",
            Self::Turin => "Turin",
        }
    }

    /// How many bytes of the report's CHIP_ID identify a chip of this product: the length of a VCEK's HWID
    /// extension.
    pub fn hwid_len(self) -> usize {
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

/// A TCB version (SEV-SNP firmware ABI, TCB_VERSION): the security patch levels of a platform's components.
///
/// It has no order of its own: [`TcbVersion::at_least`] compares component by component.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TcbVersion {
    /// Firmware management controller: Turin only.
    pub fmc: Option<u8>,
    /// Bootloader.
    pub boot_loader: u8,
    /// PSP operating system.
    pub tee: u8,
    /// SNP firmware.
    pub snp: u8,
    /// CPU microcode.
    pub microcode: u8,
}

impl TcbVersion {
    /// Reads the eight bytes of a report in `product`'s layout. `None` if a reserved byte is set: what such a
    /// version means is not known, and no certificate could match all of it.
    pub fn from_raw(product: Product, raw: [u8; 8]) -> Option<Self> {
        match (product, raw) {
            (Product::Milan | Product::Genoa, [boot_loader, tee, 0, 0, 0, 0, snp, microcode]) => {
                Some(Self { fmc: None, boot_loader, tee, snp, microcode })
            }
            (Product::Turin, [fmc, boot_loader, tee, snp, 0, 0, 0, microcode]) => {
                Some(Self { fmc: Some(fmc), boot_loader, tee, snp, microcode })
            }
            _ => None,
        }
    }

    /// Whether every component is at least `floor`'s. A floor that names a component which this version lacks
    /// is missed.
    pub fn at_least(&self, floor: &Self) -> bool {
        let fmc = match (self.fmc, floor.fmc) {
            (_, None) => true,
            (Some(own), Some(floor)) => own >= floor,
            (None, Some(_)) => false,
        };
        fmc && self.boot_loader >= floor.boot_loader
            && self.tee >= floor.tee
            && self.snp >= floor.snp
            && self.microcode >= floor.microcode
    }
}

impl fmt::Display for TcbVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(fmc) = self.fmc {
            write!(f, "fmc {fmc} ")?;
        }
        write!(f, "bl {} tee {} snp {} ucode {}", self.boot_loader, self.tee, self.snp, self.microcode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpuid_decides_the_product() {
        for (family, model, product) in [
            (0x19, 0x00, Some(Product::Milan)),
            (0x19, 0x0F, Some(Product::Milan)),
            (0x19, 0x10, Some(Product::Genoa)),
            (0x19, 0x1F, Some(Product::Genoa)),
            (0x19, 0x20, None),
            (0x19, 0x9F, None),
            (0x19, 0xA0, Some(Product::Genoa)),
            (0x19, 0xAF, Some(Product::Genoa)),
            (0x19, 0xB0, None),
            (0x1A, 0x00, Some(Product::Turin)),
            (0x1A, 0x11, Some(Product::Turin)),
            (0x1A, 0x12, None),
            (0x00, 0x00, None),
        ] {
            assert_eq!(Product::from_cpuid(family, model), product, "family {family:#x} model {model:#x}");
        }
    }

    #[test]
    fn a_certificate_may_name_the_stepping() {
        assert_eq!(Product::from_certificate_name("Milan-B0"), Some(Product::Milan));
        assert_eq!(Product::from_certificate_name("Turin"), Some(Product::Turin));
        assert_eq!(Product::from_certificate_name("Milano"), None);
        assert_eq!(Product::from_certificate_name(""), None);
    }

    #[test]
    fn a_reserved_tcb_byte_is_refused() {
        for byte in 2..6 {
            let mut raw = [3, 0, 0, 0, 0, 0, 8, 115];
            raw[byte] = 1;
            assert_eq!(TcbVersion::from_raw(Product::Milan, raw), None);
        }
        for byte in 4..7 {
            let mut raw = [1, 1, 1, 4, 0, 0, 0, 81];
            raw[byte] = 1;
            assert_eq!(TcbVersion::from_raw(Product::Turin, raw), None);
        }
    }

    #[test]
    fn a_floor_holds_component_by_component() {
        let own = TcbVersion { fmc: Some(1), boot_loader: 3, tee: 1, snp: 8, microcode: 115 };
        assert!(own.at_least(&own));
        assert!(own.at_least(&TcbVersion { fmc: None, ..own }));
        assert!(!TcbVersion { fmc: None, ..own }.at_least(&own));
        for floor in [
            TcbVersion { fmc: Some(2), ..own },
            TcbVersion { boot_loader: 4, ..own },
            TcbVersion { tee: 2, ..own },
            TcbVersion { snp: 9, microcode: 0, ..own },
            TcbVersion { microcode: 116, ..own },
        ] {
            assert!(!own.at_least(&floor), "{floor}");
        }
    }
}
