//! A broker that trusts anyone and seals to the key that it is shown. It shares no code with the guest's
//! opening: its derivation of keys is the library's own.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    agreement::{ECDH_P256, PrivateKey, UnparsedPublicKey, agree},
    kdf::{SskdfDigestAlgorithmId, get_sskdf_digest_algorithm, sskdf_digest},
    key_wrap::{AES_256, KeyEncryptionKey, KeyWrap},
    rsa::{
        OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, Pkcs1PublicEncryptingKey, PublicEncryptingKey,
        PublicKeyComponents,
    },
};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use super::JweForm;

pub(super) const SECRET: &[u8] = b"open sesame";
const CONTENT_KEY: [u8; 32] = [0xC0; 32];
const IV: [u8; 12] = [0x1F; 12];

/// A token that the client can read, which nobody signed.
pub(super) fn token(exp: i64) -> String {
    let part = |value: Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    format!("{}.{}.AA", part(json!({"alg": "ES256"})), part(json!({"exp": exp})))
}

/// The header of a JWE for this key, and the encrypted key.
fn wrapped(key: &Value) -> (String, Vec<u8>) {
    let bytes = |name: &str| BASE64URL_NOPAD.decode(key[name].as_str().expect(name).as_bytes()).expect(name);
    let alg = key["alg"].as_str().expect("alg");
    if key["kty"] == "EC" {
        let ephemeral = PrivateKey::generate(&ECDH_P256).expect("a key");
        let public = ephemeral.compute_public_key().expect("its public half");
        let peer = UnparsedPublicKey::new(&ECDH_P256, [vec![4], bytes("x"), bytes("y")].concat());
        let mut info = (14_u32.to_be_bytes()).to_vec();
        info.extend(alg.as_bytes());
        info.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
        let mut wrapping = [0; 32];
        agree(&ephemeral, peer, (), |shared| {
            let sha256 = get_sskdf_digest_algorithm(SskdfDigestAlgorithmId::Sha256).ok_or(())?;
            sskdf_digest(sha256, shared, &info, &mut wrapping).map_err(|_| ())
        })
        .expect("a point of the curve");
        let mut wrapped = vec![0; 40];
        let wrapping = KeyEncryptionKey::new(&AES_256, &wrapping).expect("32 bytes");
        wrapping.wrap(&CONTENT_KEY, &mut wrapped).expect("room");
        let [x, y] = [1..33, 33..65].map(|range| BASE64URL_NOPAD.encode(&public.as_ref()[range]));
        let epk = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        return (format!(r#"{{"alg":"{alg}","enc":"A256GCM","epk":{epk}}}"#), wrapped);
    }
    let key = PublicKeyComponents { n: bytes("n"), e: bytes("e") };
    let key: PublicEncryptingKey = key.try_into().expect("a key");
    let mut wrapped = vec![0; 256];
    if alg == "RSA1_5" {
        let key = Pkcs1PublicEncryptingKey::new(key).expect("a key");
        key.encrypt(&CONTENT_KEY, &mut wrapped).expect("room");
    } else {
        let key = OaepPublicEncryptingKey::new(key).expect("a key");
        key.encrypt(&OAEP_SHA256_MGF1SHA256, &CONTENT_KEY, &mut wrapped, None).expect("room");
    }
    (format!(r#"{{"alg":"{alg}","enc":"A256GCM"}}"#), wrapped)
}

/// [`SECRET`] sealed to a `tee-pubkey`, with a header that `alter` has had in its hands.
pub(super) fn sealed(form: JweForm, key: &Value, alter: impl Fn(String) -> String) -> String {
    let (header, encrypted_key) = wrapped(key);
    let header = alter(header);
    let encode = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &CONTENT_KEY).expect("32 bytes"));
    let (protected, authenticated) = match form {
        JweForm::Rfc7516 => (encode(header.as_bytes()), encode(header.as_bytes())),
        JweForm::BeforeRfc => (header, String::new()),
    };
    let mut ciphertext = SECRET.to_vec();
    let tag = key
        .seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(IV),
            Aad::from(authenticated),
            &mut ciphertext,
        )
        .expect("little text");
    let (ciphertext, tag) = match form {
        JweForm::Rfc7516 => (ciphertext, encode(tag.as_ref())),
        JweForm::BeforeRfc => ([&ciphertext, tag.as_ref()].concat(), String::new()),
    };
    let (key, iv, text) = (encode(&encrypted_key), encode(&IV), encode(&ciphertext));
    let protected = Value::from(protected);
    format!(
        r#"{{"protected":{protected},"encrypted_key":"{key}","iv":"{iv}","ciphertext":"{text}","tag":"{tag}"}}"#
    )
}
