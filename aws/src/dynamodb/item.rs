//! Items: attributes by name, as DynamoDB holds them.

use std::{collections::HashMap, marker::PhantomData, str::FromStr};

use aws_sdk_dynamodb::{primitives::Blob, types::AttributeValue};
use jiff::Timestamp;
use keybroker_common::store::StoreError;
use serde::{
    Serialize,
    de::{self, DeserializeOwned, IntoDeserializer, value::StrDeserializer},
};

/// The format that this release writes.
const FORMAT: u8 = 1;
/// Attribute: the item's format.
pub(super) const FORMAT_NAME: &str = "format";
/// Attribute: drawn at random by the call that wrote the item.
pub(super) const WRITE: &str = "write";
/// Attribute: the second after which DynamoDB may delete the item.
pub(super) const EXPIRES: &str = "expires";

/// An item's attributes.
pub(super) type Map = HashMap<String, AttributeValue>;

/// A type that is kept as an item.
pub(super) trait Item: Sized {
    /// The table, as errors name it.
    const TABLE: &'static str;
    /// The attribute that is the key.
    const KEY: &'static str;

    /// The value of the key.
    fn key(&self) -> String;

    /// Adds everything but key and format.
    fn encode(&self, item: &mut Map) -> Result<(), StoreError>;

    /// Reads what [`Item::encode`] wrote.
    fn decode(item: &Attributes<'_, Self>) -> Result<Self, StoreError>;

    /// The whole item.
    fn to_item(&self) -> Result<Map, StoreError> {
        let mut item =
            Map::from([(Self::KEY.to_owned(), text(self.key())), (FORMAT_NAME.to_owned(), format())]);
        self.encode(&mut item)?;
        Ok(item)
    }

    /// An item of this table cannot be read, or a value not be written.
    fn corrupt(cause: impl ToString) -> StoreError {
        StoreError::Corrupt { table: Self::TABLE.into(), cause: cause.to_string() }
    }

    /// The name of `value`, one of few of its type.
    fn name(value: impl Serialize) -> Result<AttributeValue, StoreError> {
        match serde_json::to_value(value) {
            Ok(serde_json::Value::String(name)) => Ok(AttributeValue::S(name)),
            _ => Err(Self::corrupt("a value without a name")),
        }
    }

    /// The JSON form of `value`.
    fn json(value: &impl Serialize) -> Result<AttributeValue, StoreError> {
        serde_json::to_string(value).map(AttributeValue::S).map_err(|error| Self::corrupt(category(&error)))
    }
}

pub(super) fn text(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

pub(super) fn bytes(bytes: &[u8]) -> AttributeValue {
    AttributeValue::B(Blob::new(bytes))
}

pub(super) fn number(number: impl ToString) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

/// Nanoseconds since 1970.
pub(super) fn instant(time: Timestamp) -> AttributeValue {
    number(time.as_nanosecond())
}

/// Reads what [`instant`] wrote.
pub(super) fn read_instant(value: &AttributeValue) -> Option<Timestamp> {
    Timestamp::from_nanosecond(value.as_n().ok()?.parse().ok()?).ok()
}

/// Whole seconds since 1970, rounded up: what is deleted by it has expired.
pub(super) fn ttl(time: Timestamp) -> AttributeValue {
    number(time.as_second() + i64::from(time.subsec_nanosecond() > 0))
}

/// The number of the format that this release writes.
pub(super) fn format() -> AttributeValue {
    number(FORMAT)
}

/// An item of `I` as it is read: of a known format, each attribute of the type that it should have.
pub(super) struct Attributes<'a, I> {
    item: &'a Map,
    of: PhantomData<I>,
}

impl<'a, I: Item> Attributes<'a, I> {
    /// An item of a format that this release reads.
    pub(super) fn read(item: &'a Map) -> Result<Self, StoreError> {
        match item.get(FORMAT_NAME) {
            Some(found) if *found == format() => Ok(Self { item, of: PhantomData }),
            Some(AttributeValue::N(found)) => {
                Err(I::corrupt(format!("it has the format {found}, which this release does not read")))
            }
            _ => Err(I::corrupt("it names no format")),
        }
    }

    fn required<T>(
        &self,
        name: &'static str,
        read: impl FnOnce(&'a AttributeValue) -> Option<T>,
    ) -> Result<T, StoreError> {
        let value = self.item.get(name).ok_or_else(|| I::corrupt(format!("it lacks {name}")))?;
        read(value).ok_or_else(|| I::corrupt(format!("{name} is not what it should be")))
    }

    /// Text.
    pub(super) fn text(&self, name: &'static str) -> Result<&'a str, StoreError> {
        self.required(name, |value| value.as_s().ok().map(String::as_str))
    }

    /// Reads the attribute with `read`, if it is there.
    pub(super) fn optional<T>(
        &self,
        name: &'static str,
        read: impl FnOnce(&Self, &'static str) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        if self.item.contains_key(name) { read(self, name).map(Some) } else { Ok(None) }
    }

    /// Bytes.
    pub(super) fn bytes(&self, name: &'static str) -> Result<Vec<u8>, StoreError> {
        self.required(name, |value| value.as_b().ok().map(|blob| blob.as_ref().to_vec()))
    }

    /// As many bytes as that.
    pub(super) fn array<const N: usize>(&self, name: &'static str) -> Result<[u8; N], StoreError> {
        self.required(name, |value| value.as_b().ok()?.as_ref().try_into().ok())
    }

    /// Whether something is so.
    pub(super) fn bool(&self, name: &'static str) -> Result<bool, StoreError> {
        self.required(name, |value| value.as_bool().ok().copied())
    }

    /// A whole number.
    pub(super) fn number<T: FromStr>(&self, name: &'static str) -> Result<T, StoreError> {
        self.required(name, |value| value.as_n().ok()?.parse().ok())
    }

    /// A point in time.
    pub(super) fn instant(&self, name: &'static str) -> Result<Timestamp, StoreError> {
        self.required(name, read_instant)
    }

    /// A list, whose members `read` reads.
    pub(super) fn list<T>(
        &self,
        name: &'static str,
        read: impl Fn(&'a AttributeValue) -> Option<T>,
    ) -> Result<Vec<T>, StoreError> {
        self.required(name, |value| value.as_l().ok()?.iter().map(read).collect())
    }

    /// Reads the name that [`Item::name`] wrote.
    pub(super) fn named<T: DeserializeOwned>(&self, name: &'static str) -> Result<T, StoreError> {
        self.required(name, |value| {
            let name: StrDeserializer<'_, de::value::Error> = value.as_s().ok()?.as_str().into_deserializer();
            T::deserialize(name).ok()
        })
    }

    /// Reads the value that [`Item::json`] wrote.
    pub(super) fn json<T: DeserializeOwned>(&self, name: &'static str) -> Result<T, StoreError> {
        serde_json::from_str(self.text(name)?).map_err(|error| I::corrupt(category(&error)))
    }
}

/// serde's own words would quote what stands there.
fn category(error: &serde_json::Error) -> String {
    format!("its JSON has an error of {:?} at column {}", error.classify(), error.column())
}
