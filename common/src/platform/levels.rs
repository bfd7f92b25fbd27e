//! Floors of a TCB version, component by component.

use std::fmt;

use keybroker_snp::{
    product::{Product, TcbVersion},
    report::Report,
};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};

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
#[serde(deny_unknown_fields, default, remote = "Self")]
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

impl Serialize for Levels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

/// From an object alone: serde would read an array as well, and take its first number for the first
/// component.
impl<'de> Deserialize<'de> for Levels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Levels;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of levels by component")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Levels, A::Error> {
                Levels::deserialize(MapAccessDeserializer::new(map))
            }
        }

        deserializer.deserialize_map(Members)
    }
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

    /// Whether a platform can miss it. Levels of zero name silicon, and every platform meets them.
    pub fn is_floor(&self) -> bool {
        self.components().into_iter().any(|(_, level)| level.is_some_and(|level| level > 0))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::BySilicon;

    fn read(text: &str) -> Result<String, DemandError> {
        BySilicon::<Levels>::parse([text]).map(|rows| rows.to_string())
    }

    #[test]
    fn a_floor_names_components_in_any_order() {
        for (text, read_as) in [
            ("milan-x:snp=27", "milan-x:snp=27"),
            ("Milan-X: ucode = 71 , bl=4", "milan-x:bl=4,ucode=71"),
            ("turin-c1:ucode=255,snp=4,tee=3,bl=2,fmc=1", "turin-c1:fmc=1,bl=2,tee=3,snp=4,ucode=255"),
            ("0x00A00F12:snp=0", "milan-x:snp=0"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(read_as), "{text}");
        }
    }

    /// Least of all a component that comes twice: its second level might be the lower one.
    #[test]
    fn anything_else_is_no_floor() {
        for (text, error) in [
            ("", DemandError::Form),
            ("snp=27", DemandError::Form),
            ("milan-x:", DemandError::Form),
            ("milan-x:snp", DemandError::Form),
            ("milan-x:snp=27,", DemandError::Form),
            ("rome:snp=27", DemandError::Silicon),
            ("0x00A50F00:snp=27", DemandError::Silicon),
            ("milan-x:snp=27,snp=1", DemandError::Components),
            ("milan-x:snp=27,ucode=71,snp=27", DemandError::Components),
            ("milan-x:snp=256", DemandError::Components),
            ("milan-x:snp=-1", DemandError::Components),
            ("milan-x:snp=+1", DemandError::Components),
            ("milan-x:snp=027", DemandError::Components),
            ("milan-x:SNP=27", DemandError::Components),
            ("milan-x:spl=27", DemandError::Components),
            ("milan-x:fmc=1", DemandError::Components),
        ] {
            assert_eq!(read(text), Err(error), "{text}");
        }
        let twice = ["milan-x:snp=27", "0x00A00F12:snp=1"];
        assert_eq!(BySilicon::<Levels>::parse(twice), Err(DemandError::Duplicate));
    }

    /// By position a number would be another component's.
    #[test]
    fn levels_are_an_object_of_numbers() {
        let read =
            |text: &str| serde_json::from_str::<BySilicon<Levels>>(text).ok().map(|rows| rows.to_string());
        let whole = r#"{"turin-c1":{"fmc":1,"snp":4}}"#;
        assert_eq!(read(whole).as_deref(), Some("turin-c1:fmc=1,snp=4"));
        for text in [
            r#"{"turin-c1":[4]}"#,
            r#"{"turin-c1":[]}"#,
            r#"{"turin-c1":{}}"#,
            r#"{"turin-c1":{"snp":null}}"#,
            r#"{"turin-c1":{"snp":4,"snp":1}}"#,
            r#"{"turin-c1":{"snp":4},"turin-c1":{"snp":1}}"#,
            r#"{"turin-c1":{"snp":4},"0x00B00F21":{"snp":1}}"#,
            r#"{"Turin-C1":{"snp":4}}"#,
            r#"{"turin-c1":{"ucode":4}}"#,
            "{}",
            "[]",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
