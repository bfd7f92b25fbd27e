//! Serde forms of AMD's values: `keybroker-snp` has none of its own.

use std::fmt;

use keybroker_snp::{
    endorsement::EndorsementKind,
    product::{Product, TcbVersion},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A TCB version, with the names of its components: levels from 0 to 255, `fmc` on Turin alone.
#[derive(Serialize, Deserialize)]
#[serde(remote = "TcbVersion", deny_unknown_fields)]
pub struct TcbJson {
    /// Firmware management controller: Turin only.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    fmc: Option<u8>,
    /// Bootloader.
    boot_loader: u8,
    /// PSP operating system.
    tee: u8,
    /// SNP firmware.
    snp: u8,
    /// CPU microcode.
    microcode: u8,
}

/// A TCB version, or `null`.
pub mod optional_tcb {
    use super::*;

    /// Writes the version's components.
    pub fn serialize<S: Serializer>(tcb: &Option<TcbVersion>, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Written<'a>(#[serde(with = "TcbJson")] &'a TcbVersion);
        tcb.as_ref().map(Written).serialize(serializer)
    }

    /// Reads them, each once and no others.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<TcbVersion>, D::Error> {
        #[derive(Deserialize)]
        struct Read(#[serde(with = "TcbJson")] TcbVersion);
        Ok(Option::<Read>::deserialize(deserializer)?.map(|Read(tcb)| tcb))
    }
}

/// A product's name in lower case.
pub mod product {
    use super::*;

    /// Writes the name.
    pub fn serialize<S: Serializer>(product: &Product, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&product.name().to_ascii_lowercase())
    }

    /// Reads it.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Product, D::Error> {
        let product = optional_product::deserialize(deserializer)?;
        product.ok_or_else(|| de::Error::custom("a product's name must be there"))
    }
}

/// A product's name in lower case, or `null`.
pub mod optional_product {
    use super::*;

    /// Writes the name.
    pub fn serialize<S: Serializer>(product: &Option<Product>, serializer: S) -> Result<S::Ok, S::Error> {
        product.map(|product| product.name().to_ascii_lowercase()).serialize(serializer)
    }

    /// Reads it.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Product>, D::Error> {
        named(deserializer, &Product::ALL, |product| product.name().to_ascii_lowercase())
    }
}

/// `vcek` or `vlek`, or `null`.
pub mod optional_kind {
    use super::*;

    /// Writes the name.
    pub fn serialize<S: Serializer>(
        kind: &Option<EndorsementKind>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        kind.map(EndorsementKind::name).serialize(serializer)
    }

    /// Reads it.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<EndorsementKind>, D::Error> {
        named(deserializer, &[EndorsementKind::Vcek, EndorsementKind::Vlek], |kind| kind.name().to_owned())
    }
}

/// The one of `values` that is called like the text, by `name`.
fn named<'de, D: Deserializer<'de>, T: Copy + fmt::Debug>(
    deserializer: D,
    values: &[T],
    name: impl Fn(T) -> String,
) -> Result<Option<T>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    let found = values.iter().copied().find(|value| name(*value) == text);
    found.map(Some).ok_or_else(|| de::Error::custom(format!("unknown name, expected one of {values:?}")))
}
