//! Many at once: identical evidence, one session's resources, and guests of all versions.

use std::{collections::BTreeSet, sync::Arc};

use keybroker_simulator::{
    Product,
    guest::trustee::{Credential, Jwe, KbsVersion, claims},
};
use keybroker_tests::{
    unique,
    world::{World, audit_id},
};
use tokio::task::JoinSet;

use crate::scene::{PATH, Scene, key_forms, register, registration};

/// Requests at a time.
const MANY: usize = 32;

/// A client repeats what was not answered in time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_identical_attests_at_once_are_one_decision_and_all_get_the_same_claims() {
    let scene = Scene::named(World::start());
    for version in KbsVersion::ALL {
        let mut guest = scene.challenged(version).await;
        let body = Arc::new(guest.attestation().unwrap().body());
        let cookie = format!("Cookie: kbs-session-id={}", guest.session_id.clone().unwrap());
        let request = Arc::new(scene.world.request("POST", "/kbs/v0/attest", &[&cookie], Some(&body)));
        let mut attests = JoinSet::new();
        for _ in 0..MANY {
            let (mut connection, request) = (scene.world.connect(), Arc::clone(&request));
            attests.spawn_blocking(move || {
                connection.send(request.as_bytes());
                connection.response().expect("a response")
            });
        }
        let mut tokens = Vec::new();
        for response in attests.join_all().await {
            assert_eq!(response.status, 200, "{}", response.text());
            let answer: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
            tokens.push(answer["token"].as_str().unwrap().to_owned());
        }
        let first = claims(&tokens[0]);
        assert!(first.is_some() && tokens.iter().all(|token| claims(token) == first), "{version:?}");
        for token in [tokens.first(), tokens.last()] {
            guest.token = token.cloned();
            assert_eq!(
                guest.resource(PATH, Credential::Bearer).await.as_deref(),
                Ok(scene.secret.as_bytes())
            );
        }
    }
    let attested = scene.decisions().into_iter().filter(|decision| decision == "attested").count();
    assert_eq!(attested, KbsVersion::ALL.len());
}

/// The first decision is the only one: everybody else's evidence comes too late.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_different_attests_at_once_exactly_one_opens_the_session() {
    let scene = Scene::named(World::start());
    let guest = scene.challenged(KbsVersion::V0_4_0).await;
    let cookie = format!("Cookie: kbs-session-id={}", guest.session_id.clone().unwrap());
    let mut attests = JoinSet::new();
    // Few enough that every late one is recorded.
    for _ in 0..16 {
        let body = guest.attestation().unwrap().body() + &" ".repeat(attests.len());
        let request = scene.world.request("POST", "/kbs/v0/attest", &[&cookie], Some(&body));
        let mut connection = scene.world.connect();
        attests.spawn_blocking(move || {
            connection.send(request.as_bytes());
            connection.response().expect("a response")
        });
    }
    let answers = attests.join_all().await;
    let won = answers.iter().filter(|response| response.status == 200).count();
    let late = answers.iter().filter(|response| matches!(response.status, 401 | 429)).count();
    assert_eq!((won, late), (1, 15));
    let attested = scene.decisions().into_iter().filter(|decision| decision == "attested").count();
    assert_eq!(attested, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_session_fetches_its_resources_in_parallel_and_each_release_is_on_record() {
    let mut scene = Scene::named(World::start());
    scene.id = unique("w");
    let names: Vec<String> = (0..16).map(|index| format!("default/key/r{index}")).collect();
    let secrets: Vec<String> = (0..16).map(|index| format!("secret {index} ").repeat(index + 1)).collect();
    let resources: Vec<(&str, &str)> =
        names.iter().zip(&secrets).map(|(name, secret)| (name.as_str(), secret.as_str())).collect();
    assert_eq!(register(&scene.world, &registration(&scene.id, &resources, None)).status, 200);
    for version in [KbsVersion::V0_1_1, KbsVersion::V0_4_0] {
        let before = scene.released();
        let guest = scene.attested(version).await;
        let shown = [
            format!("Cookie: kbs-session-id={}", guest.session_id.clone().unwrap()),
            format!("Authorization: Bearer {}", guest.token.clone().unwrap()),
        ];
        let mut fetches = JoinSet::new();
        for (name, secret) in &resources {
            for header in &shown {
                let path = format!("/w/{}/kbs/v0/resource/{name}", scene.id);
                let request = scene.world.request("GET", &path, &[header], None);
                let (mut connection, secret) = (scene.world.connect(), (*secret).to_owned());
                fetches.spawn_blocking(move || {
                    connection.send(request.as_bytes());
                    (connection.response().expect("a response"), secret)
                });
            }
        }
        let mut sealed = BTreeSet::new();
        for (response, secret) in fetches.join_all().await {
            assert_eq!(response.status, 200, "{}", response.text());
            let jwe = Jwe::parse(&response.body).unwrap();
            assert_eq!(jwe.open(version.jwe(), &guest.key), Ok(secret.into_bytes()));
            // No content key and no IV comes twice.
            assert!(sealed.insert(jwe.encrypted_key.clone()) && sealed.insert(jwe.iv.clone()));
        }
        assert_eq!(scene.released() - before, 2 * names.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guests_of_all_versions_and_keys_boot_at_once() {
    let scene = Scene::named(World::start());
    // They make their keys before they come.
    let mut guests = Vec::new();
    for version in KbsVersion::ALL {
        for form in key_forms(version) {
            for product in Product::ALL {
                for credential in Credential::ALL {
                    // They share a few chips: the broker turns away guests of many new chips at once.
                    let guest = scene.guest_on(scene.world.machine(product, 1), version, *form);
                    guests.push((guest, credential));
                }
            }
        }
    }
    let mut crowd = JoinSet::new();
    for (mut guest, credential) in guests {
        crowd.spawn(async move {
            let booted = guest.boot(PATH, credential).await;
            ((guest.version, guest.key.form(), guest.machine.fields.product, credential), booted)
        });
    }
    let booted = crowd.join_all().await;
    assert_eq!(booted.len(), 48);
    for (what, opened) in booted {
        assert_eq!(opened.as_deref(), Ok(scene.secret.as_bytes()), "{what:?}");
    }
    assert_eq!(scene.released(), 48);
}

/// Each guest that was told something can be found by it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_refusals_at_once_have_a_record_each() {
    let scene = Scene::named(World::start());
    let mut guests: Vec<_> = (0..MANY).map(|index| scene.guest(KbsVersion::ALL[index % 4])).collect();
    let mut crowd = JoinSet::new();
    for mut guest in guests.drain(..) {
        guest.machine.fields.measurement = [0x66; 48];
        crowd.spawn(async move {
            guest.auth().await.unwrap();
            guest.attest().await
        });
    }
    let mut records = BTreeSet::new();
    for answer in crowd.join_all().await {
        let Err(keybroker_simulator::guest::Error::Refused(said)) = answer else { panic!("{answer:?}") };
        assert_eq!(said.status, 401);
        records.insert(audit_id(&said.body));
    }
    assert_eq!(records.len(), MANY);
    assert_eq!(scene.decisions().into_iter().filter(|decision| decision == "refused").count(), MANY);
    assert_eq!(scene.released(), 0);
}
