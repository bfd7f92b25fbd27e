//! The keys that may have signed a guest's ID block.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::encoding::Hex;

/// Digests of keys, of which one must have signed: from one to [`KeyDigests::MOST`], each once, and none of
/// zeros, which every guest without an ID block reports. One alone is stored as a string, several as a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "OneOrMore", into = "OneOrMore")]
pub struct KeyDigests(Vec<Hex<48>>);

/// Why digests are no choice of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not 1 to {} digests of keys, each once, and none of zeros", KeyDigests::MOST)]
pub struct KeyDigestsError;

impl KeyDigests {
    /// The greatest number of keys: enough to replace one while another is in use.
    pub const MOST: usize = 16;

    /// The digests, in the order in which they were given.
    pub fn iter(&self) -> impl Iterator<Item = &Hex<48>> {
        self.0.iter()
    }

    /// Whether this key is one of them.
    pub fn contains(&self, digest: &[u8; 48]) -> bool {
        self.0.iter().any(|Hex(accepted)| accepted == digest)
    }
}

impl TryFrom<Vec<Hex<48>>> for KeyDigests {
    type Error = KeyDigestsError;

    fn try_from(digests: Vec<Hex<48>>) -> Result<Self, KeyDigestsError> {
        let twice = digests
            .iter()
            .enumerate()
            .any(|(index, digest)| digests.iter().take(index).any(|one| one == digest));
        let zeros = digests.contains(&Hex([0; 48]));
        if twice || zeros || !(1..=Self::MOST).contains(&digests.len()) {
            return Err(KeyDigestsError);
        }
        Ok(Self(digests))
    }
}

impl TryFrom<Hex<48>> for KeyDigests {
    type Error = KeyDigestsError;

    fn try_from(digest: Hex<48>) -> Result<Self, KeyDigestsError> {
        vec![digest].try_into()
    }
}

impl fmt::Display for KeyDigests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, digest) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { " or " };
            write!(f, "{separator}{digest}")?;
        }
        Ok(())
    }
}

/// The form in JSON.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(Hex<48>),
    More(Vec<Hex<48>>),
}

impl From<KeyDigests> for OneOrMore {
    fn from(KeyDigests(digests): KeyDigests) -> Self {
        match digests.as_slice() {
            [one] => Self::One(*one),
            _ => Self::More(digests),
        }
    }
}

impl TryFrom<OneOrMore> for KeyDigests {
    type Error = KeyDigestsError;

    fn try_from(form: OneOrMore) -> Result<Self, KeyDigestsError> {
        match form {
            OneOrMore::One(one) => one.try_into(),
            OneOrMore::More(digests) => digests.try_into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(stored: &Value) -> Option<KeyDigests> {
        serde_json::from_value(stored.clone()).ok()
    }

    #[test]
    fn one_key_is_a_string_and_several_are_a_list() {
        let (one, other) = ("1d".repeat(48), "2d".repeat(48));
        let both = read(&json!([one, other])).unwrap();
        assert_eq!(serde_json::to_value(&both).unwrap(), json!([one, other]));
        assert!(both.contains(&[0x1D; 48]) && both.contains(&[0x2D; 48]) && !both.contains(&[0x3D; 48]));
        assert_eq!(both.to_string(), format!("{one} or {other}"));
        for stored in [json!(one), json!([one])] {
            assert_eq!(serde_json::to_value(read(&stored).unwrap()).unwrap(), json!(one));
        }
    }

    #[test]
    fn zeros_repetitions_and_nothing_are_no_keys() {
        let (one, zeros) = ("1d".repeat(48), "00".repeat(48));
        let many = |count: usize| Value::from_iter((1..=count).map(|number| format!("{number:096x}")));
        assert!(read(&many(KeyDigests::MOST)).is_some());
        for stored in [
            json!([]),
            json!(zeros),
            json!([one, zeros]),
            json!([one, one]),
            many(KeyDigests::MOST + 1),
            json!("1d"),
            json!(7),
            Value::Null,
        ] {
            assert_eq!(read(&stored), None, "{stored}");
        }
    }
}
