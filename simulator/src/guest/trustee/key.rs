//! The key that a guest makes for itself, in the forms that the protocol has.
// The library that reads the key has just made it, so it can refuse it only if the machine is faulty.
#![allow(clippy::expect_used)]

use std::fmt;

use aws_lc_rs::{
    agreement::{ECDH_P256, PrivateKey, UnparsedPublicKey, agree},
    digest,
    key_wrap::{AES_256, KeyEncryptionKey, KeyWrap},
};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use serde_json::Value;

use super::message::Jwk;
use crate::guest::{Error, GuestKey};

/// The form of a key that this guest can use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KeyForm {
    /// RSA-2048 with RSAES-PKCS1-v1_5.
    Rsa1_5,
    /// RSA-2048 with OAEP and SHA-256.
    RsaOaep256,
    /// P-256 with ECDH-ES and AES key wrap.
    P256,
}

impl KeyForm {
    /// Every form.
    pub const ALL: [KeyForm; 3] = [Self::Rsa1_5, Self::RsaOaep256, Self::P256];

    /// The value of `alg`.
    pub const fn alg(self) -> &'static str {
        match self {
            Self::Rsa1_5 => "RSA1_5",
            Self::RsaOaep256 => "RSA-OAEP-256",
            Self::P256 => "ECDH-ES+A256KW",
        }
    }
}

/// A key of any form.
#[derive(Debug)]
pub struct TrusteeKey {
    form: KeyForm,
    private: Private,
    jwk: Jwk,
}

enum Private {
    Rsa(GuestKey),
    P256(PrivateKey),
}

impl TrusteeKey {
    /// A new key.
    pub fn generate(form: KeyForm) -> Self {
        let alg = form.alg();
        if form == KeyForm::P256 {
            let (key, [x, y]) = p256();
            return Self { form, jwk: p256_jwk(&x, &y), private: Private::P256(key) };
        }
        let key = GuestKey::generate();
        let url = |text: String| BASE64URL_NOPAD.encode(&BASE64.decode(text.as_bytes()).expect("base64"));
        let (n, e) = (url(key.modulus()), url(key.exponent()));
        let jwk = Jwk::new([("kty", "RSA"), ("alg", alg), ("n", &n), ("e", &e)]);
        Self { form, jwk, private: Private::Rsa(key) }
    }

    /// A P-256 key as guest-components 0.12 to 0.15 write one whose coordinate begins with a zero: without
    /// that zero, and with the character `0` at the end.
    pub fn padded_wrongly() -> Self {
        loop {
            let (key, [x, y]) = p256();
            if let Some(short) = x.strip_prefix(&[0]) {
                let jwk = p256_jwk(&[short, b"0"].concat(), &y);
                return Self { form: KeyForm::P256, jwk, private: Private::P256(key) };
            }
        }
    }

    /// Its form.
    pub fn form(&self) -> KeyForm {
        self.form
    }

    /// The public key as it is sent.
    pub fn jwk(&self) -> &Jwk {
        &self.jwk
    }

    /// The content key, from the header of a JWE and its encrypted key. The header's `alg` decides how, as it
    /// does in the client.
    pub(super) fn unwrap(&self, header: &Value, encrypted_key: &[u8]) -> Result<Vec<u8>, Error> {
        let alg = header.get("alg").and_then(Value::as_str);
        match &self.private {
            Private::Rsa(key) if alg == Some(KeyForm::Rsa1_5.alg()) => key.decrypt(encrypted_key),
            Private::Rsa(key) if alg == Some(KeyForm::RsaOaep256.alg()) => key.decrypt_oaep(encrypted_key),
            Private::P256(key) if alg == Some(KeyForm::P256.alg()) => {
                let point = ephemeral(header).ok_or(Error::Decrypt)?;
                let wrapping = agree(key, UnparsedPublicKey::new(&ECDH_P256, point), Error::Decrypt, |z| {
                    Ok(concat_kdf(z, KeyForm::P256.alg()))
                })?;
                let mut content_key = vec![0; encrypted_key.len()];
                let unwrapped = KeyEncryptionKey::new(&AES_256, &wrapping)
                    .and_then(|wrapping| wrapping.unwrap(encrypted_key, &mut content_key))
                    .map_err(|_| Error::Decrypt)?;
                Ok(unwrapped.to_vec())
            }
            _ => Err(Error::Decrypt),
        }
    }
}

fn p256() -> (PrivateKey, [[u8; 32]; 2]) {
    let key = PrivateKey::generate(&ECDH_P256).expect("a P-256 key");
    let public = key.compute_public_key().expect("its public half");
    let (x, y) = public.as_ref().strip_prefix(&[4]).expect("an uncompressed point").split_at(32);
    (key, [x.try_into().expect("32 bytes"), y.try_into().expect("32 bytes")])
}

fn p256_jwk(x: &[u8], y: &[u8]) -> Jwk {
    let (x, y) = (BASE64URL_NOPAD.encode(x), BASE64URL_NOPAD.encode(y));
    Jwk::new([("kty", "EC"), ("crv", "P-256"), ("alg", KeyForm::P256.alg()), ("x", &x), ("y", &y)])
}

/// The point of `epk`, uncompressed. Each coordinate has exactly 32 bytes.
fn ephemeral(header: &Value) -> Option<Vec<u8>> {
    let epk = header.get("epk")?;
    let member = |name: &str| epk.get(name)?.as_str();
    let coordinate = |name| {
        let bytes = BASE64URL_NOPAD.decode(member(name)?.as_bytes()).ok()?;
        (bytes.len() == 32).then_some(bytes)
    };
    let fits = member("kty") == Some("EC") && member("crv") == Some("P-256");
    fits.then_some([vec![4], coordinate("x")?, coordinate("y")?].concat())
}

/// The key-encryption key of ECDH-ES with 256 bits (RFC 7518, 4.6.2), with empty PartyUInfo and PartyVInfo:
/// one round of SHA-256 over counter, shared secret and the use of the key.
fn concat_kdf(shared: &[u8], alg: &str) -> Vec<u8> {
    let length = u32::try_from(alg.len()).unwrap_or(u32::MAX);
    let nothing = 0_u32.to_be_bytes();
    let info = [&length.to_be_bytes(), alg.as_bytes(), &nothing, &nothing, &256_u32.to_be_bytes()].concat();
    let text = [&1_u32.to_be_bytes(), shared, &info].concat();
    digest::digest(&digest::SHA256, &text).as_ref().to_vec()
}

impl fmt::Debug for Private {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rsa(_) => "Rsa",
            Self::P256(_) => "P256",
        })
    }
}
