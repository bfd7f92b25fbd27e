//! A resource as it travels: a JWE in its flattened JSON form, or what 0.1.x had before.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use data_encoding::BASE64URL_NOPAD;
use serde_json::Value;

use super::{
    json::{canonical, object, string},
    key::TrusteeKey,
    version::JweForm,
};
use crate::guest::Error;

/// The five members, and no other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jwe {
    /// `protected` as sent.
    pub protected: String,
    /// `encrypted_key`.
    pub encrypted_key: Vec<u8>,
    /// `iv`.
    pub iv: Vec<u8>,
    /// `ciphertext`.
    pub ciphertext: Vec<u8>,
    /// `tag`.
    pub tag: Vec<u8>,
}

impl Jwe {
    /// Reads a body. `None` if a member is missing, is not what it must be, or is one too many.
    pub fn parse(body: &[u8]) -> Option<Self> {
        let members: Value = serde_json::from_slice(body).ok()?;
        let text = |name: &str| members.get(name)?.as_str();
        let bytes = |name| BASE64URL_NOPAD.decode(text(name)?.as_bytes()).ok();
        let jwe = Self {
            protected: text("protected")?.to_owned(),
            encrypted_key: bytes("encrypted_key")?,
            iv: bytes("iv")?,
            ciphertext: bytes("ciphertext")?,
            tag: bytes("tag")?,
        };
        (members.as_object()?.len() == 5).then_some(jwe)
    }

    /// Opens it with the guest's key.
    pub fn open(&self, form: JweForm, key: &TrusteeKey) -> Result<Vec<u8>, Error> {
        self.try_open(form, key).unwrap_or(Err(Error::Decrypt))
    }

    fn try_open(&self, form: JweForm, key: &TrusteeKey) -> Option<Result<Vec<u8>, Error>> {
        let header = match form {
            JweForm::Rfc7516 => BASE64URL_NOPAD.decode(self.protected.as_bytes()).ok()?,
            JweForm::BeforeRfc => self.protected.clone().into_bytes(),
        };
        let header: Value = serde_json::from_slice(&header).ok()?;
        let authenticated = match form {
            JweForm::Rfc7516 => BASE64URL_NOPAD.encode(rebuilt(&header)?.as_bytes()),
            JweForm::BeforeRfc => String::new(),
        };
        let whole = self.iv.len() == 12
            && self.tag.len() == if form == JweForm::Rfc7516 { 16 } else { 0 }
            && header.get("enc")? == "A256GCM";
        if !whole {
            return None;
        }
        let content_key = match key.unwrap(&header, &self.encrypted_key) {
            Ok(content_key) => UnboundKey::new(&AES_256_GCM, &content_key).ok()?,
            Err(error) => return Some(Err(error)),
        };
        let nonce = Nonce::try_assume_unique_for_key(&self.iv).ok()?;
        let mut sealed = [self.ciphertext.as_slice(), &self.tag].concat();
        let clear = LessSafeKey::new(content_key)
            .open_in_place(nonce, Aad::from(authenticated.as_bytes()), &mut sealed)
            .ok()?;
        Some(Ok(clear.to_vec()))
    }
}

/// The header as the client writes it anew, to authenticate that: `alg`, `enc`, then the other members by
/// their names.
fn rebuilt(header: &Value) -> Option<String> {
    let mut others: Vec<_> =
        header.as_object()?.iter().filter(|(name, _)| !matches!(name.as_str(), "alg" | "enc")).collect();
    others.sort_by_key(|(name, _)| name.as_str());
    let text = |name: &str| header.get(name)?.as_str().map(string);
    let first = [("alg", text("alg")?), ("enc", text("enc")?)];
    Some(object(
        first.into_iter().chain(others.into_iter().map(|(name, value)| (name.as_str(), canonical(value)))),
    ))
}
