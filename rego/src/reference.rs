//! Reference values: a JSON object, read strictly.

use std::{cell::Cell, collections::BTreeMap, fmt};

use keybroker_common::policy::{MAX_NESTING, MAX_REFERENCE_VALUES};
use regorus::Value;
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// Most values within the reference values, counting every level.
pub const MAX_VALUES: usize = 4096;

/// Integers up to this are exact in JSON as everybody reads it.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Why a text is no reference values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReferenceError {
    /// More than [`MAX_REFERENCE_VALUES`] bytes.
    #[error("the reference values are longer than {MAX_REFERENCE_VALUES} bytes")]
    TooLong,
    /// Not JSON.
    #[error("the reference values are not JSON: line {line}, column {column}")]
    Syntax {
        /// From 1.
        line: usize,
        /// From 1, in bytes.
        column: usize,
    },
    /// Not an object at the root.
    #[error("the reference values are not a JSON object")]
    NoObject,
    /// A name twice in one object.
    #[error("the reference values have the same name twice in one object: line {line}, column {column}")]
    Duplicate {
        /// From 1.
        line: usize,
        /// From 1, in bytes.
        column: usize,
    },
    /// Nested deeper than [`MAX_NESTING`].
    #[error("the reference values are nested deeper than {MAX_NESTING}")]
    Nesting,
    /// More than [`MAX_VALUES`].
    #[error("the reference values hold more than {MAX_VALUES} values")]
    TooMany,
    /// A number that would be rounded.
    #[error("the reference values hold a number that JSON does not carry exactly: write it as a string")]
    Number,
}

/// Reads `text`: one object, no name twice, nothing rounded.
pub(crate) fn read(text: &str) -> Result<Value, ReferenceError> {
    if text.len() > MAX_REFERENCE_VALUES {
        return Err(ReferenceError::TooLong);
    }
    let state = State { fault: Cell::new(None), left: Cell::new(MAX_VALUES) };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let read = Node { state: &state, depth: 0 }
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value))
        .map_err(|error| {
            let (line, column) = (error.line(), error.column());
            match state.fault.get() {
                Some(Fault::Duplicate) => ReferenceError::Duplicate { line, column },
                Some(Fault::Nesting) => ReferenceError::Nesting,
                Some(Fault::TooMany) => ReferenceError::TooMany,
                Some(Fault::Number) => ReferenceError::Number,
                None => ReferenceError::Syntax { line, column },
            }
        })?;
    if matches!(read, Value::Object(_)) { Ok(read) } else { Err(ReferenceError::NoObject) }
}

#[derive(Debug, Clone, Copy)]
enum Fault {
    Duplicate,
    Nesting,
    TooMany,
    Number,
}

struct State {
    fault: Cell<Option<Fault>>,
    left: Cell<usize>,
}

#[derive(Clone, Copy)]
struct Node<'a> {
    state: &'a State,
    depth: usize,
}

impl Node<'_> {
    fn fail<E: de::Error>(self, fault: Fault) -> E {
        self.state.fault.set(Some(fault));
        E::custom("refused")
    }

    fn one<E: de::Error>(self) -> Result<(), E> {
        let left = self.state.left.get().checked_sub(1).ok_or_else(|| self.fail(Fault::TooMany))?;
        self.state.left.set(left);
        Ok(())
    }

    fn within<E: de::Error>(self) -> Result<Self, E> {
        self.one()?;
        if self.depth >= MAX_NESTING {
            return Err(self.fail(Fault::Nesting));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        self.one().map(|()| Value::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        self.one().map(|()| value.into())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        self.one().map(|()| value.into())
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        self.one().map(|()| value.into())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        if value.abs() >= EXACT {
            return Err(self.fail(Fault::Number));
        }
        self.one().map(|()| value.into())
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        self.one().map(|()| value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let within = self.within()?;
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(within)? {
            items.push(item);
        }
        Ok(items.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let within = self.within()?;
        let mut fields = BTreeMap::new();
        while let Some(name) = map.next_key::<String>()? {
            let value = map.next_value_seed(within)?;
            if fields.insert(Value::from(name), value).is_some() {
                return Err(self.fail(Fault::Duplicate));
            }
        }
        Ok(fields.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_they_were_written() {
        let text = r#"{"a":[1,-2,0.5,"é",null,true],"b":{"c":{}},"":18446744073709551615}"#;
        let read = read(text).unwrap();
        assert_eq!(read, Value::from_json_str(text).unwrap());
    }

    #[test]
    fn every_fault_has_its_name() {
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(read(&nested(MAX_NESTING - 1)).is_ok());
        assert_eq!(read(&nested(MAX_NESTING)), Err(ReferenceError::Nesting));
        assert_eq!(read(&nested(5000)), Err(ReferenceError::Nesting));
        assert_eq!(read(&" ".repeat(MAX_REFERENCE_VALUES + 1)), Err(ReferenceError::TooLong));
        assert_eq!(read(r#"{"a":1,"a":1}"#), Err(ReferenceError::Duplicate { line: 1, column: 13 }));
        assert!(matches!(read(r#"{"b":[{"a":1,"a":2}]}"#), Err(ReferenceError::Duplicate { .. })));
        assert!(matches!(read("{\"a\":1,\"\\u0061\":2}"), Err(ReferenceError::Duplicate { .. })));
        for text in ["[]", "1", "null", "\"a\""] {
            assert_eq!(read(text), Err(ReferenceError::NoObject), "{text}");
        }
        for text in ["", "{", "{} {}", "{\"a\":01}", "{'a':1}", "{\"a\":1e999}"] {
            assert!(matches!(read(text), Err(ReferenceError::Syntax { .. })), "{text}");
        }
        for number in ["18446744073709551616", "1e300", "-9007199254740993.5"] {
            assert_eq!(read(&format!("{{\"a\":{number}}}")), Err(ReferenceError::Number), "{number}");
        }
        let many = format!("{{\"a\":[{}0]}}", "0,".repeat(MAX_VALUES - 2));
        assert_eq!(read(&many), Err(ReferenceError::TooMany));
        let most = format!("{{\"a\":[{}0]}}", "0,".repeat(MAX_VALUES - 3));
        assert!(read(&most).is_ok());
    }
}
