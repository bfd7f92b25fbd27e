//! Silicon: a CPU by its CPUID. AMD's levels of microcode are of silicon, not of products, and those of two
//! steppings cannot be compared.

use std::fmt;

use crate::product::{self, Product, Unserved};

/// CPUID of a CPU, as a report of version 3 or later has it (SEV-SNP firmware ABI, ATTESTATION_REPORT at
/// 188h).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cpuid {
    /// Combined extended family and family.
    pub family: u8,
    /// Combined extended model and model.
    pub model: u8,
    /// Stepping: 0 to 15 in CPUID.
    pub stepping: u8,
}

/// The silicon that has a name here. AMD's bulletins call it by these names and by the signature.
const NAMED: [(&str, u32); 8] = [
    ("milan-b0", 0x00A0_0F10),
    ("milan-b1", 0x00A0_0F11),
    ("milan-x", 0x00A0_0F12),
    ("genoa-b1", 0x00A1_0F11),
    ("genoa-x", 0x00A1_0F12),
    ("bergamo-siena", 0x00AA_0F02),
    ("turin-c1", 0x00B0_0F21),
    ("turin-dense", 0x00B1_0F10),
];

/// The family of every CPU whose base family field is full, as AMD's are: the extended family adds to it.
const BASE_FAMILY: u8 = 0x0F;

impl Cpuid {
    /// EAX of CPUID function 1, by which AMD's bulletins and Linux's microcode files name silicon
    /// (APM volume 3, appendix E). The fields that a report has cannot say more than it.
    pub fn signature(self) -> u32 {
        let Self { family, model, stepping } = self;
        let extended_family = u32::from(family.saturating_sub(BASE_FAMILY));
        let (extended_model, model) = (u32::from(model >> 4), u32::from(model & 0xF));
        let low = model << 4 | u32::from(stepping & 0xF);
        extended_family << 20 | extended_model << 16 | u32::from(BASE_FAMILY) << 8 | low
    }

    /// The CPU of a signature. `None` if a bit outside of its fields is set, or the base family is not full.
    pub fn from_signature(signature: u32) -> Option<Self> {
        let [low, high, model, family] = signature.to_le_bytes();
        let extended_family = family << 4 | model >> 4;
        let cpuid = Self {
            family: extended_family.checked_add(BASE_FAMILY)?,
            model: model << 4 | low >> 4,
            stepping: low & 0xF,
        };
        (high == BASE_FAMILY && cpuid.signature() == signature).then_some(cpuid)
    }

    /// The silicon that people mean by `text`: a name in any case (`milan-x`), or a signature (`0x00A00F12`).
    pub fn parse(text: &str) -> Option<Self> {
        if let Some((_, signature)) = NAMED.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)) {
            return Self::from_signature(*signature);
        }
        let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"))?;
        if digits.len() > 8 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        Self::from_signature(u32::from_str_radix(digits, 16).ok()?)
    }

    /// Its name, where it has one.
    pub fn name(self) -> Option<&'static str> {
        let named = NAMED.iter().find(|(_, signature)| Self::from_signature(*signature) == Some(self));
        named.map(|(name, _)| *name)
    }

    /// The text that [`Cpuid::parse`] reads: the name, or else the signature.
    pub fn text(self) -> String {
        self.name().map_or_else(|| format!("0x{:08X}", self.signature()), str::to_owned)
    }

    /// Every name.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMED.iter().map(|(name, _)| *name)
    }

    /// Its product, if that is served.
    pub fn product(self) -> Option<Product> {
        product::of_cpuid(self.family, self.model)
    }

    /// Its line, if that is known and not served.
    pub fn unserved(self) -> Option<Unserved> {
        product::unserved(self.family, self.model)
    }
}

/// `milan-x (family 0x19, model 0x1, stepping 2)`, without the name where there is none.
impl fmt::Display for Cpuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { family, model, stepping } = self;
        let fields = format_args!("family {family:#x}, model {model:#x}, stepping {stepping}");
        match self.name() {
            Some(name) => write!(f, "{name} ({fields})"),
            None => write!(f, "0x{:08X} ({fields})", self.signature()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpuid(family: u8, model: u8, stepping: u8) -> Cpuid {
        Cpuid { family, model, stepping }
    }

    #[test]
    fn a_signature_is_family_model_and_stepping() {
        for (signature, family, model, stepping) in [
            (0x00A0_0F11, 0x19, 0x01, 1),
            (0x00A0_0F12, 0x19, 0x01, 2),
            (0x00A1_0F11, 0x19, 0x11, 1),
            (0x00AA_0F02, 0x19, 0xA0, 2),
            (0x00B0_0F21, 0x1A, 0x02, 1),
            (0x00B1_0F10, 0x1A, 0x11, 0),
            (0x00B5_0F07, 0x1A, 0x50, 7),
        ] {
            let expected = cpuid(family, model, stepping);
            assert_eq!(Cpuid::from_signature(signature), Some(expected), "{signature:#x}");
            assert_eq!(expected.signature(), signature);
        }
    }

    /// No two CPUs have one signature, and what has no form of a signature is none.
    #[test]
    fn a_signature_is_read_as_it_is_written() {
        for family in BASE_FAMILY..=u8::MAX {
            for model in 0..=u8::MAX {
                let expected = cpuid(family, model, model & 0xF);
                assert_eq!(Cpuid::from_signature(expected.signature()), Some(expected));
            }
        }
        // A reserved bit, another base family, an extended family that no byte holds.
        for signature in [0x10A0_0F11, 0x00A0_1F11, 0x00A0_0E11, 0x0F10_0F00, 0] {
            assert_eq!(Cpuid::from_signature(signature), None, "{signature:#x}");
        }
        let full = cpuid(u8::MAX, 0, 0).signature();
        assert_eq!(Cpuid::from_signature(full), Some(cpuid(u8::MAX, 0, 0)));
    }

    #[test]
    fn silicon_is_parsed_by_name_and_by_signature() {
        for text in ["milan-x", "Milan-X", "0x00A00F12", "0xa00f12"] {
            assert_eq!(Cpuid::parse(text), Some(cpuid(0x19, 0x01, 2)), "{text}");
        }
        for text in ["", "milan", "0x", "0x0x00A00F12", "00A00F12", "0x+A00F12", "0x000A00F12", "0x00A00E12"]
        {
            assert_eq!(Cpuid::parse(text), None, "{text}");
        }
        for name in Cpuid::names() {
            let named = Cpuid::parse(name).unwrap();
            assert_eq!((named.name(), named.text().as_str()), (Some(name), name));
            assert!(named.product().is_some(), "{name}");
        }
        assert_eq!(cpuid(0x19, 0x02, 0).text(), "0x00A00F20");
    }

    #[test]
    fn the_known_line_that_is_not_served_is_named() {
        for model in [0x50, 0x57, 0x90, 0x9F, 0xA0, 0xAF, 0xC0, 0xC7] {
            let venice = cpuid(0x1A, model, 0);
            assert_eq!(venice.unserved().map(|line| line.name), Some("Venice"), "{model:#x}");
            assert_eq!(venice.product(), None);
        }
        for (family, model) in [(0x1A, 0x4F), (0x1A, 0x58), (0x1A, 0xC8), (0x19, 0x50), (0x19, 0x01)] {
            assert_eq!(cpuid(family, model, 0).unserved(), None, "{family:#x} {model:#x}");
        }
    }
}
