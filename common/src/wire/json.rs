//! Strict JSON: a struct of its own for every object, and errors that repeat nothing of what was sent.

use std::{fmt, marker::PhantomData};

use data_encoding::BASE64;
use serde::{
    Deserialize, Deserializer,
    de::{self, value::MapAccessDeserializer},
};
use serde_json::error::Category;

use super::{Fault, FieldName, Invalid, Part};
use crate::secret::Secret;

/// Reads `text` as one JSON object and nothing behind it.
pub(super) fn read<'a, T: Deserialize<'a>>(part: Part, text: &'a [u8]) -> Result<T, Invalid> {
    whole(part, text).map(|Object(value)| value)
}

/// Reads `text` as one JSON array of objects and nothing behind it.
pub(super) fn read_all<'a, T: Deserialize<'a>>(part: Part, text: &'a [u8]) -> Result<Vec<T>, Invalid> {
    let objects: Vec<Object<T>> = whole(part, text)?;
    Ok(objects.into_iter().map(|Object(value)| value).collect())
}

/// Reads a field whose value is an object.
pub(super) fn object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Object::deserialize(deserializer).map(|Object(value)| value)
}

/// Reads a field that is there, and whose value is an object.
pub(super) fn optional_object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    object(deserializer).map(Some)
}

/// Reads a field that is there: `null` is a value of the wrong type, and not a way to leave it out.
pub(super) fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Reads `text` as one JSON object of which `T` wants only part; what of that part has another form is
/// `otherwise`.
pub(super) fn read_known<'a, T: Deserialize<'a>>(
    part: Part,
    text: &'a [u8],
    otherwise: impl Into<Invalid>,
) -> Result<T, Invalid> {
    match read(part, text) {
        Err(Invalid::Json {
            fault: Fault::Type | Fault::UnknownField(_) | Fault::MissingField(_), ..
        }) => Err(otherwise.into()),
        other => other,
    }
}

/// A string that is taken straight into a [`Secret`], without a `String` in between that nobody would zero.
/// One with escapes passes through the parser's own buffer.
pub(super) struct SecretText(pub(super) Secret);

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = SecretText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<SecretText, E> {
                Ok(SecretText(Secret::new(text.as_bytes().to_vec())))
            }
        }

        deserializer.deserialize_str(Visitor)
    }
}

/// The same, or if it is not UTF-8 an object of the one member `base64`: standard base64 with padding.
pub(super) struct SecretBytes(pub(super) Secret);

impl<'de> Deserialize<'de> for SecretBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Encoded {
            base64: SecretText,
        }

        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = SecretBytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, or an object with its base64")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<SecretBytes, E> {
                Ok(SecretBytes(Secret::new(text.as_bytes().to_vec())))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<SecretBytes, A::Error> {
                let Encoded { base64: SecretText(text) } =
                    Encoded::deserialize(MapAccessDeserializer::new(map))?;
                let bytes = BASE64.decode(text.expose()).map_err(|_| de::Error::custom("not base64"))?;
                Ok(SecretBytes(Secret::new(bytes)))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

fn whole<'a, T: Deserialize<'a>>(part: Part, text: &'a [u8]) -> Result<T, Invalid> {
    serde_json::from_slice(text).map_err(|error| Invalid::Json { part, fault: fault(&error) })
}

/// A struct, from an object alone: serde reads one from an array as well, by position.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> de::Visitor<'de> for Visitor<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(Visitor(PhantomData))
    }
}

fn fault(error: &serde_json::Error) -> Fault {
    match error.classify() {
        Category::Data => data_fault(&error.to_string()),
        Category::Syntax | Category::Eof | Category::Io => Fault::Syntax,
    }
}

/// serde tells which of its errors it was in words alone. Other words than these make it a [`Fault::Type`]:
/// the request is refused all the same.
fn data_fault(message: &str) -> Fault {
    let named = |prefix| message.strip_prefix(prefix)?.split_once('`').map(|(name, _)| FieldName::new(name));
    named("unknown field `")
        .map(Fault::UnknownField)
        .or_else(|| named("duplicate field `").map(Fault::DuplicateField))
        .or_else(|| named("missing field `").map(Fault::MissingField))
        .unwrap_or(Fault::Type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Point {
        x: u8,
        y: u8,
    }

    fn fault_of(text: &[u8]) -> Fault {
        match read::<Point>(Part::Body, text) {
            Err(Invalid::Json { part: Part::Body, fault }) => fault,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn fields_come_in_any_order() {
        assert_eq!(read(Part::Body, br#" {"y":2,"x":1} "#), Ok(Point { x: 1, y: 2 }));
    }

    #[test]
    fn every_fault_has_its_name() {
        let unknown = Fault::UnknownField(FieldName::new("z"));
        assert_eq!(fault_of(br#"{"x":1,"y":2,"z":3}"#), unknown);
        assert_eq!(fault_of(br#"{"x":1,"y":2,"x":1}"#), Fault::DuplicateField(FieldName::new("x")));
        assert_eq!(fault_of(br#"{"x":1}"#), Fault::MissingField(FieldName::new("y")));
        assert_eq!(fault_of(br#"{"x":256,"y":2}"#), Fault::Type);
        assert_eq!(fault_of(br#"{"x":"1","y":2}"#), Fault::Type);
        assert_eq!(fault_of(b"null"), Fault::Type);
        assert_eq!(fault_of(b"[1,2]"), Fault::Type);
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Line {
        #[serde(deserialize_with = "object")]
        end: Point,
    }

    #[test]
    fn an_object_within_is_no_array_either() {
        assert_eq!(read(Part::Body, br#"{"end":{"x":1,"y":2}}"#), Ok(Line { end: Point { x: 1, y: 2 } }));
        let refused = Err(Invalid::Json { part: Part::Body, fault: Fault::Type });
        assert_eq!(read::<Line>(Part::Body, br#"{"end":[1,2]}"#), refused);
        assert_eq!(read_all(Part::Body, br#"[{"x":1,"y":2}]"#), Ok(vec![Point { x: 1, y: 2 }]));
        for text in ["[[1,2]]", r#"{"x":1,"y":2}"#] {
            let read = read_all::<Point>(Part::Body, text.as_bytes());
            assert_eq!(read, Err(Invalid::Json { part: Part::Body, fault: Fault::Type }), "{text}");
        }
        let duplicate = Fault::DuplicateField(FieldName::new("x"));
        let read = read::<Line>(Part::Body, br#"{"end":{"x":1,"y":2,"x":1}}"#);
        assert_eq!(read, Err(Invalid::Json { part: Part::Body, fault: duplicate }));
    }

    #[test]
    fn a_body_that_is_not_json_is_a_fault_of_syntax() {
        let texts: [&[u8]; 6] = [
            b"",
            b"{",
            br#"{"x":1,"y":2"#,
            br#"{"x":1,"y":2}{}"#,
            b"{\"x\":1,\"\xff\":2}",
            b"\xef\xbb\xbf{}",
        ];
        for text in texts {
            assert_eq!(fault_of(text), Fault::Syntax, "{text:?}");
        }
    }

    #[test]
    fn a_name_that_looks_like_markup_is_not_repeated() {
        assert_eq!(fault_of(br#"{"<b>":1}"#), Fault::UnknownField(FieldName::new("?")));
    }
}
