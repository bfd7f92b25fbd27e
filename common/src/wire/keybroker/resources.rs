//! The secrets of a registration, by name.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Deserializer, de};

use super::{
    super::{json::SecretBytes, names_secret},
    RegistrationFault,
};
use crate::{
    dialect::Dialects,
    secret::{
        Secret,
        bounds::{MAX_SECRETS, fits_in},
    },
};

/// `resources` as sent: read from an object alone, no name twice.
pub(super) struct Resources(Vec<(String, Secret)>);

impl Resources {
    /// The resources, if every one is within bounds.
    pub(super) fn checked(self, dialects: &Dialects) -> Result<BTreeMap<String, Secret>, RegistrationFault> {
        if self.0.len() > MAX_SECRETS {
            return Err(RegistrationFault::ResourceCount);
        }
        for (name, secret) in &self.0 {
            if !names_secret(dialects, name) {
                return Err(RegistrationFault::ResourceName);
            }
            if !fits_in(secret) {
                return Err(RegistrationFault::ResourceLength);
            }
        }
        Ok(self.0.into_iter().collect())
    }
}

impl<'de> Deserialize<'de> for Resources {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Resources;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of secrets")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Resources, A::Error> {
                let mut resources: Vec<(String, Secret)> = Vec::new();
                while let Some((name, SecretBytes(secret))) = map.next_entry::<String, SecretBytes>()? {
                    if resources.iter().any(|(other, _)| *other == name) {
                        return Err(de::Error::custom(format_args!("duplicate field `{name}`")));
                    }
                    // One beyond the bound is enough to refuse by.
                    if resources.len() <= MAX_SECRETS {
                        resources.push((name, secret));
                    }
                }
                Ok(Resources(resources))
            }
        }

        deserializer.deserialize_map(Visitor)
    }
}
