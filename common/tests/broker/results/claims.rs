//! The claims of a result.

use keybroker_common::{
    appraisal::Fleet,
    audit::AuditRecord,
    encoding::Base64,
    keyring::ResultPublicKey,
    platform::{BySilicon, Levels},
    requirements::{BoundBy, EvidenceForm, InitDataRequirement},
    secret::seal::GuestKey,
    workload::Registration,
};
use keybroker_initdata::Algorithm;
use keybroker_testing::{clock::BEGIN, world::TTL};
use serde_json::{Value, json};

use super::{Scene, part, payload};

/// The record as it would be of a report that leads to AMD's root.
fn genuine(record: &AuditRecord) -> AuditRecord {
    let mut record = record.clone();
    record.basis.as_mut().unwrap().simulated = false;
    record
}

fn floors() -> BySilicon<Levels> {
    BySilicon::parse(["milan-b1:snp=1"]).unwrap()
}

fn required(bound_by: BoundBy) -> Option<InitDataRequirement> {
    Some(InitDataRequirement { digest: Algorithm::Sha384.digest("a document"), bound_by, broker_keys: None })
}

/// Status, configuration, executables, hardware and runtime-opaque.
type Told = (&'static str, i8, i8, Option<i8>, i8);

async fn told(alter: impl FnOnce(&mut AuditRecord, &mut Registration, &mut Fleet)) -> Told {
    let scene = Scene::new().await;
    let (mut record, mut registration) = (genuine(&scene.record), scene.registration.clone());
    let mut fleet = Fleet::clone(&scene.broker.attest.fleet);
    alter(&mut record, &mut registration, &mut fleet);
    let claims = scene.claims_by(&record, &registration, &fleet);
    let text = scene.process().sign(&claims).await.unwrap().expose().to_owned();
    let cpu0 = payload(&text)["submods"]["cpu0"].clone();
    for (name, later) in
        [("ear.status", "ear_status"), ("ear.trustworthiness-vector", "ear_trustworthiness_vector")]
    {
        assert_eq!(cpu0[name], cpu0[later]);
    }
    let vector = cpu0["ear.trustworthiness-vector"].as_object().unwrap();
    let value = |name: &str| vector.get(name).map(|value| i8::try_from(value.as_i64().unwrap()).unwrap());
    let names = ["configuration", "executables", "hardware", "runtime-opaque"];
    assert!(vector.keys().all(|name| names.contains(&name.as_str())), "{vector:?}");
    let [configuration, executables, hardware, opaque] = names.map(value);
    let status = match cpu0["ear.status"].as_str().unwrap() {
        "affirming" => "affirming",
        "warning" => "warning",
        "contraindicated" => "contraindicated",
        other => panic!("{other}"),
    };
    (status, configuration.unwrap(), executables.unwrap(), hardware, opaque.unwrap())
}

#[tokio::test]
async fn a_result_claims_what_was_checked_and_no_more() {
    assert_eq!(told(|_, _, _| {}).await, ("affirming", 3, 3, None, 2));
    for (bound_by, configuration) in
        [(BoundBy::HostData, 2), (BoundBy::Measurement, 2), (BoundBy::Nothing, 3)]
    {
        let with = |_: &mut AuditRecord, registration: &mut Registration, _: &mut Fleet| {
            registration.policy.init_data = required(bound_by);
        };
        assert_eq!(told(with).await, ("affirming", configuration, 3, None, 2), "{bound_by:?}");
    }
    let reported = told(|_, registration, _| registration.policy.platform.minimum_tcb = floors()).await;
    let committed =
        told(|_, registration, _| registration.policy.platform.minimum_committed_tcb = floors()).await;
    let fleets = told(|record, _, fleet| {
        fleet.platform.minimum_tcb = floors();
        record.basis.as_mut().unwrap().fleet = Base64(fleet.digest());
    })
    .await;
    let current =
        told(|_, registration, _| registration.policy.platform.minimum_current_tcb = floors()).await;
    for floor in [reported, committed, current, fleets] {
        assert_eq!(floor, ("affirming", 3, 3, Some(2), 2));
    }
    // A floor at launch; a floor that the operator set since; an operator's floor at launch.
    let at_launch =
        told(|_, registration, _| registration.policy.platform.minimum_launch_tcb = floors()).await;
    let since = told(|_, _, fleet| fleet.platform.minimum_tcb = floors()).await;
    let operators = told(|record, _, fleet| {
        fleet.platform.minimum_launch_tcb = floors();
        record.basis.as_mut().unwrap().fleet = Base64(fleet.digest());
    })
    .await;
    // A level that no platform misses, and a floor of other silicon.
    let [zero, other] = [["milan-b1:snp=0"], ["milan-x:snp=1"]].map(|row| BySilicon::parse(row).unwrap());
    let zero = told(|_, registration, _| registration.policy.platform.minimum_tcb = zero).await;
    let other = told(|_, registration, _| registration.policy.platform.minimum_tcb = other).await;
    for none in [at_launch, since, operators, zero, other] {
        assert_eq!(none, ("affirming", 3, 3, None, 2));
    }
}

/// The launch measurement is the paravisor's, and nothing measured the guest's operating system.
#[tokio::test]
async fn the_executables_of_an_azure_guest_are_not_recognised() {
    for form in EvidenceForm::ALL {
        let with_floor = |record: &mut AuditRecord, registration: &mut Registration, _: &mut Fleet| {
            registration.policy.platform.minimum_tcb = floors();
            record.evidence.as_mut().unwrap().form = form;
        };
        let expected = match form {
            EvidenceForm::Snp => ("affirming", 3, 3, Some(2), 2),
            EvidenceForm::AzSnpVtpm => ("warning", 3, 33, Some(2), 2),
        };
        assert_eq!(told(with_floor).await, expected);
    }
}

/// Whichever claim a third party reads, it speaks against a guest on hardware that nobody vouches for.
#[tokio::test]
async fn nothing_about_simulated_or_unverified_hardware_looks_affirming() {
    let all = |record: &mut AuditRecord, registration: &mut Registration, fleet: &mut Fleet| {
        registration.policy.init_data = required(BoundBy::HostData);
        registration.policy.platform.minimum_tcb = floors();
        fleet.platform.minimum_tcb = floors();
        record.basis.as_mut().unwrap().fleet = Base64(fleet.digest());
    };
    let against = ("contraindicated", 99, 99, Some(97), 99);
    let simulated = told(|record, registration, fleet| {
        all(record, registration, fleet);
        record.basis.as_mut().unwrap().simulated = true;
    });
    assert_eq!(simulated.await, against);
    let without_basis = told(|record, registration, fleet| {
        all(record, registration, fleet);
        record.basis = None;
    });
    assert_eq!(without_basis.await, against);
    let unverified = told(|record, registration, fleet| {
        all(record, registration, fleet);
        record.evidence.as_mut().unwrap().verified = false;
    });
    assert_eq!(unverified.await, against);
    let without_evidence = told(|record, registration, fleet| {
        all(record, registration, fleet);
        record.evidence = None;
    });
    assert_eq!(without_evidence.await, against);
    // A simulated processor, and a broker that trusts it.
    let scene = Scene::new().await;
    let cpu0 = payload(&scene.signed().await)["submods"]["cpu0"].clone();
    assert_eq!(
        (&cpu0["ear.status"], &cpu0["ear_status"]),
        (&json!("contraindicated"), &json!("contraindicated"))
    );
}

#[tokio::test]
async fn a_result_has_these_members_and_no_others() {
    let mut scene = Scene::new().await;
    scene.registration.policy.init_data = required(BoundBy::HostData);
    let text = scene.signed().await;
    let jwk: Value = serde_json::to_value(scene.session.guest_key().jwk()).unwrap();
    let mut tee_pubkey = jwk.clone();
    tee_pubkey["alg"] = json!("RSA1_5");
    let registration = scene.session.standing().registration.to_string();
    let evidence = scene.record.evidence.as_ref().unwrap();
    let vector = json!({"configuration": 99, "executables": 99, "hardware": 97, "runtime-opaque": 99});
    let verifier = payload(&text)["ear.verifier-id"].clone();
    assert!(verifier["build"].as_str().unwrap().starts_with("keybroker "), "{verifier}");
    let digest = Algorithm::Sha384.digest("a document").to_string();
    let expected = json!({
        "eat_profile": "tag:github.com,2024:confidential-containers/Trustee",
        "iss": scene.deployment().as_str(),
        "iat": BEGIN.as_second(),
        "nbf": BEGIN.as_second() - 60,
        "exp": (BEGIN + TTL).as_second(),
        "jti": scene.record.id.to_string(),
        "ear.verifier-id": verifier,
        "ear_verifier_id": verifier,
        "cnf": {"jwk": jwk},
        "submods": {"cpu0": {
            "ear.status": "contraindicated",
            "ear.trustworthiness-vector": vector,
            "ear.appraisal-policy-id": registration,
            "ear.veraison.annotated-evidence": {
                "snp": {
                    "report_version": evidence.report_version.to_string(),
                    "measurement": "4d".repeat(48),
                    "chip_id": evidence.chip_id,
                    "product": "milan",
                    "endorsement": "vcek",
                    "reported_tcb_bootloader": evidence.reported_tcb.unwrap().boot_loader.to_string(),
                    "reported_tcb_tee": evidence.reported_tcb.unwrap().tee.to_string(),
                    "reported_tcb_snp": evidence.reported_tcb.unwrap().snp.to_string(),
                    "reported_tcb_microcode": evidence.reported_tcb.unwrap().microcode.to_string(),
                    "policy": evidence.policy,
                    "vmpl": "0",
                },
                "init_data": {"algorithm": "sha384", "digest": digest},
                "runtime_data_claims": {"tee-pubkey": tee_pubkey},
            },
            "ear_status": "contraindicated",
            "ear_trustworthiness_vector": vector,
            "ear_appraisal_policy_ids": [registration],
        }},
        "workload_id": "a",
        "keybroker.session": scene.session.session_id().expose(),
    });
    assert_eq!(payload(&text), expected);

    let public: &ResultPublicKey = scene.key.public();
    let mut header: Value = serde_json::from_slice(&part(&text, 0)).unwrap();
    let key = header["jwk"].take();
    assert_eq!(header, json!({"typ": "JWT", "alg": "ES256", "kid": public.kid(), "jwk": null}));
    assert_eq!(key, serde_json::to_value(public.jwk()).unwrap());
    assert_eq!(part(&text, 2).len(), 64);
}

/// The bound on what is read must hold for what is written, by far.
#[tokio::test]
async fn the_largest_result_is_read_and_the_key_of_each_kind_is_in_it() {
    let modulus = [[0xFF; 511].as_slice(), &[0xFD]].concat();
    let (x, y) = {
        let jwk =
            serde_json::to_value(keybroker_common::keyring::ResultKey::generate().unwrap().public().jwk());
        let jwk = jwk.unwrap();
        let bytes = |name: &str| {
            data_encoding::BASE64URL_NOPAD.decode(jwk[name].as_str().unwrap().as_bytes()).unwrap()
        };
        (bytes("x"), bytes("y"))
    };
    for (key, alg) in [
        (GuestKey::rsa(&modulus, &[1, 0, 1]).unwrap(), "RSA1_5"),
        (GuestKey::rsa_oaep_256(&modulus, &[1, 0, 1]).unwrap(), "RSA-OAEP-256"),
        (GuestKey::p256(&x, &y).unwrap(), "ECDH-ES+A256KW"),
    ] {
        let mut scene = Scene::of(|evidence| evidence.guest_key = key.clone()).await;
        scene.registration.policy.init_data = required(BoundBy::HostData);
        let text = scene.signed().await;
        assert!(text.len() < 5000, "{}", text.len());
        let read = scene.process().read(&text, scene.now()).await.unwrap();
        assert_eq!((read.guest_key, read.is_of(&scene.session)), (key.thumbprint(), true));
        let evidence = &payload(&text)["submods"]["cpu0"]["ear.veraison.annotated-evidence"];
        let tee_pubkey = &evidence["runtime_data_claims"]["tee-pubkey"];
        let mut expected = serde_json::to_value(key.jwk()).unwrap();
        expected["alg"] = json!(alg);
        assert_eq!(*tee_pubkey, expected);
    }
}

/// Readers of EAR refuse numbers of 2^63 and more, floats in their place, nulls, and escaped names.
#[tokio::test]
async fn a_result_holds_nothing_that_readers_stumble_over() {
    fn walk(value: &Value) {
        match value {
            Value::Null => panic!("a null"),
            Value::Number(number) => assert!(number.as_i64().is_some(), "{number}"),
            Value::Array(values) => values.iter().for_each(walk),
            Value::Object(members) => members.values().for_each(walk),
            Value::Bool(_) | Value::String(_) => {}
        }
    }
    let text = Scene::new().await.signed().await;
    walk(&payload(&text));
    let payload = String::from_utf8(part(&text, 1)).unwrap();
    assert!(
        !payload.contains('\\') && !payload.contains("\"aud\"") && !payload.contains("nonce"),
        "{payload}"
    );
}

#[tokio::test]
async fn the_same_decision_gives_the_same_claims_whenever_it_is_signed() {
    let scene = Scene::new().await;
    let first = scene.signed().await;
    scene.pass(jiff::SignedDuration::from_secs(7));
    let second = scene.process().sign(&scene.claims()).await.unwrap();
    assert_eq!(part(&first, 1), part(second.expose(), 1));
    assert_ne!(first, second.expose());
}

/// A result leads to a session, so neither may be shown.
#[tokio::test]
async fn debug_shows_neither_a_result_nor_its_session() {
    let scene = Scene::new().await;
    let (claims, results) = (scene.claims(), &scene.broker.attest.results);
    let signed = results.sign(&claims).await.unwrap();
    let read = results.read(signed.expose(), scene.now()).await.unwrap();
    let shown = format!("{claims:?} {signed:?} {read:?} {results:?} {:?}", scene.key);
    let private = data_encoding::BASE64.encode(scene.key.private().unwrap().expose());
    let texts = [scene.session.session_id().expose(), private];
    for secret in texts.iter().map(String::as_str).chain(signed.expose().split('.')) {
        assert!(!shown.contains(secret), "{shown}");
    }
    assert!(!format!("{claims:#?}{signed:#?}").contains(texts[0].as_str()));
}
