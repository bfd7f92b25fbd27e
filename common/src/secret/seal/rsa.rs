//! RSA keys of guests.

use aws_lc_rs::rsa::{
    OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, Pkcs1PublicEncryptingKey, PublicEncryptingKey,
    PublicKeyComponents,
};
use data_encoding::BASE64URL_NOPAD;

use super::{GuestKeyError, Jwk, SealError};

/// A public RSA key of 2048 to 4096 bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RsaKey {
    /// Big-endian, without leading zeros.
    modulus: Vec<u8>,
    /// Big-endian, without leading zeros.
    exponent: Vec<u8>,
}

impl RsaKey {
    /// Shortest modulus: RSA below it is not used any more (NIST SP 800-131A).
    pub const MIN_BITS: usize = 2048;
    /// Longest modulus: what a release costs the broker is bounded by it.
    pub const MAX_BITS: usize = 4096;
    /// Longest public exponent: what aws-lc takes.
    pub const MAX_EXPONENT_BITS: u32 = 33;
    /// The padding of PKCS#1 v1.5 takes this much of the modulus, in bytes (RFC 8017, 7.2.1).
    const PADDING_LEN: usize = 11;

    /// Checks a public key given as big-endian numbers; leading zeros count for nothing.
    pub fn new(modulus: &[u8], exponent: &[u8]) -> Result<Self, GuestKeyError> {
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

    /// The key's public members.
    pub fn jwk(&self) -> Jwk {
        let [e, n] = [&self.exponent, &self.modulus].map(|number| BASE64URL_NOPAD.encode(number));
        Jwk::new([("e", e), ("kty", "RSA".to_owned()), ("n", n)])
    }

    /// Longest secret that RSAES-PKCS1-v1_5 encrypts, in bytes: 245 for 2048 bits.
    pub fn max_secret_len(&self) -> usize {
        self.modulus.len().saturating_sub(Self::PADDING_LEN)
    }

    /// RSAES-PKCS1-v1_5 (RFC 8017, 7.2).
    pub(super) fn encrypt_pkcs1(&self, clear: &[u8]) -> Result<Vec<u8>, SealError> {
        if clear.len() > self.max_secret_len() {
            return Err(SealError::TooLong);
        }
        let key = Pkcs1PublicEncryptingKey::new(self.encrypting()?).map_err(|_| SealError::Key)?;
        let mut sealed = vec![0; key.ciphertext_size()];
        let len = key.encrypt(clear, &mut sealed).map_err(|_| SealError::Key)?.len();
        sealed.truncate(len);
        Ok(sealed)
    }

    /// RSAES-OAEP with SHA-256 and without a label (RFC 8017, 7.1; RFC 7518, 4.3).
    pub(super) fn encrypt_oaep_256(&self, clear: &[u8]) -> Result<Vec<u8>, SealError> {
        let key = OaepPublicEncryptingKey::new(self.encrypting()?).map_err(|_| SealError::Key)?;
        let mut sealed = vec![0; key.ciphertext_size()];
        let encrypted = key.encrypt(&OAEP_SHA256_MGF1SHA256, clear, &mut sealed, None);
        let len = encrypted.map_err(|_| SealError::Key)?.len();
        sealed.truncate(len);
        Ok(sealed)
    }

    fn encrypting(&self) -> Result<PublicEncryptingKey, SealError> {
        let components = PublicKeyComponents { n: self.modulus.as_slice(), e: self.exponent.as_slice() };
        components.try_into().map_err(|_| SealError::Key)
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
    if bits < RsaKey::MIN_BITS {
        return Err(GuestKeyError::ModulusTooShort(bits));
    }
    if bits > RsaKey::MAX_BITS {
        return Err(GuestKeyError::ModulusTooLong(bits));
    }
    if is_odd(modulus) { Ok(()) } else { Err(GuestKeyError::EvenModulus) }
}

fn check_exponent(exponent: &[u8]) -> Result<(), GuestKeyError> {
    if exponent.len() > size_of::<u64>() {
        return Err(GuestKeyError::Exponent);
    }
    let value = exponent.iter().fold(0_u64, |value, &byte| value << 8 | u64::from(byte));
    let in_range = (3..1 << RsaKey::MAX_EXPONENT_BITS).contains(&value);
    if in_range && is_odd(exponent) { Ok(()) } else { Err(GuestKeyError::Exponent) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const F4: &[u8] = &[1, 0, 1];

    /// A number of exactly `bits` bits, odd.
    fn number(bits: usize) -> Vec<u8> {
        let mut number = vec![0xff; bits.div_ceil(8)];
        number[0] >>= number.len() * 8 - bits;
        number
    }

    #[test]
    fn the_modulus_is_measured_in_bits() {
        assert_eq!(RsaKey::new(&[], F4), Err(GuestKeyError::ModulusTooShort(0)));
        assert_eq!(RsaKey::new(&number(2047), F4), Err(GuestKeyError::ModulusTooShort(2047)));
        assert!(RsaKey::new(&number(2048), F4).is_ok());
        assert!(RsaKey::new(&number(4096), F4).is_ok());
        assert_eq!(RsaKey::new(&number(4097), F4), Err(GuestKeyError::ModulusTooLong(4097)));
    }

    #[test]
    fn leading_zeros_count_for_nothing() {
        let padded = |bits| [vec![0; 256], number(bits)].concat();
        assert_eq!(RsaKey::new(&padded(2048), &[0, 0, 0, 0, 0, 0, 1, 0, 1]), RsaKey::new(&number(2048), F4));
        assert_eq!(RsaKey::new(&padded(1024), F4), Err(GuestKeyError::ModulusTooShort(1024)));
    }

    #[test]
    fn an_even_modulus_is_refused() {
        let mut even = number(2048);
        even[255] = 0xfe;
        assert_eq!(RsaKey::new(&even, F4), Err(GuestKeyError::EvenModulus));
    }

    #[test]
    fn the_exponent_is_odd_and_within_bounds() {
        let with = |exponent: &[u8]| RsaKey::new(&number(2048), exponent).map(|_| ());
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

    /// The longest key and the longest exponent that are accepted can be encrypted to, by either padding.
    #[test]
    fn the_library_takes_what_the_checks_take() {
        for (modulus, exponent) in [(2048, 33), (4096, 2), (4096, 33)] {
            let key = RsaKey::new(&number(modulus), &number(exponent)).unwrap();
            assert!(key.encrypt_pkcs1(&[1]).is_ok(), "{modulus} {exponent}");
            assert!(key.encrypt_oaep_256(&[1]).is_ok(), "{modulus} {exponent}");
        }
    }
}
