//! The token as third parties read it: verified by the key that the broker shows, and true.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use keybroker_simulator::{
    Product,
    guest::trustee::{Credential, KbsVersion, Pace, TrusteeGuest, claims},
};
use keybroker_tests::{
    operator::Operator,
    world::{MEASUREMENT, World, audit_id},
};
use serde_json::{Value, json};

use crate::scene::{PATH, Refusal, Scene, key_forms};

/// The keys that `GET /kbs/v0/jwks` shows.
fn jwks(world: &World) -> Vec<Value> {
    let response = world.ask("GET", "/kbs/v0/jwks", &[], None);
    assert_eq!((response.status, response.header("content-type")), (200, vec!["application/json"]));
    let set: Value = serde_json::from_slice(&response.body).unwrap();
    assert_eq!(set.as_object().unwrap().len(), 1, "{set}");
    set["keys"].as_array().unwrap().clone()
}

/// Verifies a token as an ES256 library does, by a key of the set alone.
fn verified(world: &World, token: &str) -> (Value, Value) {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let decode = |text: &str| BASE64URL_NOPAD.decode(text.as_bytes()).unwrap();
    let header: Value = serde_json::from_slice(&decode(signed.split_once('.').unwrap().0)).unwrap();
    let key = jwks(world).into_iter().find(|key| key["kid"] == header["kid"]).expect("a key of the set");
    let coordinate = |name: &str| decode(key[name].as_str().unwrap());
    let point = [vec![4], coordinate("x"), coordinate("y")].concat();
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
        .verify(signed.as_bytes(), &decode(signature))
        .expect("a signature of the key");
    (header, claims(token).unwrap())
}

fn public(guest: &TrusteeGuest, with_alg: bool) -> Value {
    let members = guest.key.jwk().0.iter().filter(|(name, _)| with_alg || name != "alg");
    members.map(|(name, value)| (name.clone(), json!(value))).collect()
}

/// Every number of a JSON value.
fn numbers(value: &Value) -> Vec<&Value> {
    match value {
        Value::Number(_) => vec![value],
        Value::Array(values) => values.iter().flat_map(numbers).collect(),
        Value::Object(members) => members.values().flat_map(numbers).collect(),
        _ => Vec::new(),
    }
}

#[tokio::test]
async fn a_token_is_verified_by_the_broker_s_set_of_keys_and_tells_what_was_checked() {
    let scene = Scene::named(World::start());
    for version in KbsVersion::ALL {
        for form in key_forms(version) {
            let mut guest = scene.guest_on(scene.world.milan(), version, *form);
            guest.handshake().await.unwrap();
            let (header, claims) = verified(&scene.world, guest.token.as_ref().unwrap());
            assert_eq!((&header["typ"], &header["alg"]), (&json!("JWT"), &json!("ES256")));
            assert_eq!(claims["eat_profile"], "tag:github.com,2024:confidential-containers/Trustee");
            let number = |name: &str| claims[name].as_i64().unwrap();
            assert!((295..=305).contains(&(number("exp") - number("iat"))), "{claims}");
            assert!(number("nbf") <= number("iat"), "{claims}");
            assert_eq!(claims["workload_id"], scene.id.as_str());
            assert_eq!(claims["cnf"]["jwk"], public(&guest, false), "{form:?}");
            let cpu0 = &claims["submods"]["cpu0"];
            let evidence = &cpu0["ear.veraison.annotated-evidence"];
            assert_eq!(evidence["runtime_data_claims"]["tee-pubkey"], public(&guest, true), "{form:?}");
            assert_eq!(evidence["snp"]["measurement"], HEXLOWER.encode(&MEASUREMENT));
            // Nobody is told that simulated hardware is AMD's.
            for name in ["ear.status", "ear_status"] {
                assert_eq!(cpu0[name], "contraindicated");
            }
            for name in ["ear.trustworthiness-vector", "ear_trustworthiness_vector"] {
                assert_eq!(cpu0[name]["hardware"], 97, "{cpu0}");
            }
            for number in numbers(&claims) {
                assert!(number.as_i64().is_some(), "{number} is no number of 63 bits");
            }
            for absent in ["aud", "nonce", "eat_nonce"] {
                assert!(claims.get(absent).is_none(), "{absent}");
            }
        }
    }
}

#[tokio::test]
async fn the_set_of_keys_shows_public_halves_alone() {
    let scene = Scene::named(World::start());
    scene.attested(KbsVersion::V0_4_0).await;
    let keys = jwks(&scene.world);
    assert!(!keys.is_empty());
    for key in keys {
        let mut names: Vec<&str> = key.as_object().unwrap().keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["alg", "crv", "kid", "kty", "use", "x", "y"]);
    }
}

/// `kbs-client attest`, and those who show the token to somebody else.
#[tokio::test]
async fn a_client_that_only_wants_the_token_gets_it_and_nothing_is_released() {
    let scene = Scene::named(World::start());
    let mut client = scene.guest(KbsVersion::V0_4_0);
    let token = client.token(Pace::HURRIED).await.unwrap();
    let (_, claims) = verified(&scene.world, &token);
    assert_eq!(client.exchanges.len(), 2);
    // The token names the decision, which is the only one on record beside the registration.
    let record = Operator::of(&scene.world).json(&["audit", claims["jti"].as_str().unwrap()]);
    assert_eq!(record["record"]["decision"], "attested", "{record}");
    let mut decisions = scene.decisions();
    decisions.sort();
    assert_eq!(decisions, ["attested", "registered"]);
}

/// A refused guest is told the decision's name, and gets no token.
#[tokio::test]
async fn a_guest_that_is_refused_gets_no_token() {
    let scene = Scene::named(World::start());
    let mut guest = scene.challenged(KbsVersion::V0_4_0).await;
    guest.machine.fields.measurement = [0x66; 48];
    let refused = guest.attest().await;
    let Err(keybroker_simulator::guest::Error::Refused(said)) = refused else { panic!("{refused:?}") };
    assert!(!audit_id(&said.body).is_empty());
    assert_eq!(guest.token, None);
    let answer = guest.resource_response(PATH, Credential::Cookie).await;
    scene.assert_refused(answer, Refusal::LATE);
    assert_eq!(scene.released(), 0);
}

#[tokio::test]
async fn a_token_says_which_init_data_the_guest_was_held_to() {
    let scene = Scene::launched(World::start());
    for product in Product::ALL {
        let mut guest = scene.guest_on(
            scene.world.machine(product, 1),
            KbsVersion::V0_4_0,
            key_forms(KbsVersion::V0_4_0)[2],
        );
        guest.handshake().await.unwrap();
        let (_, claims) = verified(&scene.world, guest.token.as_ref().unwrap());
        let evidence = &claims["submods"]["cpu0"]["ear.veraison.annotated-evidence"];
        let document = scene.init_data.as_ref().unwrap();
        let expected = json!({"algorithm": "sha256", "digest": HEXLOWER.encode(&document.digest())});
        assert_eq!(evidence["init_data"], expected);
    }
}
