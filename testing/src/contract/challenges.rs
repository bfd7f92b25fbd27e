//! The promises of [`ChallengeStore`](keybroker_common::store::ChallengeStore).

use keybroker_common::session::{Challenge, Claim};

use super::{CONFLICT, Subject, sample};

pub async fn a_challenge_is_read_back(store: &impl Subject) {
    let named = sample::challenge();
    // One that names no workload has none.
    let unnamed = Challenge { claim: Claim::HostData, ..sample::challenge() };
    for challenge in [named, unnamed] {
        assert_eq!(store.challenge(&challenge.session_id).await, Ok(None));
        assert_eq!(store.put_challenge(&challenge).await, Ok(()));
        assert_eq!(store.challenge(&challenge.session_id).await, Ok(Some(challenge)));
    }
}

pub async fn a_session_id_has_one_challenge(store: &impl Subject) {
    let first = sample::challenge();
    store.put_challenge(&first).await.expect("a new challenge");
    let second = Challenge { session_id: first.session_id.clone(), ..sample::challenge() };
    assert_eq!(store.put_challenge(&second).await, CONFLICT);
    assert_eq!(store.challenge(&first.session_id).await, Ok(Some(first)));
}
