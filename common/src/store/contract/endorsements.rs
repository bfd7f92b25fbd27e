//! What [`EndorsementStore`](crate::store::EndorsementStore) promises.

use super::{Subject, sample};
use crate::store::StoredEndorsement;

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
