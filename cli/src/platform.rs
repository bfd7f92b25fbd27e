//! Demands on a platform, as flags say them.

use anyhow::anyhow;
use keybroker_common::{
    advisories::Month,
    platform::{
        BySilicon, ChipId, Condition, DemandError, FirmwareVersion, Levels, MitigationBits, OfSilicon,
    },
};
use keybroker_snp::product::Product;

use crate::exit::{Exit, Failure};

/// A product by its name.
pub(crate) fn product(name: &str) -> Result<Product, DemandError> {
    Product::parse(name).ok_or(DemandError::Product)
}

/// A chip by its id.
pub(crate) fn chip(id: &str) -> Result<ChipId, DemandError> {
    ChipId::parse(id)
}

/// A floor, checked by itself.
pub(crate) fn floor(text: &str) -> Result<String, DemandError> {
    row::<Levels>(text)
}

/// A floor, or a month up to which the table of AMD's bulletins sets floors; checked by itself.
pub(crate) fn floor_or_month(text: &str) -> Result<String, String> {
    match Month::of_floor(text) {
        Some(month) => month.map(|_| text.to_owned()).map_err(str::to_owned),
        None => floor(text).map_err(|error| error.to_string()),
    }
}

/// Bits of a mitigation vector, checked by themselves.
pub(crate) fn bits(text: &str) -> Result<String, DemandError> {
    row::<MitigationBits>(text)
}

fn row<T: OfSilicon>(text: &str) -> Result<String, DemandError> {
    BySilicon::<T>::default().add(text).map(|()| text.to_owned())
}

/// A condition by its name.
pub(crate) fn condition(name: &str) -> Result<Condition, DemandError> {
    Condition::parse(name)
}

/// A version of the firmware.
pub(crate) fn firmware(text: &str) -> Result<FirmwareVersion, DemandError> {
    FirmwareVersion::parse(text)
}

/// The rows of all uses of a flag.
pub(crate) fn rows<T: OfSilicon>(flag: &str, texts: &[String]) -> Result<BySilicon<T>, Failure> {
    let rows = BySilicon::parse(texts.iter().map(String::as_str));
    rows.map_err(|error| Failure::new(Exit::Usage, anyhow!("{flag} {:?} {error}", texts.join(";"))))
}

/// The rows of all uses of a flag, and the month that one of them may name.
pub(crate) fn by_month(flag: &str, texts: &[String]) -> Result<(BySilicon<Levels>, Option<Month>), Failure> {
    let (months, rows): (Vec<_>, Vec<_>) =
        texts.iter().cloned().partition(|text| Month::of_floor(text).is_some());
    let month = match months.as_slice() {
        [] => None,
        [month] => Month::of_floor(month).and_then(Result::ok),
        _ => return Err(Failure::new(Exit::Usage, anyhow!("{flag} names advisories= twice"))),
    };
    Ok((self::rows(flag, &rows)?, month))
}

/// Nothing, or a list that admits something.
pub(crate) fn some<T: Clone>(list: &[T]) -> Option<Vec<T>> {
    (!list.is_empty()).then(|| list.to_vec())
}
