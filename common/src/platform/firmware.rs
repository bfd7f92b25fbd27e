//! Versions of the SNP firmware.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{DemandError, number};

/// A version of the SNP firmware: the API's major and minor, and the build. Compared in that order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FirmwareVersion {
    /// API major.
    pub major: u8,
    /// API minor.
    pub minor: u8,
    /// Build.
    pub build: u8,
}

impl FirmwareVersion {
    /// Reads `1.55.29`.
    pub fn parse(text: &str) -> Result<Self, DemandError> {
        let numbers: Option<Vec<u8>> = text.split('.').map(number).collect();
        match numbers.as_deref() {
            Some([major, minor, build]) => Ok(Self { major: *major, minor: *minor, build: *build }),
            _ => Err(DemandError::Firmware),
        }
    }
}

impl From<(u8, u8, u8)> for FirmwareVersion {
    fn from((major, minor, build): (u8, u8, u8)) -> Self {
        Self { major, minor, build }
    }
}

impl From<FirmwareVersion> for String {
    fn from(version: FirmwareVersion) -> Self {
        version.to_string()
    }
}

impl TryFrom<String> for FirmwareVersion {
    type Error = DemandError;

    fn try_from(text: String) -> Result<Self, DemandError> {
        Self::parse(&text)
    }
}

/// `1.55.29`.
impl fmt::Display for FirmwareVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.build)
    }
}
