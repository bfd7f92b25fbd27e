//! Bits of a mitigation vector.

use std::fmt;

use keybroker_snp::product::Product;
use serde::{Deserialize, Serialize};

use super::{DemandError, OfSilicon, number};

/// The text of no bits.
const NONE: &str = "none";

/// Bits of a mitigation vector (SEV-SNP firmware ABI, LAUNCH_MIT_VECTOR and CURRENT_MIT_VECTOR). Each stands
/// for a mitigation that the firmware has verified. No bits at all are said on purpose: they admit silicon
/// that needs none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<u8>", into = "Vec<u8>")]
pub struct MitigationBits(u64);

impl MitigationBits {
    /// No bits.
    pub const NONE: Self = Self(0);

    /// The bits of these numbers, from 0 to 63. `None` if one is no bit.
    pub fn of(numbers: impl IntoIterator<Item = u8>) -> Option<Self> {
        let mut bits = 0_u64;
        for number in numbers {
            bits |= 1_u64.checked_shl(number.into())?;
        }
        Some(Self(bits))
    }

    /// The numbers of the bits, ascending.
    pub fn numbers(self) -> impl Iterator<Item = u8> {
        (0..64).filter(move |number| self.0 >> number & 1 == 1)
    }

    /// Those of its bits that `vector` lacks. `None` if it has them all.
    pub fn missing_in(self, vector: u64) -> Option<Self> {
        Some(Self(self.0 & !vector)).filter(|missing| missing.0 != 0)
    }
}

impl OfSilicon for MitigationBits {
    /// Reads `1+2+4`: numbers of bits; or `none`.
    fn parse(_: Product, text: &str) -> Result<Self, DemandError> {
        if text.trim() == NONE {
            return Ok(Self::NONE);
        }
        let numbers: Option<Vec<u8>> = text.split('+').map(|bit| number(bit.trim())).collect();
        numbers.and_then(Self::of).ok_or(DemandError::Bits)
    }

    fn fits(&self, _: Product) -> bool {
        true
    }
}

impl From<MitigationBits> for Vec<u8> {
    fn from(bits: MitigationBits) -> Self {
        bits.numbers().collect()
    }
}

impl TryFrom<Vec<u8>> for MitigationBits {
    type Error = DemandError;

    fn try_from(numbers: Vec<u8>) -> Result<Self, DemandError> {
        Self::of(numbers).ok_or(DemandError::Bits)
    }
}

/// The text that [`OfSilicon::parse`] reads.
impl fmt::Display for MitigationBits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::NONE {
            return f.write_str(NONE);
        }
        let numbers: Vec<_> = self.numbers().map(|number| number.to_string()).collect();
        f.write_str(&numbers.join("+"))
    }
}
