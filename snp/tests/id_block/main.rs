//! ID blocks: where each field stands, what verifies, and that nothing else does.
//!
//! `tests/id-block` compares them with other implementations.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};
use keybroker_snp::{
    id_block::{
        Certificate, IdBlock, IdBlockError, Part, PublicKey, SecretKey, SignError, SignedIdBlock, Signer,
    },
    report::GuestPolicy,
};
use sha2::{Digest as _, Sha384};

fn key() -> SecretKey {
    SecretKey::generate().unwrap().0
}

fn block() -> IdBlock {
    IdBlock {
        measurement: std::array::from_fn(|index| index as u8),
        family_id: [0xFA; 16],
        image_id: [0x1A; 16],
        guest_svn: 0x0102_0304,
        policy: GuestPolicy::new(0x0003_0137),
    }
}

/// A block, signed by a new key that a new author certified.
fn certified() -> SignedIdBlock {
    let (id_key, author) = (key(), key());
    let certificate = Certificate::sign(&id_key.public_key().unwrap(), &author).unwrap();
    SignedIdBlock::sign(&block(), &id_key, Some(certificate)).unwrap()
}

fn big_endian(bytes: &[u8]) -> Vec<u8> {
    bytes[..48].iter().rev().copied().collect()
}

/// Whether the key at one place of the authentication information signed `message` with the signature at
/// another, read without any code of the library.
fn signed(auth: &[u8], key: usize, message: &[u8], signature: usize) -> bool {
    let pair = |at: usize| [big_endian(&auth[at..]), big_endian(&auth[at + 72..])].concat();
    let point = [vec![4], pair(key + 4)].concat();
    UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point).verify(message, &pair(signature)).is_ok()
}

#[test]
fn each_field_has_its_place() {
    let signed_block = certified();
    let (bytes, auth) = (signed_block.block_bytes(), signed_block.auth_bytes());
    assert_eq!(bytes[..0x30], block().measurement);
    assert_eq!((&bytes[0x30..0x40], &bytes[0x40..0x50]), (&[0xFA; 16][..], &[0x1A; 16][..]));
    assert_eq!(bytes[0x50..], [1, 0, 0, 0, 4, 3, 2, 1, 0x37, 1, 3, 0, 0, 0, 0, 0]);
    assert_eq!(auth[..8], [1, 0, 0, 0, 1, 0, 0, 0]);
    assert!(signed(&auth, 0x240, &bytes, 0x40));
    assert!(signed(&auth, 0x880, &auth[0x240..0x644], 0x680));
    for (key, public) in [(0x240, signed_block.id_key()), (0x880, signed_block.author_key().unwrap())] {
        assert_eq!(auth[key..key + 4], [2, 0, 0, 0]);
        assert_eq!(auth[key..key + 0x404], *public.as_bytes());
        assert_eq!(public.digest(), *Sha384::digest(&auth[key..key + 0x404]));
    }
    for gap in [8..0x40, 0x70..0x88, 0xB8..0x240, 0x644..0x680, 0xC84..0x1000] {
        assert!(auth[gap].iter().all(|byte| *byte == 0));
    }
}

#[test]
fn what_was_signed_verifies_and_reads_the_same() {
    let with_author = certified();
    let alone = SignedIdBlock::sign(&block(), &key(), None).unwrap();
    assert!(alone.author_key().is_none());
    assert!(alone.auth_bytes()[0x680..].iter().all(|byte| *byte == 0));
    for made in [with_author, alone] {
        let read = SignedIdBlock::verify(&made.block_bytes(), &made.auth_bytes()).unwrap();
        assert_eq!((read, *read.block()), (made, block()));
    }
}

/// With any bit of any byte turned, nothing verifies.
#[test]
fn every_byte_counts() {
    let made = certified();
    let (block, auth) = (made.block_bytes(), made.auth_bytes());
    for at in 0..block.len() {
        let mut altered = block;
        altered[at] ^= 1 << (at % 8);
        assert!(SignedIdBlock::verify(&altered, &auth).is_err(), "{at:#x}");
    }
    for at in 0..auth.len() {
        let mut altered = auth;
        altered[at] ^= 1 << (at % 8);
        assert!(SignedIdBlock::verify(&block, &altered).is_err(), "{at:#x}");
    }
}

#[test]
fn each_defect_has_its_error() {
    use IdBlockError::{
        Algorithm, AuthSize, BlockSize, Curve, NotCertified, NotSigned, Point, Reserved, Version,
    };

    let made = certified();
    let (block, auth) = (made.block_bytes(), made.auth_bytes());
    let of_block = |at: usize, byte| {
        let mut altered = block;
        altered[at] = byte;
        SignedIdBlock::verify(&altered, &auth).unwrap_err()
    };
    let of_auth = |at: usize, byte: u8| {
        let mut altered = auth;
        altered[at] = byte;
        SignedIdBlock::verify(&block, &altered).unwrap_err()
    };
    assert_eq!(of_block(0x50, 2), Version(2));
    assert_eq!(of_block(0x54, 5), NotSigned);
    let (id_key, author) = (Signer::IdKey, Signer::AuthorKey);
    assert_eq!(of_auth(0, 2), Algorithm { signer: id_key, algorithm: 2 });
    assert_eq!(of_auth(4, 0), Algorithm { signer: author, algorithm: 0 });
    assert_eq!(of_auth(0x240, 1), Curve { signer: id_key, curve: 1 });
    assert_eq!(of_auth(0x880, 3), Curve { signer: author, curve: 3 });
    for (gap, part) in [
        (0x08, Part::Gap),
        (0x644, Part::Gap),
        (0xC84, Part::Gap),
        (0xFFF, Part::Gap),
        (0x70, Part::Signature(id_key)),
        (0x23F, Part::Signature(id_key)),
        (0x274, Part::Key(id_key)),
        (0x643, Part::Key(id_key)),
        (0x6B0, Part::Signature(author)),
        (0x8B4, Part::Key(author)),
        (0xC83, Part::Key(author)),
    ] {
        assert_eq!(of_auth(gap, 7), Reserved(part), "{gap:#x}");
    }
    assert_eq!(of_auth(0x244, !auth[0x244]), Point(id_key));
    assert_eq!(of_auth(0x884, !auth[0x884]), Point(author));
    assert_eq!(of_auth(0x40, !auth[0x40]), NotSigned);
    assert_eq!(of_auth(0x680, !auth[0x680]), NotCertified);
    let verify = |block: &[u8], auth: &[u8]| SignedIdBlock::verify(block, auth).unwrap_err();
    assert_eq!(verify(&block[1..], &auth), BlockSize(95));
    assert_eq!(verify(&block, &auth[1..]), AuthSize(4095));
    assert_eq!(verify(&block, &[auth.as_slice(), &[0]].concat()), AuthSize(4097));
}

/// The parts of two sound blocks do not fit together.
#[test]
fn parts_of_others_do_not_verify() {
    let (one, other) = (certified(), certified());
    assert_eq!(one.block_bytes(), other.block_bytes());
    let put = |range: std::ops::Range<usize>| {
        let mut mixed = one.auth_bytes();
        mixed[range.clone()].copy_from_slice(&other.auth_bytes()[range]);
        SignedIdBlock::verify(&one.block_bytes(), &mixed)
    };
    assert_eq!(put(0x40..0x240), Err(IdBlockError::NotSigned));
    assert_eq!(put(0x40..0x644), Err(IdBlockError::NotCertified));
    assert_eq!(put(0x680..0xC84), Err(IdBlockError::NotCertified));
    assert_eq!(put(0x40..0xC84), Ok(other));
}

/// A signer who took the wrong certificate is told before anything is launched.
#[test]
fn a_certificate_of_another_key_signs_nothing() {
    let (id_key, other, author) = (key(), key(), key());
    let certificate = Certificate::sign(&other.public_key().unwrap(), &author).unwrap();
    let refused = SignedIdBlock::sign(&block(), &id_key, Some(certificate));
    assert_eq!(refused, Err(SignError::Unverified(IdBlockError::NotCertified)));
    assert!(SignedIdBlock::sign(&block(), &other, Some(certificate)).is_ok());
    let bytes = certificate.to_bytes();
    assert_eq!(Certificate::parse(&bytes), Ok(certificate));
    assert_eq!(Certificate::parse(&bytes[1..]), Err(IdBlockError::CertificateSize(1539)));
    assert_eq!(certificate.author_key(), &author.public_key().unwrap());
}

/// Without an author, AUTHOR_KEY_ALGO says nothing: some tools write zero there.
#[test]
fn no_author_has_any_algorithm() {
    let made = SignedIdBlock::sign(&block(), &key(), None).unwrap();
    let mut auth = made.auth_bytes();
    auth[4] = 0;
    assert!(SignedIdBlock::verify(&made.block_bytes(), &auth).is_ok());
    auth[4] = 2;
    let algorithm = IdBlockError::Algorithm { signer: Signer::AuthorKey, algorithm: 2 };
    assert_eq!(SignedIdBlock::verify(&made.block_bytes(), &auth), Err(algorithm));
}

#[test]
fn keys_survive_their_files() {
    let (key, document) = SecretKey::generate().unwrap();
    let public = key.public_key().unwrap();
    assert_eq!(SecretKey::from_der(document.as_ref()).unwrap().public_key(), Ok(public));
    let spki = public.to_spki();
    assert_eq!(PublicKey::from_spki(&spki), Some(public));
    let mut off_the_curve = spki.clone();
    off_the_curve[119] ^= 1;
    let mut p256 = spki.clone();
    p256[18] = 0x23;
    let trailing = [spki.as_slice(), &[0]].concat();
    for wrong in [&spki[1..], &spki[..119], &off_the_curve, &p256, &trailing, &[], document.as_ref()] {
        assert_eq!(PublicKey::from_spki(wrong), None);
        assert!(wrong == document.as_ref() || SecretKey::from_der(wrong).is_none());
    }
    assert_eq!(format!("{key:?} {public:?}"), "SecretKey(..) PublicKey(..)");
}
