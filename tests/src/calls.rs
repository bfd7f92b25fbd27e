//! The record of calls that a local AWS keeps: `localstack/moto_serial.py` writes it.

use serde::Deserialize;

/// A call of DynamoDB or KMS.
#[derive(Debug, Clone, Deserialize)]
pub struct Call {
    /// The access key id that signed it.
    pub by: String,
    /// The application that its client named; empty if it named none.
    pub app: String,
    /// The operation of the API.
    pub operation: String,
    /// The permissions that it needs.
    pub parts: Vec<Part>,
}

/// An IAM action, and what it is on.
#[derive(Debug, Clone, Deserialize)]
pub struct Part {
    /// The action.
    pub action: String,
    /// A table, an index of one, or a key, by their whole names.
    pub on: String,
}

impl Call {
    /// Reads a line of the record.
    pub fn read(line: &str) -> Self {
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }
}
