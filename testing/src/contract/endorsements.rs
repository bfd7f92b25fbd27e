//! The promises of [`EndorsementStore`](keybroker_common::store::EndorsementStore).

use keybroker_common::store::{Lease, StoredEndorsement};

use super::{Subject, all_at_once, sample};

/// Puts one endorsement, then another under the same key; what is there in the end.
async fn after(store: &impl Subject, puts: [&StoredEndorsement; 2]) -> Option<StoredEndorsement> {
    let key = sample::endorsement_key();
    for endorsement in puts {
        assert_eq!(store.put_endorsement(&key, endorsement).await, Ok(()));
    }
    store.endorsement(&key).await.expect("a readable row")
}

pub async fn an_endorsement_is_read_back(store: &impl Subject) {
    let (key, endorsement) = (sample::endorsement_key(), sample::endorsement(0));
    assert_eq!(store.endorsement(&key).await, Ok(None));
    assert_eq!(store.put_endorsement(&key, &endorsement).await, Ok(()));
    assert_eq!(store.endorsement(&key).await, Ok(Some(endorsement)));
}

pub async fn an_older_edition_never_replaces_a_newer(store: &impl Subject) {
    let (newer, older) = (sample::endorsement(2), sample::endorsement(1));
    assert_eq!(after(store, [&newer, &older]).await, Some(newer));
    // 1970 is not the beginning of time.
    let (newer, older) = (sample::endorsement(-1), sample::endorsement(-10));
    assert_eq!(after(store, [&newer, &older]).await, Some(newer));
}

pub async fn the_same_edition_replaces(store: &impl Subject) {
    let (first, second) = (sample::endorsement(1), sample::endorsement(1));
    assert_eq!(after(store, [&first, &second]).await, Some(second));
}

pub async fn a_newer_edition_replaces(store: &impl Subject) {
    // As text the later one would come first.
    let (older, newer) = (sample::endorsement(9), sample::endorsement(10));
    assert_eq!(after(store, [&older, &newer]).await, Some(newer));
}

pub async fn a_lease_keeps_others_away(store: &impl Subject) {
    let key = sample::endorsement_key();
    let (first, second) = (sample::lease(0), sample::lease(14));
    assert_eq!(store.lease(&key, &first).await, Ok(None));
    assert_eq!(store.lease(&key, &second).await, Ok(Some(first)));
    assert_eq!(store.lease(&sample::endorsement_key(), &second).await, Ok(None), "another key");
}

pub async fn a_lease_is_taken_over_when_it_is_over(store: &impl Subject) {
    let key = sample::endorsement_key();
    let (first, second, third) = (sample::lease(0), sample::lease(15), sample::lease(16));
    assert_eq!(store.lease(&key, &first).await, Ok(None));
    assert_eq!(store.lease(&key, &second).await, Ok(None));
    assert_eq!(store.lease(&key, &third).await, Ok(Some(second)));
}

pub async fn a_lease_is_renewed_by_its_holder(store: &impl Subject) {
    let key = sample::endorsement_key();
    let first = sample::lease(0);
    let renewed = Lease::new(first.holder, sample::at(5));
    assert_eq!(store.lease(&key, &first).await, Ok(None));
    assert_eq!(store.lease(&key, &renewed).await, Ok(None));
    assert_eq!(store.lease(&key, &sample::lease(16)).await, Ok(Some(renewed)));
}

pub async fn a_lease_from_the_far_future_is_not_believed(store: &impl Subject) {
    let key = sample::endorsement_key();
    assert_eq!(store.lease(&key, &sample::lease(86_400)).await, Ok(None));
    assert_eq!(store.lease(&key, &sample::lease(0)).await, Ok(None));
}

pub async fn a_lease_is_ended_by_its_holder_alone(store: &impl Subject) {
    let key = sample::endorsement_key();
    let (first, second) = (sample::lease(0), sample::lease(1));
    assert_eq!(store.end_lease(&key, first.holder).await, Ok(()), "there is none");
    assert_eq!(store.lease(&key, &first).await, Ok(None));
    assert_eq!(store.end_lease(&key, second.holder).await, Ok(()));
    assert_eq!(store.lease(&key, &second).await, Ok(Some(first)));
    assert_eq!(store.end_lease(&key, first.holder).await, Ok(()));
    assert_eq!(store.lease(&key, &second).await, Ok(None));
}

pub async fn a_lease_leaves_the_row_alone(store: &impl Subject) {
    let (key, row) = (sample::endorsement_key(), sample::endorsement(0));
    assert_eq!(store.lease(&key, &sample::lease(0)).await, Ok(None));
    assert_eq!(store.endorsement(&key).await, Ok(None));
    assert_eq!(store.put_endorsement(&key, &row).await, Ok(()));
    assert_eq!(store.lease(&key, &sample::lease(20)).await, Ok(None));
    assert_eq!(store.endorsement(&key).await, Ok(Some(row)));
}

pub async fn of_many_leases_one_is_given(store: &impl Subject) {
    let key = sample::endorsement_key();
    let leases: Vec<_> = (0..32).map(|_| sample::lease(0)).collect();
    let outcomes = all_at_once(leases.iter().map(|lease| store.lease(&key, lease))).await;
    assert_eq!(outcomes.iter().filter(|&outcome| *outcome == Ok(None)).count(), 1, "{outcomes:?}");
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
}
