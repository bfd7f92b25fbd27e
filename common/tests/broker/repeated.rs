//! The same evidence again: the guest missed the answer, and its session is open.

use std::sync::Arc;

use keybroker_common::{
    audit::{AuditRecord, Decision, Operation},
    broker::{Attested, Error, Evidence},
    challenge::Challenge,
    clock::{Clock as _, is_over},
    decision::EvidenceDigest,
    dialect::Dialect,
    store::{OperatorStore as _, RevocationStore as _, WorkloadStore as _},
};
use keybroker_simulator::kds::Kind;
use keybroker_testing::{
    clock::seconds,
    guest::{KEY, OTHER_KEY, evidence},
    world::{Broker, PASSPHRASE, TTL, World, workload_id},
};
use tokio::task::JoinSet;

/// A guest whose evidence was answered once.
async fn answered() -> (World, Broker, Challenge, Evidence) {
    let world = World::new().await;
    let broker = world.broker();
    broker.registered("a").await;
    let challenge = broker.challenge("a").await;
    let evidence = evidence(&world.hardware.chip, &KEY, &challenge);
    broker.attest.attest(&challenge.session_id, evidence.clone()).await.unwrap();
    (world, broker, challenge, evidence)
}

async fn assert_no_session(world: &World, broker: &Broker, challenge: &Challenge, evidence: Evidence) {
    let error = broker.refused(challenge, evidence).await;
    assert!(matches!(error, Error::NoSession { .. }), "{error:?}");
    let cause = match is_over(challenge.expires_at, world.hardware.clock.now(), TTL) {
        true => format!("the challenge expired at {}", challenge.expires_at),
        false => "the challenge was answered before".to_owned(),
    };
    world.assert_recorded(&error, "session", &cause);
}

/// Also in another process, and when AMD is out of reach: nothing is verified again. Nothing is recorded
/// either.
#[tokio::test]
async fn the_same_evidence_is_answered_again_until_the_session_ends() {
    let (world, broker, challenge, evidence) = answered().await;
    let (before, session) = (world.audit(), world.session(&challenge.session_id).await);
    let attestation = session.as_ref().unwrap().attestation;
    world.hardware.down();
    let asked = world.hardware.kds.requests().len();
    world.hardware.clock.advance(TTL.try_into().unwrap());
    world.hardware.clock.set(world.hardware.clock.now() - seconds(1));
    for broker in [&broker, &world.broker()] {
        for _ in 0..3 {
            let again = broker.attest.attest(&challenge.session_id, evidence.clone()).await;
            assert_eq!(again, Ok(Attested { id: attestation, dialect: Dialect::Libkrun, result: None }));
        }
    }
    assert_eq!(world.audit(), before);
    assert_eq!(world.session(&challenge.session_id).await, session, "it lasts no longer");
    assert_eq!(world.hardware.kds.requests().len(), asked);
    assert_eq!(broker.fetch(&challenge.session_id, "a", &KEY).await.unwrap(), PASSPHRASE);
    world.hardware.clock.advance(seconds(1));
    assert_no_session(&world, &broker, &challenge, evidence).await;
}

#[tokio::test]
async fn anything_else_than_the_same_evidence_is_no_session() {
    let (world, broker, challenge, sent) = answered().await;
    let again = evidence(&world.hardware.chip, &KEY, &challenge);
    let others = evidence(&world.hardware.chip, &OTHER_KEY, &challenge);
    // The very report and key, in a body that differs in a space.
    let spaced = Evidence { digest: EvidenceDigest::of(b"another body"), ..sent.clone() };
    for other in [again, others, spaced] {
        assert_no_session(&world, &broker, &challenge, other).await;
    }
    // By the cookie of the other dialect: the session is none of that.
    let error =
        broker.refused(&challenge, Evidence { dialects: vec![Dialect::Keybroker], ..sent.clone() }).await;
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
    world.assert_recorded(&error, "session", "the guest attested in another dialect");
    // Under another challenge it is evidence like any, and bound to the first.
    let other = broker.challenge("a").await;
    let error = broker.refused(&other, sent.clone()).await;
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
    assert_eq!(world.audit().pop().unwrap().failed.unwrap().check, "challenge");
    assert_eq!(broker.refused(&other, sent).await, error, "the same evidence, the same refusal");
    assert_eq!(broker.fetch(&challenge.session_id, "a", &KEY).await.unwrap(), PASSPHRASE);
}

#[tokio::test]
async fn after_a_revocation_the_same_evidence_is_refused() {
    let (world, broker, challenge, evidence) = answered().await;
    let record = |decision| AuditRecord::new(world.hardware.clock.now(), Operation::Operate, decision);
    let (id, revoked) = (workload_id("a"), record(Decision::Revoked));
    world.store.revoke(&id, &revoked).await.unwrap();
    let error = broker.refused(&challenge, evidence.clone()).await;
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
    world.assert_recorded(&error, "workload", &format!("the workload is revoked since {}", revoked.time));
    let digest = world.store.workload(&id).await.unwrap().unwrap().digest();
    world.store.restore(&id, digest, &record(Decision::Restored)).await.unwrap();
    let error = broker.refused(&challenge, evidence).await;
    let cause = "the workload was revoked and restored since the guest attested";
    world.assert_recorded(&error, "workload", cause);
}

/// Held at KDS, all of them have found the challenge open.
#[tokio::test]
async fn many_equal_requests_at_once_are_answered_and_recorded_once() {
    let world = World::new().await;
    let broker = Arc::new(world.broker());
    broker.registered("a").await;
    let challenge = broker.challenge("a").await;
    let evidence = evidence(&world.hardware.chip, &KEY, &challenge);
    world.hardware.kds.hold();
    let mut guests = JoinSet::new();
    for _ in 0..8 {
        let (broker, session_id) = (Arc::clone(&broker), challenge.session_id.clone());
        let evidence = evidence.clone();
        guests.spawn(async move { broker.attest.attest(&session_id, evidence).await });
    }
    world.hardware.kds.arrived(Kind::Vcek, 1).await;
    world.hardware.kds.release();
    let outcomes = guests.join_all().await;
    let session = world.session(&challenge.session_id).await.unwrap();
    assert!(
        outcomes.iter().all(|outcome| outcome.as_ref().unwrap().id == session.attestation),
        "{outcomes:?}"
    );
    let attested = |record: &&AuditRecord| record.operation == Operation::Attest;
    assert_eq!(world.audit().iter().filter(attested).count(), 1);
}
