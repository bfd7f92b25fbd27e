//! The key that a guest makes for itself.
// The library that reads the key has just made it, so it can refuse it only if the machine is faulty.
#![allow(clippy::expect_used)]

use std::fmt;

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    encoding::{AsDer, Pkcs8V1Der},
    rsa::{
        KeyPair, KeySize, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, Pkcs1PrivateDecryptingKey,
        PrivateDecryptingKey,
    },
    signature::KeyPair as _,
};
use data_encoding::BASE64;

use super::Error;

/// RSAPublicKey (RFC 8017, A.1.1) of a 2048-bit key up to the modulus: SEQUENCE of 266 bytes, INTEGER of 257
/// with a leading zero, for a modulus of 2048 bits has its first bit set.
const BEFORE_MODULUS: [u8; 9] = [0x30, 0x82, 0x01, 0x0A, 0x02, 0x82, 0x01, 0x01, 0x00];
/// INTEGER of three bytes: the exponent.
const BEFORE_EXPONENT: [u8; 2] = [0x02, 0x03];

/// An RSA-2048 key that lives as long as the guest.
pub struct GuestKey {
    private: Pkcs1PrivateDecryptingKey,
    oaep: OaepPrivateDecryptingKey,
    modulus: Vec<u8>,
    exponent: Vec<u8>,
}

impl GuestKey {
    /// A new key.
    pub fn generate() -> Self {
        let pair = KeyPair::generate(KeySize::Rsa2048).expect("an RSA key");
        let public = pair.public_key().as_ref().strip_prefix(&BEFORE_MODULUS).expect("an RSAPublicKey");
        let (modulus, rest) = public.split_at(256);
        let exponent = rest.strip_prefix(&BEFORE_EXPONENT).expect("65537");
        let pkcs8: Pkcs8V1Der<'_> = pair.as_der().expect("the key in PKCS #8");
        let private = PrivateDecryptingKey::from_pkcs8(pkcs8.as_ref()).expect("the same key");
        Self {
            oaep: OaepPrivateDecryptingKey::new(private.clone()).expect("a decryption key"),
            private: Pkcs1PrivateDecryptingKey::new(private).expect("a decryption key"),
            modulus: modulus.to_vec(),
            exponent: exponent.to_vec(),
        }
    }

    /// `k-mod`: the modulus in standard base64.
    pub fn modulus(&self) -> String {
        BASE64.encode(&self.modulus)
    }

    /// `k-exp`: the exponent in standard base64, `AQAB`.
    pub fn exponent(&self) -> String {
        BASE64.encode(&self.exponent)
    }

    /// RSAES-PKCS1-v1_5.
    pub fn decrypt(&self, ciphertext: &[u8]) -> Result<Vec<u8>, Error> {
        let mut plaintext = vec![0; self.private.min_output_size()];
        let plaintext = self.private.decrypt(ciphertext, &mut plaintext).map_err(|_| Error::Decrypt)?;
        Ok(plaintext.to_vec())
    }

    /// RSAES-OAEP with SHA-256.
    pub fn decrypt_oaep(&self, ciphertext: &[u8]) -> Result<Vec<u8>, Error> {
        let mut plaintext = vec![0; self.oaep.min_output_size()];
        let plaintext = self
            .oaep
            .decrypt(&OAEP_SHA256_MGF1SHA256, ciphertext, &mut plaintext, None)
            .map_err(|_| Error::Decrypt)?;
        Ok(plaintext.to_vec())
    }

    /// A JWE (RFC 7516) with RSA-OAEP-256 and A256GCM: its protected header as sent, the encrypted key, the
    /// IV, and the ciphertext with the tag behind it.
    pub fn decrypt_jwe(
        &self,
        protected: &str,
        key: &[u8],
        iv: &[u8],
        mut sealed: Vec<u8>,
    ) -> Result<Vec<u8>, Error> {
        let content_key = self.decrypt_oaep(key)?;
        let content_key = UnboundKey::new(&AES_256_GCM, &content_key).map_err(|_| Error::Decrypt)?;
        let nonce = Nonce::try_assume_unique_for_key(iv).map_err(|_| Error::Decrypt)?;
        let clear = LessSafeKey::new(content_key)
            .open_in_place(nonce, Aad::from(protected.as_bytes()), &mut sealed)
            .map_err(|_| Error::Decrypt)?;
        Ok(clear.to_vec())
    }
}

impl fmt::Debug for GuestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuestKey").finish_non_exhaustive()
    }
}
