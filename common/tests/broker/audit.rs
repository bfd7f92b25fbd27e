//! The content of records: one for each decision, and the whole truth but no secret.

use std::sync::Arc;

use jiff::SignedDuration;
use keybroker_common::{
    advisories::{Advisories, Verdict},
    appraisal::Fleet,
    audit::{AuditRecord, Basis, CrlEdition, Decision, EvidenceSummary, Operation},
    binding::SentReport,
    broker::{Error, Evidence, RegisterRequest},
    challenge::Challenge,
    dialect::Dialect,
    encoding::Base64,
    policy::PolicyText,
    problem::Problem,
    requirements::EvidenceForm,
    store::{RevocationStore, WorkloadStore},
};
use keybroker_kds::EndorsementSource;
use keybroker_simulator::pki::{CSP_ID, Chip};
use keybroker_snp::{
    endorsement::EndorsementKind,
    product::{Product, TcbVersion},
    silicon::Cpuid,
};
use keybroker_testing::{
    clock::BEGIN,
    guest::{KEY, OTHER_KEY, evidence, evidence_signed, evidence_with},
    hardware::Hardware,
    world::{Broker, PASSPHRASE, SECRET, World, request, workload_id},
};
use serde_json::json;
use sha2::{Digest, Sha256};

#[tokio::test]
async fn the_story_of_a_release() {
    let world = World::new().await;
    let mut broker = world.broker();
    let anchors = Hardware::anchors();
    let [anchor] = anchors.arks(Product::Milan).try_into().unwrap();
    let (store, settings) = (world.store.clone(), world.hardware.settings());
    broker.attest.endorsements =
        Arc::new(EndorsementSource::new(anchors, store, world.hardware.clock.clone(), &settings));
    let registered = broker.registered("a").await;
    let challenge = broker.challenge("a").await;
    let evidence = evidence(&world.hardware.chip, &KEY, &challenge);
    let attestation = broker.attest.attest(&challenge.session_id, evidence).await.unwrap().id;
    let session = world.session(&challenge.session_id).await.unwrap();
    let released = broker.attest.passphrase(&challenge.session_id, &workload_id("a")).await.unwrap();
    let digest = world.store.workload(&workload_id("a")).await.unwrap().unwrap().digest();

    let records: [_; 3] = world.audit().try_into().unwrap();
    for record in &records {
        assert_eq!(record.time, BEGIN);
        assert_eq!(record.workload_id, Some(workload_id("a")));
        assert_eq!(record.registration, Some(digest));
        assert_eq!(record.failed, None);
    }
    let [register, attest, key] = records;
    assert_eq!((register.operation, register.decision), (Operation::Register, Decision::Registered));
    assert_eq!((register.id, register.evidence, register.secret), (registered.id, None, None));

    assert_eq!((attest.operation, attest.decision), (Operation::Attest, Decision::Attested));
    assert_eq!((attest.id, session.attestation), (attestation, attestation));
    let summary = EvidenceSummary {
        verified: true,
        form: EvidenceForm::Snp,
        report_version: 3,
        measurement: "4d".repeat(48),
        chip_id: data_encoding::HEXLOWER.encode(&world.hardware.chip.chip_id()),
        product: Some(Product::Milan),
        endorsement: Some(EndorsementKind::Vcek),
        reported_tcb: Some(TcbVersion { fmc: None, boot_loader: 4, tee: 0, snp: 24, microcode: 219 }),
        policy: "0x30000".to_owned(),
        vmpl: 0,
        host_data: None,
        id_key_digest: None,
    };
    assert_eq!(attest.evidence, Some(summary));
    let hardware = &world.hardware;
    let sha256 = |bytes: &[u8]| Base64(Sha256::digest(bytes).into());
    let thumbprint = format!(r#"{{"e":"AQAB","kty":"RSA","n":"{}"}}"#, KEY.modulus_base64url());
    let basis = Basis {
        anchor: Base64(anchor.fingerprint()),
        simulated: true,
        vek: sha256(&hardware.vcek()),
        crls: vec![CrlEdition {
            this_update: BEGIN - SignedDuration::from_hours(24),
            number: Some("0".to_owned()),
        }],
        guest_key: sha256(thumbprint.as_bytes()),
        fleet: sha256(format!("products Milan Genoa Turin; VLEKs of {CSP_ID:?}").as_bytes()),
    };
    assert_eq!(attest.basis, Some(basis));
    assert_eq!((register.basis, key.basis.as_ref()), (None, None));

    assert_eq!((key.operation, key.decision), (Operation::Key, Decision::Released));
    assert_eq!((key.id, key.attestation), (released.id, Some(attestation)));
    assert_eq!(key.secret.as_deref(), Some(SECRET));
}

/// The chip of these tests is behind what the shipped table demands of its silicon. Every record about its
/// verified report says so, and its guests are served all the same, whatever a table says.
#[tokio::test]
async fn a_verdict_is_on_record_and_decides_nothing() {
    let world = World::new().await;
    let unheard_of = |silicon: &str| {
        let row = json!({
            "bulletin": "AMD-SB-1", "published": "2026-05", "silicon": silicon, "levels": {"snp": 255},
            "source": "a test", "read_at_amd": "2026-05-13", "confirmed": "Ada, 2026-05-14",
        });
        let table = json!({"format": 1, "date": "2026-12-31", "rows": [row]}).to_string();
        Arc::new(Advisories::parse(table.as_bytes()).unwrap())
    };
    let [family, model, stepping] = world.hardware.chip.product().cpuid();
    let silicon = Cpuid { family, model, stepping };
    for (number, (table, verdict)) in [
        (Advisories::shipped(), Verdict::Behind),
        (unheard_of(&silicon.text()), Verdict::Behind),
        (unheard_of("turin-c1"), Verdict::UnnamedSilicon),
    ]
    .into_iter()
    .enumerate()
    {
        let mut broker = world.broker();
        broker.attest = broker.attest.clone().judging_by(table.clone());
        let id = format!("w{number}");
        broker.registered(&id).await;
        let session = broker.attested(&world.hardware, &id).await;
        assert_eq!(broker.fetch(&session, &id, &KEY).await, Ok(PASSPHRASE.to_owned()));
        let records = world.audit();
        let [.., registered, attested, released] = records.as_slice() else { panic!("{records:?}") };
        assert_eq!((&registered.tcb, &released.tcb), (&None, &None), "they are about no report");
        let judged = attested.tcb.as_ref().unwrap();
        assert_eq!((judged.verdict, judged.table), (verdict, table.date()));
        assert_eq!((judged.silicon, judged.committed), (Some(silicon), None));

        // One that is refused for what a genuine report says has the verdict. One that is refused unverified
        // has none: nobody knows whose platform it is.
        let challenge = broker.challenge(&id).await;
        let vmpl = evidence_with(&world.hardware.chip, &KEY, &challenge, |fields| fields.vmpl = 1);
        broker.refused(&challenge, vmpl).await;
        assert_eq!(world.audit().pop().unwrap().tcb, None);
    }
    let broker = world.broker();
    let queries = vec!["input.snp.vmpl == 3".to_owned()];
    let rego = PolicyText { module: None, queries, reference_values: "{}".to_owned() };
    broker.register.register(RegisterRequest { rego: Some(rego), ..request("p", PASSPHRASE) }).await.unwrap();
    let challenge = broker.challenge("p").await;
    broker.refused(&challenge, evidence(&world.hardware.chip, &KEY, &challenge)).await;
    let refused = world.audit().pop().unwrap();
    assert_eq!((refused.decision, refused.tcb.unwrap().verdict), (Decision::Refused, Verdict::Behind));
}

/// A release without verdicts reads the record as it was: it computes the same digest, which the MAC of a
/// session covers.
#[tokio::test]
async fn a_verdict_is_no_part_of_the_record_s_digest() {
    let world = World::new().await;
    let broker = world.broker();
    broker.registered("a").await;
    broker.attested(&world.hardware, "a").await;
    let record = world.audit().pop().unwrap();
    let mut json = serde_json::to_value(&record).unwrap();
    assert_eq!(serde_json::from_value::<AuditRecord>(json.clone()).unwrap(), record);
    let verdict = json.as_object_mut().unwrap().remove("tcb").unwrap();
    let earlier: AuditRecord = serde_json::from_value(json.clone()).unwrap();
    assert_eq!((earlier.tcb.as_ref(), earlier.digest()), (None, record.digest()));
    assert_eq!(<[u8; 32]>::from(Sha256::digest(serde_json::to_vec(&earlier).unwrap())), record.digest());
    let size = verdict.to_string().len();
    println!("the verdict of a record: {size} bytes");
    assert!(size <= 200, "{verdict}");
    // A later release may know other verdicts.
    json["tcb"] = verdict;
    json["tcb"]["verdict"] = "tired".into();
    let later: AuditRecord = serde_json::from_value(json).unwrap();
    assert_eq!(later.tcb.unwrap().verdict, Verdict::Other);
}

/// The basis adds little to an attestation's record in the store. In hex each of its digests would take 21
/// bytes more.
#[tokio::test]
async fn the_basis_of_an_attestation_is_small() {
    let world = World::new().await;
    let broker = world.broker();
    broker.registered("a").await;
    broker.attested(&world.hardware, "a").await;
    let record = world.audit().pop().unwrap();
    let with = serde_json::to_vec(&record).unwrap().len();
    let without = serde_json::to_vec(&AuditRecord { basis: None, ..record }).unwrap().len();
    println!("the record of an attestation: {with} bytes, {without} of them without its basis");
    assert!(with - without <= 336, "{with} bytes, {without} without");
}

/// Once the report was verified, also where it is refused for what it says.
#[tokio::test]
async fn a_refusal_after_verification_has_its_basis() {
    let world = World::new().await;
    let mut broker = world.broker();
    let queries = vec!["input.snp.vmpl == 3".to_owned()];
    let rego = PolicyText { module: None, queries, reference_values: "{}".to_owned() };
    broker.register.register(RegisterRequest { rego: Some(rego), ..request("a", PASSPHRASE) }).await.unwrap();
    for (verified, check) in [(true, "policy"), (false, "vmpl")] {
        let challenge = broker.challenge("a").await;
        let vmpl = u32::from(!verified);
        let evidence = evidence_with(&world.hardware.chip, &KEY, &challenge, |fields| fields.vmpl = vmpl);
        broker.refused(&challenge, evidence).await;
        let record = world.audit().pop().unwrap();
        assert_eq!(record.failed.unwrap().check, check);
        assert_eq!(record.basis.is_some(), verified);
    }
    // Another demand of the operator's, another digest.
    broker.registered("b").await;
    let digests = async |broker: &Broker| {
        broker.attested(&world.hardware, "b").await;
        world.audit().pop().unwrap().basis.unwrap().fleet
    };
    let before = digests(&broker).await;
    let fleet = Fleet { accepted_csp_ids: Vec::new(), ..Fleet::clone(&broker.attest.fleet) };
    broker.attest.fleet = Arc::new(fleet);
    assert_ne!(digests(&broker).await, before);
}

/// Whatever the cause, every refusal of `attest` has one status, one body and one form of id.
#[tokio::test]
async fn every_refusal_of_evidence_reads_the_same() {
    let world = World::new().await;
    let broker = world.broker();
    broker.registered("a").await;
    broker.registered("revoked").await;
    let audit = AuditRecord::new(BEGIN, Operation::Operate, Decision::Revoked);
    world.store.revoke(&workload_id("revoked"), &audit).await.unwrap();
    let made_up = Chip::new(keybroker_simulator::Product::Milan, 77);
    let chip = &world.hardware.chip;
    let mut told = std::collections::BTreeMap::new();
    let mut refused = async |id: &str, check: &str, evidence: &dyn Fn(&Challenge) -> Evidence| {
        let challenge = broker.challenge(id).await;
        let error = broker.refused(&challenge, evidence(&challenge)).await;
        let record = world.audit().pop().unwrap();
        assert_eq!(record.failed.unwrap().check, check, "{id}");
        let Error::Refused { id } = error else { panic!("{check}: {error:?}") };
        assert_eq!((id, id.0.get_version_num()), (record.id, 7));
        let problem = Problem::from(error);
        let body = String::from_utf8(problem.body()).unwrap();
        let body = body.replace(&id.to_string(), "ID");
        told.insert(format!("{id} {check}"), (problem.status().as_u16(), body));
    };
    refused("nobody", "workload", &|challenge| evidence(chip, &KEY, challenge)).await;
    refused("revoked", "workload", &|challenge| evidence(chip, &KEY, challenge)).await;
    refused("a", "report", &|challenge| Evidence {
        report: Ok(SentReport::bare([0; 3])),
        ..evidence(chip, &KEY, challenge)
    })
    .await;
    refused("a", "measurement", &|challenge| {
        evidence_with(chip, &KEY, challenge, |fields| fields.measurement = [1; 48])
    })
    .await;
    refused("a", "challenge", &|challenge| Evidence {
        binding: evidence(chip, &OTHER_KEY, challenge).binding,
        ..evidence(chip, &KEY, challenge)
    })
    .await;
    refused("a", "endorsements", &|challenge| evidence(&made_up, &KEY, challenge)).await;
    refused("a", "signature", &|challenge| {
        evidence_signed(chip, &made_up.vcek_key(chip.tcb), &KEY, challenge, |_| {})
    })
    .await;
    refused("a", "session", &|challenge| Evidence {
        dialects: vec![Dialect::Keybroker],
        ..evidence(chip, &KEY, challenge)
    })
    .await;
    assert_eq!(told.len(), 8);
    for (cause, told) in told {
        assert_eq!(told, (403, r#"{"error":"refused","id":"ID"}"#.to_owned()), "{cause}");
    }
}

#[tokio::test]
async fn each_decision_has_one_record() {
    let world = World::new().await;
    let broker = world.broker();
    broker.registered("a").await;
    broker.registered("a").await;
    let challenge = broker.challenge("a").await;
    let bad = evidence_with(&world.hardware.chip, &KEY, &challenge, |fields| fields.vmpl = 2);
    broker.refused(&challenge, bad.clone()).await;
    // The same again is no decision.
    broker.refused(&challenge, bad).await;
    let session = broker.attested(&world.hardware, "a").await;
    broker.fetch(&session, "b", &KEY).await.unwrap_err();
    broker.fetch(&session, "a", &KEY).await.unwrap();
    let failed = |check: &str| Some(check.to_owned());
    assert_eq!(
        world.decisions(),
        [
            (Operation::Register, Decision::Registered, None),
            (Operation::Register, Decision::Replaced, None),
            (Operation::Attest, Decision::Refused, failed("vmpl")),
            (Operation::Attest, Decision::Attested, None),
            (Operation::Key, Decision::Refused, failed("session-workload")),
            (Operation::Key, Decision::Released, None),
        ]
    );
}

/// Early refusals say what an unverified report claims, and that it is a claim.
#[tokio::test]
async fn a_claim_is_recorded_as_one() {
    let world = World::new().await;
    let broker = world.broker();
    broker.registered("a").await;
    let challenge = broker.challenge("a").await;
    let bad = evidence_with(&world.hardware.chip, &KEY, &challenge, |fields| fields.measurement = [9; 48]);
    let error = broker.refused(&challenge, bad).await;
    let cause = format!("the launch measurement is {}, registered is {}", "09".repeat(48), "4d".repeat(48));
    world.assert_recorded(&error, "measurement", &cause);
    let summary = world.audit().pop().unwrap().evidence.unwrap();
    assert!(!summary.verified);
    assert_eq!((summary.measurement, summary.product), ("09".repeat(48), Some(Product::Milan)));
}

#[tokio::test]
async fn no_record_holds_what_is_secret() {
    let world = World::new().await;
    let broker = world.broker();
    broker.registered("a").await;
    let challenge = broker.challenge("a").await;
    let evidence = evidence(&world.hardware.chip, &KEY, &challenge);
    broker.attest.attest(&challenge.session_id, evidence).await.unwrap();
    broker.fetch(&challenge.session_id, "a", &KEY).await.unwrap();
    let again = keybroker_testing::guest::evidence(&world.hardware.chip, &KEY, &challenge);
    let error = broker.refused(&challenge, again).await;
    assert!(matches!(error, Error::NoSession { .. }));
    let log = serde_json::to_string(&world.audit()).unwrap();
    let session_id = challenge.session_id.expose();
    for secret in [PASSPHRASE, &challenge.nonce.expose(), &session_id, &KEY.texts.modulus] {
        assert!(!log.contains(secret));
    }
}
