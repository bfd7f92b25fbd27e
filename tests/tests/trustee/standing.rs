//! Changes between token and resource: a session of before gets nothing new.

use std::fs;

use keybroker_simulator::guest::{
    Error,
    trustee::{Credential, HashAlgorithm, KbsVersion, Pace, TrusteeGuest},
};
use keybroker_tests::{operator::Operator, passphrase, unique, world::World};
use serde_json::Value;
use tempfile::TempDir;

use crate::scene::{PATH, Refusal, Scene, init_data, register, register_as, registration};

/// The operator of a scene, with the key that wraps its secrets.
fn operator(scene: &Scene) -> Operator {
    let operator = Operator::of(&scene.world);
    if !scene.world.is_served() {
        return operator;
    }
    operator.with("KEYBROKER_KEY_FILE", scene.world.home().key_file().to_str().unwrap())
}

/// Guests of every version, attested.
async fn guests(scene: &Scene) -> Vec<TrusteeGuest> {
    let mut guests = Vec::new();
    for version in KbsVersion::ALL {
        guests.push(scene.attested(version).await);
    }
    guests
}

/// Asserts that no guest gets anything, by cookie or token.
async fn assert_nothing_for(scene: &Scene, guests: &mut [TrusteeGuest], cause: &str) {
    for guest in guests {
        for credential in Credential::ALL {
            let answer = guest.resource(PATH, credential).await;
            let record = scene.assert_refused(answer, Refusal::at_resource("workload"));
            assert!(record.is_none_or(|record| said(&record).contains(cause)), "{cause}");
        }
        // The same evidence once more does not bring a new token.
        let body = sent(guest);
        let answer = guest.attest_with(&body).await;
        let record = scene.assert_refused(answer, Refusal::at_attest("workload"));
        assert!(record.is_none_or(|record| said(&record).contains(cause)), "{cause}");
    }
}

fn said(record: &Value) -> &str {
    record["failed"]["cause"].as_str().unwrap()
}

/// The body that the guest sent to attest.
fn sent(guest: &TrusteeGuest) -> String {
    let mut attests = guest.exchanges.iter().filter(|exchange| exchange.step == "attest");
    attests.next_back().unwrap().request.clone().unwrap()
}

async fn boots(scene: &Scene, secret: &str) {
    for credential in Credential::ALL {
        let booted = scene.guest(KbsVersion::V0_4_0).boot(PATH, credential).await;
        assert_eq!(booted.as_deref(), Ok(secret.as_bytes()));
    }
}

#[tokio::test]
async fn after_a_revocation_nothing_is_released_and_a_restoration_asks_for_a_new_session() {
    for scene in [Scene::named(World::start()), Scene::launched(World::start())] {
        let (operator, mut guests) = (operator(&scene), guests(&scene).await);
        operator.out(&["workload", "revoke", &scene.id]);
        assert_nothing_for(&scene, &mut guests, "is revoked since").await;
        for version in KbsVersion::ALL {
            let mut guest = scene.challenged(version).await;
            scene.assert_refused(guest.attest().await, Refusal::at_attest("workload"));
        }
        operator.out(&["workload", "restore", &scene.id]);
        assert_nothing_for(&scene, &mut guests, "revoked and restored since").await;
        assert_eq!(scene.released(), 0);
        boots(&scene, &scene.secret).await;
        // The clients find their own way.
        for guest in &mut guests {
            let opened = guest.fetch(PATH, Credential::Cookie, Pace::HURRIED).await;
            assert_eq!(opened.as_deref(), Ok(scene.secret.as_bytes()));
        }
    }
}

#[tokio::test]
async fn after_a_replacement_a_session_of_before_gets_nothing() {
    for scene in [Scene::named(World::start()), Scene::launched(World::start())] {
        let mut guests = guests(&scene).await;
        let (token, next) = (token(&scene), passphrase());
        let body = registration(&scene.id, &[(PATH, &next)], scene.init_data.as_ref());
        let response = register_as(&scene.world, &[&token], &body);
        assert_eq!(response.status, 200, "{}", response.text());
        assert_nothing_for(&scene, &mut guests, "was replaced or altered since").await;
        assert_eq!(scene.released(), 0);
        boots(&scene, &next).await;
    }
}

/// A token that may replace the workload's registration.
fn token(scene: &Scene) -> String {
    let url = &scene.world.url;
    let made = operator(scene).json(&["token", "create", "--url", url, "--workload-id", &scene.id]);
    format!("Authorization: Bearer {}", made["token"].as_str().unwrap())
}

#[tokio::test]
async fn a_replacement_with_another_document_selects_by_that_one_alone_and_frees_the_first() {
    let mut scene = Scene::launched(World::start());
    let (first, second) = (scene.init_data.clone(), init_data(&unique("w"), HashAlgorithm::Sha384));
    let (next, mut guests) = (passphrase(), guests(&scene).await);
    let body = registration(&scene.id, &[(PATH, &next)], Some(&second));
    let response = register_as(&scene.world, &[&token(&scene)], &body);
    assert_eq!(response.status, 200, "{}", response.text());
    assert_nothing_for(&scene, &mut guests, "was replaced or altered since").await;
    let mut guest = scene.challenged(KbsVersion::V0_4_0).await;
    scene.assert_refused(guest.attest().await, Refusal::at_attest("host-data"));
    scene.init_data = Some(second);
    boots(&scene, &next).await;
    // Another workload can have the first document now.
    let (other, secret) = (unique("w"), passphrase());
    let body = registration(&other, &[(PATH, &secret)], first.as_ref());
    assert_eq!(register(&scene.world, &body).status, 200);
    scene.init_data = first;
    boots(&scene, &secret).await;
}

#[tokio::test]
async fn after_a_deletion_nothing_is_released() {
    let scene = Scene::launched(World::start());
    let mut guests = guests(&scene).await;
    operator(&scene).out(&["workload", "delete", &scene.id, "--yes"]);
    assert_nothing_for(&scene, &mut guests, "is no longer registered").await;
    let mut guest = scene.challenged(KbsVersion::V0_4_0).await;
    scene.assert_refused(guest.attest().await, Refusal::at_attest("host-data"));
    assert_eq!(scene.released(), 0);
}

#[tokio::test]
async fn after_a_resource_is_changed_a_session_of_before_gets_nothing_new_and_the_next_gets_it_all() {
    for scene in [Scene::named(World::start()), Scene::launched(World::start())] {
        let (operator, files) = (operator(&scene), TempDir::new().unwrap());
        let write = |secret: &str| {
            let path = files.path().join(unique("f"));
            fs::write(&path, secret).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let mut before = guests(&scene).await;
        // Another resource changes; the first stays what it is.
        let other = "default/key/other";
        operator.out(&["resource", "set", &scene.id, other, &write("another"), "--yes"]);
        assert_nothing_for(&scene, &mut before, "was replaced or altered since").await;
        for guest in &mut before {
            let answer = guest.resource(other, Credential::Bearer).await;
            scene.assert_refused(answer, Refusal::at_resource("workload"));
        }
        assert_eq!(scene.released(), 0);
        boots(&scene, &scene.secret).await;
        let mut guest = scene.attested(KbsVersion::V0_4_0).await;
        assert_eq!(guest.resource(other, Credential::Bearer).await, Ok(b"another".to_vec()));

        let next = passphrase();
        operator.out(&["resource", "set", &scene.id, PATH, &write(&next), "--yes"]);
        let answer = guest.resource(PATH, Credential::Bearer).await;
        scene.assert_refused(answer, Refusal::at_resource("workload"));
        boots(&scene, &next).await;

        operator.out(&["resource", "delete", &scene.id, other, "--yes"]);
        let mut guest = scene.attested(KbsVersion::V0_4_0).await;
        scene.assert_refused(guest.resource(other, Credential::Bearer).await, Refusal::NO_RESOURCE);
        assert_eq!(guest.resource(PATH, Credential::Bearer).await.as_deref(), Ok(next.as_bytes()));
    }
}

/// A rotation at once takes everything with it that was made under the earlier keys.
#[tokio::test]
async fn when_the_keys_of_results_are_emptied_no_earlier_token_counts_and_cookies_do() {
    let Some(world) = World::with(&[], "a broker of its own to rotate keys of") else { return };
    let scene = Scene::named(world);
    let mut guest = scene.attested(KbsVersion::V0_4_0).await;
    let (server, home, kds) = scene.world.into_parts();
    let url = server.url.clone();
    server.terminate();
    let operator = Operator::of_directory(&home.data_dir(), "file")
        .with("KEYBROKER_KEY_FILE", home.key_file().to_str().unwrap());
    operator.out(&["keys", "rotate", "result", "--now", "--yes"]);
    assert!(!url.is_empty());
    let scene = Scene { world: World::over(home, kds, &[]), ..scene };
    let mut moved = scene.guest(KbsVersion::V0_4_0);
    std::mem::swap(&mut moved.key, &mut guest.key);
    (moved.session_id, moved.token) = (guest.session_id.clone(), guest.token.clone());
    scene.assert_refused(moved.resource(PATH, Credential::Bearer).await, Refusal::NO_SESSION);
    assert_eq!(moved.resource(PATH, Credential::Cookie).await.as_deref(), Ok(scene.secret.as_bytes()));
    // The client that has only the token attests anew.
    let opened: Result<Vec<u8>, Error> = moved.fetch(PATH, Credential::Bearer, Pace::HURRIED).await;
    assert_eq!(opened.as_deref(), Ok(scene.secret.as_bytes()));
}
