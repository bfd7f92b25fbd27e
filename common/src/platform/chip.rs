//! Chips by their ids.

use std::fmt;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use keybroker_snp::report::Report;
use serde::{Deserialize, Serialize};

use super::DemandError;

/// The length of Turin's chip ids, in bytes. CHIP_ID has zeros behind them.
const SHORT: usize = 8;

/// A chip's id, as CHIP_ID of its reports has it: 64 bytes, not all zeros. Turin's ids have 8 bytes, with
/// zeros behind them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ChipId([u8; 64]);

impl ChipId {
    /// The chip that a report names. `None` if the host masks it.
    pub fn of(report: &Report) -> Option<Self> {
        (!report.chip_is_masked()).then(|| Self(*report.chip_id()))
    }

    /// Reads 128 hex digits, or 16 of a Turin's id, in any case.
    pub fn parse(text: &str) -> Result<Self, DemandError> {
        let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(|_| DemandError::Chip)?;
        let mut id = [0; 64];
        match bytes.len() {
            SHORT | 64 => id.iter_mut().zip(&bytes).for_each(|(place, byte)| *place = *byte),
            _ => return Err(DemandError::Chip),
        }
        if id == [0; 64] { Err(DemandError::Chip) } else { Ok(Self(id)) }
    }

    /// The id, 64 bytes.
    pub fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }
}

impl From<ChipId> for String {
    fn from(id: ChipId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for ChipId {
    type Error = DemandError;

    fn try_from(text: String) -> Result<Self, DemandError> {
        Self::parse(&text)
    }
}

/// Lower-case hex: 16 digits of an id that has zeros behind its eighth byte, else 128.
impl fmt::Display for ChipId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (short, rest) = self.0.split_at(SHORT);
        let id = if rest.iter().all(|byte| *byte == 0) { short } else { &self.0 };
        f.write_str(&HEXLOWER.encode(id))
    }
}
