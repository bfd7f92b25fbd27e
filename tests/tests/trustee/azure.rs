//! The guests of Azure confidential VMs: every version of the protocol, under either name of the TEE, with
//! each release of the evidence.

use keybroker_simulator::{
    Product,
    guest::trustee::{Auth, Credential, HashAlgorithm, KbsVersion, TrusteeGuest, Vtpm, VtpmShape},
};
use keybroker_tests::{passphrase, unique, world::World};
use serde_json::json;

use crate::scene::{PATH, Refusal, Scene, init_data, register, registration, usual_key};

/// Its names, by the release of the client.
const TEES: [&str; 2] = ["azsnpvtpm", "az-snp-vtpm"];

/// A broker with one workload whose guests run in Azure.
fn azure() -> Scene {
    let (world, id, secret) = (World::start(), unique("w"), passphrase());
    let mut body = registration(&id, &[(PATH, &secret)], None);
    body["require"] = json!({"evidence": "az-snp-vtpm"});
    let response = register(&world, &body);
    assert_eq!(response.status, 200, "{}", response.text());
    Scene { world, id, secret, init_data: None }
}

/// A guest whose client writes this release of the evidence. If it `writes`, it binds what answers its
/// challenge.
fn guest(
    scene: &Scene,
    product: Product,
    version: KbsVersion,
    tee: &str,
    shape: VtpmShape,
    writes: bool,
) -> TrusteeGuest {
    let mut guest = scene.guest_on(scene.world.machine(product, 1), version, usual_key(version));
    let mut vtpm = Vtpm::new(tee, shape);
    if writes {
        vtpm.written = None;
    }
    guest.vtpm = Some(vtpm);
    guest
}

#[tokio::test]
async fn every_version_gets_its_secret_under_either_name_if_its_client_writes_user_data() {
    let scene = azure();
    for version in KbsVersion::ALL {
        for tee in TEES {
            for shape in VtpmShape::ALL {
                for product in Product::ALL {
                    let what = (version, tee, shape, product);
                    let mut guest = guest(&scene, product, version, tee, shape, true);
                    let opened = guest.boot(PATH, Credential::Bearer).await;
                    assert_eq!(opened.as_deref(), Ok(scene.secret.as_bytes()), "{what:?}");
                }
                let mut guest = guest(&scene, Product::Milan, version, tee, shape, shape.writes());
                if shape.writes() {
                    let opened = guest.boot(PATH, Credential::Cookie).await;
                    assert_eq!(opened.as_deref(), Ok(scene.secret.as_bytes()));
                } else {
                    guest.auth().await.unwrap();
                    let record = scene.assert_refused(guest.attest().await, Refusal::at_attest("challenge"));
                    let cause = record.unwrap()["failed"]["cause"].as_str().unwrap().to_owned();
                    assert!(cause.contains("the guest wrote nothing to the NV index 0x01400002"), "{cause}");
                }
            }
        }
    }
}

/// The record and the token say what was presented, and the token does not vouch for what nothing measured.
#[tokio::test]
async fn the_record_and_the_token_name_the_form() {
    let scene = azure();
    let mut guest = guest(&scene, Product::Genoa, KbsVersion::V0_4_0, "az-snp-vtpm", VtpmShape::V2, true);
    guest.handshake().await.unwrap();
    let claims = keybroker_simulator::guest::trustee::claims(guest.token.as_ref().unwrap()).unwrap();
    let appraisal = &claims["submods"]["cpu0"];
    let evidence = &appraisal["ear.veraison.annotated-evidence"]["snp"];
    assert_eq!(evidence["evidence_form"], "az-snp-vtpm");
    if scene.world.is_served() {
        // The test's hardware is no genuine one, which is worse than an operating system that nothing
        // measured.
        assert_eq!(appraisal["ear.trustworthiness-vector"]["executables"], 99);
    }
    let record = scene.world.audit(&json!({"id": claims["jti"]}).to_string()).unwrap();
    assert_eq!(record["evidence"]["form"], "az-snp-vtpm");
    assert_eq!(record["evidence"]["vmpl"], 0);
}

/// Neither form stands in for the other.
#[tokio::test]
async fn a_bare_report_and_a_blob_each_have_registrations_of_their_own() {
    let (azure, bare) = (azure(), Scene::named(World::start()));
    for version in KbsVersion::ALL {
        let mut wrong = azure.challenged(version).await;
        azure.assert_refused(wrong.attest().await, Refusal::at_attest("evidence-form"));
        let mut wrong = guest(&bare, Product::Milan, version, TEES[1], VtpmShape::V2, true);
        wrong.auth().await.unwrap();
        bare.assert_refused(wrong.attest().await, Refusal::at_attest("evidence-form"));
    }
    assert_eq!((azure.released(), bare.released()), (0, 0));
    bare.still_boots().await;
}

/// HOST_DATA of an Azure VM is zero: nothing selects a registration but the URL.
#[tokio::test]
async fn a_guest_that_names_no_workload_is_nobody_s() {
    let scene = azure();
    for tee in TEES {
        let mut guest = guest(&scene, Product::Milan, KbsVersion::V0_4_0, tee, VtpmShape::V2, true);
        let machine = guest.machine.clone();
        let vtpm = guest.vtpm.take();
        let key = usual_key(KbsVersion::V0_4_0);
        let mut nowhere = TrusteeGuest::new(&scene.world.url, KbsVersion::V0_4_0, key, machine).unwrap();
        nowhere.vtpm = vtpm;
        nowhere.auth().await.unwrap();
        scene.assert_refused(nowhere.attest().await, Refusal::at_attest("host-data"));
    }
}

/// The client binds init data to a PCR, which the broker does not look at. So a document counts for nothing,
/// and its guest is not refused for having one.
#[tokio::test]
async fn init_data_of_an_azure_guest_says_nothing() {
    let scene = azure();
    let mut guest = guest(&scene, Product::Milan, KbsVersion::V0_4_0, "az-snp-vtpm", VtpmShape::V2, true);
    guest.init_data = Some(init_data("any", HashAlgorithm::Sha384));
    let opened = guest.boot(PATH, Credential::Bearer).await;
    assert_eq!(opened.as_deref(), Ok(scene.secret.as_bytes()));
    // A registration that requires some cannot be made for such guests.
    let mut body = registration(&unique("w"), &[(PATH, "x")], guest.init_data.as_ref());
    body["require"] = json!({"evidence": "az-snp-vtpm"});
    let response = register(&scene.world, &body);
    assert_eq!(response.status, 400, "{}", response.text());
    assert!(
        response.text().contains("nothing binds a guest's HOST_DATA or init data"),
        "{}",
        response.text()
    );
}

/// The name decides nothing: a bare report under it is one, and gets what its registration has.
#[tokio::test]
async fn the_evidence_says_what_it_is_whatever_the_guest_calls_itself() {
    let scene = Scene::named(World::start());
    for tee in TEES {
        let mut guest = scene.guest(KbsVersion::V0_4_0);
        let auth = Auth { tee: tee.to_owned(), ..guest.auth_request() };
        guest.auth_with(&auth.body()).await.unwrap();
        guest.attest().await.unwrap();
        let opened = guest.resource(PATH, Credential::Cookie).await;
        assert_eq!(opened.as_deref(), Ok(scene.secret.as_bytes()));
    }
}

/// The name is Trustee's: no other guest has it.
#[tokio::test]
async fn only_trustees_guests_may_call_themselves_so() {
    let scene = azure();
    for tee in ["az-snp-vtpm", "azsnpvtpm", "aztdxvtpm", "az-tdx-vtpm", "AZ-SNP-VTPM"] {
        let of_krun = json!({"version": "0.0.0", "tee": tee, "extra-params": r#"{"workload_id":"web"}"#});
        let of_keybroker = json!({"version": "0.9.9", "tee": tee, "extra-params": ""});
        let of_trustee = json!({"version": "0.4.0", "tee": tee, "extra-params": {}});
        for (body, served) in [(of_krun, false), (of_keybroker, false), (of_trustee, TEES.contains(&tee))] {
            let response = scene.world.ask("POST", "/kbs/v0/auth", &[], Some(&body.to_string()));
            assert_eq!(response.status == 200, served, "{body}: {}", response.text());
        }
    }
}
