//! The functions that a policy may call.

use regorus::unstable::BUILTINS;

/// Those that give back no more than they are given, in time that grows with it linearly. Every other builtin
/// is refused: those that join, repeat, format or copy (`concat`, `sprintf`, `array.concat`, `sort`,
/// `numbers.range`, `json.marshal`) could be chained to grow without bounds between two looks at the clock,
/// which no function takes itself.
const ALLOWED: [&str; 34] = [
    "abs",
    "bits.and",
    "bits.or",
    "bits.xor",
    "ceil",
    "contains",
    "count",
    "endswith",
    "floor",
    "indexof",
    "is_array",
    "is_boolean",
    "is_null",
    "is_number",
    "is_object",
    "is_set",
    "is_string",
    "lower",
    "max",
    "min",
    "object.get",
    "object.keys",
    "round",
    "startswith",
    "substring",
    "sum",
    "to_number",
    "trim_prefix",
    "trim_space",
    "trim_suffix",
    "type_name",
    "upper",
    // These two take sets, as `&` and `|` do.
    "intersection",
    "union",
];

/// Those of them that give an element or part of what they are given, of whatever size.
const PASSING: [&str; 6] = ["intersection", "max", "min", "object.get", "object.keys", "union"];

/// Reads a number from a string. Only from claims: a string that a policy brings may say `1e999999999`.
pub(crate) const TO_NUMBER: &str = "to_number";

pub(crate) fn is_allowed(path: &str) -> bool {
    ALLOWED.contains(&path)
}

/// All that may be called, for people to read.
pub(crate) fn allowed() -> String {
    ALLOWED.join(", ")
}

/// Whether what `path` gives is a number, boolean or string.
pub(crate) fn is_flat(path: &str) -> bool {
    is_allowed(path) && !PASSING.contains(&path)
}

/// Whether `name` begins the name of a builtin, on our list or not: a rule of that name would make calls mean
/// something else.
pub(crate) fn is_reserved(name: &str) -> bool {
    name == "print" || BUILTINS.keys().any(|path| path.split('.').next() == Some(name))
}
