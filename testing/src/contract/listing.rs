//! The promises of [`OperatorStore`](keybroker_common::store::OperatorStore) about the order of audit
//! records.

use keybroker_common::{audit::AuditRecord, ids::WorkloadId, store::AuditQuery};

use super::{Subject, all_at_once, operator::records, sample};

/// A table of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    OfGuests,
    Others,
}

use Kind::{OfGuests, Others};

/// Records of a new workload, a second apart, and each of its kind.
async fn written(store: &impl Subject, kinds: &[Kind]) -> (WorkloadId, Vec<AuditRecord>) {
    let id = sample::workload().id;
    let record = |second, kind| match kind {
        OfGuests => sample::released(second),
        Others => sample::revoked(second),
    };
    let of_workload = |(second, kind)| AuditRecord { workload_id: Some(id.clone()), ..record(second, kind) };
    let written: Vec<_> = (0..).zip(kinds.iter().copied()).map(of_workload).collect();
    let both: Vec<_> = written.iter().zip(kinds).collect();
    for some in both.chunks(16) {
        let written = all_at_once(some.iter().map(|(record, kind)| async {
            match kind {
                OfGuests => store.record(record).await,
                Others => store.append(record).await,
            }
        }));
        assert!(written.await.iter().all(Result::is_ok));
    }
    (id, written)
}

/// Each once, whatever pages they fall on.
pub async fn records_of_a_workload_are_listed_forwards_and_backwards(store: &impl Subject) {
    let many = |number, kind| vec![kind; number];
    for kinds in [
        [OfGuests, Others].repeat(105),
        [many(5, OfGuests), many(105, Others)].concat(),
        [many(105, Others), many(5, OfGuests)].concat(),
        [many(101, OfGuests), many(2, Others)].concat(),
        vec![OfGuests],
        vec![Others],
    ] {
        let (workload, expected) = written(store, &kinds).await;
        let query = AuditQuery { workload: Some(workload), ..AuditQuery::default() };
        assert!(records(store, &query).await == expected, "{} records", kinds.len());
        let backwards = AuditQuery { newest_first: true, ..query.clone() };
        let mut found = records(store, &backwards).await;
        found.reverse();
        assert!(found == expected, "{} records backwards", kinds.len());

        let (since, until) = (Some(sample::at(1)), Some(sample::at(104)));
        let mut some = records(store, &AuditQuery { since, until, ..backwards }).await;
        some.reverse();
        let expected = expected.iter().skip(1).take(103);
        assert!(some.iter().eq(expected), "a span of {} records backwards", kinds.len());
    }
}

pub async fn all_records_are_listed_backwards_once(store: &impl Subject) {
    let (_, written) = written(store, &[OfGuests, Others].repeat(4)).await;
    let (since, until) = (Some(sample::at(0)), Some(sample::at(8)));
    let query = AuditQuery { since, until, newest_first: true, ..AuditQuery::default() };
    let mut found = records(store, &query).await;
    found.retain(|record| written.contains(record));
    found.sort_by_key(|record| record.time);
    assert_eq!(found, written);
}

/// A caller who asks for what is new leaves out what is far from its id, and nothing else.
pub async fn a_lead_leaves_out_nothing_near(store: &impl Subject) {
    let (workload, expected) = written(store, &[OfGuests, Others]).await;
    let lead = Some(AuditQuery::SKEW);
    let query =
        AuditQuery { workload: Some(workload), lead, since: Some(sample::at(0)), ..AuditQuery::default() };
    assert_eq!(records(store, &query).await, expected);
}
