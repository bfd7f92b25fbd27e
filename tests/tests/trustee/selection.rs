//! Which registration a guest is held to: the one that its URL names, or the one that its init data selects.
//! The host chooses both, so neither lets a guest in.

use keybroker_simulator::{
    guest::{
        Error, Said,
        trustee::{Credential, HashAlgorithm, InitData, KbsVersion, KeyForm, TrusteeGuest},
    },
    http::Response,
};
use keybroker_tests::{
    operator::Operator,
    passphrase, remote, unique,
    world::{World, audit_id},
};
use serde_json::{Value, json};

use crate::scene::{PATH, Refusal, Scene, init_data, register, registration};

const NO_DOCUMENT: &str = "init-data is not a TOML document with version 0.1.0, algorithm and data";

/// A guest of the broker's plain URL that was launched with this document.
fn launched(world: &World, document: &InitData) -> TrusteeGuest {
    TrusteeGuest::new(&world.url, KbsVersion::V0_4_0, KeyForm::P256, world.milan())
        .unwrap()
        .launched_with(document.clone())
}

fn assert_conflict(world: &World, response: &Response) {
    assert_eq!(response.status, 409, "{}", response.text());
    let body: Value = serde_json::from_slice(&response.body).unwrap();
    assert_eq!(body, json!({"error": "already registered", "id": audit_id(&response.text())}));
    if let Some(record) = world.audit(&response.text()) {
        assert_eq!(record["decision"], "refused", "{record}");
        assert_eq!(record["failed"]["check"], "replacement", "{record}");
    }
}

#[tokio::test]
async fn a_document_of_each_algorithm_selects_its_registration() {
    let world = World::start();
    for algorithm in HashAlgorithm::ALL {
        let (id, secret) = (unique("w"), passphrase());
        let document = init_data(&id, algorithm);
        assert_eq!(register(&world, &registration(&id, &[(PATH, &secret)], Some(&document))).status, 200);
        for version in KbsVersion::ALL {
            for sent in [true, false] {
                let mut guest = launched(&world, &document);
                guest.version = version;
                guest.key = keybroker_simulator::guest::trustee::TrusteeKey::generate(
                    crate::scene::usual_key(version),
                );
                if !sent {
                    guest.init_data = None;
                }
                let opened = guest.boot(PATH, Credential::Bearer).await;
                assert_eq!(opened.as_deref(), Ok(secret.as_bytes()), "{algorithm:?} {version:?} {sent}");
            }
        }
    }
}

/// The registration may be known by the document's digest alone.
#[tokio::test]
async fn a_long_document_is_registered_by_its_digest() {
    let world = World::start();
    let (id, secret) = (unique("w"), passphrase());
    let policy = "# a rule of the agent's policy\n".repeat(8 * 1024);
    let document = InitData::new(HashAlgorithm::Sha512, &[("policy.rego", &policy), ("workload", &id)]);
    let mut body = registration(&id, &[(PATH, &secret)], None);
    let digest = data_encoding::HEXLOWER.encode(&document.digest());
    body["init_data"] = json!({"bound_by": "host_data", "algorithm": "sha512", "digest": digest});
    assert_eq!(register(&world, &body).status, 200);
    assert!(document.text.len() > 240_000);
    let opened = launched(&world, &document).boot(PATH, Credential::Cookie).await;
    assert_eq!(opened.as_deref(), Ok(secret.as_bytes()));
}

/// The host gives the guest another document than the one that it launched the guest with.
#[tokio::test]
async fn a_document_that_host_data_does_not_match_is_refused() {
    let scene = Scene::launched(World::start());
    let own = scene.init_data.clone().unwrap();
    let other = init_data("another", HashAlgorithm::Sha256);
    let longer = InitData { text: own.text.clone() + "\n", ..own.clone() };
    let sha384 = InitData { text: own.text.replace("sha256", "sha384"), algorithm: HashAlgorithm::Sha384 };
    for sent in [&other, &longer, &sha384] {
        let mut guest = scene.challenged(KbsVersion::V0_4_0).await;
        guest.init_data = Some(sent.clone());
        scene.assert_refused(guest.attest().await, Refusal::at_attest("init-data"));
        scene.assert_refused(guest.resource(PATH, Credential::Cookie).await, Refusal::LATE);
    }
    // The URL names the registration: nothing is different.
    for sent in [&other, &longer, &sha384] {
        let url = format!("{}/w/{}", scene.world.url, scene.id);
        let mut guest =
            TrusteeGuest::new(&url, KbsVersion::V0_4_0, KeyForm::P256, scene.world.milan()).unwrap();
        guest = guest.launched_with(own.clone());
        guest.init_data = Some(sent.clone());
        guest.auth().await.unwrap();
        scene.assert_refused(guest.attest().await, Refusal::at_attest("init-data"));
    }
    assert_eq!(scene.released(), 0);
    scene.still_boots().await;
}

/// Nothing is required of the init data here, and what the guest says of itself must be true all the same.
#[tokio::test]
async fn a_document_that_host_data_does_not_match_is_refused_where_none_is_required() {
    let scene = Scene::named(World::start());
    let document = init_data("any", HashAlgorithm::Sha384);
    let mut guest = scene.challenged(KbsVersion::V0_4_0).await;
    guest.init_data = Some(document.clone());
    scene.assert_refused(guest.attest().await, Refusal::at_attest("init-data"));
    let mut guest = scene.guest(KbsVersion::V0_4_0).launched_with(document);
    let opened = guest.boot(PATH, Credential::Bearer).await;
    assert_eq!(opened.as_deref(), Ok(scene.secret.as_bytes()));
    assert_eq!(scene.released(), 1);
}

/// Omitting the document never switches the comparison off.
#[tokio::test]
async fn a_guest_of_another_document_is_refused_whether_it_sends_one_or_not() {
    let scene = Scene::launched(World::start());
    let other = init_data("another", HashAlgorithm::Sha256);
    let url = format!("{}/w/{}", scene.world.url, scene.id);
    for version in KbsVersion::ALL {
        let form = crate::scene::usual_key(version);
        let at = |url: &str| TrusteeGuest::new(url, version, form, scene.world.milan()).unwrap();
        // By the URL: launched with another document that it sends, with one that it does not send, with
        // none.
        let omitted = || {
            let mut guest = at(&url).launched_with(other.clone());
            guest.init_data = None;
            guest
        };
        for (name, mut guest) in
            [("another", at(&url).launched_with(other.clone())), ("omitted", omitted()), ("none", at(&url))]
        {
            println!("{version:?} {name}");
            guest.auth().await.unwrap();
            scene.assert_refused(guest.attest().await, Refusal::at_attest("init-data"));
        }
        // By HOST_DATA: nothing is registered for another document, or for none.
        for mut guest in [at(&scene.world.url).launched_with(other.clone()), at(&scene.world.url)] {
            guest.auth().await.unwrap();
            let answer = guest.attest().await;
            scene.assert_refused(answer, Refusal::at_attest("host-data"));
        }
    }
    assert_eq!(scene.released(), 0);
    scene.still_boots().await;
}

/// HOST_DATA selects another's registration, whose measurement the guest does not have.
#[tokio::test]
async fn a_guest_launched_with_another_s_document_is_held_to_that_one_s_measurement() {
    let mine = Scene::launched(World::start());
    let (id, document) = (unique("w"), init_data(&unique("w"), HashAlgorithm::Sha256));
    let mut body = registration(&id, &[(PATH, "the other's")], Some(&document));
    body["measurements"] = json!(["66".repeat(48)]);
    assert_eq!(register(&mine.world, &body).status, 200);
    let mut guest = launched(&mine.world, &document);
    guest.auth().await.unwrap();
    let record = mine.assert_refused(guest.attest().await, Refusal::at_attest("measurement"));
    assert!(record.is_none_or(|record| record["workload_id"] == id.as_str()));
    mine.still_boots().await;
}

#[tokio::test]
async fn a_doubled_document_or_member_is_refused_before_anything_is_decided() {
    let scene = Scene::launched(World::start());
    let own = scene.init_data.clone().unwrap();
    let mut guest = scene.challenged(KbsVersion::V0_4_0).await;
    let genuine = guest.attestation().unwrap();
    let body = |text: &str| {
        let mut message = genuine.clone();
        message.init_data = Some(text.to_owned());
        message.body()
    };
    let sent = genuine.body();
    let member = sent.strip_prefix('{').unwrap().split_once(r#","runtime-data""#).unwrap().0.to_owned();
    let doubled = sent.replacen('{', &format!("{{{member},"), 1);
    let rows = [
        (body(""), NO_DOCUMENT),
        (body("version = \"0.1.0\""), NO_DOCUMENT),
        (body(&own.text.replace("sha256", "md5")), NO_DOCUMENT),
        (body(&own.text.replace("0.1.0", "0.2.0")), NO_DOCUMENT),
        (sent.replacen("\"toml\"", "\"json\"", 1), NO_DOCUMENT),
        (doubled, "body: duplicate field init-data"),
        (sent.replacen("\"format\"", "\"format\":\"toml\",\"format\"", 1), "body: duplicate field format"),
        (sent.replacen(&member, "\"init-data\":[\"toml\",\"\"]", 1), "body: a value of the wrong type"),
        (sent.replacen(&member, "\"init-data\":\"\"", 1), "body: a value of the wrong type"),
    ];
    for (body, text) in rows {
        assert_ne!(body, sent);
        scene.assert_refused(guest.attest_with(&body).await, Refusal::unread(text));
    }
    guest.attest_with(&sent).await.unwrap();
    assert_eq!(guest.resource(PATH, Credential::Cookie).await.as_deref(), Ok(scene.secret.as_bytes()));
    // Twice over, it is another document.
    let mut guest = scene.challenged(KbsVersion::V0_4_0).await;
    let mut message = guest.attestation().unwrap();
    message.init_data = Some(own.text.repeat(2));
    scene.assert_refused(guest.attest_with(&message.body()).await, Refusal::at_attest("init-data"));
}

#[tokio::test]
async fn a_document_of_1_mb_is_413_and_decides_nothing() {
    let scene = Scene::launched(World::listening("a body of 1 MB"));
    let mut guest = scene.challenged(KbsVersion::V0_4_0).await;
    let mut message = guest.attestation().unwrap();
    message.init_data = Some(scene.init_data.clone().unwrap().text + &"#".repeat(1024 * 1024));
    match guest.attest_with(&message.body()).await {
        // The server may close before it has read everything.
        Err(Error::Io(_)) => {}
        answer => {
            let text = "the body is longer than 512 KiB";
            let expected = Refusal { status: 413, kind: "PayloadTooLarge", ..Refusal::unread(text) };
            scene.assert_refused(answer, expected);
        }
    }
    assert_eq!(scene.decisions(), ["registered"]);
    guest.attest().await.unwrap();
    assert_eq!(guest.resource(PATH, Credential::Cookie).await.as_deref(), Ok(scene.secret.as_bytes()));
}

#[tokio::test]
async fn two_workloads_with_one_document_are_409() {
    let scene = Scene::launched(World::start());
    let document = scene.init_data.clone().unwrap();
    let second = unique("w");
    let body = registration(&second, &[(PATH, "the second's")], Some(&document));
    assert_conflict(&scene.world, &register(&scene.world, &body));
    // The same bytes in HOST_DATA, by whatever digest they come about.
    let mut by_digest = registration(&second, &[(PATH, "the second's")], None);
    let digest = data_encoding::HEXLOWER.encode(&document.host_data());
    by_digest["init_data"] = json!({"bound_by": "host_data", "algorithm": "sha256", "digest": digest});
    assert_conflict(&scene.world, &register(&scene.world, &by_digest));
    let long = json!({"bound_by": "host_data", "algorithm": "sha384", "digest": digest + &"00".repeat(16)});
    by_digest["init_data"] = long;
    assert_conflict(&scene.world, &register(&scene.world, &by_digest));
    let operator = Operator::of(&scene.world);
    assert_eq!(operator.run(&["workload", "show", &second]).code, Some(1));
    scene.still_boots().await;
    // A revoked workload keeps its document, and a deleted one frees it.
    operator.out(&["workload", "revoke", &scene.id]);
    assert_conflict(&scene.world, &register(&scene.world, &body));
    operator.out(&["workload", "delete", &scene.id, "--yes"]);
    assert_eq!(register(&scene.world, &body).status, 200);
    let opened = launched(&scene.world, &document).boot(PATH, Credential::Bearer).await;
    assert_eq!(opened, Ok(b"the second's".to_vec()));
}

#[tokio::test]
async fn of_two_registrations_with_one_document_at_once_exactly_one_succeeds() {
    let world = World::start();
    let document = init_data(&unique("w"), HashAlgorithm::Sha256);
    let registered = std::thread::scope(|scope| {
        let each = |_| {
            let (world, document) = (&world, &document);
            scope.spawn(move || {
                let id = unique("w");
                (register(world, &registration(&id, &[(PATH, &id)], Some(document))).status, id)
            })
        };
        let threads: Vec<_> = (0..8).map(each).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    let won: Vec<_> = registered.iter().filter(|(status, _)| *status == 200).collect();
    assert_eq!(won.len(), 1, "{registered:?}");
    assert!(registered.iter().all(|(status, _)| matches!(status, 200 | 409)), "{registered:?}");
    let opened = launched(&world, &document).boot(PATH, Credential::Bearer).await;
    assert_eq!(opened.as_deref(), Ok(won[0].1.as_bytes()));
}

#[tokio::test]
async fn a_guest_without_a_registration_gets_no_token() {
    let scene = Scene::named(World::start());
    let url = format!("{}/w/{}", scene.world.url, unique("w"));
    for version in KbsVersion::ALL {
        let form = crate::scene::usual_key(version);
        let mut nobody = TrusteeGuest::new(&url, version, form, scene.world.milan()).unwrap();
        nobody.auth().await.unwrap();
        scene.assert_refused(nobody.attest().await, Refusal::at_attest("workload"));
        // No measurement and no path of a resource selects anything.
        let mut unnamed = TrusteeGuest::new(&scene.world.url, version, form, scene.world.milan()).unwrap();
        unnamed.auth().await.unwrap();
        scene.assert_refused(unnamed.attest().await, Refusal::at_attest("host-data"));
        assert_eq!((nobody.token, unnamed.token), (None, None));
    }
    assert_eq!(scene.released(), 0);
}

/// Challenge, session and URL belong together.
#[tokio::test]
async fn a_session_of_one_url_is_none_at_another() {
    let scene = Scene::named(World::start());
    let other = unique("w");
    assert_eq!(register(&scene.world, &registration(&other, &[(PATH, "the other's")], None)).status, 200);
    let bare = scene.world.url.clone();
    let other_url = format!("{bare}/w/{other}");
    for version in KbsVersion::ALL {
        let form = crate::scene::usual_key(version);
        // A challenge of this workload at the other's URL.
        let mut guest = scene.challenged(version).await;
        let mut stranger = TrusteeGuest::new(&other_url, version, form, scene.world.milan()).unwrap();
        stranger.session_id.clone_from(&guest.session_id);
        stranger.nonce.clone_from(&guest.nonce);
        scene.assert_refused(stranger.attest().await, Refusal::NO_SESSION);
        // A session of this workload at the other's URL.
        guest.attest().await.unwrap();
        stranger.token.clone_from(&guest.token);
        for credential in Credential::ALL {
            scene.assert_refused(stranger.resource(PATH, credential).await, Refusal::NO_SESSION);
        }
        // A challenge without a workload at a URL that names one.
        let mut unnamed = TrusteeGuest::new(&bare, version, form, scene.world.milan()).unwrap();
        unnamed.auth().await.unwrap();
        stranger.session_id.clone_from(&unnamed.session_id);
        stranger.nonce.clone_from(&unnamed.nonce);
        scene.assert_refused(stranger.attest().await, Refusal::NO_SESSION);
    }
    assert_eq!(scene.released(), 0);
}

#[tokio::test]
async fn a_url_with_an_id_that_nothing_can_have_is_refused() {
    let scene = Scene::named(World::start());
    let body = scene.guest(KbsVersion::V0_4_0).auth_request().body();
    let unsendable = "the workload id holds a character that a guest's URL cannot carry";
    let long =
        "the workload id is too long: 64 characters at most, 48 bytes if not all can stand in a cookie";
    let rows = [
        ("%2e%2e", unsendable),
        ("a%2Fb", unsendable),
        ("a%00b", unsendable),
        (&"a".repeat(65), long),
        (&"%C3%BC".repeat(25), long),
    ];
    for (id, text) in rows {
        println!("{id}");
        for step in ["auth", "attest"] {
            let response = scene.world.ask("POST", &format!("/w/{id}/kbs/v0/{step}"), &[], Some(&body));
            // No challenge carries an id that is too long; attest itself reads one.
            let expected = match (step, text == long) {
                ("attest", true) => Refusal::NO_COOKIE,
                _ => Refusal::unread(text),
            };
            scene.assert_response(&response, expected);
            assert!(response.header("set-cookie").is_empty(), "{id}");
        }
    }
    if remote::decides("a path with an empty part") {
        return;
    }
    let answer = TrusteeGuest::new(
        &format!("{}/w/", scene.world.url),
        KbsVersion::V0_4_0,
        KeyForm::P256,
        scene.world.milan(),
    )
    .unwrap()
    .auth()
    .await;
    let Err(Error::Refused(Said { status: 404, .. })) = answer else { panic!("{answer:?}") };
}
