//! Evidence that a hostile host alters, in each shape: the report that was rebuilt is verified as anybody's.

use keybroker_simulator::{
    Product,
    guest::{
        Machine,
        trustee::{CertTable, CertType, Credential, KbsVersion, Shape, TrusteeGuest},
    },
    pki::{Ca, Chip, Overrides, RsaKey},
};
use keybroker_tests::{
    altered::REPORTS,
    world::{World, amd},
};
use serde_json::{Value, json};

use crate::scene::{PATH, Refusal, Scene, usual_key};

/// A change to the JSON of evidence.
type Rewrite = Box<dyn Fn(&str) -> String>;

/// A shape for each version, so that all are tried.
const ROWS: [(KbsVersion, Shape); 4] = [
    (KbsVersion::V0_1_0, Shape::A),
    (KbsVersion::V0_2_0, Shape::B),
    (KbsVersion::V0_4_0, Shape::A),
    (KbsVersion::V0_4_0, Shape::C),
];

async fn challenged(scene: &Scene, machine: Machine, version: KbsVersion, shape: Shape) -> TrusteeGuest {
    let mut guest = scene.guest_on(machine, version, usual_key(version));
    guest.shape = shape;
    guest.auth().await.unwrap();
    guest
}

#[tokio::test]
async fn a_guest_that_is_not_as_registered_is_refused_for_the_check_that_it_fails() {
    let scene = Scene::named(World::start());
    for (version, shape) in ROWS {
        for (name, check, alter) in REPORTS {
            let mut machine = scene.world.milan();
            alter(&mut machine);
            println!("{version:?} {shape:?} {name}");
            let mut guest = challenged(&scene, machine, version, shape).await;
            scene.assert_refused(guest.attest().await, Refusal::at_attest(check));
        }
    }
    assert_eq!(scene.released(), 0);
    scene.still_boots().await;
}

/// One member of the genuine report, altered after it was signed.
#[tokio::test]
async fn a_number_that_is_altered_anywhere_in_the_json_is_found() {
    let scene = Scene::named(World::start());
    let everywhere = [
        ("/version", json!(5), "signature"),
        ("/guest_svn", json!(1), "signature"),
        ("/policy", json!(0x3_0001), "signature"),
        ("/family_id/0", json!(1), "signature"),
        ("/plat_info", json!(3), "signature"),
        ("/report_data/0", Value::Null, "challenge"),
        ("/report_data/63", json!(1), "challenge"),
        ("/measurement/0", json!(1), "measurement"),
        ("/host_data/31", json!(1), "signature"),
        ("/report_id/0", json!(1), "signature"),
        ("/signature/r/0", Value::Null, "signature"),
        ("/signature/s/47", Value::Null, "signature"),
        ("/signature/s/48", json!(1), "report"),
        ("/launch_tcb/microcode", json!(1), "signature"),
    ];
    let of_a = [
        ("/_author_key_en", json!(1), "signature"),
        ("/_reserved_0", json!(1), "signature"),
        ("/_reserved_4/167", json!(1), "signature"),
        ("/current_build", json!(1), "signature"),
        ("/signature/_reserved/367", json!(1), "report"),
    ];
    let of_b_and_c = [
        ("/key_info", json!(1), "signature"),
        ("/cpuid_step", json!(7), "signature"),
        ("/current/build", json!(1), "signature"),
    ];
    for (version, shape) in ROWS {
        let more: &[_] = if shape == Shape::A { &of_a } else { &of_b_and_c };
        for (pointer, value, check) in everywhere.iter().chain(more) {
            println!("{version:?} {shape:?} {pointer}");
            let mut guest = challenged(&scene, scene.world.milan(), version, shape).await;
            let mut message = guest.attestation().unwrap();
            let mut evidence: Value = serde_json::from_str(&message.evidence).unwrap();
            let at = evidence.pointer_mut(&format!("/attestation_report{pointer}")).unwrap();
            // A byte without a value of its own gets the one beside its own.
            *at = if value.is_null() { json!(at.as_u64().unwrap() ^ 1) } else { value.clone() };
            message.evidence = evidence.to_string();
            scene.assert_refused(guest.attest_with(&message.body()).await, Refusal::at_attest(check));
        }
    }
    assert_eq!(scene.released(), 0);
}

/// The record names what was found, so that an operator does not read "forged" where a newer crate wrote it.
#[tokio::test]
async fn evidence_in_no_known_shape_is_refused_and_the_record_says_why() {
    let scene = Scene::named(World::start());
    let cut = |from: &str, to: &str| {
        let (from, to) = (from.to_owned(), to.to_owned());
        move |text: &str| text.replacen(&from, &to, 1)
    };
    let rows: Vec<(&str, Rewrite)> = vec![
        ("a float", Box::new(cut(r#""guest_svn":0"#, r#""guest_svn":0.0"#))),
        ("an exponent", Box::new(cut(r#""guest_svn":0"#, r#""guest_svn":0e0"#))),
        ("a negative number", Box::new(cut(r#""guest_svn":0"#, r#""guest_svn":-1"#))),
        ("a number that is too long", Box::new(cut(r#""guest_svn":0"#, r#""guest_svn":4294967296"#))),
        ("a number in a string", Box::new(cut(r#""guest_svn":0"#, r#""guest_svn":"0""#))),
        ("a member twice", Box::new(cut(r#""guest_svn":0"#, r#""guest_svn":0,"guest_svn":0"#))),
        ("a member less", Box::new(cut(r#""guest_svn":0,"#, ""))),
        (
            "a member that nobody knows",
            Box::new(cut(r#""guest_svn":0"#, r#""guest_svn":0,"launch_mit_vektor":7"#)),
        ),
        ("a chain in a string", Box::new(cut(r#""cert_chain":null"#, r#""cert_chain":"""#))),
        ("an array", Box::new(|text| format!("[{text}]"))),
        ("nothing", Box::new(|_| "{}".to_owned())),
        ("null", Box::new(|_| "null".to_owned())),
        ("the seed's", Box::new(|_| r#"{"report":"00","gen":"milan"}"#.to_owned())),
    ];
    for (version, shape) in ROWS {
        for (name, alter) in &rows {
            println!("{version:?} {shape:?} {name}");
            let mut guest = challenged(&scene, scene.world.milan(), version, shape).await;
            let mut message = guest.attestation().unwrap();
            let altered = alter(&message.evidence);
            assert_ne!(altered, message.evidence);
            message.evidence = altered;
            let answer = guest.attest_with(&message.body()).await;
            let record = scene.assert_refused(answer, Refusal::at_attest("report"));
            if *name == "a member that nobody knows" {
                let named =
                    |record: Value| record["failed"]["cause"].as_str().unwrap().contains("launch_mit_vektor");
                assert!(record.is_none_or(named));
            }
        }
    }
    assert_eq!(scene.released(), 0);
    scene.still_boots().await;
}

/// sev 6.0 to 6.2 drop the vectors without an error: then the report is not the one that was signed.
#[tokio::test]
async fn a_report_whose_shape_cannot_say_all_of_it_is_refused() {
    let scene = Scene::named(World::start());
    let turin = scene.world.machine(Product::Turin, 1);
    let mut guest = challenged(&scene, turin.clone(), KbsVersion::V0_4_0, Shape::C).await;
    let mut message = guest.attestation().unwrap();
    let mut evidence: Value = serde_json::from_str(&message.evidence).unwrap();
    let report = evidence["attestation_report"].as_object_mut().unwrap();
    for vector in ["launch_mit_vector", "current_mit_vector"] {
        assert_eq!(report.remove(vector), Some(json!(0x3F)));
    }
    message.evidence = evidence.to_string();
    scene.assert_refused(guest.attest_with(&message.body()).await, Refusal::at_attest("signature"));
    // A Turin's TCB in Milan's order, as some builds write it.
    let mut guest = challenged(&scene, turin, KbsVersion::V0_4_0, Shape::C).await;
    let mut message = guest.attestation().unwrap();
    let mut evidence: Value = serde_json::from_str(&message.evidence).unwrap();
    for tcb in ["current_tcb", "reported_tcb", "committed_tcb", "launch_tcb"] {
        evidence["attestation_report"][tcb]["fmc"] = Value::Null;
    }
    message.evidence = evidence.to_string();
    scene.assert_refused(guest.attest_with(&message.body()).await, Refusal::at_attest("endorsements"));
    // The four do not agree.
    let mut guest =
        challenged(&scene, scene.world.machine(Product::Turin, 1), KbsVersion::V0_4_0, Shape::C).await;
    let mut message = guest.attestation().unwrap();
    let mut evidence: Value = serde_json::from_str(&message.evidence).unwrap();
    evidence["attestation_report"]["launch_tcb"]["fmc"] = Value::Null;
    message.evidence = evidence.to_string();
    scene.assert_refused(guest.attest_with(&message.body()).await, Refusal::at_attest("report"));
}

/// Certificates help to verify, and vouch for nothing by themselves.
#[tokio::test]
async fn certificates_that_are_not_amds_let_nobody_in() {
    let scene = Scene::named(World::start());
    let amd = amd(Product::Milan);
    let unknown = Chip::new(Product::Milan, 66);
    let rogue = Overrides { signer: Some(RsaKey::Rogue), ..Overrides::default() };
    for version in KbsVersion::ALL {
        // A chip that AMD does not know, with a certificate of another chip, then one of its own making.
        let mut machine = Machine::new(amd, &unknown);
        let other = scene.world.machine(Product::Milan, 2).vek.certificate;
        let tables = [
            CertTable(vec![(CertType::Vcek, other)]),
            CertTable(vec![
                (CertType::Ark, amd.ca(Ca::Ark, &rogue)),
                (CertType::Ask, amd.ca(Ca::Ask, &rogue)),
                (CertType::Vcek, amd.vcek_with(&unknown, &rogue).certificate),
            ]),
            CertTable(vec![(CertType::Vcek, amd.ark().to_vec()), (CertType::Ask, vec![0x30; 600])]),
        ];
        machine.vek = amd.vcek_with(&unknown, &rogue);
        for table in tables {
            let mut guest = scene.guest_on(machine.clone(), version, usual_key(version));
            guest.certificates = Some(table);
            guest.auth().await.unwrap();
            scene.assert_refused(guest.attest().await, Refusal::at_attest("endorsements"));
        }
        // Junk beside nothing: AMD's KDS has the certificate.
        let mut guest = scene.guest_on(scene.world.milan(), version, usual_key(version));
        guest.certificates = Some(CertTable(vec![
            (CertType::Vcek, Vec::new()),
            (CertType::Other("00000000-0000-0000-0000-000000000000".to_owned()), vec![7; 100]),
            (CertType::Empty, Vec::new()),
        ]));
        let opened = guest.boot(PATH, Credential::Bearer).await;
        assert_eq!(opened.as_deref(), Ok(scene.secret.as_bytes()), "{version:?}");
    }
}
