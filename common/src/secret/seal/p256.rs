//! A guest's key on P-256: ECDH-ES+A256KW (RFC 7518, 4.6).

use aws_lc_rs::{
    agreement::{ECDH_P256, EphemeralPrivateKey, ParsedPublicKey, UnparsedPublicKey, agree_ephemeral},
    kdf::{SskdfDigestAlgorithmId, get_sskdf_digest_algorithm, sskdf_digest},
    key_wrap::{AES_256, AesKek, KeyWrap as _},
    rand::SystemRandom,
};
use data_encoding::BASE64URL_NOPAD;
use zeroize::Zeroizing;

use super::{GuestKeyError, Jwk, SealError};

/// A point of P-256, other than the one at infinity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct P256Key {
    x: [u8; Self::COORDINATE_LEN],
    y: [u8; Self::COORDINATE_LEN],
}

impl P256Key {
    /// The algorithm's name, which the key that it derives depends on as well.
    pub(super) const ALG: &'static str = "ECDH-ES+A256KW";
    const COORDINATE_LEN: usize = 32;
    /// The first byte of a point without compression (SEC 1, 2.3.3).
    const UNCOMPRESSED: u8 = 4;

    /// Checks a point given by its coordinates, big-endian, with leading zeros.
    pub fn new(x: &[u8], y: &[u8]) -> Result<Self, GuestKeyError> {
        let [x, y] = [x, y].map(|coordinate| coordinate.try_into().map_err(|_| GuestKeyError::Point));
        let key = Self { x: x?, y: y? };
        let parsed = ParsedPublicKey::try_from(key.unparsed());
        parsed.map(|_| key).map_err(|_| GuestKeyError::Point)
    }

    /// The coordinate x, with leading zeros.
    pub fn x(&self) -> &[u8] {
        &self.x
    }

    /// The coordinate y, with leading zeros.
    pub fn y(&self) -> &[u8] {
        &self.y
    }

    /// The key's public members.
    pub fn jwk(&self) -> Jwk {
        let [x, y] = [self.x, self.y].map(|coordinate| BASE64URL_NOPAD.encode(&coordinate));
        Jwk::new([("crv", "P-256".to_owned()), ("kty", "EC".to_owned()), ("x", x), ("y", y)])
    }

    /// Encrypts `content_key` under a key that this key's owner agrees on with a fresh one, which is returned
    /// as well.
    pub(super) fn wrap(&self, content_key: &[u8]) -> Result<(Self, Vec<u8>), SealError> {
        let fresh = EphemeralPrivateKey::generate(&ECDH_P256, &SystemRandom::new());
        let fresh = fresh.map_err(|_| SealError::Key)?;
        let public = fresh.compute_public_key().map_err(|_| SealError::Key)?;
        let public = Self::from_uncompressed(public.as_ref()).ok_or(SealError::Key)?;
        agree_ephemeral(fresh, self.unparsed(), SealError::Key, |shared| {
            let key = concat_kdf(shared, Self::ALG.as_bytes(), [b"", b""])?;
            Ok((public, key_wrap(&key, content_key)?))
        })
    }

    fn unparsed(&self) -> UnparsedPublicKey<Vec<u8>> {
        UnparsedPublicKey::new(&ECDH_P256, [&[Self::UNCOMPRESSED], self.x(), self.y()].concat())
    }

    fn from_uncompressed(point: &[u8]) -> Option<Self> {
        let (form, coordinates) = point.split_first()?;
        let (x, y) = coordinates.split_at_checked(Self::COORDINATE_LEN)?;
        (*form == Self::UNCOMPRESSED).then_some(())?;
        Some(Self { x: x.try_into().ok()?, y: y.try_into().ok()? })
    }
}

/// The Concat KDF (RFC 7518, 4.6.2): a key of `N` bytes for `algorithm`, of a shared secret and what is said
/// of the `parties`.
fn concat_kdf<const N: usize>(
    shared: &[u8],
    algorithm: &[u8],
    parties: [&[u8]; 2],
) -> Result<Zeroizing<[u8; N]>, SealError> {
    let number = |number: usize| u32::try_from(number).map(u32::to_be_bytes).map_err(|_| SealError::Key);
    let mut info = Vec::new();
    for part in [algorithm].into_iter().chain(parties) {
        info.extend(number(part.len())?);
        info.extend(part);
    }
    info.extend(number(N * 8)?);

    let hash = get_sskdf_digest_algorithm(SskdfDigestAlgorithmId::Sha256).ok_or(SealError::Key)?;
    let mut key = Zeroizing::new([0; N]);
    sskdf_digest(hash, shared, &info, key.as_mut_slice()).map_err(|_| SealError::Key)?;
    Ok(key)
}

/// AES key wrap (RFC 3394) under a key of 256 bits.
fn key_wrap(key: &[u8; 32], content_key: &[u8]) -> Result<Vec<u8>, SealError> {
    let mut wrapped = vec![0; content_key.len() + 8];
    let key = AesKek::new(&AES_256, key).map_err(|_| SealError::Key)?;
    let len = key.wrap(content_key, &mut wrapped).map_err(|_| SealError::Key)?.len();
    wrapped.truncate(len);
    Ok(wrapped)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::agreement::{PrivateKey, agree};

    use super::*;

    fn base64url<const N: usize>(text: &str) -> [u8; N] {
        BASE64URL_NOPAD.decode(text.as_bytes()).unwrap().try_into().unwrap()
    }

    fn hex(text: &str) -> Vec<u8> {
        data_encoding::HEXLOWER_PERMISSIVE.decode(text.as_bytes()).unwrap()
    }

    /// Bob's key of RFC 7518, appendix C.
    const BOB: [&str; 2] =
        ["weNJy2HscCSM6AEDTDg04biOvhFhyyWvOHQfeF_PxMQ", "e8lnCO-AlStT-NJVX-crhB7QRYhiix03illJOVAOyck"];

    /// RFC 7518, appendix C: what Alice derives of her own key and Bob's.
    #[test]
    fn a_derived_key_is_that_of_rfc_7518() {
        let [x, y] = BOB.map(base64url::<32>);
        let alice = base64url::<32>("0_NxaRPUMQoAJt50Gz8YiTr8gRTwyEaCumd-MToTmIo");
        let alice = PrivateKey::from_private_key(&ECDH_P256, &alice).unwrap();
        let bob = P256Key::new(&x, &y).unwrap();
        let derived = agree(&alice, bob.unparsed(), SealError::Key, |shared| {
            concat_kdf::<16>(shared, b"A128GCM", [b"Alice", b"Bob"])
        });
        assert_eq!(*derived.unwrap(), base64url::<16>("VqqN6vgjbSBcIijNcacQGg"));
    }

    /// RFC 3394, 4.6.
    #[test]
    fn a_wrapped_key_is_that_of_rfc_3394() {
        let key = hex("000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F");
        let content_key = hex("00112233445566778899AABBCCDDEEFF000102030405060708090A0B0C0D0E0F");
        let wrapped = key_wrap(&key.try_into().unwrap(), &content_key).unwrap();
        let expected = "28C9F404C4B810F4CBCCB35CFB87F8263F5786E2D80ED326CBC7F0E71A99F43BFB988B9B7A02DD21";
        assert_eq!(wrapped, hex(expected));
    }

    #[test]
    fn coordinates_are_those_of_a_point() {
        let [x, y] = BOB.map(base64url::<32>);
        let refused = Err(GuestKeyError::Point);
        assert!(P256Key::new(&x, &y).is_ok());
        assert_eq!(P256Key::new(&y, &x), refused);
        assert_eq!(P256Key::new(&[0; 32], &[0; 32]), refused);
        assert_eq!(P256Key::new(&x[..31], &y), refused);
        assert_eq!(P256Key::new(&x, &[&[0], y.as_slice()].concat()), refused);
        assert_eq!(P256Key::new(&[], &[]), refused);
        for byte in 0..32 {
            let mut other = x;
            other[byte] ^= 1;
            assert_eq!(P256Key::new(&other, &y), refused, "{byte}");
        }
    }

    /// The curve has a point with x = 5, and its field no number p + 5.
    #[test]
    fn a_coordinate_is_a_number_of_the_field() {
        let y = hex("459243b9aa581806fe913bce99817ade11ca503c64d9a3c533415c083248fbcc");
        let small = [&[0; 31], [5].as_slice()].concat();
        assert!(P256Key::new(&small, &y).is_ok());
        let beyond = hex("ffffffff00000001000000000000000000000001000000000000000000000004");
        assert_eq!(P256Key::new(&beyond, &y), Err(GuestKeyError::Point));
    }

    /// guest-components 0.12 to 0.15 put the digit 0 behind a coordinate that is short, not zeros before it.
    #[test]
    fn a_coordinate_with_broken_padding_is_no_points() {
        let padded = |y: &[u8]| [[0].as_slice(), y].concat();
        let broken = |y: &[u8]| [y, b"0"].concat();
        let mut seen = 0;
        while seen < 3 {
            let private = PrivateKey::generate(&ECDH_P256).unwrap();
            let key = P256Key::from_uncompressed(private.compute_public_key().unwrap().as_ref()).unwrap();
            let Some(y) = key.y().strip_prefix(&[0]) else { continue };
            seen += 1;
            assert_eq!(P256Key::new(key.x(), &padded(y)), Ok(key.clone()));
            assert_eq!(P256Key::new(key.x(), y), Err(GuestKeyError::Point));
            assert_eq!(P256Key::new(key.x(), &broken(y)), Err(GuestKeyError::Point));
        }
    }

    #[test]
    fn every_wrap_has_a_key_of_its_own() {
        let [x, y] = BOB.map(base64url::<32>);
        let bob = P256Key::new(&x, &y).unwrap();
        let (one, wrapped) = bob.wrap(&[7; 32]).unwrap();
        let (other, again) = bob.wrap(&[7; 32]).unwrap();
        assert_ne!(one, other);
        assert_ne!(wrapped, again);
        assert_eq!(wrapped.len(), 40);
    }
}
