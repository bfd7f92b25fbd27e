//! Judges values by the keywords of JSON Schema 2020-12 that the description uses. Any other is a panic.

use std::{collections::BTreeMap, sync::Mutex};

use regex::Regex;
use serde_json::Value;
use uuid::Uuid;

/// How patterns begin that match neither `.` nor `..`: the one look-ahead there is, and the library has none.
const NO_DOTS: &str = r"^(?!\.\.?$)";

/// Judges by the schemas of one document.
pub(crate) struct Judge {
    pub(crate) document: Value,
    patterns: Mutex<BTreeMap<String, Regex>>,
}

impl Judge {
    pub(crate) fn new(document: Value) -> Self {
        Self { document, patterns: Mutex::default() }
    }

    /// The schema that a reference leads to.
    pub(crate) fn referred(&self, reference: &Value) -> &Value {
        self.document.pointer(text(reference).strip_prefix('#').expect("a pointer")).expect("a schema")
    }

    /// Whether the schema allows the value.
    pub(crate) fn allows(&self, schema: &Value, value: &Value) -> bool {
        match schema {
            Value::Bool(anything) => *anything,
            Value::Object(rules) => {
                rules.iter().all(|(keyword, rule)| self.holds(schema, keyword, rule, value))
            }
            other => panic!("{other} is no schema"),
        }
    }

    /// A rule that is about values of another type holds.
    fn holds(&self, schema: &Value, keyword: &str, rule: &Value, value: &Value) -> bool {
        let allowing = || list(rule).iter().filter(|schema| self.allows(schema, value)).count();
        let members = || value.as_object().into_iter().flatten();
        match keyword {
            "description" | "default" | "contentEncoding" | "contentMediaType" => true,
            "$ref" => self.allows(self.referred(rule), value),
            "const" => value == rule,
            "enum" => list(rule).contains(value),
            "anyOf" => allowing() > 0,
            "oneOf" => allowing() == 1,
            "allOf" => allowing() == list(rule).len(),
            "type" if rule.is_array() => list(rule).iter().any(|rule| is(text(rule), value)),
            "type" | "format" => is(text(rule), value),
            "minimum" | "minLength" | "minItems" | "minProperties" => {
                size(keyword, value).is_none_or(|size| size >= rule.as_f64().expect("a bound"))
            }
            "maximum" | "maxLength" | "maxItems" | "maxProperties" => {
                size(keyword, value).is_none_or(|size| size <= rule.as_f64().expect("a bound"))
            }
            "uniqueItems" => value.as_array().is_none_or(|items| {
                items.iter().enumerate().all(|(index, item)| !items[..index].contains(item))
            }),
            "pattern" => value.as_str().is_none_or(|value| self.matches(text(rule), value)),
            "contentSchema" => value
                .as_str()
                .is_none_or(|text| serde_json::from_str(text).is_ok_and(|value| self.allows(rule, &value))),
            "contains" => {
                value.as_array().is_none_or(|items| items.iter().any(|item| self.allows(rule, item)))
            }
            "items" => value.as_array().into_iter().flatten().all(|item| self.allows(rule, item)),
            "required" => !value.is_object() || list(rule).iter().all(|name| value.get(text(name)).is_some()),
            "properties" => {
                members().all(|(name, m)| rule.get(name).is_none_or(|schema| self.allows(schema, m)))
            }
            "additionalProperties" => {
                members().all(|(name, m)| schema["properties"].get(name).is_some() || self.allows(rule, m))
            }
            "propertyNames" => members().all(|(name, _)| self.allows(rule, &name.as_str().into())),
            other => panic!("the keyword {other} is not judged"),
        }
    }

    fn matches(&self, pattern: &str, text: &str) -> bool {
        let rest = pattern.strip_prefix(NO_DOTS);
        let plain = rest.map_or_else(|| pattern.to_owned(), |rest| format!("^{rest}"));
        let mut patterns = self.patterns.lock().unwrap();
        let regex = patterns.entry(plain).or_insert_with_key(|plain| Regex::new(plain).unwrap());
        regex.is_match(text) && (rest.is_none() || !matches!(text, "." | ".."))
    }
}

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().expect("an array")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

/// The size that a bound of this name is about.
fn size(bound: &str, value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) if bound.ends_with("imum") => number.as_f64(),
        Value::String(text) if bound.ends_with("Length") => Some(text.chars().count() as f64),
        Value::Array(items) if bound.ends_with("Items") => Some(items.len() as f64),
        Value::Object(members) if bound.ends_with("Properties") => Some(members.len() as f64),
        _ => None,
    }
}

/// Whether a value is of a type, or of a format where the format is one of its type.
fn is(name: &str, value: &Value) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "uint8" => !value.is_number() || value.as_u64().is_some_and(|number| number <= u8::MAX.into()),
        "uint32" => !value.is_number() || value.as_u64().is_some_and(|number| number <= u32::MAX.into()),
        "uuid" => value.as_str().is_none_or(|text| Uuid::parse_str(text).is_ok()),
        other => panic!("the type {other} is not judged"),
    }
}
