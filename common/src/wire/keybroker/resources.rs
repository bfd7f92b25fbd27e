//! The secrets of a registration, by name.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Deserializer, de};

use super::{super::json::SecretText, RegistrationFault};
use crate::secret::Secret;

/// Most resources of one registration.
pub(super) const MAX_RESOURCES: usize = 16;

/// Longest resource, in bytes: what KMS wraps at once, and a little less.
pub(super) const MAX_SECRET_LEN: usize = 4000;

/// Longest name, in bytes.
const MAX_NAME_LEN: usize = 64;

/// `resources` as sent: read from an object alone, no name twice.
pub(super) struct Resources(Vec<(String, Secret)>);

impl Resources {
    /// The resources, if every one is within bounds.
    pub(super) fn checked(self) -> Result<BTreeMap<String, Secret>, RegistrationFault> {
        if self.0.len() > MAX_RESOURCES {
            return Err(RegistrationFault::ResourceCount);
        }
        for (name, secret) in &self.0 {
            if !is_name(name) {
                return Err(RegistrationFault::ResourceName);
            }
            if !(1..=MAX_SECRET_LEN).contains(&secret.expose().len()) {
                return Err(RegistrationFault::ResourceLength);
            }
        }
        Ok(self.0.into_iter().collect())
    }
}

/// Whether a resource can have this name: it is a path's last segment, and a part of what its ciphertext is
/// bound to.
pub(super) fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=MAX_NAME_LEN).contains(&name.len()) && name.bytes().all(fits) && !matches!(name, "." | "..")
}

impl<'de> Deserialize<'de> for Resources {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Resources;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Resources, A::Error> {
                let mut resources: Vec<(String, Secret)> = Vec::new();
                while let Some((name, SecretText(secret))) = map.next_entry::<String, SecretText>()? {
                    if resources.iter().any(|(other, _)| *other == name) {
                        return Err(de::Error::custom(format_args!("duplicate field `{name}`")));
                    }
                    // One beyond the bound is enough to refuse by.
                    if resources.len() <= MAX_RESOURCES {
                        resources.push((name, secret));
                    }
                }
                Ok(Resources(resources))
            }
        }

        deserializer.deserialize_map(Visitor)
    }
}
