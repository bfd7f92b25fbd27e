//! Faults beside the decision: a build window that ends, records without bound, keys that are lost.

use jiff::SignedDuration;
use keybroker_common::{
    admission::Admission,
    audit::{AuditRecord, Decision, Operation},
    broker::{Credential, Error, RegisterRequest},
    keyring::{Keyring, Purpose, WrappedKey},
    secret::WrappedSecret,
    store::{KeyringStore as _, RevocationStore as _, StoredKeyring, WorkloadStore as _},
};
use keybroker_testing::{
    clock::{BEGIN, days, minutes, seconds},
    guest::{KEY, evidence, evidence_with},
    world::{PASSPHRASE, World, named, request, stranger, workload_id},
};

const BURST: usize = 20;

/// Beside (or as) a key of the ring, one that this broker's wrapping key does not open.
async fn unopenable(world: &World, purpose: Purpose, alone: bool) {
    let stored = world.store.keyring(purpose).await.unwrap();
    let (edition, ring) = match stored {
        Some(StoredKeyring { edition, ring }) => (Some(edition), ring),
        None => (None, Keyring::default()),
    };
    let wrapped = WrappedSecret { key_id: "local:0000000000000000".to_owned(), ciphertext: vec![0; 60] };
    let from = if alone { BEGIN } else { BEGIN - days(8) };
    let bad = WrappedKey { number: 200, wrapped, public: None, made_at: from, from: Some(from) };
    let mut keys = if alone { Vec::new() } else { ring.keys.clone() };
    keys.insert(0, bad);
    world.store.put_keyring(purpose, edition, &Keyring { keys, ..ring }).await.unwrap();
}

/// No guest attested, so the build window is open.
#[tokio::test]
async fn an_answer_to_a_spent_challenge_does_not_end_the_build_window() {
    let world = World::new().await;
    let broker = world.broker();
    broker.registered("a").await;
    let challenge = broker.challenge("a").await;
    let bad = evidence_with(&world.hardware.chip, &KEY, &challenge, |fields| fields.measurement = [1; 48]);
    assert!(matches!(broker.refused(&challenge, bad).await, Error::Refused { .. }));
    let sound = evidence(&world.hardware.chip, &KEY, &challenge);
    assert!(matches!(broker.refused(&challenge, sound).await, Error::NoSession { .. }));
    let row = world.store.workload(&workload_id("a")).await.unwrap().unwrap();
    assert_eq!(row.released_at, None, "nobody attested");
}

/// A 503 writes nothing.
#[tokio::test]
async fn a_503_for_want_of_session_keys_does_not_end_the_build_window() {
    let world = World::new().await;
    unopenable(&world, Purpose::Session, true).await;
    let broker = world.broker();
    broker.registered("a").await;
    let challenge = broker.challenge("a").await;
    let sound = evidence(&world.hardware.chip, &KEY, &challenge);
    let error = broker.refused(&challenge, sound).await;
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    let row = world.store.workload(&workload_id("a")).await.unwrap().unwrap();
    assert_eq!(row.released_at, None, "nothing was decided");
}

/// While the ring is out of reach, ids that nobody made leave no records.
#[tokio::test]
async fn made_up_ids_leave_no_record_while_the_keys_are_out_of_reach() {
    let world = World::new().await;
    unopenable(&world, Purpose::Challenge, true).await;
    let broker = world.broker();
    broker.registered("a").await;
    let before = world.audit().len();
    for _ in 0..3 * BURST {
        broker.fetch(&stranger(), "a", &KEY).await.unwrap_err();
    }
    let written = world.audit().len() - before;
    assert!(written <= BURST, "{written} records of strangers");
}

/// A key that nothing is made or recognised under any more must not keep the others out.
#[tokio::test]
async fn a_retired_key_that_cannot_be_opened_keeps_nobody_out() {
    let world = World::new().await;
    let broker = world.broker();
    broker.registered("a").await;
    broker.challenge("a").await;
    unopenable(&world, Purpose::Challenge, false).await;
    // Until nothing that was made under it could count.
    world.hardware.clock.advance(SignedDuration::from_mins(20));
    let fresh = world.broker();
    let challenge = fresh.auth.challenge(named("a")).await;
    assert!(challenge.is_ok(), "{:?}", challenge.err());
}

/// A relay that has seen a guest's answer can replay it: a few of the replays are recorded.
#[tokio::test]
async fn replays_of_a_revoked_guests_answer_leave_few_records() {
    let world = World::new().await;
    let broker = world.broker();
    broker.registered("a").await;
    let challenge = broker.challenge("a").await;
    let sound = evidence(&world.hardware.chip, &KEY, &challenge);
    broker.attest.attest(&challenge.session_id, sound.clone()).await.unwrap();
    let audit = AuditRecord::new(BEGIN, Operation::Operate, Decision::Revoked);
    world.store.revoke(&workload_id("a"), &audit).await.unwrap();
    let before = world.audit().len();
    for _ in 0..3 * BURST {
        broker.refused(&challenge, sound.clone()).await;
    }
    let written = world.audit().len() - before;
    assert!(written <= BURST, "{written} records of one answer");
}

/// A replay of an answer that was decided about, after its workload was registered anew.
#[tokio::test]
async fn a_replay_does_not_end_a_later_build_window() {
    let world = World::new().await;
    let mut broker = world.broker();
    broker.register.admission = Admission::parse("iam").unwrap();
    let owned = |passphrase| RegisterRequest {
        credential: Credential::Principal("alice".to_owned()),
        ..request("a", passphrase)
    };
    broker.register.register(owned("first")).await.unwrap();
    let challenge = broker.challenge("a").await;
    let sound = evidence(&world.hardware.chip, &KEY, &challenge);
    broker.attest.attest(&challenge.session_id, sound.clone()).await.unwrap();
    world.hardware.clock.advance(seconds(60));
    assert!(broker.register.register(owned("second")).await.unwrap().replaced);
    let error = broker.attest.attest(&challenge.session_id, sound).await;
    assert!(matches!(error, Err(Error::Refused { .. })), "{error:?}");
    let row = world.store.workload(&workload_id("a")).await.unwrap().unwrap();
    assert_eq!(row.released_at, None, "nobody attested under the second registration");
}

/// A clock that is three minutes behind, of one instance.
#[tokio::test]
async fn an_instance_whose_clock_is_behind_drops_no_key_that_others_use() {
    let world = World::new().await;
    let good = world.broker();
    good.challenge("a").await;
    world.hardware.clock.advance(seconds(3 * 60));
    let given = good.challenge("a").await;
    world.hardware.clock.set(BEGIN - seconds(90));
    let behind = world.broker();
    behind.challenge("a").await;
    world.hardware.clock.set(BEGIN + minutes(4) + seconds(10));
    let ring = world.store.keyring(Purpose::Challenge).await.unwrap().unwrap().ring;
    assert!(ring.keys.iter().any(|key| key.number == given.session_id.key()), "{ring:?}");
}

/// Both services of a process see a ring alike: guests boot while it goes on with a key that was dropped, and
/// once it knows the next.
#[tokio::test]
async fn a_process_boots_guests_while_its_ring_is_emptied() {
    let world = World::new().await;
    let broker = world.broker();
    broker.registered("a").await;
    // The one that gives challenges looks first.
    broker.challenge("a").await;
    world.hardware.clock.advance(seconds(30));
    let StoredKeyring { edition, ring } = world.store.keyring(Purpose::Challenge).await.unwrap().unwrap();
    world.store.put_keyring(Purpose::Challenge, Some(edition), &ring.emptied()).await.unwrap();
    let mut numbers = Vec::new();
    for _ in 0..24 {
        let session = broker.attested(&world.hardware, "a").await;
        numbers.push(session.key());
        assert_eq!(broker.fetch(&session, "a", &KEY).await.unwrap(), PASSPHRASE);
        world.hardware.clock.advance(seconds(5));
    }
    numbers.dedup();
    assert_eq!(numbers, [1, 2]);
}
