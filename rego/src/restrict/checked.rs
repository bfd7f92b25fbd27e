//! The facts that are known about a checked module.

use std::collections::{BTreeMap, BTreeSet};

use regorus::Value;

use super::cost::Cost;

/// The facts about a checked module that its queries need.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(super) data: Value,
    pub(super) claims: Value,
    pub(super) package: Vec<String>,
    pub(super) rules: BTreeMap<String, Cost>,
    pub(super) functions: BTreeSet<String>,
}

impl Checked {
    /// No module, beside these reference values and claims like these.
    pub(crate) fn new(data: Value, claims: Value) -> Self {
        let (rules, functions) = (BTreeMap::new(), BTreeSet::new());
        Self { data, claims, package: Vec::new(), rules, functions }
    }
}
