//! JSON values as YAML, in the order in which they were put together.

use saphyr::{LoadableYamlNode, Mapping, Scalar, Yaml, YamlEmitter};
use serde_json::Value;

/// One document, with a line feed at its end.
pub(super) fn emit(value: &Value) -> String {
    let mut text = String::new();
    let mut emitter = YamlEmitter::new(&mut text);
    emitter.multiline(true);
    emitter.dump(&yaml(value)).unwrap();
    text + "\n"
}

/// The first document of a text.
pub(super) fn read(text: &str) -> Value {
    json(&Yaml::load_from_str(text).unwrap()[0])
}

fn yaml(value: &Value) -> Yaml<'static> {
    let scalar = |scalar| Yaml::Value(scalar);
    match value {
        Value::Null => scalar(Scalar::Null),
        Value::Bool(value) => scalar(Scalar::Boolean(*value)),
        Value::Number(number) => scalar(Scalar::Integer(number.as_i64().expect("a whole number"))),
        Value::String(text) => scalar(Scalar::String(text.clone().into())),
        Value::Array(array) => Yaml::Sequence(array.iter().map(yaml).collect()),
        Value::Object(object) => {
            let member = |(name, value): (&String, &Value)| (yaml(&Value::String(name.clone())), yaml(value));
            Yaml::Mapping(object.iter().map(member).collect::<Mapping>())
        }
    }
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
