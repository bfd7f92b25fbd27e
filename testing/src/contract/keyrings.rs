//! The promises of [`KeyringStore`](keybroker_common::store::KeyringStore), and of an operator's turns.

use keybroker_common::{
    audit::{Decision, Operation},
    keyring::{Keyring, Purpose},
    store::StoredKeyring,
};

use super::{CONFLICT, Subject, all_at_once, assert_not_recorded, assert_recorded, sample};

/// The ring of `purpose`, which must be there.
async fn held(store: &impl Subject, purpose: Purpose) -> StoredKeyring {
    store.keyring(purpose).await.expect("a readable ring").expect("a ring")
}

pub async fn a_ring_is_read_back(store: &impl Subject) {
    for purpose in Purpose::ALL {
        assert_eq!(store.keyring(purpose).await, Ok(None));
        let ring = sample::ring();
        assert_eq!(store.put_keyring(purpose, None, &ring).await, Ok(()));
        assert_eq!(held(store, purpose).await.ring, ring);
    }
}

/// With the public halves, and with the key that nobody uses yet.
pub async fn a_ring_of_signing_keys_is_read_back(store: &impl Subject) {
    let ring = sample::signing_ring();
    assert_eq!((ring.keys.len(), ring.signing().count(), ring.prepared().is_some()), (3, 2, true));
    let prepared = sample::audit(1, Operation::Operate, Decision::KeyPrepared);
    assert_eq!(store.turn_keyring(Purpose::Signature, None, &ring, &prepared).await, Ok(()));
    assert_recorded(store, &prepared).await;
    assert_eq!(held(store, Purpose::Signature).await.ring, ring);
    assert_eq!(store.keyring(Purpose::Session).await, Ok(None));
}

pub async fn a_ring_gives_way_to_one_that_knows_it(store: &impl Subject) {
    let (first, second, third) = (sample::ring(), sample::ring(), Keyring::default());
    let purpose = Purpose::Challenge;
    store.put_keyring(purpose, None, &first).await.expect("a new ring");
    let before = held(store, purpose).await;
    assert_eq!(store.put_keyring(purpose, None, &second).await, CONFLICT);
    assert_eq!(store.put_keyring(purpose, Some(before.edition + 1), &second).await, CONFLICT);
    assert_eq!(held(store, purpose).await, before);
    assert_eq!(store.put_keyring(purpose, Some(before.edition), &second).await, Ok(()));
    let after = held(store, purpose).await;
    assert_eq!((after.edition, &after.ring), (before.edition + 1, &second));
    // The edition of a ring that was there once says nothing.
    assert_eq!(store.put_keyring(purpose, Some(before.edition), &third).await, CONFLICT);
    assert_eq!(held(store, purpose).await, after);
    assert_eq!(store.keyring(Purpose::Session).await, Ok(None));
}

pub async fn an_absent_ring_has_no_edition(store: &impl Subject) {
    assert_eq!(store.put_keyring(Purpose::Session, Some(0), &sample::ring()).await, CONFLICT);
    assert_eq!(store.keyring(Purpose::Session).await, Ok(None));
}

pub async fn of_many_rings_one_is_written(store: &impl Subject) {
    let rings: Vec<_> = (0..16).map(|_| sample::ring()).collect();
    let attempts = rings.iter().map(|ring| store.put_keyring(Purpose::Challenge, None, ring));
    let outcomes = all_at_once(attempts).await;
    let written: Vec<_> = rings.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_ok()).collect();
    let [(ring, _)] = written.as_slice() else { panic!("{outcomes:?}") };
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == CONFLICT).count(), 15, "{outcomes:?}");
    assert_eq!(held(store, Purpose::Challenge).await.ring, **ring);
}

pub async fn a_turn_is_on_record(store: &impl Subject) {
    let turned = |seconds| sample::audit(seconds, Operation::Operate, Decision::KeysTurned);
    let (first, second) = (turned(1), turned(2));
    let ring = sample::ring();
    assert_eq!(store.turn_keyring(Purpose::Session, None, &ring, &first).await, Ok(()));
    assert_recorded(store, &first).await;
    let edition = Some(held(store, Purpose::Session).await.edition);
    assert_eq!(store.turn_keyring(Purpose::Session, edition, &ring.emptied(), &second).await, Ok(()));
    assert_recorded(store, &second).await;
    assert_eq!(held(store, Purpose::Session).await.ring, ring.emptied());
}

pub async fn a_turn_that_does_not_know_the_ring_writes_nothing(store: &impl Subject) {
    let turned = sample::audit(1, Operation::Operate, Decision::KeysTurned);
    store.put_keyring(Purpose::Session, None, &sample::ring()).await.expect("a new ring");
    let before = held(store, Purpose::Session).await;
    for edition in [None, Some(before.edition + 1)] {
        let turn = store.turn_keyring(Purpose::Session, edition, &Keyring::default(), &turned).await;
        assert_eq!(turn, CONFLICT);
    }
    assert_eq!(held(store, Purpose::Session).await, before);
    assert_not_recorded(store, &turned).await;
}

pub async fn a_taken_audit_id_undoes_a_turn(store: &impl Subject) {
    let turned = sample::audit(1, Operation::Operate, Decision::KeysTurned);
    store.append(&turned).await.expect("a new record");
    assert_eq!(store.turn_keyring(Purpose::Session, None, &sample::ring(), &turned).await, CONFLICT);
    assert_eq!(store.keyring(Purpose::Session).await, Ok(None));
}
