//! Keys that sign ID blocks and certify each other, in the firmware's form and in the files' forms.

use std::fmt;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{
        ECDSA_P384_SHA384_FIXED, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
        ParsedPublicKey, UnparsedPublicKey,
    },
};
use sha2::{Digest as _, Sha384};

use super::{IdBlockError, Part, Signer, fields};

/// A number of P-384, in bytes.
const SCALAR_LEN: usize = 48;
/// The field that the firmware gives such a number. The number is little-endian, zeros follow it.
const FIELD_LEN: usize = 72;
/// P-384 in the firmware's table of curves.
const P384: u32 = 2;

/// An uncompressed point: a 4, then both coordinates, big-endian.
const POINT_LEN: usize = 1 + 2 * SCALAR_LEN;
/// The bytes in front of the point in a SubjectPublicKeyInfo of P-384 (RFC 5480).
const SPKI_PREFIX: [u8; 23] = [
    0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01, 0x06, 0x05, 0x2B, 0x81,
    0x04, 0x00, 0x22, 0x03, 0x62, 0x00,
];

/// The public half of an ID key or author key, a point on P-384, in the firmware's structure.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey([u8; PublicKey::SIZE]);

impl PublicKey {
    /// Size of the structure, in bytes.
    pub const SIZE: usize = 0x404;

    /// Reads the structure. It must be P-384, have zeros wherever the ABI has them, and be a point on the
    /// curve.
    pub(super) fn parse(bytes: [u8; Self::SIZE], signer: Signer) -> Result<Self, IdBlockError> {
        let curve = u32::from_le_bytes(fields::read::<0, _, _>(&bytes));
        if curve != P384 {
            return Err(IdBlockError::Curve { signer, curve });
        }
        let (numbers, reserved) =
            (fields::read::<4, { 2 * FIELD_LEN }, _>(&bytes), bytes.iter().skip(4 + 2 * FIELD_LEN));
        let key = Self(bytes);
        let padded = padding(&numbers).chain(reserved).any(|byte| *byte != 0);
        if padded {
            return Err(IdBlockError::Reserved(Part::Key(signer)));
        }
        match ParsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, key.point()) {
            Ok(_) => Ok(key),
            Err(_) => Err(IdBlockError::Point(signer)),
        }
    }

    /// The key in a SubjectPublicKeyInfo, which is what `openssl ec -pubout` writes. `None` if it is not one
    /// of P-384 with an uncompressed point.
    pub fn from_spki(der: &[u8]) -> Option<Self> {
        Self::from_point(der.strip_prefix(SPKI_PREFIX.as_slice())?)
    }

    fn from_point(point: &[u8]) -> Option<Self> {
        let [4, coordinates @ ..] = point else { return None };
        let coordinates: [u8; 2 * SCALAR_LEN] = coordinates.try_into().ok()?;
        ParsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point).ok()?;
        let mut bytes = [0; Self::SIZE];
        fields::write::<0, _, _>(&mut bytes, P384.to_le_bytes());
        fields::write::<4, _, _>(&mut bytes, to_fields(&coordinates));
        Some(Self(bytes))
    }

    /// The key in a SubjectPublicKeyInfo.
    pub fn to_spki(&self) -> Vec<u8> {
        [SPKI_PREFIX.as_slice(), &self.point()].concat()
    }

    /// The structure, as it stands in the ID authentication information.
    pub fn as_bytes(&self) -> &[u8; Self::SIZE] {
        &self.0
    }

    /// SHA-384 of the structure: ID_KEY_DIGEST or AUTHOR_KEY_DIGEST in reports.
    pub fn digest(&self) -> [u8; 48] {
        Sha384::digest(self.0).into()
    }

    fn point(&self) -> [u8; POINT_LEN] {
        let mut point = [4; POINT_LEN];
        fields::write::<1, _, _>(&mut point, from_fields(&fields::read::<4, _, _>(&self.0)));
        point
    }

    /// Whether the key made `signature` over `message`.
    pub(super) fn verifies(&self, message: &[u8], signature: &Signature) -> bool {
        let numbers = from_fields(&fields::read::<0, _, _>(&signature.0));
        UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, self.point()).verify(message, &numbers).is_ok()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PublicKey").finish_non_exhaustive()
    }
}

/// An ECDSA signature in the firmware's structure.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Signature(pub(super) [u8; Signature::SIZE]);

impl Signature {
    pub(super) const SIZE: usize = 0x200;

    /// Reads the structure, which must have zeros wherever the ABI has them.
    pub(super) fn parse(bytes: [u8; Self::SIZE], signer: Signer) -> Result<Self, IdBlockError> {
        let numbers = fields::read::<0, { 2 * FIELD_LEN }, _>(&bytes);
        let padded = padding(&numbers).chain(bytes.iter().skip(2 * FIELD_LEN)).any(|byte| *byte != 0);
        if padded { Err(IdBlockError::Reserved(Part::Signature(signer))) } else { Ok(Self(bytes)) }
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Signature").finish_non_exhaustive()
    }
}

/// An ID key or author key, with its secret half.
pub struct SecretKey(EcdsaKeyPair);

/// aws-lc could not make or use a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cryptography library failed")]
pub struct CryptoError;

impl SecretKey {
    /// Draws a key, and writes it as PKCS#8.
    pub fn generate() -> Result<(Self, aws_lc_rs::pkcs8::Document), CryptoError> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).map_err(|_| CryptoError)?;
        let document = pair.to_pkcs8v1().map_err(|_| CryptoError)?;
        Ok((Self(pair), document))
    }

    /// Reads a key of P-384 in DER: PKCS#8, or as RFC 5915 writes it. `None` if it is no such key.
    pub fn from_der(der: &[u8]) -> Option<Self> {
        EcdsaKeyPair::from_private_key_der(&ECDSA_P384_SHA384_FIXED_SIGNING, der).ok().map(Self)
    }

    /// The public half.
    pub fn public_key(&self) -> Result<PublicKey, CryptoError> {
        PublicKey::from_point(self.0.public_key().as_ref()).ok_or(CryptoError)
    }

    pub(super) fn sign(&self, message: &[u8]) -> Result<Signature, CryptoError> {
        let signed = self.0.sign(&SystemRandom::new(), message).map_err(|_| CryptoError)?;
        let numbers: [u8; 2 * SCALAR_LEN] = signed.as_ref().try_into().map_err(|_| CryptoError)?;
        let mut signature = [0; Signature::SIZE];
        fields::write::<0, _, _>(&mut signature, to_fields(&numbers));
        Ok(Signature(signature))
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SecretKey").finish_non_exhaustive()
    }
}

/// Two big-endian numbers as the firmware has them.
fn to_fields(numbers: &[u8; 2 * SCALAR_LEN]) -> [u8; 2 * FIELD_LEN] {
    let mut wide = [0; 2 * FIELD_LEN];
    for (field, number) in wide.chunks_mut(FIELD_LEN).zip(numbers.chunks(SCALAR_LEN)) {
        field.iter_mut().zip(number.iter().rev()).for_each(|(to, from)| *to = *from);
    }
    wide
}

/// Two numbers of the firmware's, big-endian.
fn from_fields(wide: &[u8; 2 * FIELD_LEN]) -> [u8; 2 * SCALAR_LEN] {
    let mut numbers = [0; 2 * SCALAR_LEN];
    for (number, field) in numbers.chunks_mut(SCALAR_LEN).zip(wide.chunks(FIELD_LEN)) {
        number.iter_mut().rev().zip(field).for_each(|(to, from)| *to = *from);
    }
    numbers
}

/// The bytes behind each of two numbers.
fn padding(wide: &[u8; 2 * FIELD_LEN]) -> impl Iterator<Item = &u8> {
    wide.chunks(FIELD_LEN).flat_map(|field| field.iter().skip(SCALAR_LEN))
}
