//! The forms of what is stored, as lines: a form that changed is a line that differs. The release before must
//! read what this one writes, since both run while a release is deployed.

use std::collections::BTreeSet;

use serde_json::Value;

/// Adds a line for `path`, and for each part of `value` below it: its path, and the kind of its value. Names
/// that are data, of secrets and of silicon, count as `*`.
pub fn describe(path: &str, value: &Value, lines: &mut BTreeSet<String>) {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "text",
        Value::Array(items) => {
            items.iter().for_each(|item| describe(&format!("{path}[]"), item, lines));
            "list"
        }
        Value::Object(members) => {
            let data =
                ["secrets", "resources", "_tcb", "_mitigations"].iter().any(|name| path.ends_with(name));
            for (name, member) in members {
                describe(&format!("{path}.{}", if data { "*" } else { name }), member, lines);
            }
            "object"
        }
    };
    lines.insert(format!("{path}: {kind}"));
}
