//! One nonce attests at most one guest key.

use std::sync::Arc;

use keybroker_common::{
    broker::{Error, Evidence},
    ids::SessionId,
    session::Challenge,
    store::{EndorsementStore, SessionStore},
};
use keybroker_simulator::kds::{Behaviour, Kind};
use keybroker_testing::{
    clock::{BEGIN, days, seconds},
    guest::{KEY, OTHER_KEY, evidence, evidence_with},
    world::{PASSPHRASE, TTL, World},
};
use tokio::task::JoinSet;

async fn is_open(world: &World, challenge: &Challenge) -> bool {
    world.store.challenge(&challenge.session_id).await.unwrap().is_some()
}

#[tokio::test]
async fn a_session_id_says_nothing_of_the_nonce() {
    let world = World::new().await;
    let (broker, mut seen) = (world.broker(), std::collections::BTreeSet::new());
    for _ in 0..20 {
        let challenge = broker.challenge("a").await;
        let nonce = data_encoding::BASE64.decode(challenge.nonce.expose().as_bytes()).unwrap();
        let session = data_encoding::HEXLOWER.decode(challenge.session_id.expose().as_bytes()).unwrap();
        assert_eq!((nonce.len(), session.len()), (32, 16));
        assert!(!nonce.windows(16).any(|window| window == session));
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
    let session = world.store.session(&challenge.session_id).await.unwrap();

    for key in [&KEY, &OTHER_KEY] {
        let second = evidence(&world.hardware.chip, key, &challenge);
        let error = broker.refused(&challenge, second).await;
        assert!(matches!(error, Error::NoSession { .. }));
        let cause = "there is no open challenge under this session: it was never given, or is spent";
        world.assert_recorded(&error, "session", cause);
    }
    assert_eq!(world.store.session(&challenge.session_id).await.unwrap(), session);
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
    let session = world.store.session(&challenge.session_id).await.unwrap().unwrap();
    assert_eq!(session.attestation(), won[0].clone().unwrap().id);
}

#[tokio::test]
async fn an_unknown_session_is_told_nothing_else() {
    let world = World::new().await;
    let broker = world.broker();
    broker.registered("a").await;
    let challenge = broker.challenge("a").await;
    let stranger = SessionId::random().unwrap();
    let evidence = evidence(&world.hardware.chip, &KEY, &challenge);
    let error = broker.attest.attest(&stranger, evidence).await.unwrap_err();
    assert!(matches!(error, Error::NoSession { .. }));
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
    world.assert_recorded(&error, "endorsements", "AMD's KDS answered 429");
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

/// Expiry is looked at again when the challenge is spent: KDS may have taken its time.
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
    let end = BEGIN + days(30) + TTL;
    let error = broker.refused(&challenge, evidence(&world.hardware.chip, &KEY, &challenge)).await;
    assert!(matches!(error, Error::NoSession { .. }), "{error:?}");
    world.assert_recorded(&error, "session", &format!("the challenge expired at {end}"));
    let error = broker.fetch(&session, "a", &KEY).await.unwrap_err();
    assert!(matches!(error, Error::NoSession { .. }), "{error:?}");
    world.assert_recorded(&error, "session", &format!("the session expired at {end}"));
}

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
    world.assert_recorded(&error, "session", "the challenge was answered meanwhile, or expired");
    assert_eq!(world.store.session(&challenge.session_id).await.unwrap(), None);
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
    let session = world.store.session(&challenge.session_id).await.unwrap().unwrap();
    assert_eq!(world.store.audit_record(id).unwrap().unwrap().time, BEGIN + seconds(9));
    assert_eq!(session.expires_at(), BEGIN + seconds(9) + TTL);
}

/// Certificates are kept for a guest with an open challenge, and for nobody else.
#[tokio::test]
async fn without_an_open_challenge_nothing_that_was_sent_is_kept() {
    let world = World::new().await;
    let broker = world.broker();
    broker.registered("a").await;
    let (spent, expired, open) =
        (broker.challenge("a").await, broker.challenge("a").await, broker.challenge("a").await);
    let sent = |challenge| Evidence {
        certificates: vec![world.hardware.vcek(), world.hardware.amd.ask().to_vec()],
        ..evidence(&world.hardware.chip, &KEY, challenge)
    };
    let kept = async || world.store.endorsement(&world.hardware.vcek_key()).await.unwrap();
    let mut elsewhere = sent(&spent);
    elsewhere.report[0x50] ^= 1;
    for (challenge, evidence) in [(&spent, elsewhere), (&spent, sent(&spent))] {
        broker.refused(challenge, evidence).await;
        assert_eq!(kept().await, None);
    }
    world.hardware.clock.set(expired.expires_at);
    broker.refused(&expired, sent(&expired)).await;
    assert_eq!(kept().await, None);
    world.hardware.clock.set(BEGIN);
    broker.attest.attest(&open.session_id, sent(&open)).await.unwrap();
    assert_eq!(kept().await.unwrap().bytes, world.hardware.vcek());
}
