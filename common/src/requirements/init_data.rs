//! The requirement of a guest's init data.

use std::fmt;

use data_encoding::HEXLOWER_PERMISSIVE;
use keybroker_initdata::{Algorithm, InitDataDigest, KeyId};
use serde::{Deserialize, Serialize};

use crate::encoding::Hex;

/// The tie between a guest and its init data, by which the host cannot give it another document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BoundBy {
    /// HOST_DATA of its report is the document's digest.
    HostData,
    /// The document lies in what the launch measurement covers.
    Measurement,
    /// Nothing: the platform can bind neither. The registration says so on purpose.
    Nothing,
}

impl BoundBy {
    /// In words, for a person.
    pub fn words(self) -> &'static str {
        match self {
            Self::HostData => "HOST_DATA, which is the init data's digest",
            Self::Measurement => "the launch measurement, which covers the init data",
            Self::Nothing => "nothing: any guest of this launch measurement can be given any disk",
        }
    }
}

/// The init data that a guest must have been given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct InitDataRequirement {
    /// The document's digest.
    pub digest: InitDataDigest,
    /// The tie between the guest and it.
    pub bound_by: BoundBy,
    /// The broker's keys that the document names, where the document itself was registered: its guests accept
    /// no other signature. `None` if the broker knows the digest alone.
    pub broker_keys: Option<Vec<KeyId>>,
}

impl fmt::Display for InitDataRequirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, bound by {}", self.digest, self.bound_by.words())
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    algorithm: String,
    digest: String,
    bound_by: BoundBy,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    broker_keys: Option<Vec<Hex<32>>>,
}

impl From<InitDataRequirement> for Stored {
    fn from(requirement: InitDataRequirement) -> Self {
        let InitDataRequirement { digest, bound_by, broker_keys } = requirement;
        Self {
            algorithm: digest.algorithm().name().to_owned(),
            digest: digest.to_string(),
            bound_by,
            broker_keys: broker_keys.map(|keys| keys.into_iter().map(|key| Hex(*key.as_bytes())).collect()),
        }
    }
}

impl TryFrom<Stored> for InitDataRequirement {
    type Error = InitDataError;

    fn try_from(stored: Stored) -> Result<Self, InitDataError> {
        Ok(Self {
            digest: digest(&stored.algorithm, &stored.digest)?,
            bound_by: stored.bound_by,
            broker_keys: stored
                .broker_keys
                .map(|keys| keys.into_iter().map(|key| KeyId::from_bytes(key.0)).collect()),
        })
    }
}

/// Why a text is no digest of init data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the digest of init data must be hex of the length that its algorithm (sha256, sha384, sha512) gives"
)]
pub struct InitDataError;

/// The digest whose algorithm and hex digits these are.
pub fn digest(algorithm: &str, hex: &str) -> Result<InitDataDigest, InitDataError> {
    let algorithm = Algorithm::from_name(algorithm).ok_or(InitDataError)?;
    let bytes = HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).map_err(|_| InitDataError)?;
    InitDataDigest::new(algorithm, bytes).ok_or(InitDataError)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn required(broker_keys: Option<Vec<KeyId>>) -> InitDataRequirement {
        let digest = Algorithm::Sha512.digest("a document");
        InitDataRequirement { digest, bound_by: BoundBy::HostData, broker_keys }
    }

    fn read(stored: &Value) -> Option<InitDataRequirement> {
        serde_json::from_value(stored.clone()).ok()
    }

    #[test]
    fn a_requirement_is_stored_as_algorithm_digest_and_binding() {
        let digest = Algorithm::Sha512.digest("a document").to_string();
        let stored = json!({"algorithm": "sha512", "digest": digest, "bound_by": "host_data"});
        assert_eq!(serde_json::to_value(required(None)).unwrap(), stored);
        let with_keys = required(Some(vec![KeyId::from_bytes([7; 32]), KeyId::from_bytes([8; 32])]));
        let mut keys = stored;
        keys["broker_keys"] = json!(["07".repeat(32), "08".repeat(32)]);
        assert_eq!(serde_json::to_value(&with_keys).unwrap(), keys);
        assert_eq!(read(&keys), Some(with_keys));
        // No key at all is another thing than keys that nobody knows.
        assert_ne!(serde_json::to_value(required(Some(Vec::new()))).unwrap(), keys);
        assert_eq!(read(&serde_json::to_value(required(None)).unwrap()), Some(required(None)));
    }

    #[test]
    fn a_stored_requirement_that_is_not_understood_is_no_requirement() {
        let stored = serde_json::to_value(required(None)).unwrap();
        for (name, wrong) in [
            ("algorithm", json!("sha256")),
            ("algorithm", json!("md5")),
            ("digest", json!("ab")),
            ("digest", json!("")),
            ("bound_by", json!("hope")),
            ("broker_keys", json!(["07"])),
            ("broker_keys", json!("07".repeat(32))),
            ("more", json!(1)),
        ] {
            let mut altered = stored.clone();
            altered[name] = wrong.clone();
            assert_eq!(read(&altered), None, "{name}: {wrong}");
        }
        for name in ["algorithm", "digest", "bound_by"] {
            let mut missing = stored.clone();
            missing.as_object_mut().unwrap().remove(name);
            assert_eq!(read(&missing), None, "{name}");
        }
    }

    #[test]
    fn a_digest_is_hex_of_its_algorithms_length() {
        for (name, length) in [("sha256", 32), ("sha384", 48), ("sha512", 64)] {
            let read = digest(name, &"Ab".repeat(length)).unwrap();
            assert_eq!((read.algorithm().name(), read.bytes()), (name, [0xAB].repeat(length).as_slice()));
            for hex in
                ["ab".repeat(length - 1), "ab".repeat(length + 1), "a".repeat(length), "xy".repeat(length)]
            {
                assert_eq!(digest(name, &hex), Err(InitDataError), "{name} {hex}");
            }
        }
        for name in ["", "sha1", "SHA256", "sha-256"] {
            assert_eq!(digest(name, &"ab".repeat(32)), Err(InitDataError), "{name}");
        }
    }
}
