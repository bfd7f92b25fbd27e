//! A secret of any length to a guest's key: JSON Web Encryption (RFC 7516) with A256GCM (RFC 7518, 5.3).

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    rand,
};
use data_encoding::BASE64URL_NOPAD;
use serde_json::Value;
use zeroize::Zeroizing;

use super::{GuestKey, Jwk, SealError, Secret};

const KEY_LEN: usize = 32;
const IV_LEN: usize = 12;

/// Which form of a JWE a guest reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JweForm {
    /// The flattened JSON form (RFC 7516, 7.2.2).
    Rfc7516,
    /// Trustee's guests read it up to version 0.1.1. It has the same members, but the header is JSON
    /// text and not authenticated, and the ciphertext ends with the tag, whose own member is empty.
    BeforeRfc,
}

/// The members of a flattened JWE, each in base64url without padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jwe {
    /// The header. In the form before the RFC, JSON as it is.
    pub protected: String,
    /// The content key, encrypted to the guest.
    pub encrypted_key: String,
    /// The initialisation vector.
    pub iv: String,
    /// The secret, encrypted. In the form before the RFC, with the tag at its end.
    pub ciphertext: String,
    /// The authentication tag. In the form before the RFC, empty.
    pub tag: String,
}

impl Jwe {
    /// Encrypts `secret` under a key made for it, and that key to `recipient`.
    pub(super) fn seal(recipient: &GuestKey, secret: &Secret, form: JweForm) -> Result<Self, SealError> {
        let mut key = Zeroizing::new([0; KEY_LEN]);
        let mut iv = [0; IV_LEN];
        rand::fill(key.as_mut_slice()).map_err(|_| SealError::Key)?;
        rand::fill(&mut iv).map_err(|_| SealError::Key)?;

        let (epk, encrypted_key) = match (recipient, form) {
            (GuestKey::Rsa(rsa), _) => (None, rsa.encrypt_pkcs1(key.as_slice())?),
            (GuestKey::RsaOaep256(rsa), JweForm::Rfc7516) => (None, rsa.encrypt_oaep_256(key.as_slice())?),
            (GuestKey::P256(p256), JweForm::Rfc7516) => {
                let (epk, wrapped) = p256.wrap(key.as_slice())?;
                (Some(epk.jwk()), wrapped)
            }
            (GuestKey::RsaOaep256(_) | GuestKey::P256(_), JweForm::BeforeRfc) => return Err(SealError::Key),
        };
        let header = header(recipient.alg(), epk.as_ref());
        let (protected, authenticated) = match form {
            JweForm::Rfc7516 => {
                let protected = BASE64URL_NOPAD.encode(header.as_bytes());
                (protected.clone(), protected)
            }
            JweForm::BeforeRfc => (header, String::new()),
        };

        let cipher = UnboundKey::new(&AES_256_GCM, key.as_slice()).map_err(|_| SealError::Key)?;
        let mut content = Zeroizing::new(secret.expose().to_vec());
        let tag = LessSafeKey::new(cipher)
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(iv),
                Aad::from(authenticated.as_bytes()),
                &mut content,
            )
            .map_err(|_| SealError::Key)?;
        let (ciphertext, tag) = match form {
            JweForm::Rfc7516 => (BASE64URL_NOPAD.encode(&content), BASE64URL_NOPAD.encode(tag.as_ref())),
            JweForm::BeforeRfc => {
                (BASE64URL_NOPAD.encode(&[content.as_slice(), tag.as_ref()].concat()), String::new())
            }
        };
        Ok(Self {
            protected,
            encrypted_key: BASE64URL_NOPAD.encode(&encrypted_key),
            iv: BASE64URL_NOPAD.encode(&iv),
            ciphertext,
            tag,
        })
    }

    /// The JSON object, with no other members: some guests refuse an `aad` even if it is null.
    pub fn to_json(&self) -> Vec<u8> {
        let Self { protected, encrypted_key, iv, ciphertext, tag } = self;
        // The header alone may need escapes: the others are hex or base64url.
        let protected = Value::from(protected.as_str());
        format!(
            r#"{{"protected":{protected},"encrypted_key":"{encrypted_key}","iv":"{iv}","ciphertext":"{ciphertext}","tag":"{tag}"}}"#
        )
        .into_bytes()
    }
}

/// The header, in the order of the members' names and without blanks: several guests parse it, and
/// authenticate what they write of it anew.
fn header(alg: &str, epk: Option<&Jwk>) -> String {
    let epk = epk.map(|epk| format!(r#","epk":{epk}"#)).unwrap_or_default();
    format!(r#"{{"alg":"{alg}","enc":"A256GCM"{epk}}}"#)
}
