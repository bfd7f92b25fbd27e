//! JSON to the byte. The order of members is part of what is sent and hashed, and other crates of the build
//! decide whether `serde_json` keeps it.

use serde_json::Value;

/// A string with its quotes.
pub(super) fn string(text: &str) -> String {
    Value::from(text).to_string()
}

/// An array of numbers.
pub(super) fn numbers(bytes: &[u8]) -> String {
    let numbers: Vec<String> = bytes.iter().map(u8::to_string).collect();
    format!("[{}]", numbers.join(","))
}

/// An object with these members, whose values are JSON texts, in this order.
pub(super) fn object<N: AsRef<str>>(members: impl IntoIterator<Item = (N, String)>) -> String {
    let members: Vec<String> =
        members.into_iter().map(|(name, value)| format!("{}:{value}", string(name.as_ref()))).collect();
    format!("{{{}}}", members.join(","))
}

/// The same JSON with its members sorted by name.
pub(super) fn sorted(text: &str) -> String {
    serde_json::from_str(text).map_or_else(|_| text.to_owned(), |value| canonical(&value))
}

/// The canonical form (RFC 8785), for what this protocol has: names in ASCII, and integers alone for numbers.
pub(super) fn canonical(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(name, _)| name.as_str());
            object(members.into_iter().map(|(name, value)| (name, canonical(value))))
        }
        Value::Array(values) => {
            let values: Vec<String> = values.iter().map(canonical).collect();
            format!("[{}]", values.join(","))
        }
        plain => plain.to_string(),
    }
}
