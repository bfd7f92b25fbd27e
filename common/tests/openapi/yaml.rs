//! JSON values as YAML, in the order in which they were put together.

use saphyr::{Mapping, Scalar, Yaml, YamlEmitter};
use serde_json::Value;

/// One document, with a line feed at its end.
pub(crate) fn emit(value: &Value) -> String {
    let mut text = String::new();
    let mut emitter = YamlEmitter::new(&mut text);
    emitter.multiline(true);
    emitter.dump(&yaml(value)).unwrap();
    text + "\n"
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
