//! Demands on a platform, as flags say them.

use anyhow::anyhow;
use keybroker_common::platform::{
    BySilicon, ChipId, Condition, DemandError, FirmwareVersion, Levels, MitigationBits, OfSilicon,
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

/// Nothing, or a list that admits something.
pub(crate) fn some<T: Clone>(list: &[T]) -> Option<Vec<T>> {
    (!list.is_empty()).then(|| list.to_vec())
}
