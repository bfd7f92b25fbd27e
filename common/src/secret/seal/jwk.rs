//! JSON Web Keys (RFC 7517): public ones.

use std::fmt;

use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};

/// A public key's members, in the order of their names: exactly those that a thumbprint is computed over
/// (RFC 7638, 3.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jwk(Vec<(&'static str, String)>);

impl Jwk {
    /// A key with these members. They must be in the order of their names, with values that need no escape.
    pub(super) fn new<const N: usize>(members: [(&'static str, String); N]) -> Self {
        Self(members.into())
    }

    /// SHA-256 of [`Display`](fmt::Display)'s text (RFC 7638, 3).
    pub fn thumbprint(&self) -> [u8; 32] {
        Sha256::digest(self.to_string()).into()
    }
}

/// JSON without blanks.
impl fmt::Display for Jwk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let members: Vec<_> = self.0.iter().map(|(name, value)| format!(r#""{name}":"{value}""#)).collect();
        write!(f, "{{{}}}", members.join(","))
    }
}

impl Serialize for Jwk {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::BASE64URL_NOPAD;

    use super::super::GuestKey;

    fn decode(text: &str) -> Vec<u8> {
        BASE64URL_NOPAD.decode(text.as_bytes()).unwrap()
    }

    /// The example of RFC 7638, 3.1.
    const MODULUS: &str = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n\
                           3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu\
                           6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awap\
                           JzKnqDKgw";

    #[test]
    fn a_thumbprint_is_that_of_rfc_7638() {
        for key in [GuestKey::rsa, GuestKey::rsa_oaep_256] {
            let key = key(&decode(MODULUS), &[1, 0, 1]).unwrap();
            let thumbprint = BASE64URL_NOPAD.encode(&key.thumbprint());
            assert_eq!(thumbprint, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
        }
    }

    /// The key of RFC 7517, A.1, that is on P-256. Its thumbprint is computed with jwcrypto 1.6.1.
    #[test]
    fn a_thumbprint_of_p256_is_over_both_coordinates() {
        let x = decode("MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4");
        let y = decode("4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM");
        let key = GuestKey::p256(&x, &y).unwrap();
        let thumbprint = BASE64URL_NOPAD.encode(&key.thumbprint());
        assert_eq!(thumbprint, "cn-I_WNMClehiVp51i_0VpOENW1upEerA8sEam5hn-s");
    }

    #[test]
    fn a_jwk_in_a_document_is_the_text_that_is_hashed() {
        let x = decode("MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4");
        let y = decode("4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM");
        for key in [GuestKey::rsa(&decode(MODULUS), &[1, 0, 1]), GuestKey::p256(&x, &y)] {
            let jwk = key.unwrap().jwk();
            assert_eq!(serde_json::to_string(&jwk).unwrap(), jwk.to_string());
        }
    }
}
