//! A policy as it was registered, and how much of it there may be.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Longest module, in bytes.
pub const MAX_MODULE: usize = 16 << 10;
/// Longest text of the reference values, in bytes.
pub const MAX_REFERENCE_VALUES: usize = 16 << 10;
/// Most queries.
pub const MAX_QUERIES: usize = 16;
/// Longest query, in bytes.
pub const MAX_QUERY: usize = 4 << 10;
/// Deepest nesting of brackets and of JSON.
pub const MAX_NESTING: usize = 32;

/// A policy as it was registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyText {
    /// A module, Rego v1, of a package of its own.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub module: Option<String>,
    /// Each must give `true`. One at least.
    pub queries: Vec<String>,
    /// A JSON object: the root of `data`. Kept as text, so that what is stored is what was checked.
    pub reference_values: String,
}

impl PolicyText {
    /// SHA-256 of all that it consists of, each part with its length before it.
    pub fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        let mut part = |text: &str| {
            digest.update((text.len() as u64).to_be_bytes());
            digest.update(text);
        };
        // No module is another policy than an empty one.
        part(if self.module.is_some() { "module" } else { "" });
        part(self.module.as_deref().unwrap_or_default());
        part(&self.reference_values);
        self.queries.iter().for_each(|query| part(query));
        digest.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_run_into_each_other_in_the_digest() {
        let text = |queries: &[&str]| PolicyText {
            module: None,
            queries: queries.iter().map(|&query| query.to_owned()).collect(),
            reference_values: "{}".to_owned(),
        };
        assert_ne!(text(&["ab", "c"]).digest(), text(&["a", "bc"]).digest());
        assert_ne!(text(&["a", ""]).digest(), text(&["a"]).digest());
        let module = PolicyText { module: Some("a".to_owned()), ..text(&["a"]) };
        assert_ne!(module.digest(), text(&["a"]).digest());
    }
}
