//! JSON Web Signatures (RFC 7515) in the compact form, by the keys of results alone.

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use serde::Serialize;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::{
    keyring::{ResultJwk, ResultKey, ResultPublicKey},
    random::RandomnessError,
};

/// A signed attestation result, as the guest gets it. Until it expires it leads to the guest's session, so it
/// is redacted from `Debug` and has no `Display`.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct SignedResult(String);

impl SignedResult {
    /// `payload` under the signature of `key`.
    pub(super) fn sign(payload: &[u8], key: &ResultKey) -> Result<Self, RandomnessError> {
        let mut text = header(key.public());
        text.push('.');
        BASE64URL_NOPAD.encode_append(payload, &mut text);
        let signature = key.sign(text.as_bytes())?;
        text.push('.');
        BASE64URL_NOPAD.encode_append(&signature, &mut text);
        Ok(Self(text))
    }

    /// The text for the guest.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SignedResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SignedResult(redacted)")
    }
}

/// The header under which `key` signs, in base64url: one for each key, to the byte.
fn header(key: &ResultPublicKey) -> String {
    #[derive(Serialize)]
    struct Header {
        typ: &'static str,
        alg: &'static str,
        kid: String,
        jwk: ResultJwk,
    }
    let header = Header { typ: "JWT", alg: "ES256", kid: key.kid(), jwk: key.jwk() };
    BASE64URL_NOPAD.encode(&serde_json::to_vec(&header).unwrap_or_default())
}

/// The parts of a text in the compact form. That anybody signed it is not established here.
pub struct Compact<'a> {
    header: &'a str,
    /// Header and payload, as they are signed.
    signed: &'a str,
    payload: &'a str,
    signature: &'a str,
}

impl<'a> Compact<'a> {
    /// `None` if the text does not have three parts.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        (!payload.contains('.')).then_some(Self { header, signed, payload, signature })
    }

    /// Whether the header is the one under which `key` signs: nothing else in a header counts, and no key is
    /// taken from it.
    pub fn is_headed_by(&self, key: &ResultPublicKey) -> bool {
        self.header == header(key)
    }

    /// The payload, if the signature is one of `key`.
    pub fn verified(&self, key: &ResultPublicKey) -> Option<Vec<u8>> {
        let signature = BASE64URL_NOPAD.decode(self.signature.as_bytes()).ok()?;
        let verified = key.verifies(self.signed.as_bytes(), &signature);
        if verified { BASE64URL_NOPAD.decode(self.payload.as_bytes()).ok() } else { None }
    }
}
