//! Sealing a secret to a guest's key.

mod jwe;

use aws_lc_rs::rsa::{Pkcs1PublicEncryptingKey, PublicEncryptingKey, PublicKeyComponents};
use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use jwe::Jwe;

use super::Secret;

/// A secret of any length, sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sealed {
    /// By RSAES-PKCS1-v1_5, where the key is long enough for the secret.
    Pkcs1(Vec<u8>),
    /// By a key of its own, which is encrypted to the guest's.
    Jwe(Jwe),
}

/// A guest's public RSA key, of 2048 to 4096 bits.
///
/// The type says only that the key is fit to encrypt to: attestation establishes that the guest's evidence is
/// bound to it. The key is checked again whenever a row is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Components")]
pub struct GuestKey {
    /// Big-endian, without leading zeros.
    #[serde(with = "crate::encoding::base64_bytes")]
    modulus: Vec<u8>,
    /// Big-endian, without leading zeros.
    #[serde(with = "crate::encoding::base64_bytes")]
    exponent: Vec<u8>,
}

/// Why a public key is not one that secrets are sealed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GuestKeyError {
    /// Fewer than [`GuestKey::MIN_BITS`] bits.
    #[error("the modulus has {0} bits, fewer than 2048")]
    ModulusTooShort(usize),
    /// More than [`GuestKey::MAX_BITS`] bits.
    #[error("the modulus has {0} bits, more than 4096")]
    ModulusTooLong(usize),
    /// No product of two large primes is even.
    #[error("the modulus is even")]
    EvenModulus,
    /// Even, 1, 0, or of more than [`GuestKey::MAX_EXPONENT_BITS`] bits.
    #[error("the public exponent is not odd, or not within 3 and 2^33")]
    Exponent,
}

/// Why a secret could not be sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The secret is longer than [`GuestKey::max_secret_len`].
    #[error("the secret is too long for the guest's key")]
    TooLong,
    /// The cryptographic library refused the key, or failed.
    #[error("the guest's key cannot be encrypted to")]
    Key,
}

impl GuestKey {
    /// Shortest modulus: RSA below it is not used any more (NIST SP 800-131A).
    pub const MIN_BITS: usize = 2048;
    /// Longest modulus: what a release costs the broker is bounded by it.
    pub const MAX_BITS: usize = 4096;
    /// Longest public exponent: what aws-lc takes.
    pub const MAX_EXPONENT_BITS: u32 = 33;
    /// The padding of PKCS#1 v1.5 takes this much of the modulus, in bytes (RFC 8017, 7.2.1).
    const PADDING_LEN: usize = 11;

    /// Checks a public key given as big-endian numbers; leading zeros count for nothing.
    pub fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<Self, GuestKeyError> {
        let (modulus, exponent) = (without_leading_zeros(modulus), without_leading_zeros(exponent));
        check_modulus(modulus)?;
        check_exponent(exponent)?;
        Ok(Self { modulus: modulus.to_vec(), exponent: exponent.to_vec() })
    }

    /// The modulus, big-endian, without leading zeros.
    pub fn modulus(&self) -> &[u8] {
        &self.modulus
    }

    /// The public exponent, big-endian, without leading zeros.
    pub fn exponent(&self) -> &[u8] {
        &self.exponent
    }

    /// The key's JWK thumbprint (RFC 7638, SHA-256).
    pub fn thumbprint(&self) -> [u8; 32] {
        let [e, n] = [&self.exponent, &self.modulus].map(|number| BASE64URL_NOPAD.encode(number));
        Sha256::digest(format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#)).into()
    }

    /// Longest secret that [`Self::seal_pkcs1`] takes, in bytes: 245 for 2048 bits.
    pub fn max_secret_len(&self) -> usize {
        self.modulus.len().saturating_sub(Self::PADDING_LEN)
    }

    /// Encrypts `secret` by RSAES-PKCS1-v1_5 (RFC 8017, 7.2): as many bytes as the modulus has.
    ///
    /// The client prescribes the padding. Its weakness is the decrypting side that tells good padding from
    /// bad (Bleichenbacher); the broker never decrypts, and a guest decrypts one answer with a key that it
    /// made for it.
    pub fn seal_pkcs1(&self, secret: &Secret) -> Result<Vec<u8>, SealError> {
        if secret.expose().len() > self.max_secret_len() {
            return Err(SealError::TooLong);
        }
        let key = Pkcs1PublicEncryptingKey::new(self.encrypting()?).map_err(|_| SealError::Key)?;
        let mut sealed = vec![0; key.ciphertext_size()];
        let len = key.encrypt(secret.expose(), &mut sealed).map_err(|_| SealError::Key)?.len();
        sealed.truncate(len);
        Ok(sealed)
    }

    /// Encrypts `secret` as [`Self::seal_pkcs1`] does where that can be, and by [`Jwe`] where it is too long.
    pub fn seal(&self, secret: &Secret) -> Result<Sealed, SealError> {
        if secret.expose().len() <= self.max_secret_len() {
            self.seal_pkcs1(secret).map(Sealed::Pkcs1)
        } else {
            Jwe::seal(self.encrypting()?, secret).map(Sealed::Jwe)
        }
    }

    fn encrypting(&self) -> Result<PublicEncryptingKey, SealError> {
        let components = PublicKeyComponents { n: self.modulus.as_slice(), e: self.exponent.as_slice() };
        components.try_into().map_err(|_| SealError::Key)
    }
}

/// A key as it stands in a row, not yet checked.
#[derive(Deserialize)]
struct Components {
    #[serde(with = "crate::encoding::base64_bytes")]
    modulus: Vec<u8>,
    #[serde(with = "crate::encoding::base64_bytes")]
    exponent: Vec<u8>,
}

impl TryFrom<Components> for GuestKey {
    type Error = GuestKeyError;

    fn try_from(stored: Components) -> Result<Self, Self::Error> {
        Self::rsa(&stored.modulus, &stored.exponent)
    }
}

fn without_leading_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|&&byte| byte == 0).count();
    number.split_at(zeros).1
}

fn is_odd(number: &[u8]) -> bool {
    number.last().is_some_and(|byte| byte & 1 == 1)
}

fn check_modulus(modulus: &[u8]) -> Result<(), GuestKeyError> {
    let unused = modulus.first().map_or(0, |byte| byte.leading_zeros() as usize);
    let bits = modulus.len() * 8 - unused;
    if bits < GuestKey::MIN_BITS {
        return Err(GuestKeyError::ModulusTooShort(bits));
    }
    if bits > GuestKey::MAX_BITS {
        return Err(GuestKeyError::ModulusTooLong(bits));
    }
    if is_odd(modulus) { Ok(()) } else { Err(GuestKeyError::EvenModulus) }
}

fn check_exponent(exponent: &[u8]) -> Result<(), GuestKeyError> {
    if exponent.len() > size_of::<u64>() {
        return Err(GuestKeyError::Exponent);
    }
    let value = exponent.iter().fold(0_u64, |value, &byte| value << 8 | u64::from(byte));
    let in_range = (3..1 << GuestKey::MAX_EXPONENT_BITS).contains(&value);
    if in_range && is_odd(exponent) { Ok(()) } else { Err(GuestKeyError::Exponent) }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::{
        encoding::AsDer as _,
        rsa::{KeySize, Pkcs1PrivateDecryptingKey, PrivateDecryptingKey},
    };
    use x509_parser::{prelude::FromDer as _, public_key::PublicKey, x509::SubjectPublicKeyInfo};

    use super::*;

    const F4: &[u8] = &[1, 0, 1];

    /// A key that only its owner can open, and its public half as a guest would send it.
    fn generated(size: KeySize) -> (Pkcs1PrivateDecryptingKey, GuestKey) {
        let private = PrivateDecryptingKey::generate(size).unwrap();
        let der = private.public_key().as_der().unwrap();
        let (_, info) = SubjectPublicKeyInfo::from_der(der.as_ref()).unwrap();
        let PublicKey::RSA(public) = info.parsed().unwrap() else { panic!("an RSA key") };
        let guest = GuestKey::rsa(public.modulus, public.exponent).unwrap();
        (Pkcs1PrivateDecryptingKey::new(private).unwrap(), guest)
    }

    fn open(key: &Pkcs1PrivateDecryptingKey, sealed: &[u8]) -> Vec<u8> {
        let mut clear = vec![0; key.min_output_size()];
        key.decrypt(sealed, &mut clear).unwrap().to_vec()
    }

    /// The example of RFC 7638, 3.1.
    #[test]
    fn a_thumbprint_is_that_of_rfc_7638() {
        let modulus = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n\
                       3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu\
                       6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awap\
                       JzKnqDKgw";
        let modulus = BASE64URL_NOPAD.decode(modulus.as_bytes()).unwrap();
        let thumbprint = GuestKey::rsa(&modulus, F4).unwrap().thumbprint();
        assert_eq!(BASE64URL_NOPAD.encode(&thumbprint), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    }

    /// A number of exactly `bits` bits, odd.
    fn number(bits: usize) -> Vec<u8> {
        let mut number = vec![0xff; bits.div_ceil(8)];
        number[0] >>= number.len() * 8 - bits;
        number
    }

    #[test]
    fn a_sealed_secret_opens_for_its_guest_alone() {
        for (size, longest) in [(KeySize::Rsa2048, 245), (KeySize::Rsa3072, 373), (KeySize::Rsa4096, 501)] {
            let (private, guest) = generated(size);
            assert_eq!(guest.max_secret_len(), longest);
            for len in [0, 1, 64, longest] {
                let secret = Secret::new(vec![b's'; len]);
                let sealed = guest.seal_pkcs1(&secret).unwrap();
                assert_eq!(sealed.len(), longest + 11);
                assert_eq!(open(&private, &sealed), secret.expose());
            }
            let too_long = Secret::new(vec![b's'; longest + 1]);
            assert_eq!(guest.seal_pkcs1(&too_long), Err(SealError::TooLong));
        }
    }

    #[test]
    fn a_secret_too_long_for_pkcs1_is_a_jwe() {
        let (_, guest) = generated(KeySize::Rsa2048);
        let sealed = |len| guest.seal(&Secret::new(vec![b's'; len])).unwrap();
        assert!(matches!(sealed(245), Sealed::Pkcs1(ciphertext) if ciphertext.len() == 256));
        assert!(matches!(sealed(246), Sealed::Jwe(_)));
    }

    #[test]
    fn sealing_twice_differs() {
        let (_, guest) = generated(KeySize::Rsa2048);
        let secret = Secret::new(b"passphrase".to_vec());
        assert_ne!(guest.seal_pkcs1(&secret).unwrap(), guest.seal_pkcs1(&secret).unwrap());
    }

    #[test]
    fn the_modulus_is_measured_in_bits() {
        assert_eq!(GuestKey::rsa(&[], F4), Err(GuestKeyError::ModulusTooShort(0)));
        assert_eq!(GuestKey::rsa(&number(2047), F4), Err(GuestKeyError::ModulusTooShort(2047)));
        assert!(GuestKey::rsa(&number(2048), F4).is_ok());
        assert!(GuestKey::rsa(&number(4096), F4).is_ok());
        assert_eq!(GuestKey::rsa(&number(4097), F4), Err(GuestKeyError::ModulusTooLong(4097)));
    }

    #[test]
    fn leading_zeros_count_for_nothing() {
        let padded = |bits| [vec![0; 256], number(bits)].concat();
        assert_eq!(
            GuestKey::rsa(&padded(2048), &[0, 0, 0, 0, 0, 0, 1, 0, 1]),
            GuestKey::rsa(&number(2048), F4)
        );
        assert_eq!(GuestKey::rsa(&padded(1024), F4), Err(GuestKeyError::ModulusTooShort(1024)));
    }

    #[test]
    fn an_even_modulus_is_refused() {
        let mut even = number(2048);
        even[255] = 0xfe;
        assert_eq!(GuestKey::rsa(&even, F4), Err(GuestKeyError::EvenModulus));
    }

    #[test]
    fn the_exponent_is_odd_and_within_bounds() {
        let with = |exponent: &[u8]| GuestKey::rsa(&number(2048), exponent).map(|_| ());
        let refused = Err(GuestKeyError::Exponent);
        assert_eq!(with(&[]), refused);
        assert_eq!(with(&[0]), refused);
        assert_eq!(with(&[1]), refused);
        assert_eq!(with(&[2]), refused);
        assert_eq!(with(&[3]), Ok(()));
        assert_eq!(with(&[1, 0, 0]), refused);
        assert_eq!(with(&number(33)), Ok(()));
        assert_eq!(with(&[2, 0, 0, 0, 1]), refused);
        assert_eq!(with(&[1, 0, 0, 0, 0, 0, 0, 0, 3]), refused);
    }

    /// The longest key and the longest exponent that are accepted can be encrypted to.
    #[test]
    fn the_library_takes_what_the_checks_take() {
        for (modulus, exponent) in [(2048, 33), (4096, 2), (4096, 33)] {
            let key = GuestKey::rsa(&number(modulus), &number(exponent)).unwrap();
            assert!(key.seal_pkcs1(&Secret::new(vec![1])).is_ok(), "{modulus} {exponent}");
        }
    }

    #[test]
    fn a_stored_key_is_checked_again() {
        let key = GuestKey::rsa(&number(2048), F4).unwrap();
        let stored = serde_json::to_string(&key).unwrap();
        assert_eq!(serde_json::from_str::<GuestKey>(&stored).unwrap(), key);
        let weak = stored.replace("AQAB", "AQ==");
        let error = serde_json::from_str::<GuestKey>(&weak).unwrap_err();
        assert!(error.to_string().contains(&GuestKeyError::Exponent.to_string()), "{error}");
    }
}
