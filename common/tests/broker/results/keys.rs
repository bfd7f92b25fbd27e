//! The keys that sign results: who makes them, how they turn, and what the JWK Set shows.

use keybroker_common::{
    ear::{NotRead, Results},
    keyring::{Keyring, KeyringWrap as _, PublicHalf, Purpose, ResultKey},
    keys::{KeysError, ResultKeys},
    secret::KeyError,
    store::KeyringStore as _,
};
use keybroker_testing::{
    clock::{BEGIN, days, minutes, seconds},
    world::World,
};
use serde_json::{Value, json};

use super::{Scene, part, put, ring, with};

async fn kids(results: &Results) -> Vec<String> {
    let set: Value = serde_json::from_slice(&results.jwks().await.unwrap()).unwrap();
    assert_eq!(set.as_object().unwrap().len(), 1);
    set["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn the_first_process_that_needs_it_makes_the_first_key() {
    let world = World::new().await;
    let results = world.broker().attest.results;
    assert_eq!(world.store.keyring(Purpose::Result).await, Ok(None));
    let listed = kids(&results).await;
    let ring = ring(&world).await;
    assert_eq!(listed, [ring.keys[0].result_key().unwrap().kid()]);
    assert_eq!(kids(&world.broker().attest.results).await, listed);
}

#[tokio::test]
async fn the_jwk_set_has_public_members_alone() {
    let scene = Scene::new().await;
    let set: Value = serde_json::from_slice(&scene.process().jwks().await.unwrap()).unwrap();
    let point = scene.key.public().as_bytes();
    let coordinate = |bytes: &[u8]| data_encoding::BASE64URL_NOPAD.encode(bytes);
    let key = json!({
        "kty": "EC",
        "crv": "P-256",
        "x": coordinate(&point[1..33]),
        "y": coordinate(&point[33..]),
        "kid": scene.key.public().kid(),
        "alg": "ES256",
        "use": "sig",
    });
    assert_eq!(set, json!({"keys": [key]}));
    let header: Value = serde_json::from_slice(&part(&scene.signed().await, 0)).unwrap();
    assert_eq!((&header["jwk"], &header["kid"]), (&key, &key["kid"]));
}

#[tokio::test]
async fn a_ring_turns_by_itself_and_results_of_the_earlier_key_go_on() {
    let scene = Scene::new().await;
    scene.pass(days(7) - seconds(30));
    let process = scene.process();
    let first = scene.key.public().kid();
    assert_eq!(kids(&process).await, std::slice::from_ref(&first));
    // The week is over: the next key is listed before it signs.
    scene.pass(seconds(90));
    let listed = kids(&process).await;
    let [_, second] = listed.as_slice() else { panic!("{listed:?}") };
    assert_eq!(listed, [first.clone(), second.clone()]);
    let signer =
        |text: &str| -> Value { serde_json::from_slice::<Value>(&part(text, 0)).unwrap()["kid"].clone() };
    // A guest that attested before the new key signs.
    let claims = {
        let mut record = scene.record.clone();
        record.time = scene.now();
        scene.claims_by(&record, &scene.registration, &scene.broker.attest.fleet)
    };
    let before = process.sign(&claims).await.unwrap().expose().to_owned();
    assert_eq!(signer(&before), json!(first));
    scene.pass(Keyring::LEAD);
    let after = process.sign(&claims).await.unwrap().expose().to_owned();
    assert_eq!((signer(&after), kids(&process).await), (json!(second), listed.clone()));
    // It is the session that ended long ago, not the key: the key was found, and the signature held.
    for text in [&before, &after] {
        assert_eq!(process.read(text, scene.now()).await, Err(NotRead::Over));
        assert_eq!(scene.process().read(text, scene.now()).await, Err(NotRead::Over));
    }
    // Twice a session's life and a minute later the earlier key counts for nothing.
    scene.pass(minutes(11));
    assert_eq!(kids(&process).await, std::slice::from_ref(second));
    assert_eq!(process.read(&before, scene.now()).await, Err(NotRead::Key));
    assert_eq!(process.read(&after, scene.now()).await, Err(NotRead::Over));
}

#[tokio::test]
async fn results_outlive_an_operators_turn_and_end_with_a_key_that_was_dropped() {
    let scene = Scene::new().await;
    let text = scene.signed().await;
    let running = scene.process();
    assert!(running.read(&text, scene.now()).await.is_ok());
    put(&scene.world, &ring(&scene.world).await.turned()).await;
    scene.pass(seconds(61));
    assert_eq!(kids(&running).await.len(), 2);
    scene.pass(Keyring::LEAD);
    let anew = running.sign(&scene.claims()).await.unwrap().expose().to_owned();
    assert_ne!(part(&anew, 0), part(&text, 0));
    for process in [&running, &scene.process()] {
        for text in [&text, &anew] {
            assert!(process.read(text, scene.now()).await.unwrap().is_of(&scene.session));
        }
    }
    put(&scene.world, &ring(&scene.world).await.emptied()).await;
    assert_eq!(scene.process().read(&text, scene.now()).await, Err(NotRead::Key));
    scene.pass(seconds(61));
    for text in [&text, &anew] {
        assert_eq!(running.read(text, scene.now()).await, Err(NotRead::Key));
    }
    assert_eq!(kids(&running).await.len(), 1);
}

/// Another instance turned the ring, and signed: a process learns the key when it meets it.
#[tokio::test]
async fn a_process_meets_a_key_that_it_does_not_know() {
    let scene = Scene::new().await;
    let (running, other) = (scene.process(), ResultKey::generate().unwrap());
    assert_eq!(kids(&running).await.len(), 1);
    scene.pass(seconds(3));
    put(&scene.world, &with(&scene.world, &ring(&scene.world).await, &other).await).await;
    let text = super::signed(&header_of(&other), &part(&scene.signed().await, 1), &other);
    assert!(running.read(&text, scene.now()).await.unwrap().is_of(&scene.session));
}

fn header_of(key: &ResultKey) -> Vec<u8> {
    let (kid, jwk) = (key.public().kid(), serde_json::to_string(&key.public().jwk()).unwrap());
    format!(r#"{{"typ":"JWT","alg":"ES256","kid":"{kid}","jwk":{jwk}}}"#).into_bytes()
}

/// Third parties would trust the key that a writer of the table put there.
#[tokio::test]
async fn an_altered_row_is_refused() {
    let mismatch = KeysError::Key(KeyError::Mismatch);
    let others = ResultKey::generate().unwrap();
    let signing = keybroker_common::keyring::signing::drawn().unwrap().1;
    let wrong = [None, Some(PublicHalf::Results(others.public().clone())), Some(signing.into())];
    for public in wrong {
        let scene = Scene::new().await;
        let text = scene.signed().await;
        let mut ring = ring(&scene.world).await;
        ring.keys[0].public = public;
        put(&scene.world, &ring).await;
        let process = scene.process();
        assert_eq!(process.jwks().await, Err(mismatch.clone()));
        assert_eq!(process.sign(&scene.claims()).await.err(), Some(mismatch.clone()));
        assert_eq!(process.read(&text, scene.now()).await, Err(NotRead::Keys(mismatch.clone())));
    }
}

/// Neither a key of another ring, nor one that is no key.
#[tokio::test]
async fn a_key_of_another_ring_signs_no_results() {
    for other in Purpose::ALL.into_iter().filter(|other| *other != Purpose::Result) {
        let world = World::new().await;
        let key = ResultKey::generate().unwrap();
        let wrapped = world.key.keyring(other).wrap_key(&key.private().unwrap()).await.unwrap();
        put(&world, &Keyring::default().with_result(wrapped, key.public().clone(), BEGIN)).await;
        let error = world.broker().attest.results.jwks().await.err();
        assert_eq!(error, Some(KeysError::Key(KeyError::Mismatch)), "{other}");
    }
}

#[tokio::test]
async fn keys_that_are_out_of_reach_are_told_apart_from_results_that_do_not_count() {
    let scene = Scene::new().await;
    let text = scene.signed().await;
    let wrap = keybroker_embedded::key::LocalKey::in_memory().unwrap();
    let wrap = std::sync::Arc::new(std::sync::Arc::new(wrap).keyring(Purpose::Result));
    let (store, clock) = (scene.world.store.clone(), scene.world.hardware.clock.clone());
    let keys = ResultKeys::new(store, wrap, clock, keybroker_testing::world::TTL);
    let results = Results::new(std::sync::Arc::new(keys), scene.deployment(), keybroker_testing::world::TTL);
    let read = results.read(&text, scene.now()).await;
    assert!(matches!(read, Err(NotRead::Keys(KeysError::Key(_)))), "{read:?}");
}
