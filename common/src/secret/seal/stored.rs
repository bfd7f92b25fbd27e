//! A guest's key as it stands in a row.

use serde::{Deserialize, Serialize};

use super::{GuestKey, GuestKeyError, RsaKey};

/// A key, not yet checked. Each kind has members of its own, so that a release that does not know a kind does
/// not take it for another.
#[derive(Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub(super) enum Stored {
    Rsa {
        #[serde(with = "crate::encoding::base64_bytes")]
        modulus: Vec<u8>,
        #[serde(with = "crate::encoding::base64_bytes")]
        exponent: Vec<u8>,
    },
    RsaOaep256 {
        #[serde(with = "crate::encoding::base64_bytes")]
        oaep_modulus: Vec<u8>,
        #[serde(with = "crate::encoding::base64_bytes")]
        oaep_exponent: Vec<u8>,
    },
    P256 {
        #[serde(with = "crate::encoding::base64_bytes")]
        p256_x: Vec<u8>,
        #[serde(with = "crate::encoding::base64_bytes")]
        p256_y: Vec<u8>,
    },
}

impl From<GuestKey> for Stored {
    fn from(key: GuestKey) -> Self {
        let numbers = |key: &RsaKey| (key.modulus().to_vec(), key.exponent().to_vec());
        match key {
            GuestKey::Rsa(key) => {
                let (modulus, exponent) = numbers(&key);
                Self::Rsa { modulus, exponent }
            }
            GuestKey::RsaOaep256(key) => {
                let (oaep_modulus, oaep_exponent) = numbers(&key);
                Self::RsaOaep256 { oaep_modulus, oaep_exponent }
            }
            GuestKey::P256(key) => Self::P256 { p256_x: key.x().to_vec(), p256_y: key.y().to_vec() },
        }
    }
}

impl TryFrom<Stored> for GuestKey {
    type Error = GuestKeyError;

    fn try_from(stored: Stored) -> Result<Self, Self::Error> {
        match stored {
            Stored::Rsa { modulus, exponent } => Self::rsa(&modulus, &exponent),
            Stored::RsaOaep256 { oaep_modulus, oaep_exponent } => {
                Self::rsa_oaep_256(&oaep_modulus, &oaep_exponent)
            }
            Stored::P256 { p256_x, p256_y } => Self::p256(&p256_x, &p256_y),
        }
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::BASE64;

    use super::*;

    /// The members without which a release that knows one kind alone reads no key.
    #[derive(Deserialize)]
    struct Earlier {
        #[expect(dead_code, reason = "that they are there is what counts")]
        modulus: String,
        #[expect(dead_code, reason = "likewise")]
        exponent: String,
    }

    const MODULUS: [u8; 256] = [0xc3; 256];
    const POINT: [&str; 2] =
        ["MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4=", "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM="];

    fn keys() -> [GuestKey; 3] {
        let [x, y] = POINT.map(|coordinate| BASE64.decode(coordinate.as_bytes()).unwrap());
        [
            GuestKey::rsa(&MODULUS, &[1, 0, 1]).unwrap(),
            GuestKey::rsa_oaep_256(&MODULUS, &[1, 0, 1]).unwrap(),
            GuestKey::p256(&x, &y).unwrap(),
        ]
    }

    fn read(stored: &str) -> Result<GuestKey, String> {
        serde_json::from_str(stored).map_err(|error| error.to_string())
    }

    #[test]
    fn keys_are_stored_by_these_bytes() {
        let (modulus, [x, y]) = (BASE64.encode(&MODULUS), POINT);
        let stored = [
            format!(r#"{{"modulus":"{modulus}","exponent":"AQAB"}}"#),
            format!(r#"{{"oaep_modulus":"{modulus}","oaep_exponent":"AQAB"}}"#),
            format!(r#"{{"p256_x":"{x}","p256_y":"{y}"}}"#),
        ];
        for (key, stored) in keys().into_iter().zip(stored) {
            assert_eq!(serde_json::to_string(&key).unwrap(), stored);
            assert_eq!(read(&stored), Ok(key));
        }
    }

    #[test]
    fn a_release_that_knows_one_kind_refuses_the_others() {
        let read = keys().map(|key| serde_json::from_str::<Earlier>(&serde_json::to_string(&key).unwrap()));
        assert_eq!(read.map(|read| read.is_ok()), [true, false, false]);
    }

    #[test]
    fn a_stored_key_is_checked_again() {
        let (modulus, [x, y]) = (BASE64.encode(&MODULUS), POINT);
        for (stored, error) in [
            (format!(r#"{{"modulus":"{modulus}","exponent":"AQ=="}}"#), GuestKeyError::Exponent),
            (format!(r#"{{"oaep_modulus":"{modulus}","oaep_exponent":"AQ=="}}"#), GuestKeyError::Exponent),
            (format!(r#"{{"p256_x":"{y}","p256_y":"{x}"}}"#), GuestKeyError::Point),
        ] {
            assert_eq!(read(&stored), Err(error.to_string()));
        }
    }

    #[test]
    fn a_key_of_two_kinds_or_of_none_is_refused() {
        let (modulus, [x, y]) = (BASE64.encode(&MODULUS), POINT);
        for stored in [
            "{}".to_owned(),
            format!(r#"{{"modulus":"{modulus}"}}"#),
            format!(r#"{{"modulus":"{modulus}","oaep_exponent":"AQAB"}}"#),
            format!(r#"{{"modulus":"{modulus}","exponent":"AQAB","alg":"RSA-OAEP-256"}}"#),
            format!(r#"{{"modulus":"{modulus}","exponent":"AQAB","p256_x":"{x}","p256_y":"{y}"}}"#),
            format!(r#"{{"p256_x":"{x}","p256_y":"{y}","p256_y":"{y}"}}"#),
        ] {
            assert!(read(&stored).is_err(), "{stored}");
        }
    }
}
