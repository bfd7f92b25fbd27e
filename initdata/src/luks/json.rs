//! JSON that no two readers take differently.
//!
//! cryptsetup reads the header with json-c into C strings. It takes the last of two members with one name,
//! and ends a text at its first zero. So both are refused here, in every part of the header.

use std::collections::BTreeMap;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::error::{HeaderError, JsonDefect};

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Json {
    /// null, true, false, and numbers that are none of `Number`: nothing that is read here.
    Other,
    /// A whole number that is not negative.
    Number(u64),
    Text(String),
    List(Vec<Json>),
    Object(Object),
}

/// An object.
pub(super) type Object = BTreeMap<String, Json>;

/// Reads an area: an object, then zeros to the end, of which there is at least one.
pub(super) fn parse(area: &[u8]) -> Result<Object, HeaderError> {
    let end = area.iter().position(|&byte| byte == 0).ok_or(HeaderError::Json(JsonDefect::Trailing))?;
    let (text, rest) = area.split_at_checked(end).ok_or(HeaderError::Json(JsonDefect::Trailing))?;
    if rest.iter().any(|&byte| byte != 0) {
        return Err(HeaderError::Json(JsonDefect::Trailing));
    }
    // cryptsetup wants the object to begin and end the text.
    if !(text.starts_with(b"{") && text.ends_with(b"}")) {
        return Err(HeaderError::Json(JsonDefect::Syntax));
    }
    let value: Json = serde_json::from_slice(text).map_err(|error| HeaderError::Json(defect(&error)))?;
    match value {
        Json::Object(object) => Ok(object),
        _ => Err(HeaderError::Json(JsonDefect::Syntax)),
    }
}

const DUPLICATE: &str = "a name twice";
const CONTROL: &str = "a control character";

fn defect(error: &serde_json::Error) -> JsonDefect {
    let message = error.to_string();
    match error.classify() {
        serde_json::error::Category::Data if message.starts_with(DUPLICATE) => JsonDefect::DuplicateName,
        serde_json::error::Category::Data if message.starts_with(CONTROL) => JsonDefect::ControlCharacter,
        _ => JsonDefect::Syntax,
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Json;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_u64<E>(self, number: u64) -> Result<Json, E> {
        Ok(Json::Number(number))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Json, E> {
        shown(text)?;
        Ok(Json::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json, A::Error> {
        let mut object = Object::new();
        while let Some((name, value)) = members.next_entry::<String, Json>()? {
            shown(&name)?;
            if object.insert(name, value).is_some() {
                return Err(de::Error::custom(DUPLICATE));
            }
        }
        Ok(Json::Object(object))
    }
}

fn shown<E: de::Error>(text: &str) -> Result<(), E> {
    if text.contains(char::is_control) { Err(E::custom(CONTROL)) } else { Ok(()) }
}

/// A member that may be absent.
pub(super) fn optional<'a>(object: &'a Object, name: &str) -> Option<&'a Json> {
    object.get(name)
}

/// A member.
pub(super) fn member<'a>(object: &'a Object, name: &'static str) -> Result<&'a Json, HeaderError> {
    object.get(name).ok_or(HeaderError::Missing(name))
}

/// A member that is an object.
pub(super) fn object<'a>(parent: &'a Object, name: &'static str) -> Result<&'a Object, HeaderError> {
    match member(parent, name)? {
        Json::Object(object) => Ok(object),
        _ => Err(HeaderError::WrongType(name)),
    }
}

/// A member that is a text.
pub(super) fn text<'a>(parent: &'a Object, name: &'static str) -> Result<&'a str, HeaderError> {
    match member(parent, name)? {
        Json::Text(text) => Ok(text),
        _ => Err(HeaderError::WrongType(name)),
    }
}

/// A member that is a number.
pub(super) fn number(parent: &Object, name: &'static str) -> Result<u64, HeaderError> {
    match member(parent, name)? {
        Json::Number(number) => Ok(*number),
        _ => Err(HeaderError::WrongType(name)),
    }
}

/// A member that is a number of 64 bits, which the format writes as a text: digits alone, with no zero before
/// them.
pub(super) fn long_number(parent: &Object, name: &'static str) -> Result<u64, HeaderError> {
    let digits = text(parent, name)?;
    let plain =
        digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    let number = if plain { digits.parse().ok() } else { None };
    number.ok_or(HeaderError::Value(name))
}

/// A member that is a list of texts.
pub(super) fn texts<'a>(parent: &'a Object, name: &'static str) -> Result<Vec<&'a str>, HeaderError> {
    let Json::List(items) = member(parent, name)? else { return Err(HeaderError::WrongType(name)) };
    let text = |item: &'a Json| match item {
        Json::Text(text) => Ok(text.as_str()),
        _ => Err(HeaderError::WrongType(name)),
    };
    items.iter().map(text).collect()
}
