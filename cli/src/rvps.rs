//! The reference values of Trustee's RVPS, as three of its forms of JSON have them: an object of names and
//! their values, a list of `{"name": …, "expiration": …, "value": […]}`, or a file for each of these. Every
//! other form is not recognised.

use std::fmt;

use jiff::Timestamp;
use keybroker_common::requirements::Measurement;
use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny},
};
use serde_json::Value;

use crate::{distinct::Distinct, hex};

/// The longest file that is read.
pub(crate) const LONGEST: usize = 1 << 20;
/// The most names in it.
const NAMES: usize = 1000;

/// The names of the launch measurement of an SNP guest.
const MEASUREMENTS: [&str; 4] =
    ["launch_measurement", "measurement", "snp.measurement", "snp_launch_measurement"];

/// The names of components of the TCB, with the component as a floor names it.
const TCB: [(&str, &str); 8] = [
    ("snp_bootloader", "bl"),
    ("snp_tee_svn", "tee"),
    ("snp_snp_svn", "snp"),
    ("snp_microcode", "ucode"),
    ("reported_tcb_bootloader", "bl"),
    ("reported_tcb_tee", "tee"),
    ("reported_tcb_snp", "snp"),
    ("reported_tcb_microcode", "ucode"),
];

/// A name and its values.
struct Named {
    name: String,
    expiration: Option<String>,
    values: Value,
}

/// The same as the RVPS writes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    name: String,
    #[serde(default)]
    expiration: Option<String>,
    value: Value,
    #[serde(default, rename = "version")]
    _version: Option<IgnoredAny>,
}

impl From<Listed> for Named {
    fn from(Listed { name, expiration, value, .. }: Listed) -> Self {
        Self { name, expiration, values: value }
    }
}

/// The launch measurements among reference values, each once.
#[derive(Debug)]
pub(crate) struct ReferenceValues {
    pub(crate) measurements: Vec<Measurement>,
    /// The names that were found.
    pub(crate) names: Vec<Name>,
}

/// A name, and how many launch measurements it stands for, or why it stands for nothing in a registration.
#[derive(Debug)]
pub(crate) struct Name {
    pub(crate) name: String,
    pub(crate) stands_for: Result<usize, String>,
}

impl ReferenceValues {
    /// Nothing that can be in a registration.
    fn none(what: &str, why: &str) -> Self {
        let name = Name { name: what.to_owned(), stands_for: Err(why.to_owned()) };
        Self { measurements: Vec::new(), names: vec![name] }
    }
}

/// The reference values in `json`.
pub(crate) fn read(json: &[u8], now: Timestamp) -> ReferenceValues {
    match serde_json::from_slice::<File>(json) {
        Ok(File(named)) => all(&named, now),
        Err(_) => {
            let why =
                "not recognised: neither an object of names and values nor a list of names with a value";
            ReferenceValues::none("the file", why)
        }
    }
}

/// The same of the file `path`, which has one reference value.
pub(crate) fn read_one(json: &[u8], path: &str, now: Timestamp) -> ReferenceValues {
    match serde_json::from_slice::<Listed>(json) {
        Ok(listed) => all(&[listed.into()], now),
        Err(_) => ReferenceValues::none(path, "not recognised: no reference value with a name and a value"),
    }
}

fn all(named: &[Named], now: Timestamp) -> ReferenceValues {
    let mut measurements = Distinct::default();
    let names = named.iter().map(|named| {
        let stands_for = mapped(named, now).and_then(|found| {
            measurements.add(&found).map_err(|error| error.to_string())?;
            Ok(found.len())
        });
        Name { name: named.name.clone(), stands_for }
    });
    let names = names.collect();
    ReferenceValues { measurements: measurements.into_list(), names }
}

/// The launch measurements that a name stands for, or why it stands for nothing in a registration.
fn mapped(named: &Named, now: Timestamp) -> Result<Vec<Measurement>, String> {
    if let Some(text) = &named.expiration {
        let expiration: Timestamp =
            text.parse().map_err(|_| "not recognised: its expiration is no time of RFC 3339".to_owned())?;
        if expiration <= now {
            return Err(format!("expired at {expiration}"));
        }
    }
    let values = match &named.values {
        Value::Array(values) => values.as_slice(),
        Value::String(_) | Value::Number(_) | Value::Bool(_) => std::slice::from_ref(&named.values),
        Value::Null | Value::Object(_) => return Err("not recognised: its value is no list".to_owned()),
    };
    if MEASUREMENTS.contains(&named.name.as_str()) {
        if values.is_empty() {
            return Err("it has no value, and admits nobody".to_owned());
        }
        return values.iter().map(measurement).collect::<Option<_>>().ok_or_else(|| {
            "not recognised: a value is no launch measurement of 48 bytes, in hex or base64".to_owned()
        });
    }
    if let Some((_, component)) = TCB.iter().find(|(name, _)| *name == named.name) {
        let least = values.iter().map(Value::as_u64).collect::<Option<Vec<_>>>();
        let least = least.and_then(|levels| levels.into_iter().min());
        let least = least.map_or_else(|| "LEVEL".to_owned(), |least| least.to_string());
        return Err(format!(
            "it names no silicon: a registration has a floor for each stepping, as --minimum-tcb \
             milan-b1:{component}={least}"
        ));
    }
    Err("not recognised: no requirement of a registration has this name".to_owned())
}

fn measurement(value: &Value) -> Option<Measurement> {
    hex::measurement(value.as_str()?).ok()
}

/// A file in either form. A name that comes twice is an error: nobody knows which of the two counts.
struct File(Vec<Named>);

impl<'de> Deserialize<'de> for File {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = File;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("reference values")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<File, A::Error> {
                let mut named = Vec::new();
                while let Some((name, values)) = map.next_entry()? {
                    add(&mut named, Named { name, expiration: None, values })?;
                }
                Ok(File(named))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<File, A::Error> {
                let mut named = Vec::new();
                while let Some(listed) = list.next_element::<Listed>()? {
                    add(&mut named, listed.into())?;
                }
                Ok(File(named))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

fn add<E: de::Error>(all: &mut Vec<Named>, named: Named) -> Result<(), E> {
    if all.len() >= NAMES || all.iter().any(|other| other.name == named.name) {
        return Err(E::custom("too many names, or one of them twice"));
    }
    all.push(named);
    Ok(())
}

#[cfg(test)]
mod tests {
    use data_encoding::BASE64;

    use super::*;

    const HEX: &str =
        "4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d";

    fn now() -> Timestamp {
        "2026-11-01T00:00:00Z".parse().unwrap()
    }

    fn of(json: &str) -> (usize, Vec<(String, bool, String)>) {
        let read = read(json.as_bytes(), now());
        let names = read.names.into_iter();
        let names = names.map(|Name { name, stands_for }| {
            (name, stands_for.is_ok(), stands_for.err().unwrap_or_default())
        });
        (read.measurements.len(), names.collect())
    }

    #[test]
    fn both_forms_give_the_same_measurements() {
        let base64 = BASE64.encode(&[0x4E; 48]);
        let map = format!(r#"{{"snp_launch_measurement":["{HEX}","{base64}"]}}"#);
        let list = format!(
            r#"[{{"version":"0.1.0","name":"measurement","expiration":"2027-01-01T00:00:00Z","value":["{HEX}","{base64}"]}}]"#
        );
        for json in [map, list] {
            let ReferenceValues { measurements, names } = read(json.as_bytes(), now());
            assert_eq!(measurements, [Measurement([0x4D; 48]), Measurement([0x4E; 48])]);
            let [Name { stands_for: Ok(2), .. }] = names.as_slice() else { panic!("{names:?}") };
        }
        // Two names, one measurement.
        let twice = format!(r#"{{"snp_launch_measurement":["{HEX}"],"measurement":"{HEX}"}}"#);
        assert_eq!(of(&twice).0, 1);
    }

    #[test]
    fn what_no_registration_has_is_left_with_the_reason() {
        let zeros = "0".repeat(96);
        for (json, said) in [
            (r#"{"snp_bootloader":[3,4]}"#.to_owned(), "milan-b1:bl=3"),
            (r#"{"svn":["1"]}"#.to_owned(), "no requirement of a registration has this name"),
            (r#"{"measurement":["abcd"]}"#.to_owned(), "no launch measurement"),
            (format!(r#"{{"measurement":["{zeros}"]}}"#), "no launch measurement"),
            (format!(r#"{{"measurement":["{HEX}",7]}}"#), "no launch measurement"),
            (r#"{"measurement":[]}"#.to_owned(), "admits nobody"),
            (r#"{"measurement":{"value":[]}}"#.to_owned(), "its value is no list"),
            (
                format!(
                    r#"[{{"name":"measurement","expiration":"2026-11-01T00:00:00Z","value":["{HEX}"]}}]"#
                ),
                "expired at",
            ),
            (
                format!(r#"[{{"name":"measurement","expiration":"soon","value":["{HEX}"]}}]"#),
                "no time of RFC 3339",
            ),
            (format!(r#"[{{"name":"measurement","more":1,"value":["{HEX}"]}}]"#), "not recognised"),
            (format!(r#"[{{"name":"measurement","hash-value":["{HEX}"]}}]"#), "not recognised"),
            (format!(r#"{{"measurement":["{HEX}"],"measurement":[]}}"#), "not recognised"),
            ("7".to_owned(), "not recognised"),
            ("{".to_owned(), "not recognised"),
        ] {
            let (measurements, items) = of(&json);
            assert_eq!(measurements, 0, "{json}");
            let [(_, false, note)] = items.as_slice() else { panic!("{json}: {items:?}") };
            assert!(note.contains(said), "{json}: {note}");
        }
    }
}
