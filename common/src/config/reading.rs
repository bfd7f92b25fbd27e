//! Reading the environment by the table.

use std::{collections::BTreeMap, ffi::OsString, fmt, path::PathBuf, str::FromStr, time::Duration};

use data_encoding::HEXLOWER_PERMISSIVE;
use jiff::SignedDuration;
use keybroker_snp::product::Product;

use super::{
    PREFIX,
    kds::NewChips,
    table::{VARIABLES, Variable, known, nearest},
};
use crate::{
    advisories::Month,
    decision::LONGEST_TTL,
    encoding::Hex,
    function::Function,
    platform::{BySilicon, ChipId, Condition, DemandError, FirmwareVersion, Levels, OfSilicon},
};

/// The settings of one function.
pub trait Configuration: Sized {
    /// The function that these settings belong to.
    const FUNCTION: Function;

    /// Reads them. `None` if any fault was noted on the way.
    fn read(reader: &mut Reader) -> Option<Self>;
}

/// Reads a function's settings from `environment`. `others` are names with our prefix that this table does
/// not know and that are no mistake.
pub fn read<C: Configuration>(
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    others: &[&str],
) -> Result<C, ConfigError> {
    let mut reader = Reader::default();
    for (name, value) in environment {
        let Ok(name) = name.into_string() else { continue };
        if !name.starts_with(PREFIX) || others.contains(&name.as_str()) {
            continue;
        }
        match VARIABLES.iter().find(|variable| variable.name == name) {
            None => reader.faults.push(Fault::Unknown { nearest: nearest(&name, known()), name }),
            Some(variable) if !variable.read_by.contains(&C::FUNCTION) => {}
            Some(variable) => match value.into_string() {
                Ok(value) => drop(reader.values.insert(variable.name, value)),
                Err(_) => reader.faults.push(Fault::Invalid { name: variable.name, cause: "is no UTF-8" }),
            },
        }
    }
    match C::read(&mut reader) {
        Some(configuration) if reader.faults.is_empty() => Ok(configuration),
        _ => Err(ConfigError(reader.faults)),
    }
}

/// The values that are there, and what is wrong with them.
#[derive(Debug, Default)]
pub struct Reader {
    pub(super) values: BTreeMap<&'static str, String>,
    faults: Vec<Fault>,
}

impl Reader {
    pub(super) fn value<T>(
        &mut self,
        variable: Variable,
        parse: impl FnOnce(&str) -> Result<T, &'static str>,
    ) -> Option<T> {
        let Variable { name, meaning, default, .. } = variable;
        let given = self.values.remove(name).filter(|value| !value.is_empty());
        let Some(value) = given.as_deref().or(default) else {
            self.faults.push(Fault::Missing { name, meaning });
            return None;
        };
        parse(value).map_err(|cause| self.faults.push(Fault::Invalid { name, cause })).ok()
    }
}

impl Reader {
    /// Notes that the value of `variable` cannot stand beside the others.
    pub(super) fn fault(&mut self, variable: Variable, cause: &'static str) {
        self.faults.push(Fault::Invalid { name: variable.name, cause });
    }
}

/// The reasons why a function does not start: everything that is wrong with its settings. Names no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError(pub Vec<Fault>);

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            write!(f, "{}{fault}", if index == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A variable without a default is not set.
    #[error("{name} is not set ({meaning})")]
    Missing {
        /// The variable.
        name: &'static str,
        /// The meaning of the setting.
        meaning: &'static str,
    },
    /// A variable has a value that makes no sense.
    #[error("{name} {cause}")]
    Invalid {
        /// The variable.
        name: &'static str,
        /// The fault of its value.
        cause: &'static str,
    },
    /// A variable has our prefix, and nobody reads it.
    #[error(
        "{name} is not known{}",
        nearest.map(|nearest| format!(": did you mean {nearest}?")).unwrap_or_default()
    )]
    Unknown {
        /// The variable.
        name: String,
        /// The known one that is most like it.
        nearest: Option<&'static str>,
    },
}

pub(super) fn text(value: &str) -> Result<String, &'static str> {
    Ok(value.to_owned())
}

pub(super) fn list(value: &str) -> Result<Vec<String>, &'static str> {
    Ok(value.split(';').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect())
}

/// The parts of a list of demands. A value that names nothing would demand nothing without a word: so only an
/// empty one may.
fn demands(value: &str) -> Result<Vec<String>, &'static str> {
    let parts = list(value)?;
    if parts.is_empty() && !value.is_empty() { Err("names nothing") } else { Ok(parts) }
}

/// The products that are admitted. Nothing: each.
pub(super) fn products(value: &str) -> Result<Option<Vec<Product>>, &'static str> {
    let products: Option<Vec<_>> = demands(value)?.iter().map(|name| Product::parse(name)).collect();
    let products = products.ok_or("must name milan, genoa or turin, `;` between them")?;
    Ok(Some(products).filter(|products| !products.is_empty()))
}

/// The chips that are admitted. Nothing: each.
pub(super) fn chips(value: &str) -> Result<Option<Vec<ChipId>>, &'static str> {
    let chips: Result<Vec<_>, _> = demands(value)?.iter().map(|id| ChipId::parse(id)).collect();
    let chips = chips.map_err(DemandError::text)?;
    Ok(Some(chips).filter(|chips| !chips.is_empty()))
}

pub(super) fn by_silicon<T: OfSilicon>(value: &str) -> Result<BySilicon<T>, &'static str> {
    BySilicon::parse(demands(value)?.iter().map(String::as_str)).map_err(DemandError::text)
}

/// Floors of the reported TCB: by silicon, and up to which month the table of advisories sets more.
pub(super) fn floors(value: &str) -> Result<(BySilicon<Levels>, Option<Month>), &'static str> {
    let mut month = None;
    let mut rows = BySilicon::default();
    for text in demands(value)? {
        match Month::of_floor(&text) {
            None => rows.add(&text).map_err(DemandError::text)?,
            Some(_) if month.is_some() => return Err("names advisories= twice"),
            Some(named) => month = Some(named?),
        }
    }
    Ok((rows, month))
}

/// A path, or nothing.
pub(super) fn path(value: &str) -> Result<Option<PathBuf>, &'static str> {
    Ok((!value.is_empty()).then(|| value.into()))
}

/// A SHA-256, or nothing.
pub(super) fn sha256(value: &str) -> Result<Option<Hex<32>>, &'static str> {
    if value.is_empty() {
        return Ok(None);
    }
    let bytes = HEXLOWER_PERMISSIVE.decode(value.as_bytes()).ok();
    let digest = bytes.and_then(|bytes| bytes.try_into().ok());
    digest.map(|digest| Some(Hex(digest))).ok_or("must be 64 hex digits")
}

pub(super) fn conditions(value: &str) -> Result<Vec<Condition>, &'static str> {
    demands(value)?.iter().map(|name| Condition::parse(name).map_err(DemandError::text)).collect()
}

pub(super) fn firmware(value: &str) -> Result<Option<FirmwareVersion>, &'static str> {
    if value.is_empty() {
        return Ok(None);
    }
    FirmwareVersion::parse(value).map(Some).map_err(DemandError::text)
}

pub(super) fn yes(value: &str) -> Result<bool, &'static str> {
    match value {
        "" => Ok(false),
        "yes" => Ok(true),
        _ => Err("must be yes, or not there"),
    }
}

fn number(value: &str, least: u32, most: u32) -> Option<u32> {
    u32::from_str(value).ok().filter(|number| (least..=most).contains(number))
}

pub(super) fn ttl(value: &str) -> Result<Duration, &'static str> {
    let longest = u32::try_from(LONGEST_TTL.as_secs()).unwrap_or(u32::MAX);
    let seconds = number(value, 1, longest).ok_or("must be a number from 1 to 86400")?;
    Ok(Duration::from_secs(seconds.into()))
}

pub(super) fn days(value: &str) -> Result<Option<SignedDuration>, &'static str> {
    let days = number(value, 0, 36_500).ok_or("must be a number from 0 to 36500")?;
    Ok(Some(days).filter(|days| *days > 0).map(|days| SignedDuration::from_hours(24 * i64::from(days))))
}

/// For how many days a revocation list counts at most. Nothing: as long as it says itself.
pub(super) fn crl_max_age(value: &str) -> Result<Option<SignedDuration>, &'static str> {
    if value.is_empty() {
        return Ok(None);
    }
    let days = number(value, 1, 36_500).ok_or("must be a number from 1 to 36500")?;
    Ok(Some(SignedDuration::from_hours(24 * i64::from(days))))
}

pub(super) fn new_chips_per_minute(value: &str) -> Result<Option<u32>, &'static str> {
    optional(value, 0, NewChips::MAX_PER_MINUTE, "must be a number from 0 to 6000")
}

pub(super) fn new_chips_burst(value: &str) -> Result<Option<u32>, &'static str> {
    optional(value, 1, NewChips::MAX_BURST, "must be a number from 1 to 1000")
}

fn optional(value: &str, least: u32, most: u32, cause: &'static str) -> Result<Option<u32>, &'static str> {
    if value.is_empty() { Ok(None) } else { number(value, least, most).map(Some).ok_or(cause) }
}

pub(super) fn known_chips_only(value: &str) -> Result<bool, &'static str> {
    match value {
        "any-chip" => Ok(false),
        "known-chips-only" => Ok(true),
        _ => Err("must be any-chip or known-chips-only"),
    }
}

/// Reads a service's base URL, without a slash at its end.
pub fn base_url(text: &str) -> Result<String, &'static str> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    match rest {
        Some(rest) if !rest.is_empty() && !rest.contains(['?', '#']) => {
            Ok(text.trim_end_matches('/').to_owned())
        }
        _ => Err("must begin with http:// or https:// and hold neither ? nor #"),
    }
}
