//! Claims as the interpreter takes them: `input`.

use keybroker_common::policy::{Claims, Gave};
use regorus::Value;

use crate::said::message;

/// The value of `input` for these claims.
pub(crate) fn input(claims: &Claims) -> Result<Value, Gave> {
    let json = serde_json::to_string(claims).map_err(|error| Gave::Error(error.to_string()))?;
    // `Value::from_json_str` would look up every name in a table of those before it. Here few repeat.
    serde_json::from_str(&json).map_err(|error| Gave::Error(message(&error.to_string())))
}

/// Values of `input` for reports that have, together, everything that a claim can be: for names and kinds.
pub(crate) fn samples() -> Vec<Value> {
    Claims::samples().iter().filter_map(|claims| input(claims).ok()).collect()
}
