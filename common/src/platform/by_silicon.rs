//! Values by the silicon that they are of.

use std::{collections::BTreeMap, fmt, marker::PhantomData};

use keybroker_snp::{product::Product, report::Report, silicon::Cpuid};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, MapAccess, Visitor},
};

use super::DemandError;

/// The silicon that a row is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SiliconKey {
    /// A product: for reports that name no stepping, which are those of version 2.
    Product(Product),
    /// A stepping of a product: for reports that name it.
    Silicon(Cpuid),
}

impl SiliconKey {
    /// The key of the row that a report is held to.
    pub fn of(report: &Report, product: Product) -> Self {
        report.cpuid().map_or(Self::Product(product), Self::Silicon)
    }

    /// Reads `milan`, `milan-x` or `0x00A00F12`, in any case. `None` if that is no product that is served,
    /// and no silicon of one.
    pub fn parse(text: &str) -> Option<Self> {
        let silicon = || Cpuid::parse(text).filter(|cpuid| cpuid.product().is_some()).map(Self::Silicon);
        Product::parse(text).map(Self::Product).or_else(silicon)
    }

    /// Reads a text that is exactly as JSON has it: names in lower case.
    fn named(text: &str) -> Option<Self> {
        let exact = text.starts_with("0x") || !text.bytes().any(|byte| byte.is_ascii_uppercase());
        Self::parse(text).filter(|_| exact)
    }

    /// The product that it is, or is silicon of.
    pub fn product(self) -> Option<Product> {
        match self {
            Self::Product(product) => Some(product),
            Self::Silicon(cpuid) => cpuid.product(),
        }
    }
}

/// The text that [`SiliconKey::parse`] reads.
impl fmt::Display for SiliconKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Product(product) => f.write_str(&product.name().to_ascii_lowercase()),
            Self::Silicon(cpuid) => f.write_str(&cpuid.text()),
        }
    }
}

/// A value that is some silicon's.
pub trait OfSilicon: Sized {
    /// Reads it from a text, for silicon of this product.
    fn parse(product: Product, text: &str) -> Result<Self, DemandError>;

    /// Whether it says nothing that silicon of this product cannot have.
    fn fits(&self, product: Product) -> bool;
}

/// A value for each of some silicon. Without any row it demands nothing. As soon as it has one, a report
/// whose silicon has none is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BySilicon<T>(BTreeMap<SiliconKey, T>);

/// The row that a report is held to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Row<'a, T> {
    /// There are no rows at all.
    NoDemand,
    /// This one.
    Held(&'a T),
    /// There are rows, and none for this silicon.
    Unnamed(SiliconKey),
}

impl<T> Default for BySilicon<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: OfSilicon> BySilicon<T> {
    /// Whether it demands nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every row, in the order of the keys.
    pub fn rows(&self) -> impl Iterator<Item = (SiliconKey, &T)> {
        self.0.iter().map(|(key, value)| (*key, value))
    }

    /// The row for a report of a chip of `product`. A product's row is for reports that name no stepping
    /// alone: the levels of two steppings cannot be compared.
    pub fn row(&self, report: &Report, product: Product) -> Row<'_, T> {
        let key = SiliconKey::of(report, product);
        match self.0.get(&key) {
            _ if self.is_empty() => Row::NoDemand,
            Some(value) => Row::Held(value),
            None => Row::Unnamed(key),
        }
    }

    /// The row for this very key.
    pub fn get(&self, key: SiliconKey) -> Option<&T> {
        self.0.get(&key)
    }

    /// Whether it has a row for this very key.
    pub fn names(&self, key: SiliconKey) -> bool {
        self.0.contains_key(&key)
    }

    /// The products that have a row of their own and none of a stepping: such a row holds for reports of
    /// version 2, and all others of that product are refused.
    pub fn products_alone(&self) -> impl Iterator<Item = Product> {
        let has_stepping = |product| {
            let of_it =
                |key: &SiliconKey| *key != SiliconKey::Product(product) && key.product() == Some(product);
            self.0.keys().any(of_it)
        };
        self.0.keys().filter_map(move |key| match key {
            SiliconKey::Product(product) if !has_stepping(*product) => Some(*product),
            _ => None,
        })
    }

    /// Adds a row. Fails if the silicon has one, if it is of no product that is served, or if the value does
    /// not fit that.
    pub fn insert(&mut self, key: SiliconKey, value: T) -> Result<(), DemandError> {
        let product = key.product().ok_or(DemandError::Silicon)?;
        if !value.fits(product) {
            return Err(DemandError::Components);
        }
        if self.0.contains_key(&key) {
            return Err(DemandError::Duplicate);
        }
        self.0.insert(key, value);
        Ok(())
    }

    /// Adds a row that is written as `SILICON:VALUE`.
    pub fn add(&mut self, text: &str) -> Result<(), DemandError> {
        let (key, value) = text.split_once(':').ok_or(DemandError::Form)?;
        let key = SiliconKey::parse(key.trim()).ok_or(DemandError::Silicon)?;
        let product = key.product().ok_or(DemandError::Silicon)?;
        self.insert(key, T::parse(product, value)?)
    }

    /// Reads rows that are written as [`BySilicon::add`] reads them.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, DemandError> {
        let mut rows = Self::default();
        texts.into_iter().try_for_each(|text| rows.add(text))?;
        Ok(rows)
    }
}

/// `SILICON:VALUE`, as [`BySilicon::add`] reads it, with `;` between rows.
impl<T: fmt::Display> fmt::Display for BySilicon<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (key, value)) in self.0.iter().enumerate() {
            let between = if index == 0 { "" } else { ";" };
            write!(f, "{between}{key}:{value}")?;
        }
        Ok(())
    }
}

/// An object of the rows by their keys, or `null` without any.
impl<T: Serialize> Serialize for BySilicon<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_empty() {
            return serializer.serialize_none();
        }
        serializer.collect_map(self.0.iter().map(|(key, value)| (key.to_string(), value)))
    }
}

/// Reads an object with at least one row and no silicon twice, under whatever name; or `null`.
impl<'de, T: Deserialize<'de> + OfSilicon> Deserialize<'de> for BySilicon<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Option::<Rows<T>>::deserialize(deserializer)? {
            Some(rows) => rows.checked().map_err(de::Error::custom),
            None => Ok(Self::default()),
        }
    }
}

/// Rows of a JSON object as sent, in its order: not yet known to name silicon, nor each once.
#[derive(Debug, Clone)]
pub struct Rows<T>(Vec<(String, T)>);

impl<T> Rows<T> {
    /// The same rows with other values, if each can be made.
    pub fn try_map<U>(self, make: impl Fn(T) -> Result<U, DemandError>) -> Result<Rows<U>, DemandError> {
        let made = self.0.into_iter().map(|(key, value)| Ok((key, make(value)?)));
        made.collect::<Result<_, _>>().map(Rows)
    }
}

impl<T: OfSilicon> Rows<T> {
    /// The rows, if there is one and each is for another silicon.
    pub fn checked(self) -> Result<BySilicon<T>, DemandError> {
        let mut rows = BySilicon::default();
        for (key, value) in self.0 {
            rows.insert(SiliconKey::named(&key).ok_or(DemandError::Silicon)?, value)?;
        }
        if rows.is_empty() { Err(DemandError::Empty) } else { Ok(rows) }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Rows<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members(PhantomData))
    }
}

struct Members<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
    type Value = Rows<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of values by silicon")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut rows: Vec<(String, T)> = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            if rows.iter().any(|(other, _)| *other == name) {
                return Err(de::Error::custom(format_args!("duplicate field `{name}`")));
            }
            rows.push((name, map.next_value()?));
        }
        Ok(Rows(rows))
    }
}
