//! Appraisal: what a verified report must say for a registration to be satisfied.

use serde::{Deserialize, Serialize};

use crate::snp::product::TcbVersion;

/// A launch measurement: 48 bytes, 96 hex digits in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Measurement(#[serde(with = "crate::encoding::hex_array")] pub [u8; 48]);

/// What the evidence must equal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReferenceValues {
    /// The launch measurements of the workload: the report's must be one of them. None at all admits nobody.
    pub measurements: Vec<Measurement>,
}

/// What else the evidence must satisfy. What is `None` is not required.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppraisalPolicy {
    /// Lowest TCB.
    pub minimum_tcb: Option<TcbVersion>,
}
