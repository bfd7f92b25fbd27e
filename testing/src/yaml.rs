//! YAML, read as JSON has it.

use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde_json::Value;

/// The first document of a text.
pub fn read(text: &str) -> Value {
    json(&Yaml::load_from_str(text).unwrap()[0])
}

fn json(yaml: &Yaml) -> Value {
    match yaml {
        Yaml::Value(Scalar::Null) => Value::Null,
        Yaml::Value(Scalar::Boolean(value)) => (*value).into(),
        Yaml::Value(Scalar::Integer(value)) => (*value).into(),
        Yaml::Value(Scalar::String(text)) => text.to_string().into(),
        Yaml::Sequence(sequence) => sequence.iter().map(json).collect(),
        Yaml::Mapping(mapping) => mapping
            .iter()
            .map(|(name, value)| (name.as_str().expect("a name").to_owned(), json(value)))
            .collect(),
        other => panic!("{other:?}"),
    }
}
