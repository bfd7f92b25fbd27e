//! Floors of a TCB version, component by component.

use std::fmt;

use keybroker_snp::{
    product::{Product, TcbVersion},
    report::Report,
};
use serde::{Deserialize, Deserializer, Serialize};

use super::{DemandError, OfSilicon, number};

/// One of the TCB versions in a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// REPORTED_TCB.
    Reported,
    /// COMMITTED_TCB.
    Committed,
    /// CURRENT_TCB.
    Current,
    /// LAUNCH_TCB.
    Launch,
}

impl Version {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reported => "reported",
            Self::Committed => "committed",
            Self::Current => "current",
            Self::Launch => "launch",
        }
    }

    /// This version in a report of a chip of `product`. `None` if a reserved byte is set.
    pub fn of(self, report: &Report, product: Product) -> Option<TcbVersion> {
        match self {
            Self::Reported => report.reported_tcb(product),
            Self::Committed => report.committed_tcb(product),
            Self::Current => report.current_tcb(product),
            Self::Launch => report.launch_tcb(product),
        }
    }
}

/// The least levels of a TCB version. A component that is `None` may have any level; at least one has a
/// floor.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Levels {
    /// Firmware management controller: of Turin alone.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "level")]
    pub fmc: Option<u8>,
    /// Bootloader.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "level")]
    pub boot_loader: Option<u8>,
    /// PSP operating system.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "level")]
    pub tee: Option<u8>,
    /// SNP firmware.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "level")]
    pub snp: Option<u8>,
    /// CPU microcode.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "level")]
    pub microcode: Option<u8>,
}

/// A level that is there is a number.
fn level<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u8>, D::Error> {
    u8::deserialize(deserializer).map(Some)
}

impl Levels {
    /// The components with their floors, by the names that texts have.
    pub fn components(&self) -> [(&'static str, Option<u8>); 5] {
        let Self { fmc, boot_loader, tee, snp, microcode } = *self;
        [("fmc", fmc), ("bl", boot_loader), ("tee", tee), ("snp", snp), ("ucode", microcode)]
    }

    /// The version of a chip of `product` with exactly these levels, if every component has one.
    pub fn version(&self, product: Product) -> Option<TcbVersion> {
        let Self { fmc, boot_loader, tee, snp, microcode } = *self;
        let whole = fmc.is_some() == product.has_fmc();
        let (boot_loader, tee) = boot_loader.zip(tee).filter(|_| whole)?;
        let (snp, microcode) = snp.zip(microcode)?;
        Some(TcbVersion { fmc, boot_loader, tee, snp, microcode })
    }

    /// Whether each component of `tcb` is at least its floor. A component that `tcb` lacks misses its floor.
    pub fn hold_for(&self, tcb: &TcbVersion) -> bool {
        let Self { fmc, boot_loader, tee, snp, microcode } = *self;
        let least = |level: u8, floor: Option<u8>| floor.is_none_or(|floor| level >= floor);
        fmc.is_none_or(|floor| tcb.fmc.is_some_and(|level| level >= floor))
            && least(tcb.boot_loader, boot_loader)
            && least(tcb.tee, tee)
            && least(tcb.snp, snp)
            && least(tcb.microcode, microcode)
    }
}

/// Every level of a version, as a floor.
impl From<TcbVersion> for Levels {
    fn from(tcb: TcbVersion) -> Self {
        let TcbVersion { fmc, boot_loader, tee, snp, microcode } = tcb;
        let [boot_loader, tee, snp, microcode] = [boot_loader, tee, snp, microcode].map(Some);
        Self { fmc, boot_loader, tee, snp, microcode }
    }
}

impl OfSilicon for Levels {
    /// Reads `bl=4,tee=0,snp=22,ucode=213`, for Turin also `fmc=1`: each at most once, in any order.
    fn parse(product: Product, text: &str) -> Result<Self, DemandError> {
        let mut levels = Self::default();
        for part in text.split(',') {
            let (name, level) = part.split_once('=').ok_or(DemandError::Form)?;
            let component = match name.trim() {
                "fmc" => &mut levels.fmc,
                "bl" => &mut levels.boot_loader,
                "tee" => &mut levels.tee,
                "snp" => &mut levels.snp,
                "ucode" => &mut levels.microcode,
                _ => return Err(DemandError::Components),
            };
            let level = number(level.trim()).ok_or(DemandError::Components)?;
            if component.replace(level).is_some() {
                return Err(DemandError::Components);
            }
        }
        if levels.fits(product) { Ok(levels) } else { Err(DemandError::Components) }
    }

    fn fits(&self, product: Product) -> bool {
        *self != Self::default() && (self.fmc.is_none() || product.has_fmc())
    }
}

/// The text that [`OfSilicon::parse`] reads.
impl fmt::Display for Levels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for (name, level) in self.components() {
            if let Some(level) = level {
                write!(f, "{between}{name}={level}")?;
                between = ",";
            }
        }
        Ok(())
    }
}
