//! The dialects in which clients speak.

use serde::{Deserialize, Serialize};

/// The conventions that a guest follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Dialect {
    /// buildah's registration and libkrun's guest, which names its workload.
    #[serde(rename = "v0")]
    Libkrun = 1,
    /// keybroker's registration by reference values, and its guest, which names its workload by HOST_DATA.
    #[serde(rename = "rvp")]
    Keybroker = 2,
    /// The broker's own protocol, `/v1`, and the guest of this project, which names its workload in the
    /// request that its report is bound to.
    #[serde(rename = "v1")]
    Native = 3,
    /// Trustee's protocol (KBS), and the guests of Confidential Containers, which name their workload by the
    /// path of the broker's URL or by HOST_DATA.
    #[serde(rename = "trustee")]
    Trustee = 4,
}

impl Dialect {
    /// Every dialect.
    pub const ALL: [Self; 4] = [Self::Libkrun, Self::Keybroker, Self::Native, Self::Trustee];

    /// Its number, as it stands in what is hashed.
    pub fn number(self) -> u8 {
        self as u8
    }
}

/// The dialects in which a workload's guests may ask: at least one, each once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Dialect>", into = "Vec<Dialect>")]
pub struct Dialects(Vec<Dialect>);

/// Why a list names no dialects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a list of dialects must name at least one, and each once")]
pub struct DialectsError;

impl Dialects {
    /// Whether a guest may ask in `dialect`.
    pub fn contains(&self, dialect: Dialect) -> bool {
        self.0.contains(&dialect)
    }

    /// Every dialect of the list.
    pub fn iter(&self) -> impl Iterator<Item = Dialect> {
        self.0.iter().copied()
    }

    /// The one dialect of a list of one.
    pub fn only(&self) -> Option<Dialect> {
        if let [dialect] = self.0.as_slice() { Some(*dialect) } else { None }
    }
}

impl From<Dialect> for Dialects {
    fn from(dialect: Dialect) -> Self {
        Self(vec![dialect])
    }
}

impl TryFrom<Vec<Dialect>> for Dialects {
    type Error = DialectsError;

    /// Puts them into their order, so that the same dialects are the same list.
    fn try_from(mut dialects: Vec<Dialect>) -> Result<Self, DialectsError> {
        let named = dialects.len();
        dialects.sort_by_key(|dialect| dialect.number());
        dialects.dedup();
        if dialects.is_empty() || dialects.len() != named { Err(DialectsError) } else { Ok(Self(dialects)) }
    }
}

impl From<Dialects> for Vec<Dialect> {
    fn from(dialects: Dialects) -> Self {
        dialects.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_names_at_least_one_dialect_and_each_once() {
        let list = |names: &str| serde_json::from_str::<Dialects>(names).ok();
        let both = Dialects::try_from(vec![Dialect::Native, Dialect::Libkrun]);
        assert_eq!(list(r#"["v0","v1"]"#), both.ok());
        assert_eq!(list(r#"["v0","v1"]"#), list(r#"["v1","v0"]"#));
        for names in ["[]", r#"["v1","v1"]"#, r#"["v2"]"#, r#""v1""#] {
            assert_eq!(list(names), None, "{names}");
        }
    }
}
