//! The first request: versions, the hash of REPORT_DATA, and a body in another version's form.

use keybroker_simulator::guest::{
    Error, Said,
    trustee::{Auth, Credential, HashAlgorithm, KbsVersion},
};
use keybroker_tests::world::World;
use serde_json::{Value, json};

use crate::scene::{PATH, Refusal, Scene, assert_said, usual_key};

const VERSIONS: &str = "version: spoken are 0.0.0 with a workload_id, \
    and 0.1.0, 0.1.1, 0.2.0, 0.4.0 with their own extra-params";

#[tokio::test]
async fn an_unknown_version_is_refused_with_the_list_of_those_that_are_spoken() {
    let scene = Scene::named(World::start());
    let offered = Some(vec!["sha384".to_owned()]);
    for version in ["0.3.0", "0.5.0", "0.4.1", "0.4", "1.0.0", "0.4.0 ", "v0.4.0", "", "0.0.0", "0.1.0"] {
        let mut guest = scene.guest(KbsVersion::V0_4_0);
        let auth = Auth { version: version.to_owned(), tee: "snp".to_owned(), offered: offered.clone() };
        println!("{version}");
        assert_not_challenged(&scene, guest.auth_with(&auth.body()).await, VERSIONS);
        // Without a workload in the URL, too.
        let response = scene.world.ask("POST", "/kbs/v0/auth", &[], Some(&auth.body()));
        assert_said(&scene.world, &Said::from(&response), Refusal::unread(VERSIONS));
    }
    // The empty text is 0.1.0's alone at such a URL.
    for version in ["0.1.1", "0.2.0", "0.4.0", "0.0.0"] {
        let auth = Auth { version: version.to_owned(), tee: "snp".to_owned(), offered: None };
        let mut guest = scene.guest(KbsVersion::V0_4_0);
        assert_not_challenged(&scene, guest.auth_with(&auth.body()).await, VERSIONS);
    }
    scene.still_boots().await;
}

fn assert_not_challenged<T: std::fmt::Debug>(scene: &Scene, answer: Result<T, Error>, text: &str) {
    scene.assert_refused(answer, Refusal::unread(text));
}

#[tokio::test]
async fn another_tee_is_refused_with_words() {
    let scene = Scene::named(World::start());
    for tee in ["tdx", "aztdxvtpm", "az-tdx-vtpm", "sample", "SNP", ""] {
        for version in KbsVersion::ALL {
            let mut guest = scene.guest(version);
            let auth = Auth { tee: tee.to_owned(), ..guest.auth_request() };
            let answer = guest.auth_with(&auth.body()).await;
            let served =
                "this broker serves tee \"snp\", and of Trustee's guests \"az-snp-vtpm\" (\"azsnpvtpm\")";
            assert_not_challenged(&scene, answer, served);
        }
    }
}

/// Each guest hashes REPORT_DATA by what was selected, so that it would get nothing under another.
#[tokio::test]
async fn the_hash_is_the_best_that_the_guest_offers_and_sha_384_where_it_offers_nothing() {
    use HashAlgorithm::{Sha256, Sha384, Sha512};

    let scene = Scene::named(World::start());
    let rows: [(&[&str], HashAlgorithm); 9] = [
        (&["sha256", "sha384", "sha512"], Sha384),
        (&["sha256", "sha384", "sha512", "sm3"], Sha384),
        (&["sha512", "sha256"], Sha512),
        (&["sha256"], Sha256),
        (&["sha384"], Sha384),
        (&["sha512"], Sha512),
        (&["sm3", "sha256", "sha3-256"], Sha256),
        (&["sha256", "sha256"], Sha256),
        (&[], Sha384),
    ];
    for (offered, selected) in rows {
        let mut guest = scene.guest(KbsVersion::V0_4_0);
        guest.offered = offered.iter().map(|name| (*name).to_owned()).collect();
        let challenge: Value = serde_json::from_slice(&guest.auth().await.unwrap().body).unwrap();
        let extra = match selected {
            Sha384 => json!(""),
            other => json!({"selected-hash-algorithm": other.name()}),
        };
        assert_eq!(challenge["extra-params"], extra, "{offered:?}");
        assert_eq!(guest.hash, selected, "{offered:?}");
        guest.attest().await.unwrap();
        let opened = guest.resource(PATH, Credential::Bearer).await;
        assert_eq!(opened.as_deref(), Ok(scene.secret.as_bytes()), "{offered:?}");
        // By another hash the report binds nothing.
        let mut guest = scene.guest(KbsVersion::V0_4_0);
        guest.offered = offered.iter().map(|name| (*name).to_owned()).collect();
        guest.auth().await.unwrap();
        guest.hash = if selected == Sha384 { Sha256 } else { Sha384 };
        scene.assert_refused(guest.attest().await, Refusal::at_attest("challenge"));
    }
}

/// 0.1.1 and 0.2.0 hash by SHA-384 whatever they offer.
#[tokio::test]
async fn earlier_versions_are_selected_no_hash() {
    let scene = Scene::named(World::start());
    for version in [KbsVersion::V0_1_1, KbsVersion::V0_2_0] {
        for offered in [&["sha256"][..], &["sm3"], &[]] {
            let mut guest = scene.guest(version);
            guest.offered = offered.iter().map(|name| (*name).to_owned()).collect();
            let challenge: Value = serde_json::from_slice(&guest.auth().await.unwrap().body).unwrap();
            assert_eq!(challenge["extra-params"], "", "{version:?} {offered:?}");
            guest.attest().await.unwrap();
            assert_eq!(
                guest.resource(PATH, Credential::Bearer).await.as_deref(),
                Ok(scene.secret.as_bytes())
            );
        }
    }
}

#[tokio::test]
async fn a_guest_that_has_no_hash_of_the_three_is_refused_with_words() {
    let scene = Scene::named(World::start());
    for offered in [&["sm3"][..], &["md5", "sha1", ""]] {
        let mut guest = scene.guest(KbsVersion::V0_4_0);
        guest.offered = offered.iter().map(|name| (*name).to_owned()).collect();
        let text = "supported-hash-algorithms has none of sha256, sha384, sha512";
        assert_not_challenged(&scene, guest.auth().await, text);
    }
}

#[tokio::test]
async fn extra_params_may_be_an_empty_object() {
    let scene = Scene::named(World::start());
    for version in [KbsVersion::V0_1_1, KbsVersion::V0_2_0, KbsVersion::V0_4_0] {
        let mut guest = scene.guest(version);
        let body = format!(r#"{{"version":"{}","tee":"snp","extra-params":{{}}}}"#, version.text());
        guest.auth_with(&body).await.unwrap();
        guest.attest().await.unwrap();
        assert_eq!(guest.resource(PATH, Credential::Bearer).await.as_deref(), Ok(scene.secret.as_bytes()));
    }
}

/// The whole table of versions and the forms of the others' bodies. A body that is read is decided about.
#[tokio::test]
async fn a_body_in_another_version_s_form_opens_no_session() {
    use KbsVersion::{V0_1_0, V0_1_1, V0_2_0, V0_4_0};

    let scene = Scene::named(World::start());
    let unknown_key = Refusal::unread("body: unknown field tee-pubkey");
    let unknown_init_data = Refusal::unread("body: unknown field init-data");
    let wrong_type = Refusal::unread("body: a value of the wrong type");
    let rows = [
        (V0_1_0, V0_1_1, wrong_type),
        (V0_1_0, V0_2_0, wrong_type),
        (V0_1_0, V0_4_0, unknown_init_data),
        (V0_1_1, V0_1_0, Refusal::at_attest("report")),
        (V0_1_1, V0_4_0, unknown_init_data),
        (V0_2_0, V0_1_0, Refusal::at_attest("report")),
        (V0_2_0, V0_4_0, unknown_init_data),
        (V0_4_0, V0_1_0, unknown_key),
        (V0_4_0, V0_1_1, unknown_key),
        (V0_4_0, V0_2_0, unknown_key),
    ];
    for (challenged, sent, expected) in rows {
        println!("{challenged:?} {sent:?}");
        let mut guest = scene.guest_on(scene.world.milan(), challenged, usual_key(challenged));
        guest.auth().await.unwrap();
        let mut message = guest.attestation().unwrap();
        message.version = sent;
        scene.assert_refused(guest.attest_with(&message.body()).await, expected);
        scene.assert_refused(guest.resource(PATH, Credential::Cookie).await, Refusal::LATE);
    }
    assert_eq!(scene.released(), 0);
    scene.still_boots().await;
}

/// The broker hashes what it was sent in the form of the challenge's version, and compares.
#[tokio::test]
async fn what_is_hashed_in_another_version_s_form_is_refused() {
    let scene = Scene::named(World::start());
    for (challenged, hashed) in
        [(KbsVersion::V0_2_0, KbsVersion::V0_4_0), (KbsVersion::V0_4_0, KbsVersion::V0_2_0)]
    {
        let mut guest = scene.challenged(challenged).await;
        guest.version = hashed;
        let evidence = guest.attestation().unwrap().evidence;
        guest.version = challenged;
        let mut message = guest.attestation().unwrap();
        message.evidence = evidence;
        scene.assert_refused(guest.attest_with(&message.body()).await, Refusal::at_attest("challenge"));
    }
    // 0.4.0's evidence of other devices is hashed, and must be empty.
    let mut guest = scene.challenged(KbsVersion::V0_4_0).await;
    let mut message = guest.attestation().unwrap();
    message.additional_evidence = r#"{"gpu":"x"}"#.to_owned();
    let text = "additional_evidence is not served: it must be empty";
    scene.assert_refused(guest.attest_with(&message.body()).await, Refusal::unread(text));
}
