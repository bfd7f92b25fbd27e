//! Guests of other dialects at a registration of Trustee's, and Trustee's guests at theirs. 0.1.0 with empty
//! `extra-params` is keybroker's guest and Trustee's to the byte: the key's `alg` decides.

use data_encoding::HEXLOWER;
use keybroker_simulator::{
    guest::{
        Error, KeybrokerGuest, Machine,
        trustee::{Credential, KbsVersion, KeyForm, TrusteeGuest},
    },
    rvp::RvpCli,
};
use keybroker_tests::{
    passphrase, unique,
    world::{MEASUREMENT, World, audit_id},
};
use serde_json::{Value, json};

use crate::scene::{PATH, Refusal, Scene, register, registration, usual_key};

/// A machine whose host launched the guest with `host_data`.
fn launched(world: &World, host_data: [u8; 32]) -> Machine {
    let mut machine = world.milan();
    machine.fields.host_data = host_data;
    machine
}

/// Registers as keybroker's `rvp_cli` does. Returns HOST_DATA.
async fn keybrokers(world: &World, secret: &str) -> [u8; 32] {
    let response = RvpCli::new(&world.url, &MEASUREMENT, secret).register().await.unwrap();
    RvpCli::host_data(&response).expect("what rvp_cli can read")
}

/// Asserts that a guest of keybroker's was refused in its own form, because of this check.
fn assert_refused<T: std::fmt::Debug>(world: &World, answer: Result<T, Error>, check: &str) -> Option<Value> {
    world.assert_refused(answer, (403, check))
}

/// The same of a guest of Trustee's, or one that may be.
fn assert_refused_as_trustees<T: std::fmt::Debug>(
    world: &World,
    answer: Result<T, Error>,
    expected: Refusal<'_>,
) {
    let Err(Error::Refused(said)) = answer else { panic!("{answer:?}") };
    crate::scene::assert_said(world, &said, expected);
}

#[tokio::test]
async fn a_guest_of_keybrokers_gets_nothing_of_a_trustee_registration() {
    let scene = Scene::launched(World::start());
    let host_data = scene.init_data.as_ref().unwrap().host_data();
    let mut guest = KeybrokerGuest::new(&scene.world.url, launched(&scene.world, host_data)).unwrap();
    guest.auth().await.unwrap();
    assert_refused(&scene.world, guest.attest().await, "host-data");
    // Not even where its HOST_DATA is the id under which Trustee's guests are registered.
    let id = uuid::Uuid::new_v4();
    let body = registration(&id.hyphenated().to_string(), &[(PATH, "s")], None);
    assert_eq!(register(&scene.world, &body).status, 200);
    let mut host_data = [0; 32];
    host_data[..16].copy_from_slice(id.as_bytes());
    let mut guest = KeybrokerGuest::new(&scene.world.url, launched(&scene.world, host_data)).unwrap();
    guest.auth().await.unwrap();
    assert_refused(&scene.world, guest.attest().await, "workload");
    // Nor at the URL of Trustee's guests.
    let mut guest =
        KeybrokerGuest::new(&format!("{}/w/{id}", scene.world.url), launched(&scene.world, host_data))
            .unwrap();
    guest.auth().await.unwrap();
    let text = "tee-pubkey: served are RSA keys (RSA1_5, RSA-OAEP-256) and EC keys on P-256 (ECDH-ES+A256KW)";
    assert_refused_as_trustees(&scene.world, guest.attest().await, Refusal::unread(text));
    assert_eq!(scene.released(), 0);
    scene.still_boots().await;
}

#[tokio::test]
async fn a_guest_of_trustees_gets_nothing_of_a_keybroker_registration() {
    let world = World::start();
    let secret = passphrase();
    let host_data = keybrokers(&world, &secret).await;
    let id = uuid::Uuid::from_slice(&host_data[..16]).unwrap();
    for version in KbsVersion::ALL {
        let form = usual_key(version);
        let at = |url: &str| TrusteeGuest::new(url, version, form, launched(&world, host_data)).unwrap();
        let mut guest = at(&world.url);
        guest.auth().await.unwrap();
        assert_refused_as_trustees(&world, guest.attest().await, Refusal::at_attest("host-data"));
        let mut guest = at(&format!("{}/w/{id}", world.url));
        guest.auth().await.unwrap();
        assert_refused_as_trustees(&world, guest.attest().await, Refusal::at_attest("workload"));
    }
    let mut guest = KeybrokerGuest::new(&world.url, launched(&world, host_data)).unwrap();
    assert_eq!(guest.boot("passphrase").await, Ok(secret.into_bytes()));
}

/// One HOST_DATA for two registrations, one of each dialect.
#[tokio::test]
async fn the_algorithm_of_the_key_decides_once_which_guest_asks_with_0_1_0() {
    let world = World::start();
    let host_data = keybrokers(&world, "keybroker's").await;
    let id = unique("w");
    let mut body = registration(&id, &[(PATH, "trustee's")], None);
    let digest = HEXLOWER.encode(&host_data);
    body["init_data"] = json!({"bound_by": "host_data", "algorithm": "sha256", "digest": digest});
    assert_eq!(register(&world, &body).status, 200);

    let keybroker = || KeybrokerGuest::new(&world.url, launched(&world, host_data)).unwrap();
    let trustee = || {
        TrusteeGuest::new(&world.url, KbsVersion::V0_1_0, KeyForm::Rsa1_5, launched(&world, host_data))
            .unwrap()
    };
    assert_eq!(trustee().auth_request().body(), keybroker().auth_body(), "the same to the byte");
    assert_eq!(keybroker().boot("passphrase").await, Ok(b"keybroker's".to_vec()));
    for credential in Credential::ALL {
        assert_eq!(trustee().boot(PATH, credential).await, Ok(b"trustee's".to_vec()));
    }

    // A session of one dialect is none at the other's route.
    let mut attested = keybroker();
    attested.auth().await.unwrap();
    let answer = attested.attest().await.unwrap();
    assert_eq!(answer.body, b"", "keybroker's guest gets no token");
    let cookie = format!("Cookie: kbs-session-id={}", attested.state.session_id.clone().unwrap());
    let response = world.ask("GET", &format!("/kbs/v0/resource/{PATH}"), &[&cookie], None);
    let said = keybroker_simulator::guest::Said::from(&response);
    crate::scene::assert_said(&world, &said, Refusal::at_resource("session"));

    let mut attested = trustee();
    attested.handshake().await.unwrap();
    let cookie = format!("Cookie: kbs-session-id={}", attested.session_id.clone().unwrap());
    let response = world.ask("GET", "/kbs/v0/resource/passphrase", &[&cookie], None);
    assert_eq!(response.status, 403, "{}", response.text());
    if let Some(record) = world.audit(&response.text()) {
        assert_eq!(record["failed"]["check"], "session", "{record}");
    }
    assert!(!audit_id(&response.text()).is_empty());
    assert_eq!(attested.resource(PATH, Credential::Cookie).await, Ok(b"trustee's".to_vec()));
}

/// Whatever the key is called, what is hashed follows the same decision.
#[tokio::test]
async fn evidence_that_is_half_the_one_and_half_the_other_is_refused() {
    let world = World::start();
    let host_data = keybrokers(&world, "keybroker's").await;
    let trustee = || {
        TrusteeGuest::new(&world.url, KbsVersion::V0_1_0, KeyForm::Rsa1_5, launched(&world, host_data))
            .unwrap()
    };
    let keybroker = || KeybrokerGuest::new(&world.url, launched(&world, host_data)).unwrap();

    // Trustee's evidence with keybroker's name for the key, and the other way round.
    let mut guest = trustee();
    guest.auth().await.unwrap();
    let mut message = guest.attestation().unwrap();
    message.tee_pubkey.set("alg", "RSA");
    let answer = guest.attest_with(&message.body()).await;
    let Err(Error::Refused(said)) = answer else { panic!("{answer:?}") };
    let text = r#"{"error":"tee-evidence: unknown field attestation_report"}"#;
    assert_eq!((said.status, said.body.as_str()), (400, text));

    let mut guest = keybroker();
    guest.auth().await.unwrap();
    let body = guest.attest_body().unwrap().replace(r#""alg":"RSA""#, r#""alg":"RSA1_5""#);
    let answer = guest.attest_with(&body).await;
    let text = "tee-pubkey: a member is not base64url without padding";
    assert_refused_as_trustees(&world, answer, Refusal::unread(text));

    // The algorithm comes twice: no choice between them.
    let mut guest = keybroker();
    guest.auth().await.unwrap();
    let body = guest.attest_body().unwrap().replace(r#""alg":"RSA""#, r#""alg":"RSA","alg":"RSA1_5""#);
    let answer = guest.attest_with(&body).await;
    assert_refused_as_trustees(&world, answer, Refusal::unread("body: duplicate field alg"));
    // The challenge is still good for a whole guest.
    guest.attest().await.unwrap();
    assert_eq!(guest.resource("passphrase").await, Ok(b"keybroker's".to_vec()));
}

#[tokio::test]
async fn a_libkrun_workload_is_none_of_trustees() {
    let world = World::start();
    let id = unique("w");
    let secret = world.register(&id).await;
    for version in KbsVersion::ALL {
        let url = format!("{}/w/{id}", world.url);
        let mut guest = TrusteeGuest::new(&url, version, usual_key(version), world.milan()).unwrap();
        guest.auth().await.unwrap();
        assert_refused_as_trustees(&world, guest.attest().await, Refusal::at_attest("workload"));
    }
    assert_eq!(world.krun(&id, world.milan()).boot().await, Ok(secret.into_bytes()));
    // And the other way round.
    let scene = Scene::named(world);
    let answer = scene.world.polite(&scene.id, scene.world.milan()).boot().await;
    assert_refused(&scene.world, answer, "workload");
    scene.still_boots().await;
}
