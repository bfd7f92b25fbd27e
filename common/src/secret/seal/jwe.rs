//! A secret of any length to an RSA key: JSON Web Encryption (RFC 7516) with RSA-OAEP-256 and A256GCM (RFC
//! 7518, 4.3 and 5.3).

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    rand,
    rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey},
};
use data_encoding::BASE64URL_NOPAD;
use serde::Serialize;
use zeroize::Zeroizing;

use super::{SealError, Secret};

/// The header that the ciphertext is bound to.
const PROTECTED: &str = r#"{"alg":"RSA-OAEP-256","enc":"A256GCM"}"#;

const KEY_LEN: usize = 32;
const IV_LEN: usize = 12;

/// The members of the flattened JSON form (RFC 7516, 7.2.2), each in base64url without padding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Jwe {
    /// The header.
    pub protected: String,
    /// The content key, encrypted to the guest.
    pub encrypted_key: String,
    /// The initialisation vector.
    pub iv: String,
    /// The secret, encrypted.
    pub ciphertext: String,
    /// The authentication tag.
    pub tag: String,
}

impl Jwe {
    /// Encrypts `secret` under a key made for it, and that key to `recipient`.
    pub(super) fn seal(recipient: PublicEncryptingKey, secret: &Secret) -> Result<Self, SealError> {
        let mut key = Zeroizing::new([0; KEY_LEN]);
        let mut iv = [0; IV_LEN];
        rand::fill(key.as_mut_slice()).map_err(|_| SealError::Key)?;
        rand::fill(&mut iv).map_err(|_| SealError::Key)?;

        let protected = BASE64URL_NOPAD.encode(PROTECTED.as_bytes());
        let cipher = UnboundKey::new(&AES_256_GCM, key.as_slice()).map_err(|_| SealError::Key)?;
        let mut content = Zeroizing::new(secret.expose().to_vec());
        let tag = LessSafeKey::new(cipher)
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(iv),
                Aad::from(protected.as_bytes()),
                &mut content,
            )
            .map_err(|_| SealError::Key)?;
        Ok(Self {
            encrypted_key: BASE64URL_NOPAD.encode(&encrypted(recipient, key.as_slice())?),
            iv: BASE64URL_NOPAD.encode(&iv),
            ciphertext: BASE64URL_NOPAD.encode(&content),
            tag: BASE64URL_NOPAD.encode(tag.as_ref()),
            protected,
        })
    }
}

fn encrypted(recipient: PublicEncryptingKey, key: &[u8]) -> Result<Vec<u8>, SealError> {
    let recipient = OaepPublicEncryptingKey::new(recipient).map_err(|_| SealError::Key)?;
    let mut out = vec![0; recipient.ciphertext_size()];
    let len =
        recipient.encrypt(&OAEP_SHA256_MGF1SHA256, key, &mut out, None).map_err(|_| SealError::Key)?.len();
    out.truncate(len);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rsa::{KeySize, OaepPrivateDecryptingKey, PrivateDecryptingKey};

    use super::*;

    fn open(private: &OaepPrivateDecryptingKey, jwe: &Jwe) -> Option<Vec<u8>> {
        let decode = |text: &str| BASE64URL_NOPAD.decode(text.as_bytes()).unwrap();
        let mut key = vec![0; private.min_output_size()];
        let key = private
            .decrypt(&OAEP_SHA256_MGF1SHA256, &decode(&jwe.encrypted_key), &mut key, None)
            .ok()?
            .to_vec();
        let cipher = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).unwrap());
        let nonce = Nonce::try_assume_unique_for_key(&decode(&jwe.iv)).unwrap();
        let mut sealed = [decode(&jwe.ciphertext), decode(&jwe.tag)].concat();
        let clear = cipher.open_in_place(nonce, Aad::from(jwe.protected.as_bytes()), &mut sealed).ok()?;
        Some(clear.to_vec())
    }

    #[test]
    fn a_jwe_opens_for_its_guest_alone_and_unaltered() {
        let private = PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap();
        let secret = Secret::new(vec![b's'; 4000]);
        let jwe = Jwe::seal(private.public_key(), &secret).unwrap();
        let private = OaepPrivateDecryptingKey::new(private).unwrap();
        assert_eq!(open(&private, &jwe).unwrap(), secret.expose());
        assert_eq!(BASE64URL_NOPAD.decode(jwe.protected.as_bytes()).unwrap(), PROTECTED.as_bytes());

        let other = PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap();
        assert_eq!(open(&OaepPrivateDecryptingKey::new(other).unwrap(), &jwe), None);
        let mut altered = jwe.clone();
        altered.protected = BASE64URL_NOPAD.encode(br#"{"alg":"RSA-OAEP-256","enc":"A128GCM"}"#);
        assert_eq!(open(&private, &altered), None);
    }

    #[test]
    fn key_and_iv_are_new_each_time() {
        let private = PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap();
        let [one, two] = [0; 2].map(|_| {
            let jwe = Jwe::seal(private.public_key(), &Secret::new(vec![b's'; 300])).unwrap();
            (jwe.iv, jwe.ciphertext)
        });
        assert_ne!(one.0, two.0);
        assert_ne!(one.1, two.1);
    }
}
