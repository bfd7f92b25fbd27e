//! AMD's products that sign SEV-SNP reports, and the layout that each gives to a TCB version.

use std::fmt;

/// A component of a platform that a TCB version gives a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Component {
    /// Firmware management controller.
    Fmc,
    /// Bootloader.
    BootLoader,
    /// PSP operating system.
    Tee,
    /// SNP firmware.
    Snp,
    /// CPU microcode.
    Microcode,
    /// None: the byte is zero.
    Reserved,
}

/// Makes [`Product`] of the lines that are served, and [`Unserved`]'s table of those that are known and not
/// served. A line becomes served by a row here and its root certificate in `anchors`.
///
/// - `cpuid`: combined family and models of its CPUs;
/// - `tcb`: the component that each byte of a TCB version is the level of;
/// - `hwid`: how many bytes of CHIP_ID identify a chip;
/// - `known`, `needs`: in words, what is known of a line, and what the broker would need to serve it.
macro_rules! products {
    (
        served {$(
            $(#[$doc:meta])+
            $product:ident {
                cpuid: $cpuid:pat,
                tcb: [$($component:ident),+],
                hwid: $hwid:literal,
            }
        )+}
        unserved {$(
            $unserved:ident {
                cpuid: $unserved_cpuid:pat,
                known: $known:literal,
                needs: $needs:literal,
            }
        )+}
    ) => {
        /// A product line with a root of trust (ARK) of its own.
        ///
        /// Bergamo and Siena are Genoa to AMD's KDS and its certificates.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Product {
            $($(#[$doc])+ $product,)+
        }

        impl Product {
            /// Every product, oldest first.
            pub const ALL: [Product; [$(stringify!($product)),+].len()] = [$(Self::$product),+];

            /// The name in KDS URLs and in the common names of AMD's certificates.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$product => stringify!($product),)+
                }
            }

            /// How many bytes of the report's CHIP_ID identify a chip of this product: the length of a VCEK's
            /// HWID extension.
            pub fn hwid_len(self) -> usize {
                match self {
                    $(Self::$product => $hwid,)+
                }
            }

            /// The component of each byte of a TCB version.
            fn tcb_layout(self) -> [Component; 8] {
                match self {
                    $(Self::$product => [$(Component::$component),+],)+
                }
            }
        }

        /// The product of a CPU of this family and model, if it is served.
        pub(crate) fn of_cpuid(family: u8, model: u8) -> Option<Product> {
            match (family, model) {
                $($cpuid => Some(Product::$product),)+
                _ => None,
            }
        }

        /// The line of a CPU of this family and model, if it is known and not served.
        pub(crate) fn unserved(family: u8, model: u8) -> Option<Unserved> {
            match (family, model) {
                $($unserved_cpuid => Some(Unserved {
                    name: stringify!($unserved),
                    known: $known,
                    needs: $needs,
                }),)+
                _ => None,
            }
        }
    };
}

products! {
    served {
        /// EPYC 7003.
        Milan {
            cpuid: (0x19, 0x00..=0x0F),
            tcb: [BootLoader, Tee, Reserved, Reserved, Reserved, Reserved, Snp, Microcode],
            hwid: 64,
        }
        /// EPYC 9004 and 8004 (Genoa, Bergamo, Siena).
        Genoa {
            cpuid: (0x19, 0x10..=0x1F | 0xA0..=0xAF),
            tcb: [BootLoader, Tee, Reserved, Reserved, Reserved, Reserved, Snp, Microcode],
            hwid: 64,
        }
        /// EPYC 9005.
        Turin {
            cpuid: (0x1A, 0x00..=0x11),
            tcb: [Fmc, BootLoader, Tee, Snp, Reserved, Reserved, Reserved, Microcode],
            hwid: 8,
        }
    }
    unserved {
        Venice {
            cpuid: (0x1A, 0x50..=0x57 | 0x90..=0x9F | 0xA0..=0xAF | 0xC0..=0xC7),
            known: "its TCB has levels of FMC, TEE and SNP alone, and 8 bytes identify a chip",
            needs: "AMD's root certificate (ARK) for Venice, and the place of each level in its TCB",
        }
    }
}

/// A line of processors that this release knows of and does not serve: its reports are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unserved {
    /// AMD's name of the line.
    pub name: &'static str,
    /// The facts that are known, in words.
    pub known: &'static str,
    /// The things that the broker would need to serve it, in words.
    pub needs: &'static str,
}

impl Product {
    /// The product named by a certificate's product-name extension, which may carry a stepping (`Milan-B0`).
    pub fn from_certificate_name(name: &str) -> Option<Self> {
        let line = name.split_once('-').map_or(name, |(line, _stepping)| line);
        Self::ALL.into_iter().find(|product| product.name() == line)
    }

    /// The product that people mean by `name`, in any case: `milan`, `genoa`, `turin`.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|product| product.name().eq_ignore_ascii_case(name))
    }

    /// Whether its TCB has a level of the firmware management controller.
    pub fn has_fmc(self) -> bool {
        self.tcb_layout().contains(&Component::Fmc)
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct TcbVersion {
    /// Firmware management controller: `None` where the product's TCB has none.
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
        let mut tcb = Self::default();
        for (component, level) in product.tcb_layout().into_iter().zip(raw) {
            match component {
                Component::Fmc => tcb.fmc = Some(level),
                Component::BootLoader => tcb.boot_loader = level,
                Component::Tee => tcb.tee = level,
                Component::Snp => tcb.snp = level,
                Component::Microcode => tcb.microcode = level,
                Component::Reserved if level == 0 => {}
                Component::Reserved => return None,
            }
        }
        Some(tcb)
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
            (0x1A, 0x50, None),
            (0x00, 0x00, None),
        ] {
            assert_eq!(of_cpuid(family, model), product, "family {family:#x} model {model:#x}");
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
