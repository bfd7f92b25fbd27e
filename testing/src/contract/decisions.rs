//! The promises of [`DecisionStore`](keybroker_common::store::DecisionStore).

use keybroker_common::{
    decision::AttestDecision,
    store::{AuditQuery, StoreError},
};

use super::{CONFLICT, Subject, all_at_once, assert_not_recorded, assert_recorded, sample};

/// The answer of [`decide`](keybroker_common::store::DecisionStore::decide) to the first.
const FIRST: Result<Option<AttestDecision>, StoreError> = Ok(None);

pub async fn a_decision_is_read_back(store: &impl Subject) {
    let one_of_each = [sample::attest_decision(1), sample::refusal(1)].into_iter().chain(sample::releases(1));
    for decision in one_of_each {
        let id = decision.record.id;
        assert_eq!(store.decision(id).await, Ok(None));
        assert_eq!(store.decide(&decision).await, FIRST);
        assert_recorded(store, &decision.record).await;
        assert_eq!(store.decision(id).await, Ok(Some(decision)));
    }
}

pub async fn a_session_of_any_kind_of_key_is_read_back(store: &impl Subject) {
    for key in sample::guest_keys() {
        let mut decision = sample::attest_decision(1);
        decision.session.as_mut().expect("a session").guest_key = key;
        assert_eq!(store.decide(&decision).await, FIRST);
        assert_eq!(store.decision(decision.record.id).await, Ok(Some(decision)));
    }
}

pub async fn the_first_decision_is_the_only_one(store: &impl Subject) {
    let firsts = [sample::attest_decision(1), sample::refusal(1)].into_iter().chain(sample::releases(1));
    for first in firsts {
        assert_eq!(store.decide(&first).await, FIRST);
        let id = first.record.id;
        let [released, refused] = sample::releases(2);
        for later in [sample::attest_decision(2), sample::refusal(2), released, refused, first.clone()] {
            let later = sample::under(id, later);
            assert_eq!(store.decide(&later).await, Ok(Some(first.clone())));
            assert_eq!(store.decision(id).await, Ok(Some(first.clone())));
            assert_recorded(store, &first.record).await;
        }
    }
}

pub async fn of_many_decisions_one_wins(store: &impl Subject) {
    let id = sample::attested(1).id;
    let decisions: Vec<_> = (0..32)
        .map(|nth| if nth % 3 == 0 { sample::refusal(1) } else { sample::attest_decision(1) })
        .map(|decision| sample::under(id, decision))
        .collect();
    let outcomes = all_at_once(decisions.iter().map(|decision| store.decide(decision))).await;
    let winners = decisions.iter().zip(&outcomes).filter(|(_, outcome)| **outcome == FIRST);
    let winners: Vec<_> = winners.map(|(decision, _)| decision.clone()).collect();
    let [winner] = winners.as_slice() else { panic!("{outcomes:?}") };
    let others = outcomes.iter().filter(|outcome| **outcome == Ok(Some(winner.clone()))).count();
    assert_eq!(others, 31, "{outcomes:?}");
    assert_eq!(store.decision(id).await, Ok(Some(winner.clone())));
    assert_recorded(store, &winner.record).await;
}

/// A release's record, say: nothing is decided by it.
pub async fn a_record_beside_decisions_is_no_decision(store: &impl Subject) {
    let record = sample::released(3);
    assert_eq!(store.record(&record).await, Ok(()));
    assert_recorded(store, &record).await;
    assert_eq!(store.decision(record.id).await, Ok(None));
    let under = sample::under(record.id, sample::attest_decision(4));
    assert_eq!(store.decide(&under).await, Err(StoreError::Conflict));
    assert_eq!(store.decision(record.id).await, Ok(None));
    assert_recorded(store, &record).await;
}

pub async fn a_record_beside_decisions_takes_no_others_id(store: &impl Subject) {
    let (decision, record) = (sample::attest_decision(1), sample::released(1));
    assert_eq!(store.decide(&decision).await, FIRST);
    assert_eq!(store.record(&record).await, Ok(()));
    for taken in [decision.record.id, record.id] {
        let mut late = sample::released(9);
        late.id = taken;
        assert_eq!(store.record(&late).await, CONFLICT);
        assert_not_recorded(store, &sample::released(9)).await;
    }
    assert_eq!(store.decision(decision.record.id).await, Ok(Some(decision.clone())));
    assert_recorded(store, &record).await;
}

/// The operator asks once, and is told of everything.
pub async fn decisions_are_listed_with_all_other_records(store: &impl Subject) {
    let workload = sample::workload().id;
    let of = |mut record: keybroker_common::audit::AuditRecord| {
        record.workload_id = Some(workload.clone());
        record
    };
    let mut decision = sample::attest_decision(2);
    decision.record = of(decision.record);
    if let Some(session) = &mut decision.session {
        session.workload_id = workload.clone();
    }
    let (registered, released) = (of(sample::registered()), of(sample::released(3)));
    store.append(&registered).await.expect("a new record");
    store.decide(&decision).await.expect("a new decision");
    store.record(&released).await.expect("a new record");
    let query = AuditQuery { workload: Some(workload), ..AuditQuery::default() };
    let (mut listed, mut after) = (Vec::new(), None);
    loop {
        let page = store.audit_records(&query, after.as_ref()).await.expect("a page");
        assert_eq!(page.unreadable, []);
        listed.extend(page.rows);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    listed.sort_by_key(|record| record.time);
    assert_eq!(listed, [registered, decision.record, released]);
}
