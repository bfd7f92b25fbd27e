//! The guest's key, in the forms that each version has.

use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;

use super::super::{Invalid, json};
use crate::{ids::KbsVersion, secret::seal::GuestKey};

/// A JSON Web Key (RFC 7517) as guests send it. Numbers are base64url without padding.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TeePubkey {
    kty: String,
    alg: String,
    #[serde(default, deserialize_with = "json::present")]
    crv: Option<String>,
    #[serde(default, deserialize_with = "json::present")]
    n: Option<String>,
    #[serde(default, deserialize_with = "json::present")]
    e: Option<String>,
    #[serde(default, deserialize_with = "json::present")]
    x: Option<String>,
    #[serde(default, deserialize_with = "json::present")]
    y: Option<String>,
    /// A member of AKP keys (ML-KEM), which nobody is served with: it is known so that the guest is told
    /// that.
    #[serde(rename = "pub", default, deserialize_with = "json::present")]
    akp: Option<String>,
}

/// Why a guest's key is none that secrets are sealed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFault {
    /// A kind of key or an algorithm that this broker does not serve to anybody.
    #[error("served are RSA keys (RSA1_5, RSA-OAEP-256) and EC keys on P-256 (ECDH-ES+A256KW)")]
    NotServed,
    /// An algorithm of more than one meaning.
    #[error("RSA-OAEP is SHA-1 to some guests and SHA-256 to others: RSA1_5 and RSA-OAEP-256 are served")]
    Oaep,
    /// A form that came with a later version.
    #[error("0.1.0 and 0.1.1 are served with RSA keys (RSA1_5) alone")]
    LaterForm,
    /// A member that this kind of key does not have, or one that it lacks.
    #[error("an RSA key has the members n and e, an EC key has crv, x and y")]
    Members,
    /// Not base64url without padding.
    #[error("a member is not base64url without padding")]
    Base64,
}

impl TeePubkey {
    /// The key, if guests of `version` may have it, with its JCS form (RFC 8785): the members as they came,
    /// in the order of their names.
    pub(super) fn read(self, version: KbsVersion) -> Result<(GuestKey, String), Invalid> {
        let early = matches!(version, KbsVersion::V0_1_0 | KbsVersion::V0_1_1);
        let number = |text: &str| BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| KeyFault::Base64);
        let Self { kty, alg, crv, n, e, x, y, akp } = self;
        if akp.is_some() {
            return Err(KeyFault::NotServed.into());
        }
        match (&*kty, &*alg, crv.as_deref()) {
            ("RSA", "RSA1_5" | "RSA-OAEP-256", None) => {
                let (Some(n), Some(e), None, None) = (n, e, x, y) else {
                    return Err(KeyFault::Members.into());
                };
                if early && alg != "RSA1_5" {
                    return Err(KeyFault::LaterForm.into());
                }
                let make = if alg == "RSA1_5" { GuestKey::rsa } else { GuestKey::rsa_oaep_256 };
                let key = make(&number(&n)?, &number(&e)?)?;
                // The numbers are base64url: nothing in them needs an escape.
                Ok((key, format!(r#"{{"alg":"{alg}","e":"{e}","kty":"RSA","n":"{n}"}}"#)))
            }
            ("RSA", "RSA-OAEP", _) => Err(KeyFault::Oaep.into()),
            ("EC", "ECDH-ES+A256KW", Some("P-256")) => {
                let (Some(x), Some(y), None, None) = (x, y, n, e) else {
                    return Err(KeyFault::Members.into());
                };
                if early {
                    return Err(KeyFault::LaterForm.into());
                }
                let key = GuestKey::p256(&number(&x)?, &number(&y)?)?;
                Ok((key, format!(r#"{{"alg":"{alg}","crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#)))
            }
            _ => Err(KeyFault::NotServed.into()),
        }
    }
}
