//! ID blocks of the broker's library beside those that the `sev` crate makes of the same keys. Signatures are
//! drawn anew each time: every other byte must be the same, and each side's signatures must hold for the
//! other.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::{fs, path::PathBuf};

use keybroker_snp::{
    id_block::{Certificate, IdBlock, IdBlockError, PublicKey, SecretKey, SignedIdBlock},
    report::GuestPolicy,
};
use openssl::{
    bn::BigNum,
    ec::{EcGroup, EcKey},
    ecdsa::EcdsaSig,
    nid::Nid,
    pkey::{PKey, Private},
    sha::sha384,
};
use sev::{
    measurement::{
        idblock::{generate_key_digest, snp_calculate_id},
        idblock_types::FamilyId,
        snp::SnpLaunchDigest,
    },
    parser::ByteParser,
};
use tempfile::TempDir;

/// A key as OpenSSL makes it.
struct Key {
    key: EcKey<Private>,
    /// Its file, for sev.
    file: PathBuf,
}

impl Key {
    fn new(directory: &TempDir, name: &str, pkcs8: bool) -> Self {
        let group = EcGroup::from_curve_name(Nid::SECP384R1).unwrap();
        let key = EcKey::generate(&group).unwrap();
        let file = directory.path().join(name);
        let pkey = PKey::from_ec_key(key.clone()).unwrap();
        let pem = if pkcs8 { pkey.private_key_to_pem_pkcs8() } else { key.private_key_to_pem() };
        fs::write(&file, pem.unwrap()).unwrap();
        Self { key, file }
    }

    /// The same, as the library reads it: in both forms of DER.
    fn ours(&self) -> SecretKey {
        let pkey = PKey::from_ec_key(self.key.clone()).unwrap();
        let ours = SecretKey::from_der(&pkey.private_key_to_pkcs8().unwrap()).unwrap();
        let rfc5915 = SecretKey::from_der(&self.key.private_key_to_der().unwrap()).unwrap();
        let public = PublicKey::from_spki(&self.key.public_key_to_der().unwrap()).unwrap();
        assert_eq!((ours.public_key().unwrap(), rfc5915.public_key().unwrap()), (public, public));
        ours
    }

    /// Whether OpenSSL holds the firmware's form of a signature for this key's.
    fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let number = |bytes: &[u8]| {
            let big_endian: Vec<u8> = bytes[..72].iter().rev().copied().collect();
            BigNum::from_slice(&big_endian).unwrap()
        };
        let signature =
            EcdsaSig::from_private_components(number(signature), number(&signature[72..])).unwrap();
        signature.verify(&sha384(message), &self.key).unwrap()
    }
}

/// The bytes of the authentication information that no signature's numbers take.
fn fixed(auth: &[u8]) -> Vec<u8> {
    let mut auth = auth.to_vec();
    auth[0x40..0xD0].fill(0);
    auth[0x680..0x710].fill(0);
    auth
}

#[test]
fn both_make_the_same_blocks_and_hold_each_others_signatures() {
    let directory = TempDir::new().unwrap();
    // A coordinate or number that begins with zeros has another length in DER: many keys meet some.
    for round in 0..32_u8 {
        let id_key = Key::new(&directory, &format!("id-{round}"), round % 2 == 0);
        let author = Key::new(&directory, &format!("author-{round}"), round % 3 == 0);
        let (measurement, family_id, image_id) = ([round; 48], [0xFA; 16], [0x1A ^ round; 16]);
        let (guest_svn, policy) = (u32::from(round) << 16 | 7, 0x3_0000 | u64::from(round));

        let theirs = snp_calculate_id(
            Some(SnpLaunchDigest::new(measurement)),
            Some(FamilyId::new(family_id)),
            Some(FamilyId::new(image_id)),
            Some(guest_svn),
            Some(sev::firmware::guest::GuestPolicy(policy)),
            id_key.file.clone(),
            author.file.clone(),
        )
        .unwrap();
        let (their_block, their_auth) =
            (theirs.id_block.to_bytes().unwrap().to_vec(), theirs.id_auth.to_bytes().unwrap().to_vec());

        let block = IdBlock { measurement, family_id, image_id, guest_svn, policy: GuestPolicy::new(policy) };
        let secret = id_key.ours();
        let certificate = Certificate::sign(&secret.public_key().unwrap(), &author.ours()).unwrap();
        let ours = SignedIdBlock::sign(&block, &secret, Some(certificate)).unwrap();
        let (our_block, our_auth) = (ours.block_bytes(), ours.auth_bytes());

        assert_eq!(our_block.as_slice(), their_block);
        assert_eq!(fixed(&our_auth), fixed(&their_auth));
        for (file, key) in [(&id_key.file, ours.id_key()), (&author.file, ours.author_key().unwrap())] {
            assert_eq!(generate_key_digest(file.clone()).unwrap().to_bytes().unwrap(), key.digest());
        }
        assert!(id_key.signed(&our_block, &our_auth[0x40..]));
        assert!(author.signed(&our_auth[0x240..0x644], &our_auth[0x680..]));

        let read = SignedIdBlock::verify(&their_block, &their_auth).unwrap();
        assert_eq!(
            (*read.block(), read.id_key(), read.author_key()),
            (block, ours.id_key(), ours.author_key())
        );
        let mut altered = their_block;
        altered[0x54] ^= 1;
        assert_eq!(SignedIdBlock::verify(&altered, &their_auth), Err(IdBlockError::NotSigned));
        assert!(!id_key.signed(&altered, &our_auth[0x40..]));
    }
}
