//! Answers to evidence that comes again: the same gets the same, any other gets 401.

use keybroker_simulator::guest::trustee::{Credential, KbsVersion, Pace, TrusteeKey, claims};
use keybroker_tests::world::World;

use crate::scene::{PATH, Refusal, Scene, key_forms};

#[tokio::test]
async fn the_identical_attest_gets_a_token_with_the_same_claims_and_no_second_decision() {
    let scene = Scene::named(World::start());
    for version in KbsVersion::ALL {
        let mut guest = scene.challenged(version).await;
        let body = guest.attestation().unwrap().body();
        guest.attest_with(&body).await.unwrap();
        let first = guest.token.clone().unwrap();
        for _ in 0..3 {
            guest.attest_with(&body).await.unwrap();
            let again = guest.token.clone().unwrap();
            assert_eq!(claims(&again), claims(&first), "{version:?}");
            assert_eq!(
                guest.resource(PATH, Credential::Bearer).await.as_deref(),
                Ok(scene.secret.as_bytes())
            );
        }
        // The first still counts.
        guest.token = Some(first);
        assert_eq!(guest.resource(PATH, Credential::Bearer).await.as_deref(), Ok(scene.secret.as_bytes()));
    }
    let attested = scene.decisions().into_iter().filter(|decision| decision == "attested").count();
    assert_eq!(attested, KbsVersion::ALL.len());
}

#[tokio::test]
async fn another_body_is_401_and_the_client_shakes_hands_again() {
    let scene = Scene::named(World::start());
    for version in KbsVersion::ALL {
        let mut guest = scene.attested(version).await;
        let first = guest.token.clone().unwrap();
        // A new report of the same guest, and one of another key.
        let mut reported = guest.attestation().unwrap();
        reported.evidence.push(' ');
        let keyed = TrusteeKey::generate(key_forms(version)[0]);
        let keyed = guest.attestation_for(keyed.jwk().clone()).unwrap();
        for message in [&reported, &keyed] {
            scene.assert_refused(guest.attest_with(&message.body()).await, Refusal::LATE);
        }
        assert_eq!(guest.token.as_ref(), Some(&first), "the client keeps what it has");
        assert_eq!(guest.resource(PATH, Credential::Cookie).await.as_deref(), Ok(scene.secret.as_bytes()));
        guest.token = None;
        guest.token(Pace::HURRIED).await.unwrap();
        let opened = guest.resource(PATH, Credential::Bearer).await;
        assert_eq!(opened.as_deref(), Ok(scene.secret.as_bytes()), "{version:?}");
    }
}

/// One decision about one challenge: the same evidence is refused with the same record.
#[tokio::test]
async fn evidence_that_was_refused_is_refused_again_with_the_same_decision() {
    let scene = Scene::named(World::start());
    for version in KbsVersion::ALL {
        let mut guest = scene.challenged(version).await;
        guest.machine.fields.policy |= 1 << 19;
        let body = guest.attestation().unwrap().body();
        let debug = Refusal::at_attest("guest-policy-debug");
        let first = scene.assert_refused(guest.attest_with(&body).await, debug);
        let second = scene.assert_refused(guest.attest_with(&body).await, debug);
        assert_eq!(first.map(|record| record["id"].clone()), second.map(|record| record["id"].clone()));
        // Sound evidence comes too late for this challenge.
        guest.machine.fields.policy &= !(1 << 19);
        scene.assert_refused(guest.attest().await, Refusal::LATE);
        scene.assert_refused(guest.resource(PATH, Credential::Cookie).await, Refusal::LATE);
    }
    assert_eq!(scene.released(), 0);
    let refused = scene.decisions().into_iter().filter(|decision| decision == "refused").count();
    assert!(refused >= KbsVersion::ALL.len());
    scene.still_boots().await;
}

#[tokio::test]
async fn evidence_of_an_earlier_boot_is_refused() {
    let scene = Scene::named(World::start());
    for version in KbsVersion::ALL {
        let mut guest = scene.challenged(version).await;
        let body = guest.attestation().unwrap().body();
        guest.attest_with(&body).await.unwrap();
        guest.auth().await.unwrap();
        scene.assert_refused(guest.attest_with(&body).await, Refusal::at_attest("challenge"));
    }
}

#[tokio::test]
async fn the_nonce_of_another_session_is_refused() {
    let scene = Scene::named(World::start());
    for version in KbsVersion::ALL {
        let other = scene.challenged(version).await;
        let mut guest = scene.challenged(version).await;
        let own = guest.nonce.clone().unwrap();
        guest.nonce.clone_from(&other.nonce);
        scene.assert_refused(guest.attest().await, Refusal::at_attest("challenge"));
        assert_ne!(other.nonce.as_ref(), Some(&own));
    }
    // The nonce that 0.4.0 sends back is not believed: neither the wrong nor the right one changes anything.
    let other = scene.challenged(KbsVersion::V0_4_0).await;
    let mut guest = scene.challenged(KbsVersion::V0_4_0).await;
    let own = guest.nonce.clone().unwrap();
    guest.nonce.clone_from(&other.nonce);
    let mut message = guest.attestation().unwrap();
    message.nonce = own;
    scene.assert_refused(guest.attest_with(&message.body()).await, Refusal::at_attest("challenge"));
    assert_eq!(scene.released(), 0);
}
