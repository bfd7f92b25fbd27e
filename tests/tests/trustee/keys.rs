//! The forms of a guest's key: each version's own, another version's, those that nobody is served with, and
//! those that are broken.

use data_encoding::BASE64URL_NOPAD;
use keybroker_simulator::guest::{
    Error,
    trustee::{Credential, Jwk, KbsVersion, KeyForm, Pace, TrusteeKey},
};
use keybroker_tests::world::World;

use crate::scene::{PATH, Refusal, Scene, key_forms, usual_key};

const NOT_SERVED: &str =
    "tee-pubkey: served are RSA keys (RSA1_5, RSA-OAEP-256) and EC keys on P-256 (ECDH-ES+A256KW)";
const OAEP: &str =
    "tee-pubkey: RSA-OAEP is SHA-1 to some guests and SHA-256 to others: RSA1_5 and RSA-OAEP-256 are served";
const LATER: &str = "tee-pubkey: 0.1.0 and 0.1.1 are served with RSA keys (RSA1_5) alone";
const MEMBERS: &str = "tee-pubkey: an RSA key has the members n and e, an EC key has crv, x and y";
const NO_BASE64: &str = "tee-pubkey: a member is not base64url without padding";
const NO_POINT: &str = "tee-pubkey: x and y are not the coordinates of a point of P-256";

fn b64(bytes: &[u8]) -> String {
    BASE64URL_NOPAD.encode(bytes)
}

/// Sends the guest's evidence with this key, bound by the report, and asserts that the broker refuses it with
/// these words, before it decides: the same challenge then opens a session for the guest's own key.
async fn assert_refused(scene: &Scene, version: KbsVersion, jwk: Jwk, text: &str) {
    let mut guest = scene.challenged(version).await;
    let body = guest.attestation_for(jwk.clone()).unwrap().body();
    println!("{version:?} {}", jwk.json());
    scene.assert_refused(guest.attest_with(&body).await, Refusal::unread(text));
    guest.attest().await.unwrap();
    assert_eq!(guest.resource(PATH, Credential::Cookie).await.as_deref(), Ok(scene.secret.as_bytes()));
}

/// The whole table of versions and forms.
#[tokio::test]
async fn a_key_form_of_another_version_is_refused_with_words_and_its_own_is_served() {
    let scene = Scene::named(World::start());
    for version in KbsVersion::ALL {
        for form in KeyForm::ALL {
            if key_forms(version).contains(&form) {
                let mut guest = scene.guest_on(scene.world.milan(), version, form);
                let opened = guest.boot(PATH, Credential::Bearer).await;
                assert_eq!(opened.as_deref(), Ok(scene.secret.as_bytes()), "{version:?} {form:?}");
            } else {
                assert_refused(&scene, version, TrusteeKey::generate(form).jwk().clone(), LATER).await;
            }
        }
    }
}

#[tokio::test]
async fn a_key_that_nobody_is_served_with_is_refused_with_words() {
    let scene = Scene::named(World::start());
    let (n, x, y) = (b64(&[0xC3; 256]), b64(&[1; 66]), b64(&[2; 66]));
    let ec = |crv, alg| Jwk::new([("kty", "EC"), ("crv", crv), ("alg", alg), ("x", &x), ("y", &y)]);
    let rsa = |alg| Jwk::new([("kty", "RSA"), ("alg", alg), ("n", &n), ("e", "AQAB")]);
    let point = TrusteeKey::generate(KeyForm::P256);
    let of = |name: &str| point.jwk().member(name).unwrap().to_owned();
    let (px, py) = (of("x"), of("y"));
    let p256 = |alg| Jwk::new([("kty", "EC"), ("crv", "P-256"), ("alg", alg), ("x", &px), ("y", &py)]);
    let rows = [
        (ec("P-521", "ECDH-ES+A256KW"), NOT_SERVED),
        (ec("P-384", "ECDH-ES+A256KW"), NOT_SERVED),
        (p256("ECDH-ES"), NOT_SERVED),
        (p256("ECDH-ES+A128KW"), NOT_SERVED),
        (Jwk::new([("kty", "AKP"), ("alg", "ML-KEM-768"), ("pub", &b64(&[7; 1184]))]), NOT_SERVED),
        (
            Jwk::new([("kty", "OKP"), ("crv", "X25519"), ("alg", "ECDH-ES+A256KW"), ("x", &b64(&[9; 32]))]),
            NOT_SERVED,
        ),
        (rsa("RSA-OAEP"), OAEP),
        (rsa("RSA-OAEP-512"), NOT_SERVED),
        (rsa("RSA"), NOT_SERVED),
        (rsa("rsa1_5"), NOT_SERVED),
        (rsa("none"), NOT_SERVED),
        (Jwk::new([("kty", "oct"), ("alg", "A256KW")]), NOT_SERVED),
        (Jwk::new([("kty", "RSA"), ("alg", "RSA1_5"), ("n", &n)]), MEMBERS),
        (Jwk::new([("kty", "RSA"), ("alg", "RSA1_5"), ("n", &n), ("e", "AQAB"), ("x", &px)]), MEMBERS),
        (Jwk::new([("kty", "EC"), ("crv", "P-256"), ("alg", "ECDH-ES+A256KW"), ("x", &px)]), MEMBERS),
    ];
    for version in KbsVersion::ALL {
        for (jwk, text) in &rows {
            // An EC key is none of the earlier versions' in any form.
            assert_refused(&scene, version, jwk.clone(), text).await;
        }
    }
    assert!(scene.decisions().iter().all(|decision| decision != "refused"));
}

#[tokio::test]
async fn a_weak_or_broken_key_is_refused_with_words() {
    let scene = Scene::named(World::start());
    let rsa = |n: &str, e: &str| Jwk::new([("kty", "RSA"), ("alg", "RSA1_5"), ("n", n), ("e", e)]);
    let (n, short, long) = (b64(&[0xC3; 256]), b64(&[0xC3; 128]), b64(&[0xC3; 513]));
    let even = b64(&[[0xC3; 255].as_slice(), &[2]].concat());
    let rows = [
        (rsa(&short, "AQAB"), "tee-pubkey: the modulus has 1024 bits, fewer than 2048"),
        (rsa(&long, "AQAB"), "tee-pubkey: the modulus has 4104 bits, more than 4096"),
        (rsa(&even, "AQAB"), "tee-pubkey: the modulus is even"),
        (rsa(&n, "AQ"), "tee-pubkey: the public exponent is not odd, or not within 3 and 2^33"),
        (rsa(&n, ""), "tee-pubkey: the public exponent is not odd, or not within 3 and 2^33"),
        (rsa(&format!("{n}="), "AQAB"), NO_BASE64),
        (rsa(&n, "AQAB\n"), NO_BASE64),
        (rsa(&n.replacen('w', "/", 1), "AQAB"), NO_BASE64),
    ];
    for (jwk, text) in rows {
        assert_refused(&scene, KbsVersion::V0_1_1, jwk, text).await;
    }
    let key = TrusteeKey::generate(KeyForm::P256);
    let good = key.jwk().clone();
    let [x, y] =
        ["x", "y"].map(|name| BASE64URL_NOPAD.decode(good.member(name).unwrap().as_bytes()).unwrap());
    let with = |x: &[u8], y: &[u8]| {
        let mut jwk = good.clone();
        jwk.set("x", &b64(x));
        jwk.set("y", &b64(y));
        jwk
    };
    let mut beside = y.clone();
    beside[31] ^= 1;
    let rows = [
        with(&x, &beside),
        with(&y, &x),
        with(&x[1..], &y),
        with(&[&[0], x.as_slice()].concat(), &y),
        with(&[0; 32], &[0; 32]),
        with(&[0xFF; 32], &y),
        with(&[], &[]),
    ];
    for jwk in rows {
        assert_refused(&scene, KbsVersion::V0_4_0, jwk, NO_POINT).await;
    }
}

/// guest-components 0.12 to 0.15. One client keeps its key over its handshakes: the next client has another.
#[tokio::test]
async fn a_coordinate_with_broken_padding_is_401_and_the_next_client_gets_the_secret() {
    let scene = Scene::named(World::start());
    for version in [KbsVersion::V0_2_0, KbsVersion::V0_4_0] {
        let mut guest = scene.guest_on(scene.world.milan(), version, usual_key(version));
        guest.key = TrusteeKey::padded_wrongly();
        for credential in Credential::ALL {
            let given_up = guest.fetch(PATH, credential, Pace::HURRIED).await;
            scene.assert_refused(given_up, Refusal::unread(NO_POINT));
        }
        // Nothing was decided, so the very challenge is still good for another key.
        guest.auth().await.unwrap();
        scene.assert_refused(guest.attest().await, Refusal::unread(NO_POINT));
        guest.key = TrusteeKey::generate(KeyForm::P256);
        guest.attest().await.unwrap();
        let opened = guest.fetch(PATH, Credential::Bearer, Pace::HURRIED).await;
        assert_eq!(opened.as_deref(), Ok(scene.secret.as_bytes()), "{version:?}");
    }
}

/// The secret is sealed to the key that the report binds, in the way that its `alg` names.
#[tokio::test]
async fn a_key_that_the_report_does_not_bind_is_refused() {
    let scene = Scene::named(World::start());
    for version in KbsVersion::ALL {
        for form in key_forms(version) {
            let mut guest = scene.challenged(version).await;
            let mut message = guest.attestation().unwrap();
            message.tee_pubkey = TrusteeKey::generate(*form).jwk().clone();
            scene.assert_refused(guest.attest_with(&message.body()).await, Refusal::at_attest("challenge"));
        }
        // The same numbers under another algorithm.
        let mut guest = scene.challenged(version).await;
        let rsa = TrusteeKey::generate(KeyForm::Rsa1_5);
        let mut message = guest.attestation_for(rsa.jwk().clone()).unwrap();
        message.tee_pubkey.set("alg", "RSA-OAEP-256");
        let expected = match version {
            KbsVersion::V0_1_0 | KbsVersion::V0_1_1 => Refusal::unread(LATER),
            _ => Refusal::at_attest("challenge"),
        };
        scene.assert_refused(guest.attest_with(&message.body()).await, expected);
    }
    assert_eq!(scene.released(), 0);
    scene.still_boots().await;
}

/// The order of the members is the client's, and the hash sorts them.
#[tokio::test]
async fn the_members_of_a_key_come_in_any_order_and_once() {
    let scene = Scene::named(World::start());
    for version in KbsVersion::ALL {
        let mut guest = scene.challenged(version).await;
        let mut message = guest.attestation().unwrap();
        message.tee_pubkey.0.reverse();
        guest.attest_with(&message.body()).await.unwrap();
        assert_eq!(guest.resource(PATH, Credential::Cookie).await.as_deref(), Ok(scene.secret.as_bytes()));

        let mut guest = scene.challenged(version).await;
        let mut message = guest.attestation().unwrap();
        let first = message.tee_pubkey.0[0].clone();
        message.tee_pubkey.0.push(first);
        let twice = guest.attest_with(&message.body()).await;
        scene.assert_refused(twice, Refusal::unread("body: duplicate field kty"));
        let mut message = guest.attestation().unwrap();
        message.tee_pubkey.0.push(("kid".to_owned(), "k".to_owned()));
        let more = guest.attest_with(&message.body()).await;
        scene.assert_refused(more, Refusal::unread("body: unknown field kid"));
    }
}

/// No guest opens what is sealed to another key.
#[tokio::test]
async fn a_resource_does_not_open_with_another_key() {
    let scene = Scene::named(World::start());
    for version in KbsVersion::ALL {
        for form in key_forms(version) {
            let mut guest = scene.guest_on(scene.world.milan(), version, *form);
            guest.handshake().await.unwrap();
            guest.key = TrusteeKey::generate(*form);
            assert_eq!(
                guest.resource(PATH, Credential::Bearer).await,
                Err(Error::Decrypt),
                "{version:?} {form:?}"
            );
        }
    }
}
