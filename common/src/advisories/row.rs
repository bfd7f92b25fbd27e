//! One row: what a bulletin demands of one kind of silicon, and where its numbers come from.

use std::fmt;

use jiff::civil::Date;
use keybroker_snp::{product::Product, report::Report, silicon::Cpuid};
use serde::{Deserialize, Serialize};

use super::{MAX_ROWS_OF_SILICON, Month, RowFault};
use crate::platform::{Condition, Levels, MitigationBits, OfSilicon as _, Version};

/// The longest source, and the longest name in `confirmed`, in characters.
const MAX_TEXT: usize = 1000;

/// The demands of a bulletin on one kind of silicon. Without levels, mitigations and conditions it says that
/// the bulletin exists: what it demands is not known, or no report shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// The bulletin's id: `AMD-SB-3019`.
    pub bulletin: String,
    /// When AMD published it.
    pub published: Month,
    /// The silicon: a stepping by its name, or by its signature.
    #[serde(with = "silicon")]
    pub silicon: Cpuid,
    /// The least levels of the reported TCB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub levels: Option<Levels>,
    /// The bits that CURRENT_MIT_VECTOR must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mitigations: Option<MitigationBits>,
    /// The conditions that must hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Where the numbers come from.
    pub source: String,
    /// When somebody read these very numbers, for this silicon, at AMD. `None`: nobody did.
    pub read_at_amd: Option<Date>,
    /// Which operator confirmed the row, and when: it may then be part of a floor.
    pub confirmed: Option<String>,
}

impl Row {
    /// Whether nobody read its numbers at AMD, or it has none: then no report shows that a platform has what
    /// the bulletin demands.
    pub fn is_unconfirmed(&self) -> bool {
        self.read_at_amd.is_none() || !self.is_shown()
    }

    /// Whether it demands something that a report shows.
    pub fn is_shown(&self) -> bool {
        self.levels.is_some() || self.mitigations.is_some() || !self.conditions.is_empty()
    }

    /// That it can stand in a table of this date, behind the rows `before` it.
    pub(super) fn check(&self, date: Date, before: &[Self]) -> Result<(), RowFault> {
        let Self {
            bulletin,
            published,
            silicon,
            levels,
            mitigations,
            conditions: _,
            source,
            read_at_amd,
            confirmed,
        } = self;
        let of_id = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
        if !(1..=24).contains(&bulletin.len()) || !bulletin.bytes().all(of_id) {
            return Err(RowFault::Bulletin);
        }
        let is_text = |text: &String| !text.trim().is_empty() && text.chars().count() <= MAX_TEXT;
        if !is_text(source) || !confirmed.iter().all(is_text) {
            return Err(RowFault::Text);
        }
        let has = |levels: &Levels| match silicon.product() {
            Some(product) => levels.fits(product),
            None => *levels != Levels::default(),
        };
        if !levels.iter().all(has) || *mitigations == Some(MitigationBits::NONE) {
            return Err(RowFault::Demands);
        }
        if published.first_day() > date || read_at_amd.is_some_and(|read| read > date) {
            return Err(RowFault::Later);
        }
        if confirmed.is_some() && read_at_amd.is_none() {
            return Err(RowFault::Unread);
        }
        let same_silicon = before.iter().filter(|row| row.silicon == *silicon);
        if same_silicon.clone().any(|row| row.bulletin == *bulletin) {
            return Err(RowFault::Duplicate);
        }
        if same_silicon.count() >= MAX_ROWS_OF_SILICON { Err(RowFault::TooMany) } else { Ok(()) }
    }

    /// Everything that the platform of a report lacks for this row. Anything that a report does not show is
    /// lacking.
    ///
    /// The levels are held against REPORTED_TCB: the key that signed the report was derived for it, so that a
    /// host cannot claim more. The mitigations are held against CURRENT_MIT_VECTOR, which says what the
    /// firmware has verified now: a host that mitigates by an update in operation had not when it launched
    /// the guest. The conditions are bits of PLATFORM_INFO.
    pub fn misses(&self, report: &Report, product: Product) -> Vec<Miss> {
        let mut misses = Vec::new();
        if let Some(levels) = &self.levels {
            let reported = Version::Reported.of(report, product).map(Levels::from).unwrap_or_default();
            for ((component, least), (_, found)) in levels.components().into_iter().zip(reported.components())
            {
                if let Some(least) = least
                    && found.is_none_or(|found| found < least)
                {
                    misses.push(Miss::Level { component, found, least });
                }
            }
        }
        if let Some(bits) = self.mitigations {
            let vector = report.current_mit_vector();
            let missing = bits.missing_in(vector.unwrap_or(0));
            misses.extend(missing.map(|bits| Miss::Mitigations { bits, vector: vector.is_some() }));
        }
        let missed = self.conditions.iter().filter(|condition| !condition.holds(report));
        misses.extend(missed.map(|condition| Miss::Condition(*condition)));
        misses
    }
}

/// Something that a row demands and a platform lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Miss {
    /// A component of the reported TCB is below its level.
    Level {
        /// The component, as texts name it.
        component: &'static str,
        /// Its level. `None` if the platform has no such component, or its version cannot be read.
        found: Option<u8>,
        /// The least level.
        least: u8,
    },
    /// The firmware has not verified mitigations.
    Mitigations {
        /// Their bits.
        bits: MitigationBits,
        /// Whether the report has a vector at all: only those of version 5 do.
        vector: bool,
    },
    /// A condition does not hold.
    Condition(Condition),
}

/// A clause about the platform.
impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Level { component, found: Some(found), least } => {
                write!(f, "reports {component} {found}, and {least} is the least")
            }
            Self::Level { component, found: None, least } => {
                write!(f, "reports no level of {component}, and {least} is the least")
            }
            Self::Mitigations { bits, vector: true } => {
                write!(f, "has not verified the mitigation of bit {bits} (CURRENT_MIT_VECTOR)")
            }
            Self::Mitigations { bits, vector: false } => {
                write!(f, "makes reports without mitigation vectors, so that none shows bit {bits}")
            }
            Self::Condition(condition) => f.write_str(condition.missed()),
        }
    }
}

/// The text of silicon: its name, or its signature.
mod silicon {
    use keybroker_snp::silicon::Cpuid;
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(silicon: &Cpuid, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&silicon.text())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Cpuid, D::Error> {
        let text = String::deserialize(deserializer)?;
        Cpuid::parse(&text).ok_or_else(|| {
            de::Error::custom("silicon is a stepping by its name (milan-b1) or by its signature (0x00A00F11)")
        })
    }
}
