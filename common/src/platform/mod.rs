//! Demands on the platform that a guest runs on, as data: the operator makes them of every guest, and each
//! registration of its own guests. The rules that hold evidence to them are
//! [`appraisal`](crate::appraisal)'s.

mod by_silicon;
mod chip;
mod condition;
mod firmware;
mod levels;
mod mitigations;

use keybroker_snp::product::Product;

pub use self::{
    by_silicon::{BySilicon, OfSilicon, Row, Rows, SiliconKey},
    chip::ChipId,
    condition::Condition,
    firmware::FirmwareVersion,
    levels::{Levels, Version},
    mitigations::MitigationBits,
};

/// Demands on a platform. The default demands nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlatformDemands {
    /// The products that are admitted. `None`: each.
    pub products: Option<Vec<Product>>,
    /// The chips that are admitted. `None`: each.
    pub chips: Option<Vec<ChipId>>,
    /// Floors of REPORTED_TCB, for which the key that signs is derived.
    pub minimum_tcb: BySilicon<Levels>,
    /// Floors of COMMITTED_TCB, below which the platform cannot be rolled back.
    pub minimum_committed_tcb: BySilicon<Levels>,
    /// Floors of CURRENT_TCB, which the platform runs.
    pub minimum_current_tcb: BySilicon<Levels>,
    /// Floors of LAUNCH_TCB, which the platform ran when the guest was launched.
    pub minimum_launch_tcb: BySilicon<Levels>,
    /// Bits that CURRENT_MIT_VECTOR must have.
    pub current_mitigations: BySilicon<MitigationBits>,
    /// Bits that LAUNCH_MIT_VECTOR must have.
    pub launch_mitigations: BySilicon<MitigationBits>,
    /// Conditions of the platform's state.
    pub conditions: Vec<Condition>,
    /// The least version of the firmware that runs.
    pub minimum_firmware: Option<FirmwareVersion>,
}

impl PlatformDemands {
    /// The floors of each of a platform's TCB versions.
    pub fn floors(&self) -> [(Version, &BySilicon<Levels>); 4] {
        [
            (Version::Reported, &self.minimum_tcb),
            (Version::Committed, &self.minimum_committed_tcb),
            (Version::Current, &self.minimum_current_tcb),
            (Version::Launch, &self.minimum_launch_tcb),
        ]
    }

    /// Whether a TCB version has a floor that a platform can miss.
    pub fn has_floor(&self) -> bool {
        self.floors().iter().any(|(_, floors)| floors.rows().any(|(_, levels)| levels.is_floor()))
    }
}

/// A number below 256 in decimal digits, without a sign and without zeros in front.
fn number(text: &str) -> Option<u8> {
    let plain = text.bytes().all(|digit| digit.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

/// Why a text demands nothing that can be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
#[non_exhaustive]
pub enum DemandError {
    /// Not of the form `SILICON:NAME=LEVEL,…`.
    Form,
    /// The key names neither a product nor the silicon of one.
    Silicon,
    /// A component comes twice, is none of the product's, its level is no byte, or there is none.
    Components,
    /// Two rows for one silicon.
    Duplicate,
    /// Not of the form `SILICON:BIT+BIT`.
    Bits,
    /// No row at all.
    Empty,
    /// An empty list.
    Nothing,
    /// No product of this name.
    Product,
    /// No condition of this name.
    Condition,
    /// No chip id.
    Chip,
    /// No firmware version.
    Firmware,
}

impl DemandError {
    /// The fault, as the continuation of a sentence about the setting.
    pub fn text(self) -> &'static str {
        match self {
            Self::Form => "is not of the form milan-b1:snp=27,ucode=222 (silicon, then levels)",
            Self::Silicon => {
                "names neither a product (milan) nor silicon that is served: milan-b0, milan-b1, milan-x, genoa-b1, \
                 genoa-x, bergamo-siena, turin-c1, turin-dense, or a CPUID signature as 0x00A00F12"
            }
            Self::Components => {
                "may name fmc (Turin), bl, tee, snp, ucode: one or more, once each, from 0 to 255"
            }
            Self::Duplicate => "names the same silicon twice",
            Self::Bits => "is not of the form milan-b1:1+2+4 (bits from 0 to 63) or milan-b1:none",
            Self::Empty => "names no silicon",
            Self::Nothing => "is empty: it would admit nothing or demand nothing",
            Self::Product => "must be milan, genoa or turin",
            Self::Condition => {
                "is none of the platform's conditions: alias-check, iommu-writes, tsme, no-smt, rapl-disabled, ecc, \
                 ciphertext-hiding, committed"
            }
            Self::Chip => "must be a chip id of 128 hex digits, or of a Turin 16, and not all zeros",
            Self::Firmware => "must be a firmware version: MAJOR.MINOR.BUILD, three numbers below 256",
        }
    }

    /// The same for an answer to a client, which has room for a line: without the lists of all names.
    pub fn short(self) -> &'static str {
        match self {
            Self::Silicon => {
                "names neither a product (milan) nor silicon (milan-x, 0x00A00F12) that is served"
            }
            Self::Condition => {
                "is none of the platform's conditions: alias-check, committed, tsme and others"
            }
            other => other.text(),
        }
    }
}

#[cfg(test)]
mod tests {
    use keybroker_snp::silicon::Cpuid;

    use super::*;

    #[test]
    fn a_name_that_is_not_known_is_answered_with_all_that_are() {
        for name in Cpuid::names() {
            assert!(DemandError::Silicon.text().contains(name), "{name}");
        }
        for condition in Condition::ALL {
            assert!(DemandError::Condition.text().contains(condition.name()), "{condition}");
        }
    }
}
