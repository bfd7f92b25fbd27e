//! The keys that sign attestation results: ECDSA on P-256 with SHA-256 (ES256, RFC 7518, 3.4).
//!
//! Their ring turns by itself, as those of the keys for keyed hashes do: whoever verifies a result looks the
//! key up in the broker's JWK Set, which has the next key before it signs.

use std::fmt;

use aws_lc_rs::{
    agreement::{self, ECDH_P256},
    encoding::AsBigEndian as _,
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
        UnparsedPublicKey,
    },
};
use data_encoding::BASE64URL_NOPAD;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::WrappedKey;
use crate::{
    random::RandomnessError,
    secret::{KeyError, Secret},
};

/// A key that signs attestation results, and nothing else.
pub struct ResultKey {
    pair: EcdsaKeyPair,
    public: ResultPublicKey,
}

/// The public half of a [`ResultKey`]: the uncompressed point, `0x04 ‖ x ‖ y`.
///
/// This establishes the form alone. [`ResultKey::opened`] establishes that it is the key's own.
#[derive(Clone, PartialEq, Eq)]
pub struct ResultPublicKey([u8; Self::LEN]);

/// A public key as a JSON Web Key (RFC 7517), its required members in the order of RFC 7638.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ResultJwk {
    crv: &'static str,
    kty: &'static str,
    x: String,
    y: String,
    kid: String,
    alg: &'static str,
    #[serde(rename = "use")]
    usage: &'static str,
}

impl ResultPublicKey {
    /// Bytes of an uncompressed point on P-256.
    pub const LEN: usize = 65;

    /// Takes an uncompressed point.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let point: [u8; Self::LEN] = bytes.try_into().ok()?;
        matches!(point, [0x04, ..]).then_some(Self(point))
    }

    /// The point.
    pub fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// The key's name: its JWK thumbprint (RFC 7638, SHA-256) in base64url.
    pub fn kid(&self) -> String {
        let (x, y) = self.coordinates();
        let required = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        BASE64URL_NOPAD.encode(&Sha256::digest(required))
    }

    /// The key as others read it.
    pub fn jwk(&self) -> ResultJwk {
        let (x, y) = self.coordinates();
        ResultJwk { crv: "P-256", kty: "EC", x, y, kid: self.kid(), alg: "ES256", usage: "sig" }
    }

    /// Whether `signature`, r and s of 32 bytes each, over `message` is one of this key.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &self.0).verify(message, signature).is_ok()
    }

    fn coordinates(&self) -> (String, String) {
        let (x, y) = self.0.split_at(1).1.split_at(32);
        (BASE64URL_NOPAD.encode(x), BASE64URL_NOPAD.encode(y))
    }
}

impl fmt::Display for ResultPublicKey {
    /// The point in base64url without padding.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64URL_NOPAD.encode(&self.0))
    }
}

impl fmt::Debug for ResultPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ResultPublicKey({self})")
    }
}

impl ResultKey {
    /// Length of a private key, in bytes.
    const LEN: usize = 32;

    /// A fresh key.
    pub fn generate() -> Result<Self, RandomnessError> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(|_| RandomnessError)?;
        Self::of(pair).ok_or(RandomnessError)
    }

    /// The key that `kept` was unwrapped to. [`KeyError::Mismatch`] if the public half beside it is not its
    /// own: somebody altered the row.
    pub fn opened(kept: &WrappedKey, private: &Secret) -> Result<Self, KeyError> {
        let key = Self::from_bytes(private.expose()).ok_or(KeyError::Mismatch)?;
        if kept.result_key() == Some(&key.public) { Ok(key) } else { Err(KeyError::Mismatch) }
    }

    /// The private half, to be wrapped: a big-endian number of 32 bytes.
    pub fn private(&self) -> Result<Secret, KeyError> {
        let number = self.pair.private_key().as_be_bytes().map_err(|_| KeyError::Mismatch)?;
        let mut bytes = Zeroizing::new(number.as_ref().to_vec());
        Ok(Secret::new(std::mem::take(&mut *bytes)))
    }

    /// The public half.
    pub fn public(&self) -> &ResultPublicKey {
        &self.public
    }

    /// A signature over `message`: r and s of 32 bytes each.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, RandomnessError> {
        let signature = self.pair.sign(&SystemRandom::new(), message).map_err(|_| RandomnessError)?;
        Ok(signature.as_ref().to_vec())
    }

    fn from_bytes(private: &[u8]) -> Option<Self> {
        if private.len() != Self::LEN {
            return None;
        }
        let public = agreement::PrivateKey::from_private_key(&ECDH_P256, private).ok()?;
        let public = public.compute_public_key().ok()?;
        let scheme = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pair = EcdsaKeyPair::from_private_key_and_public_key(scheme, private, public.as_ref());
        Self::of(pair.ok()?)
    }

    fn of(pair: EcdsaKeyPair) -> Option<Self> {
        let public = ResultPublicKey::from_bytes(pair.public_key().as_ref())?;
        Some(Self { pair, public })
    }
}

impl fmt::Debug for ResultKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResultKey").field("public", &self.public).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::{super::PublicHalf, *};
    use crate::secret::WrappedSecret;

    fn kept(public: Option<PublicHalf>) -> WrappedKey {
        let wrapped = WrappedSecret { key_id: "k".to_owned(), ciphertext: vec![1] };
        let now = Timestamp::UNIX_EPOCH;
        WrappedKey { number: 1, wrapped, public, made_at: now, from: Some(now) }
    }

    #[test]
    fn a_key_is_opened_to_itself_beside_its_own_public_half_alone() {
        let (key, other) = (ResultKey::generate().unwrap(), ResultKey::generate().unwrap());
        let private = key.private().unwrap();
        let half = |key: &ResultKey| Some(PublicHalf::Results(key.public().clone()));
        let opened = ResultKey::opened(&kept(half(&key)), &private).unwrap();
        let signature = opened.sign(b"message").unwrap();
        assert!(key.public().verifies(b"message", &signature));
        assert!(!key.public().verifies(b"another", &signature));
        assert!(!other.public().verifies(b"message", &signature));
        let signing = super::super::signing::drawn().unwrap().1;
        for public in [None, half(&other), Some(PublicHalf::Answers(signing))] {
            assert_eq!(ResultKey::opened(&kept(public), &private).unwrap_err(), KeyError::Mismatch);
        }
        for wrong in [vec![], vec![0; 32], vec![0xFF; 32], vec![1; 31], vec![1; 33], vec![1; 48]] {
            let opened = ResultKey::opened(&kept(half(&key)), &Secret::new(wrong));
            assert_eq!(opened.unwrap_err(), KeyError::Mismatch);
        }
    }

    /// The key of RFC 7515, A.3, with its thumbprint as other implementations compute it.
    #[test]
    fn a_key_is_named_by_its_thumbprint() {
        let x = BASE64URL_NOPAD.decode(b"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU").unwrap();
        let y = BASE64URL_NOPAD.decode(b"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0").unwrap();
        let public = ResultPublicKey::from_bytes(&[&[4][..], &x, &y].concat()).unwrap();
        assert_eq!(public.kid(), "oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U");
        let jwk = serde_json::to_value(public.jwk()).unwrap();
        assert_eq!((&jwk["kid"], &jwk["use"]), (&public.kid().into(), &"sig".into()));
    }

    #[test]
    fn debug_shows_the_public_half_alone() {
        let key = ResultKey::generate().unwrap();
        let shown = format!("{key:?}");
        assert!(shown.contains(&key.public().to_string()) && shown.len() < 150, "{shown}");
    }
}
