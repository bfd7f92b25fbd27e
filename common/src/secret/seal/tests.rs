//! A sealed secret opens for its guest alone. The code that opens it shares nothing with the sealing side but
//! the cryptographic library.

use std::{
    collections::{BTreeMap, HashSet},
    sync::LazyLock,
};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    agreement::{ECDH_P256, PrivateKey, UnparsedPublicKey, agree},
    encoding::AsDer as _,
    key_wrap::{AES_256, AesKek, KeyWrap as _},
    rsa::{
        KeySize, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, Pkcs1PrivateDecryptingKey,
        PrivateDecryptingKey,
    },
};
use data_encoding::BASE64URL_NOPAD;
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};
use x509_parser::{prelude::FromDer as _, public_key::PublicKey, x509::SubjectPublicKeyInfo};

use super::*;

/// A guest's private key, for one algorithm.
enum Private {
    Pkcs1(Pkcs1PrivateDecryptingKey),
    Oaep(OaepPrivateDecryptingKey),
    P256(PrivateKey),
}

/// A private key, and its public half as a guest would send it.
type Pair = (Private, GuestKey);

fn rsa(size: KeySize) -> (PrivateDecryptingKey, RsaKey) {
    let private = PrivateDecryptingKey::generate(size).unwrap();
    let der = private.public_key().as_der().unwrap();
    let (_, info) = SubjectPublicKeyInfo::from_der(der.as_ref()).unwrap();
    let PublicKey::RSA(public) = info.parsed().unwrap() else { panic!("an RSA key") };
    let public = RsaKey::new(public.modulus, public.exponent).unwrap();
    (private, public)
}

fn pkcs1(size: KeySize) -> Pair {
    let (private, public) = rsa(size);
    (Private::Pkcs1(Pkcs1PrivateDecryptingKey::new(private).unwrap()), GuestKey::Rsa(public))
}

fn oaep(size: KeySize) -> Pair {
    let (private, public) = rsa(size);
    (Private::Oaep(OaepPrivateDecryptingKey::new(private).unwrap()), GuestKey::RsaOaep256(public))
}

fn p256() -> Pair {
    let private = PrivateKey::generate(&ECDH_P256).unwrap();
    let public = private.compute_public_key().unwrap();
    let (x, y) = public.as_ref()[1..].split_at(32);
    let public = GuestKey::p256(x, y).unwrap();
    (Private::P256(private), public)
}

/// One of each kind, and another of each.
static GUESTS: LazyLock<[Pair; 3]> = LazyLock::new(pairs);
static OTHERS: LazyLock<[Pair; 3]> = LazyLock::new(pairs);

fn pairs() -> [Pair; 3] {
    [pkcs1(KeySize::Rsa2048), oaep(KeySize::Rsa2048), p256()]
}

/// Each of these guests with each form that it reads.
fn served(guests: &[Pair; 3]) -> [(&Pair, JweForm); 4] {
    let [pkcs1, oaep, p256] = guests;
    [
        (pkcs1, JweForm::Rfc7516),
        (pkcs1, JweForm::BeforeRfc),
        (oaep, JweForm::Rfc7516),
        (p256, JweForm::Rfc7516),
    ]
}

fn secret(bytes: impl Into<Vec<u8>>) -> Secret {
    Secret::new(bytes.into())
}

fn decode(text: &str) -> Option<Vec<u8>> {
    BASE64URL_NOPAD.decode(text.as_bytes()).ok()
}

impl Private {
    fn open(&self, jwe: &Jwe, form: JweForm) -> Option<Vec<u8>> {
        let Jwe { protected, encrypted_key, iv, ciphertext, tag } = jwe;
        let header = match form {
            JweForm::Rfc7516 => decode(protected)?,
            JweForm::BeforeRfc => protected.clone().into_bytes(),
        };
        let header: serde_json::Value = serde_json::from_slice(&header).ok()?;
        (header["enc"] == "A256GCM").then_some(())?;
        let key = self.content_key(&header, &decode(encrypted_key)?)?;
        let cipher = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).ok()?);
        let nonce = Nonce::try_assume_unique_for_key(&decode(iv)?).ok()?;
        let (authenticated, tag) = match form {
            JweForm::Rfc7516 => (protected.as_bytes(), Some(decode(tag)?).filter(|tag| tag.len() == 16)?),
            JweForm::BeforeRfc => (b"".as_slice(), tag.is_empty().then(Vec::new)?),
        };
        let mut sealed = [decode(ciphertext)?, tag].concat();
        cipher.open_in_place(nonce, Aad::from(authenticated), &mut sealed).ok().map(|clear| clear.to_vec())
    }

    fn content_key(&self, header: &serde_json::Value, encrypted: &[u8]) -> Option<Vec<u8>> {
        let alg = &header["alg"];
        match self {
            Self::Pkcs1(private) => {
                (alg == "RSA1_5" && header.as_object()?.len() == 2).then_some(())?;
                let mut key = vec![0; private.min_output_size()];
                private.decrypt(encrypted, &mut key).ok().map(|key| key.to_vec())
            }
            Self::Oaep(private) => {
                (alg == "RSA-OAEP-256" && header.as_object()?.len() == 2).then_some(())?;
                let mut key = vec![0; private.min_output_size()];
                let key = private.decrypt(&OAEP_SHA256_MGF1SHA256, encrypted, &mut key, None);
                key.ok().map(|key| key.to_vec())
            }
            Self::P256(private) => {
                let epk = &header["epk"];
                (alg == "ECDH-ES+A256KW" && header.as_object()?.len() == 3).then_some(())?;
                (epk["kty"] == "EC" && epk["crv"] == "P-256" && epk.as_object()?.len() == 4).then_some(())?;
                let point = [vec![4], decode(epk["x"].as_str()?)?, decode(epk["y"].as_str()?)?].concat();
                let peer = UnparsedPublicKey::new(&ECDH_P256, point);
                let key = agree(private, peer, (), |shared| Ok(derived(shared))).ok()?;
                let mut out = [0; 32];
                AesKek::new(&AES_256, &key).ok()?.unwrap(encrypted, &mut out).ok().map(|key| key.to_vec())
            }
        }
    }
}

/// One round of the Concat KDF is as long as the key.
fn derived(shared: &[u8]) -> [u8; 32] {
    let said = b"\0\0\0\x0eECDH-ES+A256KW\0\0\0\0\0\0\0\0\0\0\x01\0";
    Sha256::digest([b"\0\0\0\x01", shared, said].concat()).into()
}

#[test]
fn a_sealed_secret_opens_for_its_guest_alone() {
    for (size, longest) in [(KeySize::Rsa2048, 245), (KeySize::Rsa3072, 373), (KeySize::Rsa4096, 501)] {
        let (Private::Pkcs1(private), guest) = pkcs1(size) else { panic!("a key for PKCS#1") };
        for len in [0, 1, 64, longest] {
            let secret = secret(vec![b's'; len]);
            let sealed = guest.seal_pkcs1(&secret).unwrap();
            assert_eq!(sealed.len(), longest + 11);
            let mut clear = vec![0; private.min_output_size()];
            assert_eq!(private.decrypt(&sealed, &mut clear).unwrap(), secret.expose());
            let (Private::Pkcs1(other), _) = &OTHERS[0] else { panic!("a key for PKCS#1") };
            let opened = other.decrypt(&sealed, &mut clear).ok();
            assert!(opened.is_none_or(|clear| clear != secret.expose()));
        }
        assert_eq!(guest.seal_pkcs1(&secret(vec![b's'; longest + 1])), Err(SealError::TooLong));
    }
}

#[test]
fn a_secret_too_long_for_pkcs1_is_a_jwe() {
    let (private, public) = rsa(KeySize::Rsa2048);
    let guest = GuestKey::Rsa(public);
    let sealed = |len| guest.seal(&secret(vec![b's'; len])).unwrap();
    assert!(matches!(sealed(245), Sealed::Pkcs1(ciphertext) if ciphertext.len() == 256));
    // It is to the same key, but not by the same padding.
    let Sealed::Jwe(jwe) = sealed(246) else { panic!("a JWE") };
    let private = Private::Oaep(OaepPrivateDecryptingKey::new(private).unwrap());
    assert_eq!(private.open(&jwe, JweForm::Rfc7516), Some(vec![b's'; 246]));
}

#[test]
fn sealing_twice_differs() {
    let [(_, guest), ..] = &*GUESTS;
    let secret = secret(*b"passphrase");
    assert_ne!(guest.seal_pkcs1(&secret), guest.seal_pkcs1(&secret));
}

#[test]
fn a_jwe_opens_for_its_guest_alone() {
    for len in [0, 1, 16, 300, 4000] {
        let secret = secret(vec![b's'; len]);
        for ((guest, form), (other, _)) in served(&GUESTS).into_iter().zip(served(&OTHERS)) {
            let jwe = guest.1.seal_jwe(&secret, form).unwrap();
            let alg = guest.1.alg();
            assert_eq!(guest.0.open(&jwe, form).as_deref(), Some(secret.expose()), "{alg} {form:?}");
            assert_eq!(other.0.open(&jwe, form), None, "{alg} {form:?}");
        }
    }
    for (private, public) in [pkcs1(KeySize::Rsa4096), oaep(KeySize::Rsa4096)] {
        let jwe = public.seal_jwe(&secret(*b"passphrase"), JweForm::Rfc7516).unwrap();
        assert_eq!(private.open(&jwe, JweForm::Rfc7516).as_deref(), Some(b"passphrase".as_slice()));
    }
}

/// A reader of one form opens nothing of the other.
#[test]
fn a_form_is_not_taken_for_the_other() {
    let [(private, public), ..] = &*GUESTS;
    let secret = secret(*b"passphrase");
    let [rfc, before] = [JweForm::Rfc7516, JweForm::BeforeRfc];
    assert_eq!(private.open(&public.seal_jwe(&secret, rfc).unwrap(), before), None);
    assert_eq!(private.open(&public.seal_jwe(&secret, before).unwrap(), rfc), None);
}

#[test]
fn other_keys_are_sealed_to_in_one_form_alone() {
    let [_, (_, oaep), (_, p256)] = &*GUESTS;
    let secret = secret(*b"passphrase");
    for guest in [oaep, p256] {
        assert_eq!(guest.seal_jwe(&secret, JweForm::BeforeRfc), Err(SealError::Key));
        assert_eq!(guest.seal_pkcs1(&secret), Err(SealError::Key));
        assert_eq!(guest.seal(&secret), Err(SealError::Key));
    }
}

#[test]
fn a_header_is_written_to_the_byte() {
    let headers = served(&GUESTS).map(|((_, public), form)| {
        let protected = public.seal_jwe(&secret(*b"s"), form).unwrap().protected;
        match form {
            JweForm::Rfc7516 => String::from_utf8(decode(&protected).unwrap()).unwrap(),
            JweForm::BeforeRfc => protected,
        }
    });
    let [rfc, before, oaep, p256] = &headers;
    assert_eq!(rfc, r#"{"alg":"RSA1_5","enc":"A256GCM"}"#);
    assert_eq!(before, rfc);
    assert_eq!(oaep, r#"{"alg":"RSA-OAEP-256","enc":"A256GCM"}"#);
    let epk: serde_json::Value = serde_json::from_str(p256).unwrap();
    let [x, y] = ["x", "y"].map(|name| epk["epk"][name].as_str().unwrap());
    assert!([x, y].iter().all(|coordinate| coordinate.len() == 43));
    let epk = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
    assert_eq!(p256, &format!(r#"{{"alg":"ECDH-ES+A256KW","enc":"A256GCM","epk":{epk}}}"#));
}

/// Some guests authenticate what they write of the parsed header: kbs-types keeps the order of two members,
/// and that of the others or sorts them, as it was built.
#[test]
fn a_header_survives_its_readers() {
    #[derive(Serialize, Deserialize)]
    struct Sorted {
        alg: String,
        enc: String,
        #[serde(flatten)]
        others: BTreeMap<String, BTreeMap<String, String>>,
    }
    #[derive(Serialize, Deserialize)]
    struct Kept {
        alg: String,
        enc: String,
        #[serde(flatten)]
        others: serde_json::Map<String, serde_json::Value>,
    }
    for ((_, public), form) in served(&GUESTS) {
        let protected = public.seal_jwe(&secret(*b"s"), form).unwrap().protected;
        let header = decode(&protected).unwrap_or_else(|| protected.into_bytes());
        let sorted: Sorted = serde_json::from_slice(&header).unwrap();
        assert_eq!(serde_json::to_vec(&sorted).unwrap(), header);
        let kept: Kept = serde_json::from_slice(&header).unwrap();
        assert_eq!(serde_json::to_vec(&kept).unwrap(), header);
        let all: serde_json::Value = serde_json::from_slice(&header).unwrap();
        assert_eq!(serde_json::to_vec(&all).unwrap(), header);
    }
}

/// RFC 7516, 7.2.2: base64url without padding. The members' order is Trustee's.
#[test]
fn the_json_has_five_members() {
    for ((_, public), form) in served(&GUESTS) {
        let jwe = public.seal_jwe(&secret(*b"s"), form).unwrap();
        let Jwe { protected, encrypted_key, iv, ciphertext, tag } = &jwe;
        let protected = match form {
            JweForm::Rfc7516 => protected.clone(),
            JweForm::BeforeRfc => r#"{\"alg\":\"RSA1_5\",\"enc\":\"A256GCM\"}"#.to_owned(),
        };
        let json = format!(
            r#"{{"protected":"{protected}","encrypted_key":"{encrypted_key}","iv":"{iv}","ciphertext":"{ciphertext}","tag":"{tag}"}}"#
        );
        assert_eq!(String::from_utf8(jwe.to_json()).unwrap(), json);
        let length = |text: &str| decode(text).unwrap().len();
        let (content, mac) = if form == JweForm::Rfc7516 { (1, 16) } else { (17, 0) };
        assert_eq!((length(iv), length(ciphertext), length(tag)), (12, content, mac));
    }
}

#[test]
fn keys_and_ivs_are_new_each_time() {
    let secret = secret(vec![b's'; 300]);
    for ((_, public), form) in served(&GUESTS) {
        let jwes: Vec<_> = (0..20).map(|_| public.seal_jwe(&secret, form).unwrap()).collect();
        let members: [fn(&Jwe) -> &str; 3] = [|jwe| &jwe.iv, |jwe| &jwe.ciphertext, |jwe| &jwe.encrypted_key];
        for member in members {
            assert_eq!(jwes.iter().map(member).collect::<HashSet<_>>().len(), 20, "{form:?}");
        }
    }
}

/// The JWE with one bit of a member flipped; `None` where the member is not that long, or no text then.
fn flipped(jwe: &Jwe, member: fn(&mut Jwe) -> &mut String, bit: usize) -> Option<Jwe> {
    let mut altered = jwe.clone();
    let text = member(&mut altered);
    // The header of the form before the RFC is no base64url.
    let encoded = decode(text);
    let mut bytes = encoded.clone().unwrap_or_else(|| text.clone().into_bytes());
    *bytes.get_mut(bit / 8)? ^= 1 << (bit % 8);
    *text = match encoded {
        Some(_) => BASE64URL_NOPAD.encode(&bytes),
        None => String::from_utf8(bytes).ok()?,
    };
    Some(altered)
}

#[test]
fn an_altered_jwe_does_not_open() {
    let members: [fn(&mut Jwe) -> &mut String; 5] = [
        |jwe| &mut jwe.protected,
        |jwe| &mut jwe.encrypted_key,
        |jwe| &mut jwe.iv,
        |jwe| &mut jwe.ciphertext,
        |jwe| &mut jwe.tag,
    ];
    for ((private, public), form) in served(&GUESTS) {
        let jwe = public.seal_jwe(&secret(*b"passphrase"), form).unwrap();
        for (number, member) in members.into_iter().enumerate() {
            let altered = (0..8 * 512).step_by(7).filter_map(|bit| flipped(&jwe, member, bit));
            let mut count = 0;
            for altered in altered {
                count += 1;
                assert_eq!(private.open(&altered, form), None, "{} {form:?}: {altered:?}", public.alg());
            }
            // The form before the RFC has no tag apart.
            assert_eq!(count == 0, form == JweForm::BeforeRfc && number == 4);
        }
        let mut truncated = jwe.clone();
        truncated.ciphertext.truncate(jwe.ciphertext.len() - 4);
        assert_eq!(private.open(&truncated, form), None);
    }
}

/// A header that says the same in other bytes is refused: where it is authenticated.
#[test]
fn a_header_written_otherwise_does_not_open() {
    for ((private, public), form) in served(&GUESTS) {
        let jwe = public.seal_jwe(&secret(*b"passphrase"), form).unwrap();
        let header = decode(&jwe.protected).unwrap_or_else(|| jwe.protected.clone().into_bytes());
        let blank = String::from_utf8(header).unwrap().replacen(':', ": ", 1);
        let protected = match form {
            JweForm::Rfc7516 => BASE64URL_NOPAD.encode(blank.as_bytes()),
            JweForm::BeforeRfc => blank,
        };
        let opened = private.open(&Jwe { protected, ..jwe }, form);
        assert_eq!(opened.is_some(), form == JweForm::BeforeRfc, "{}", public.alg());
    }
}

/// No part of one JWE counts in another, although both are to the same guest.
#[test]
fn the_members_of_two_jwes_do_not_mix() {
    for ((private, public), form) in served(&GUESTS) {
        let [one, two] = [b"one", b"two"].map(|clear| public.seal_jwe(&secret(*clear), form).unwrap());
        for mixed in [
            Jwe { encrypted_key: two.encrypted_key.clone(), ..one.clone() },
            Jwe { iv: two.iv.clone(), ..one.clone() },
            Jwe { ciphertext: two.ciphertext.clone(), ..one.clone() },
        ] {
            assert_eq!(private.open(&mixed, form), None, "{} {form:?}", public.alg());
        }
    }
}

/// A modulus of 2048 to 4096 bits, and an exponent: not of a key that anybody holds.
fn numbers() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let modulus = (256_usize..=512).prop_flat_map(|len| prop::collection::vec(any::<u8>(), len));
    let odd = |mut number: Vec<u8>| {
        number[0] |= 0x80;
        *number.last_mut().unwrap() |= 1;
        number
    };
    (modulus.prop_map(odd), (1_u64..1 << 32).prop_map(|half| (2 * half + 1).to_be_bytes().to_vec()))
}

fn any_key() -> impl Strategy<Value = GuestKey> {
    prop_oneof![
        numbers().prop_map(|(n, e)| GuestKey::rsa(&n, &e).unwrap()),
        numbers().prop_map(|(n, e)| GuestKey::rsa_oaep_256(&n, &e).unwrap()),
        any::<()>().prop_map(|()| p256().1),
    ]
}

/// The same numbers in another kind, and with the border between them elsewhere.
fn neighbours(key: &GuestKey) -> Vec<GuestKey> {
    let (GuestKey::Rsa(rsa) | GuestKey::RsaOaep256(rsa)) = key else { return Vec::new() };
    let all = [rsa.modulus(), rsa.exponent()].concat();
    let moved = (1..all.len()).map(|border| all.split_at(border));
    let moved = moved.flat_map(|(n, e)| [GuestKey::rsa(n, e), GuestKey::rsa_oaep_256(n, e)]);
    moved.filter_map(Result::ok).collect()
}

proptest! {
    #[test]
    fn any_secret_opens(clear in prop::collection::vec(any::<u8>(), 0..4001), which in 0_usize..4) {
        let ((private, public), form) = served(&GUESTS)[which];
        let jwe = public.seal_jwe(&secret(clear.clone()), form).unwrap();
        prop_assert_eq!(private.open(&jwe, form), Some(clear));
    }

    #[test]
    fn any_key_is_stored_and_read(key in any_key()) {
        let stored = serde_json::to_string(&key).unwrap();
        prop_assert_eq!(serde_json::from_str::<GuestKey>(&stored).unwrap(), key);
    }

    #[test]
    fn no_two_keys_have_the_same_parts(key in any_key(), other in any_key()) {
        for other in neighbours(&key).into_iter().chain([other, key.clone()]) {
            prop_assert_eq!(key.parts() == other.parts(), key == other);
        }
    }

    #[test]
    fn whatever_coordinates_are_sent_are_refused_or_sealed_to(
        x in prop::collection::vec(any::<u8>(), 0..40), y in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let key = GuestKey::p256(&x, &y);
        let outcome = key.map(|key| key.seal_jwe(&secret(*b"s"), JweForm::Rfc7516).is_ok());
        prop_assert!(matches!(outcome, Ok(true) | Err(GuestKeyError::Point)));
    }
}
