//! Nothing is global: two owners in one deployment cannot see or name each other's resources.

use keybroker_simulator::guest::{
    Error,
    trustee::{Credential, HashAlgorithm, KbsVersion, KeyForm, TrusteeGuest},
};
use keybroker_tests::{
    operator::Operator,
    unique,
    world::{World, audit_id},
};
use serde_json::json;

use crate::scene::{PATH, Refusal, Scene, assert_said, init_data, register, register_as, registration};

fn token(world: &World, id: &str) -> String {
    let made = Operator::of(world).json(&["token", "create", "--url", &world.url, "--workload-id", id]);
    format!("Authorization: Bearer {}", made["token"].as_str().unwrap())
}

/// Two owners with one measurement, one path in common and one of its own each.
#[tokio::test]
async fn two_owners_cannot_see_each_others_resources() {
    let world = World::start();
    let owners = ["one", "two"].map(|owner| {
        let id = unique("w");
        let document = init_data(&id, HashAlgorithm::Sha256);
        let own_path = format!("{owner}/key/own");
        let secrets = [format!("{owner}'s disk"), format!("{owner}'s own")];
        let body = registration(&id, &[(PATH, &secrets[0]), (&own_path, &secrets[1])], Some(&document));
        let response = register_as(&world, &[&token(&world, &id)], &body);
        assert_eq!(response.status, 200, "{}", response.text());
        (id, document, own_path, secrets)
    });
    for (mine, theirs) in [(&owners[0], &owners[1]), (&owners[1], &owners[0])] {
        let (id, document, own_path, secrets) = mine;
        for (url, document) in
            [(world.url.clone(), document.clone()), (format!("{}/w/{id}", world.url), document.clone())]
        {
            for credential in Credential::ALL {
                let mut guest =
                    TrusteeGuest::new(&url, KbsVersion::V0_4_0, KeyForm::P256, world.milan()).unwrap();
                guest = guest.launched_with(document.clone());
                assert_eq!(guest.boot(PATH, credential).await.as_deref(), Ok(secrets[0].as_bytes()));
                assert_eq!(guest.resource(own_path, credential).await.as_deref(), Ok(secrets[1].as_bytes()));
                let refused = guest.resource(&theirs.2, credential).await;
                let Err(Error::Refused(said)) = refused else { panic!("{refused:?}") };
                assert_said(&world, &said, Refusal::NO_RESOURCE);
            }
        }
    }
}

#[tokio::test]
async fn another_owner_can_neither_replace_a_workload_nor_take_its_document() {
    let scene = Scene::launched(World::start());
    let stranger = token(&scene.world, &unique("w"));
    let body = registration(&scene.id, &[(PATH, "the stranger's")], scene.init_data.as_ref());
    // Without a token, and with one for another id.
    let anonymous = register(&scene.world, &body);
    assert_eq!(anonymous.status, 409, "{}", anonymous.text());
    let foreign = register_as(&scene.world, &[&stranger], &body);
    assert_eq!(foreign.status, 401, "{}", foreign.text());
    if let Some(record) = scene.world.audit(&foreign.text()) {
        assert_eq!(record["failed"]["check"], "token", "{record}");
    }
    let own = unique("w");
    let body = registration(&own, &[(PATH, "the stranger's")], scene.init_data.as_ref());
    let taken = register_as(&scene.world, &[&token(&scene.world, &own)], &body);
    assert_eq!(taken.status, 409, "{}", taken.text());
    assert!(!audit_id(&taken.text()).is_empty());
    scene.still_boots().await;
}

#[tokio::test]
async fn a_path_that_names_no_resource_is_404_and_final() {
    let scene = Scene::named(World::start());
    let mut guest = scene.attested(KbsVersion::V0_4_0).await;
    let long = format!("{}/key/disk", "a".repeat(65));
    for credential in Credential::ALL {
        for path in
            ["default/key/other", "Default/key/disk", "default/disk/key", "a/b/c", "passphrase/passphrase/x"]
        {
            let record = scene.assert_refused(guest.resource(path, credential).await, Refusal::NO_RESOURCE);
            assert!(record.is_none_or(|record| record["secret"] == path));
        }
        for path in [
            "..%2f..%2fdefault/key/disk",
            "%2e%2e/key/disk",
            ".default/key/disk",
            "default/.key/disk",
            "default/key/.disk",
            "default/key/di sk",
            "default/key/disk%00",
            "default/key/disk;x",
            "d%C3%A9fault/key/disk",
            &long,
        ] {
            let path = path.replace(' ', "%20");
            println!("{path}");
            scene.assert_refused(guest.resource(&path, credential).await, Refusal::NO_PATH);
        }
    }
    assert_eq!(scene.released(), 0);
    // The query is none of the path.
    let opened = guest.resource(&format!("{PATH}?plugin=x"), Credential::Bearer).await;
    assert_eq!(opened.as_deref(), Ok(scene.secret.as_bytes()));
}

/// The name decides before the session is looked at; a session decides before it is told what there is.
#[tokio::test]
async fn without_a_session_nobody_is_told_which_resources_there_are() {
    let scene = Scene::named(World::start());
    for path in [PATH, "default/key/other"] {
        for base in ["", &format!("/w/{}", scene.id), &format!("/w/{}", unique("w"))] {
            let response = scene.world.ask("GET", &format!("{base}/kbs/v0/resource/{path}"), &[], None);
            scene.assert_response(&response, Refusal::NO_COOKIE);
        }
    }
}

/// Each guest of a registration for both dialects gets the names of its own kind.
#[tokio::test]
async fn a_registration_names_its_resources_as_its_guests_dialects_do() {
    let world = World::start();
    for (name, status) in [
        ("default/key/disk", 200),
        ("a/b/c", 200),
        ("A-_9/x.y/z_.", 200),
        ("passphrase", 400),
        ("default/key", 400),
        ("default/key/disk/x", 400),
        ("/default/key/disk", 400),
        ("default//disk", 400),
        ("default/../disk", 400),
        ("default/.key/disk", 400),
        ("default/key/di sk", 400),
        ("", 400),
    ] {
        let response = register(&world, &registration(&unique("w"), &[(name, "s")], None));
        assert_eq!(response.status, status, "{name}: {}", response.text());
    }
    // Only Trustee and v1 can be named, and init data of Trustee's guests is bound by HOST_DATA.
    for dialects in [
        json!(["v0"]),
        json!(["keybroker", "trustee"]),
        json!([]),
        json!("trustee"),
        json!(["trustee", "trustee"]),
    ] {
        let mut body = registration(&unique("w"), &[(PATH, "s")], None);
        body["dialects"] = dialects.clone();
        let response = register(&world, &body);
        assert_eq!(response.status, 400, "{dialects}: {}", response.text());
    }
    for bound_by in ["measurement", "nothing"] {
        let id = unique("w");
        let mut body = registration(&id, &[(PATH, "s")], Some(&init_data(&id, HashAlgorithm::Sha256)));
        body["init_data"]["bound_by"] = json!(bound_by);
        let response = register(&world, &body);
        assert_eq!(response.status, 400, "{}", response.text());
        assert!(response.text().contains("bound_by must be host_data"), "{}", response.text());
    }
}
