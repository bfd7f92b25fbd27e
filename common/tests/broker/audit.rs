//! What the record says: one for each decision, and the whole truth but no secret.

use keybroker_common::{
    audit::{Decision, EvidenceSummary, Operation},
    broker::Error,
    snp::{certificate::EndorsementKind, product::Product, product::TcbVersion},
    store::{SessionStore, WorkloadStore},
};

use crate::harness::{
    clock::BEGIN,
    guest::{KEY, evidence, evidence_with},
    world::{PASSPHRASE, SECRET, World, workload_id},
};

#[tokio::test]
async fn the_story_of_a_release() {
    let world = World::new().await;
    let broker = world.broker();
    let registered = broker.registered("a").await;
    let challenge = broker.challenge("a").await;
    let evidence = evidence(&world.hardware.chip, &KEY, &challenge);
    let attestation = broker.attest.attest(&challenge.session_id, evidence).await.unwrap();
    let session = world.store.session(&challenge.session_id).await.unwrap().unwrap();
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
    assert_eq!((attest.id, session.attestation()), (attestation, attestation));
    let summary = EvidenceSummary {
        verified: true,
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

    assert_eq!((key.operation, key.decision), (Operation::Key, Decision::Released));
    assert_eq!((key.id, key.attestation), (released.id, Some(attestation)));
    assert_eq!(key.secret.as_deref(), Some(SECRET));
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
            (Operation::Attest, Decision::Refused, failed("session")),
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
    let texts = evidence.key_texts.clone();
    broker.attest.attest(&challenge.session_id, evidence.clone()).await.unwrap();
    broker.fetch(&challenge.session_id, "a", &KEY).await.unwrap();
    let error = broker.refused(&challenge, evidence).await;
    assert!(matches!(error, Error::NoSession { .. }));
    let log = serde_json::to_string(&world.audit()).unwrap();
    let session_id = challenge.session_id.expose();
    for secret in [PASSPHRASE, &challenge.nonce.expose(), &session_id, &texts.modulus] {
        assert!(!log.contains(secret));
    }
}
