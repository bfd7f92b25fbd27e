//! Resources: their names, and a released one as the guest reads it.

use crate::secret::{bounds::is_path, seal::Jwe};

/// The name of a resource: `repository/type/tag`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceName(String);

impl ResourceName {
    /// The name of these three parts, if each is one that a resource can have.
    pub fn new(parts: [&str; 3]) -> Option<Self> {
        Some(parts.join("/")).filter(|name| is_path(name)).map(Self)
    }

    /// The name as it stands in URIs and rows.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The answer's body.
pub fn released(jwe: &Jwe) -> Vec<u8> {
    jwe.to_json()
}
