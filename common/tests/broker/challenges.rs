//! One nonce attests at most one guest key.

use std::sync::Arc;

use jiff::SignedDuration;
use keybroker_common::{
    broker::{Error, Evidence},
    challenge::Challenge,
    decision::LONGEST_TTL,
    ids::AuditId,
    store::EndorsementStore,
};
use keybroker_simulator::kds::{Behaviour, Kind};
use keybroker_testing::{
    clock::{BEGIN, days, seconds},
    guest::{KEY, OTHER_KEY, evidence, evidence_with},
    world::{PASSPHRASE, TTL, World, stranger},
};
use tokio::task::JoinSet;

async fn is_open(world: &World, challenge: &Challenge) -> bool {
    world.decision(&challenge.session_id).await.is_none()
}

#[tokio::test]
async fn a_session_id_says_nothing_of_the_nonce() {
    let world = World::new().await;
    let (broker, mut seen) = (world.broker(), std::collections::BTreeSet::new());
    for _ in 0..20 {
        let challenge = broker.challenge("a").await;
        let nonce = data_encoding::BASE64.decode(challenge.nonce.expose().as_bytes()).unwrap();
        let session = challenge.session_id.expose();
        let session = session.strip_suffix('a').expect("the workload id");
        let session = data_encoding::BASE64URL_NOPAD.decode(session.as_bytes()).unwrap();
        assert_eq!((nonce.len(), session.len()), (32, 26));
        assert!(!nonce.windows(4).any(|window| session.windows(4).any(|other| other == window)));
        assert!(seen.insert(nonce) && seen.insert(session));
    }
}

#[tokio::test]
async fn a_challenge_is_answered_once() {
    let world = World::new().await;
    let broker = world.broker();
    broker.registered("a").await;
    let challenge = broker.challenge("a").await;
    let first = evidence(&world.hardware.chip, &KEY, &challenge);
    broker.attest.attest(&challenge.session_id, first).await.unwrap();
    let session = world.session(&challenge.session_id).await;

    for key in [&KEY, &OTHER_KEY] {
        let second = evidence(&world.hardware.chip, key, &challenge);
        let error = broker.refused(&challenge, second).await;
        assert!(matches!(error, Error::NoSession { .. }));
        let cause = "the challenge was answered before";
        world.assert_recorded(&error, "session", cause);
    }
    assert_eq!(world.session(&challenge.session_id).await, session);
    assert_eq!(broker.fetch(&challenge.session_id, "a", &KEY).await.unwrap(), PASSPHRASE);
    assert_ne!(broker.fetch(&challenge.session_id, "a", &OTHER_KEY).await.unwrap(), PASSPHRASE);
}

/// Held at KDS, all of them have passed every look at the challenge when they come to spend it.
#[tokio::test]
async fn many_answers_at_once_have_one_winner() {
    let world = World::new().await;
    let broker = Arc::new(world.broker());
    broker.registered("a").await;
    let challenge = broker.challenge("a").await;
    world.hardware.kds.hold();
    let mut guests = JoinSet::new();
    for key in [&KEY, &OTHER_KEY].into_iter().cycle().take(8) {
        let evidence = evidence(&world.hardware.chip, key, &challenge);
        let (broker, session_id) = (Arc::clone(&broker), challenge.session_id.clone());
        guests.spawn(async move { broker.attest.attest(&session_id, evidence).await });
    }
    world.hardware.kds.arrived(Kind::Vcek, 1).await;
    world.hardware.kds.release();
    let outcomes = guests.join_all().await;
    let (won, lost): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (1, 7));
    assert!(lost.iter().all(|one| matches!(one, Err(Error::NoSession { .. }))), "{lost:?}");
    let session = world.session(&challenge.session_id).await.unwrap();
    assert_eq!(session.attestation, won[0].clone().unwrap().id);
    assert_eq!(session.attestation, AuditId::of(&challenge.session_id));
}

#[tokio::test]
async fn an_unknown_session_is_told_nothing_else() {
    let world = World::new().await;
    let broker = world.broker();
    broker.registered("a").await;
    let challenge = broker.challenge("a").await;
    let stranger = stranger();
    let evidence = evidence(&world.hardware.chip, &KEY, &challenge);
    let error = broker.attest.attest(&stranger, evidence).await.unwrap_err();
    assert_eq!(error, Error::NoSession { id: None });
    assert!(is_open(&world, &challenge).await);
    assert_eq!(world.hardware.kds.requests(), []);
}

#[tokio::test]
async fn a_refusal_spends_the_challenge() {
    let world = World::new().await;
    let broker = world.broker();
    broker.registered("a").await;
    let challenge = broker.challenge("a").await;
    let sound = evidence(&world.hardware.chip, &KEY, &challenge);
    let bad = evidence_with(&world.hardware.chip, &KEY, &challenge, |fields| fields.measurement = [1; 48]);
    assert!(matches!(broker.refused(&challenge, bad).await, Error::Refused { .. }));
    assert!(!is_open(&world, &challenge).await);
    assert!(matches!(broker.refused(&challenge, sound).await, Error::NoSession { .. }));
}

#[tokio::test]
async fn a_challenge_survives_what_could_not_be_decided() {
    let world = World::new().await;
    let broker = world.broker();
    broker.registered("a").await;
    let challenge = broker.challenge("a").await;
    let evidence = evidence(&world.hardware.chip, &KEY, &challenge);
    world.hardware.kds.script(Kind::Vcek, [Behaviour::Status(429, Some(60))]);
    let error = broker.refused(&challenge, evidence.clone()).await;
    assert!(matches!(error, Error::Unavailable { id: Some(_), retry_after: 60 }), "{error:?}");
    world.assert_announced(&error, "endorsements", "AMD's KDS answered 429");
    assert!(is_open(&world, &challenge).await);

    world.hardware.clock.advance(seconds(60));
    broker.attest.attest(&challenge.session_id, evidence).await.unwrap();
    assert_eq!(broker.fetch(&challenge.session_id, "a", &KEY).await.unwrap(), PASSPHRASE);
}

#[tokio::test]
async fn a_challenge_expires_to_the_second() {
    let world = World::new().await;
    let broker = world.broker();
    broker.registered("a").await;
    let (early, late) = (broker.challenge("a").await, broker.challenge("a").await);
    assert_eq!(early.expires_at, BEGIN + TTL);
    world.hardware.clock.set(early.expires_at - seconds(1));
    let evidence = |challenge| evidence(&world.hardware.chip, &KEY, challenge);
    broker.attest.attest(&early.session_id, evidence(&early)).await.unwrap();
    world.hardware.clock.set(early.expires_at);
    let error = broker.refused(&late, evidence(&late)).await;
    assert!(matches!(error, Error::NoSession { .. }));
    world.assert_recorded(&error, "session", &format!("the challenge expired at {}", late.expires_at));
}

/// Given by a clock that ran ahead by a month and was put right: neither lasts for a month.
#[tokio::test]
async fn a_session_of_a_clock_that_ran_ahead_ends_once_it_is_right() {
    let world = World::new().await;
    let broker = world.broker();
    broker.registered("a").await;
    world.hardware.clock.set(BEGIN + days(30));
    let session = broker.attested(&world.hardware, "a").await;
    let challenge = broker.challenge("a").await;
    assert_eq!(broker.fetch(&session, "a", &KEY).await.unwrap(), PASSPHRASE);
    world.hardware.clock.set(BEGIN);
    let error = broker.refused(&challenge, evidence(&world.hardware.chip, &KEY, &challenge)).await;
    assert_eq!(error, Error::NoSession { id: None });
    let error = broker.fetch(&session, "a", &KEY).await.unwrap_err();
    assert_eq!(error, Error::NoSession { id: None });
}

/// Expiry is looked at again when the challenge is decided about: KDS may have taken its time.
#[tokio::test]
async fn a_challenge_can_expire_while_kds_is_asked() {
    let world = World::new().await;
    let broker = Arc::new(world.broker());
    broker.registered("a").await;
    let challenge = broker.challenge("a").await;
    world.hardware.kds.hold();
    let guest = {
        let evidence = evidence(&world.hardware.chip, &KEY, &challenge);
        let (broker, session_id) = (Arc::clone(&broker), challenge.session_id.clone());
        tokio::spawn(async move { broker.attest.attest(&session_id, evidence).await })
    };
    world.hardware.kds.arrived(Kind::Vcek, 1).await;
    world.hardware.clock.set(challenge.expires_at);
    world.hardware.kds.release();
    let error = guest.await.unwrap().unwrap_err();
    assert!(matches!(error, Error::NoSession { .. }));
    world.assert_recorded(&error, "session", &format!("the challenge expired at {}", challenge.expires_at));
    assert!(is_open(&world, &challenge).await, "nothing was decided about it");
}

/// Record and session count from the end of the attestation, however long AMD took.
#[tokio::test]
async fn a_session_begins_when_the_guest_has_attested() {
    let world = World::new().await;
    let broker = Arc::new(world.broker());
    broker.registered("a").await;
    let challenge = broker.challenge("a").await;
    world.hardware.kds.hold();
    let guest = {
        let evidence = evidence(&world.hardware.chip, &KEY, &challenge);
        let (broker, session_id) = (Arc::clone(&broker), challenge.session_id.clone());
        tokio::spawn(async move { broker.attest.attest(&session_id, evidence).await })
    };
    world.hardware.kds.arrived(Kind::Vcek, 1).await;
    world.hardware.clock.advance(seconds(9));
    world.hardware.kds.release();
    let id = guest.await.unwrap().unwrap().id;
    let session = world.session(&challenge.session_id).await.unwrap();
    assert_eq!(world.store.audit_record(id).unwrap().unwrap().time, BEGIN + seconds(9));
    assert_eq!(session.expires_at, BEGIN + seconds(9) + TTL);
}

/// Certificates are kept once a report was verified under them, and for a guest whose challenge lasts.
#[tokio::test]
async fn without_a_challenge_nothing_that_was_sent_is_kept() {
    let world = World::new().await;
    let broker = world.broker();
    broker.registered("a").await;
    let (refused, expired, open) =
        (broker.challenge("a").await, broker.challenge("a").await, broker.challenge("a").await);
    let sent = |challenge| Evidence {
        certificates: vec![world.hardware.vcek(), world.hardware.amd.ask().to_vec()],
        ..evidence(&world.hardware.chip, &KEY, challenge)
    };
    let kept = async || world.store.endorsement(&world.hardware.vcek_key()).await.unwrap();
    let mut elsewhere = sent(&refused);
    elsewhere.report.as_mut().unwrap().bytes[0x50] ^= 1;
    broker.refused(&refused, elsewhere).await;
    assert_eq!(kept().await, None);
    let error = broker.attest.attest(&stranger(), sent(&open)).await.unwrap_err();
    assert_eq!(error, Error::NoSession { id: None });
    assert_eq!(kept().await, None);
    world.hardware.clock.set(expired.expires_at);
    broker.refused(&expired, sent(&expired)).await;
    assert_eq!(kept().await, None);
    world.hardware.clock.set(BEGIN);
    broker.attest.attest(&open.session_id, sent(&open)).await.unwrap();
    assert_eq!(kept().await.unwrap().bytes, world.hardware.vcek());
}

/// Two instances that share nothing but the store: the second finds the decision of the first.
#[tokio::test]
async fn two_processes_decide_once_about_a_challenge() {
    let world = World::new().await;
    let (one, other) = (world.broker(), world.broker());
    one.registered("a").await;
    for refused_first in [false, true] {
        let challenge = one.challenge("a").await;
        let chip = &world.hardware.chip;
        let bad = evidence_with(chip, &OTHER_KEY, &challenge, |fields| fields.vmpl = 1);
        let good = evidence(chip, &KEY, &challenge);
        let (first, second) = if refused_first { (bad, good) } else { (good, bad) };
        let decided = one.attest.attest(&challenge.session_id, first.clone()).await;
        assert_eq!(decided.is_err(), refused_first);
        let before = world.decision(&challenge.session_id).await.expect("a decision");
        let error = other.refused(&challenge, second).await;
        assert!(matches!(error, Error::NoSession { id: Some(_) }), "{error:?}");
        world.assert_recorded(&error, "session", "the challenge was answered before");
        assert_eq!(world.decision(&challenge.session_id).await, Some(before.clone()));
        // The very evidence of the decision gets its answer again, and nothing is written.
        let written = world.audit().len();
        assert_eq!(other.attest.attest(&challenge.session_id, first).await, decided);
        assert_eq!(world.audit().len(), written);
        assert_eq!(before.session.is_some(), !refused_first);
    }
}

/// A guest that answers late finds the decision, however often it is asked for.
#[tokio::test]
async fn a_refusal_is_told_again_and_written_once() {
    let world = World::new().await;
    let broker = world.broker();
    broker.registered("a").await;
    let challenge = broker.challenge("a").await;
    let bad = evidence_with(&world.hardware.chip, &KEY, &challenge, |fields| fields.measurement = [1; 48]);
    let refused = broker.refused(&challenge, bad.clone()).await;
    assert_eq!(refused, Error::Refused { id: AuditId::of(&challenge.session_id) });
    let written = world.audit();
    for _ in 0..3 {
        assert_eq!(broker.refused(&challenge, bad.clone()).await, refused);
    }
    assert_eq!(world.audit(), written);
    world.hardware.clock.set(challenge.expires_at);
    assert_eq!(broker.refused(&challenge, bad).await, refused);
}

/// A 503 is no decision: it writes nothing, wherever it comes from.
#[tokio::test]
async fn what_could_not_be_decided_is_not_written() {
    let world = World::new().await;
    let broker = world.broker();
    broker.registered("a").await;
    let challenge = broker.challenge("a").await;
    let written = world.audit();
    world.hardware.down();
    for _ in 0..5 {
        let error = broker.refused(&challenge, evidence(&world.hardware.chip, &KEY, &challenge)).await;
        assert!(matches!(error, Error::Unavailable { id: Some(_), .. }), "{error:?}");
    }
    assert_eq!(world.audit(), written);
    assert!(is_open(&world, &challenge).await);
}

/// The record is for people to read: whoever reads it must not be able to ask in the guest's place.
#[tokio::test]
async fn a_record_does_not_disclose_the_cookie() {
    let world = World::new().await;
    let broker = world.broker();
    broker.registered("a").await;
    let challenge = broker.challenge("a").await;
    broker
        .attest
        .attest(&challenge.session_id, evidence(&world.hardware.chip, &KEY, &challenge))
        .await
        .unwrap();
    let decision = world.decision(&challenge.session_id).await.unwrap();
    let written = serde_json::to_string(&decision).unwrap();
    let cookie = challenge.session_id.expose();
    let head = cookie.strip_suffix('a').unwrap();
    for part in [head, &head[..20], &head[12..30], &challenge.nonce.expose()] {
        assert!(!written.contains(part), "{part}");
    }
    let longest = SignedDuration::try_from(LONGEST_TTL).unwrap();
    assert_eq!(decision.keep_until, BEGIN + longest * 2 + SignedDuration::from_mins(10));
}
