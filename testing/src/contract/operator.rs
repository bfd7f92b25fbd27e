//! The promises of [`OperatorStore`](keybroker_common::store::OperatorStore).

use keybroker_common::{
    audit::AuditRecord,
    revocation::Revocation,
    store::{AuditQuery, Build, Cursor, Page, StoreError},
    workload::Workload,
};

use super::{CONFLICT, Subject, all_at_once, assert_not_recorded, assert_recorded, sample};

/// Registers a new workload.
async fn registered(store: &impl Subject) -> Workload {
    let workload = sample::workload();
    store.create(&workload, &sample::registered(), None).await.expect("a new workload");
    workload
}

/// The same, and revokes it.
async fn revoked(store: &impl Subject) -> Workload {
    let workload = registered(store).await;
    let audit = sample::revoked(1);
    store.revoke(&workload.id, &audit).await.expect("a revocation");
    Workload { revoked_at: Some(audit.time), revocation: Some(Revocation::of(&audit)), ..workload }
}

async fn row(store: &impl Subject, workload: &Workload) -> Option<Workload> {
    store.workload(&workload.id).await.expect("a readable row")
}

/// The rows of all pages.
async fn all<T>(page: impl AsyncFn(Option<&Cursor>) -> Result<Page<T>, StoreError>) -> Vec<T> {
    let (mut rows, mut next) = (Vec::new(), None);
    loop {
        let page = page(next.as_ref()).await.expect("a page");
        rows.extend(page.rows);
        next = page.next;
        if next.is_none() {
            return rows;
        }
    }
}

pub(super) async fn records(store: &impl Subject, query: &AuditQuery) -> Vec<AuditRecord> {
    all(async |after: Option<&Cursor>| store.audit_records(query, after).await).await
}

pub async fn a_revocation_is_taken_back(store: &impl Subject) {
    let (workload, audit) = (revoked(store).await, sample::restored(2));
    store.mark_released(&workload.id, workload.digest(), sample::at(1)).await.expect("a release");
    assert_eq!(store.restore(&workload.id, workload.digest(), &audit).await, Ok(()));
    let (released_at, restored_by) = (Some(sample::at(1)), Some(audit.id));
    let expected = Workload { revoked_at: None, revocation: None, released_at, restored_by, ..workload };
    assert_eq!(row(store, &expected).await, Some(expected.clone()));
    assert_recorded(store, &audit).await;
    // And it can be revoked again.
    store.revoke(&expected.id, &sample::revoked(3)).await.expect("a revocation");
    assert_eq!(row(store, &expected).await.and_then(|row| row.revoked_at), Some(sample::at(3)));
}

/// Each is another, also when what was restored before is restored again.
pub async fn no_restoration_brings_an_earlier_standing_back(store: &impl Subject) {
    let workload = registered(store).await;
    let mut earlier = vec![workload.standing()];
    for second in 0..3 {
        store.revoke(&workload.id, &sample::revoked(second)).await.expect("a revocation");
        let (audit, idle) = (sample::restored(second), sample::restored(second));
        store.restore(&workload.id, workload.digest(), &audit).await.expect("a restoration");
        store.restore(&workload.id, workload.digest(), &idle).await.expect("nothing to take back");
        let row = row(store, &workload).await.expect("a row");
        assert_eq!(row.restored_by, Some(audit.id), "the second ends no session");
        assert!(earlier.iter().all(|standing| !row.stands_as(standing)), "{row:?}");
        assert!(row.stands_as(&row.standing()));
        earlier.push(row.standing());
    }
}

/// A release that does not know who revoked a row takes the revocation back and leaves that.
pub async fn a_revocation_that_was_left_behind_is_no_later_ones(store: &impl Subject) {
    let (left, audit) = (sample::revoked(1), sample::revoked(2));
    let workload = Workload { revocation: Some(Revocation::of(&left)), ..sample::workload() };
    store.create(&workload, &sample::registered(), None).await.expect("a new workload");
    assert_eq!(row(store, &workload).await.expect("a row").revoked_by(), None);
    store.revoke(&workload.id, &audit).await.expect("a revocation");
    let revoked = row(store, &workload).await.expect("a row");
    assert_eq!(revoked.revoked_at, Some(audit.time));
    assert!(revoked.revoked_by().is_none_or(|by| *by == Revocation::of(&audit)), "{revoked:?}");
    // A whole turn by this release clears it.
    let restored = sample::restored(3);
    store.restore(&workload.id, workload.digest(), &restored).await.expect("a restoration");
    let again = sample::revoked(4);
    store.revoke(&workload.id, &again).await.expect("a revocation");
    let revoked = row(store, &workload).await.expect("a row");
    assert_eq!(revoked.revoked_by(), Some(&Revocation::of(&again)));
}

pub async fn a_row_that_is_not_revoked_is_restored_as_it_is(store: &impl Subject) {
    let (workload, audit) = (registered(store).await, sample::restored(1));
    assert_eq!(store.restore(&workload.id, workload.digest(), &audit).await, Ok(()));
    assert_eq!(row(store, &workload).await, Some(workload));
    assert_recorded(store, &audit).await;
}

pub async fn an_absent_row_is_not_restored(store: &impl Subject) {
    let (workload, audit) = (sample::workload(), sample::restored(1));
    assert_eq!(store.restore(&workload.id, workload.digest(), &audit).await, CONFLICT);
    assert_eq!(row(store, &workload).await, None);
    assert_not_recorded(store, &audit).await;
}

pub async fn a_taken_audit_id_undoes_a_restoration(store: &impl Subject) {
    let (workload, audit) = (revoked(store).await, sample::restored(2));
    store.append(&audit).await.expect("a new record");
    assert_eq!(store.restore(&workload.id, workload.digest(), &audit).await, CONFLICT);
    assert_eq!(row(store, &workload).await, Some(workload));
}

/// Whatever the caller believes of the rest of the row.
pub async fn an_amendment_changes_registration_and_secrets_alone(store: &impl Subject) {
    let released = registered(store).await;
    store.mark_released(&released.id, released.digest(), sample::at(1)).await.expect("a release");
    let released = Workload { released_at: Some(sample::at(1)), ..released };
    let restored_by = sample::restored(2);
    let restored = revoked(store).await;
    store.restore(&restored.id, restored.digest(), &restored_by).await.expect("a restoration");
    let restored =
        Workload { revoked_at: None, revocation: None, restored_by: Some(restored_by.id), ..restored };
    for seen in [registered(store).await, revoked(store).await, released, restored] {
        let amended = sample::registered_anew(&seen);
        let believed = Workload {
            first_registered_at: sample::at(500),
            revoked_at: None,
            released_at: None,
            restored_by: None,
            revocation: None,
            ..amended.clone()
        };
        let audit = sample::amended(5);
        assert_eq!(store.amend(&seen, &believed, &audit).await, Ok(()));
        assert_eq!(row(store, &seen).await, Some(amended));
        assert_recorded(store, &audit).await;
    }
}

pub async fn an_amendment_names_the_registration_it_replaces(store: &impl Subject) {
    let first = registered(store).await;
    let (second, third) = (sample::registered_anew(&first), sample::registered_anew(&first));
    store.amend(&first, &second, &sample::amended(1)).await.expect("an amendment");
    let audit = sample::amended(2);
    assert_eq!(store.amend(&first, &third, &audit).await, CONFLICT);
    assert_eq!(row(store, &first).await, Some(second));
    assert_not_recorded(store, &audit).await;
}

/// As after a move to another wrapping key, which leaves the registration: secrets from before the move must
/// not come back.
pub async fn an_amendment_names_the_secrets_it_replaces(store: &impl Subject) {
    let seen = registered(store).await;
    let Workload { secrets, .. } = sample::registered_anew(&seen);
    let moved = Workload { secrets, ..seen.clone() };
    store.amend(&seen, &moved, &sample::amended(1)).await.expect("an amendment");
    let (stale, audit) = (sample::registered_anew(&seen), sample::amended(2));
    assert_eq!(store.amend(&seen, &stale, &audit).await, CONFLICT);
    assert_eq!(row(store, &seen).await, Some(moved.clone()));
    assert_not_recorded(store, &audit).await;
    assert_eq!(store.amend(&moved, &stale, &audit).await, Ok(()));
}

pub async fn an_absent_row_is_not_amended(store: &impl Subject) {
    let (workload, audit) = (sample::workload(), sample::amended(1));
    assert_eq!(store.amend(&workload, &workload, &audit).await, CONFLICT);
    assert_eq!(row(store, &workload).await, None);
    assert_not_recorded(store, &audit).await;
}

pub async fn a_taken_audit_id_undoes_an_amendment(store: &impl Subject) {
    let (workload, audit) = (registered(store).await, sample::amended(1));
    store.append(&audit).await.expect("a new record");
    let amended = sample::registered_anew(&workload);
    assert_eq!(store.amend(&workload, &amended, &audit).await, CONFLICT);
    assert_eq!(row(store, &workload).await, Some(workload));
}

pub async fn of_many_amendments_one_wins(store: &impl Subject) {
    let workload = registered(store).await;
    let attempts: Vec<_> =
        (0..16).map(|_| (sample::registered_anew(&workload), sample::amended(1))).collect();
    let outcomes =
        all_at_once(attempts.iter().map(|(amended, audit)| store.amend(&workload, amended, audit))).await;
    let won = attempts.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_ok());
    let won: Vec<_> = won.map(|((amended, _), _)| amended.clone()).collect();
    assert_eq!(won, row(store, &workload).await.into_iter().collect::<Vec<_>>(), "{outcomes:?}");
    for ((_, audit), outcome) in attempts.iter().zip(&outcomes) {
        let on_record = store.audit_record(audit.id).await.expect("a readable log").is_some();
        assert_eq!(on_record, outcome.is_ok());
    }
}

/// A release that was begun under the earlier registration notes nothing, and neither the build that wrote it
/// nor a caller that saw it replaces the row.
pub async fn an_amended_row_releases_under_its_new_registration_alone(store: &impl Subject) {
    let first = registered(store).await;
    let second = sample::registered_anew(&first);
    store.amend(&first, &second, &sample::amended(1)).await.expect("an amendment");
    assert_eq!(store.mark_released(&first.id, first.digest(), sample::at(2)).await, CONFLICT);
    let third = sample::registered_anew(&first);
    for build in [Build::Same, Build::New] {
        let audit = sample::registered();
        assert_eq!(store.replace(&first, build, &third, &audit, None).await, CONFLICT);
    }
    assert_eq!(store.delete(&first, &sample::deleted(3)).await, CONFLICT);
    assert_eq!(row(store, &first).await, Some(second.clone()));
    assert_eq!(store.mark_released(&second.id, second.digest(), sample::at(4)).await, Ok(()));
    assert_eq!(row(store, &first).await.and_then(|row| row.released_at), Some(sample::at(4)));
}

pub async fn a_row_is_deleted_as_it_was_seen(store: &impl Subject) {
    let released = registered(store).await;
    store.mark_released(&released.id, released.digest(), sample::at(1)).await.expect("a release");
    let released = Workload { released_at: Some(sample::at(1)), ..released };
    for seen in [registered(store).await, revoked(store).await, released] {
        let audit = sample::deleted(5);
        assert_eq!(store.delete(&seen, &audit).await, Ok(()));
        assert_eq!(row(store, &seen).await, None);
        assert_recorded(store, &audit).await;
    }
}

pub async fn a_row_that_changed_meanwhile_is_not_deleted(store: &impl Subject) {
    let audit = sample::deleted(5);
    let replaced = registered(store).await;
    let by = sample::registered_anew(&replaced);
    store.replace(&replaced, Build::Same, &by, &sample::registered(), None).await.expect("a replacement");
    let released = registered(store).await;
    store.mark_released(&released.id, released.digest(), sample::at(1)).await.expect("a release");
    let revoked_since = registered(store).await;
    store.revoke(&revoked_since.id, &sample::revoked(1)).await.expect("a revocation");
    let restored_since = revoked(store).await;
    store
        .restore(&restored_since.id, restored_since.digest(), &sample::restored(2))
        .await
        .expect("a restoration");
    let revoked_anew = revoked(store).await;
    store
        .restore(&revoked_anew.id, revoked_anew.digest(), &sample::restored(2))
        .await
        .expect("a restoration");
    store.revoke(&revoked_anew.id, &sample::revoked(3)).await.expect("a revocation");
    for seen in [replaced, released, revoked_since, restored_since, revoked_anew] {
        let before = row(store, &seen).await;
        assert!(before.is_some());
        assert_eq!(store.delete(&seen, &audit).await, CONFLICT);
        assert_eq!(row(store, &seen).await, before);
        assert_not_recorded(store, &audit).await;
    }
}

pub async fn an_absent_row_is_not_deleted(store: &impl Subject) {
    let (workload, audit) = (sample::workload(), sample::deleted(1));
    assert_eq!(store.delete(&workload, &audit).await, CONFLICT);
    assert_not_recorded(store, &audit).await;
}

pub async fn a_taken_audit_id_undoes_a_deletion(store: &impl Subject) {
    let (workload, audit) = (registered(store).await, sample::deleted(1));
    store.append(&audit).await.expect("a new record");
    assert_eq!(store.delete(&workload, &audit).await, CONFLICT);
    assert_eq!(row(store, &workload).await, Some(workload));
}

pub async fn of_many_deletions_one_wins(store: &impl Subject) {
    let workload = registered(store).await;
    let audits: Vec<_> = (0..16).map(|_| sample::deleted(1)).collect();
    let outcomes = all_at_once(audits.iter().map(|audit| store.delete(&workload, audit))).await;
    assert_eq!(outcomes.iter().filter(|&outcome| *outcome == Ok(())).count(), 1, "{outcomes:?}");
    assert_eq!(row(store, &workload).await, None);
    for (audit, outcome) in audits.iter().zip(&outcomes) {
        let on_record = store.audit_record(audit.id).await.expect("a readable log").is_some();
        assert_eq!(on_record, outcome.is_ok());
    }
}

pub async fn a_deleted_id_can_be_registered_anew(store: &impl Subject) {
    let workload = revoked(store).await;
    store.delete(&workload, &sample::deleted(1)).await.expect("a deletion");
    let anew = sample::registered_anew(&Workload { revoked_at: None, revocation: None, ..workload });
    assert_eq!(store.create(&anew, &sample::registered(), None).await, Ok(()));
    assert_eq!(row(store, &anew).await, Some(anew));
}

/// Another operator deleted what this one looked at, and somebody registered and revoked anew under the id.
pub async fn a_registration_that_nobody_looked_at_is_not_restored(store: &impl Subject) {
    let looked_at = revoked(store).await;
    store.delete(&looked_at, &sample::deleted(2)).await.expect("a deletion");
    let other =
        sample::registered_anew(&Workload { revoked_at: None, revocation: None, ..looked_at.clone() });
    store.create(&other, &sample::registered(), None).await.expect("a new workload");
    store.revoke(&other.id, &sample::revoked(3)).await.expect("a revocation");
    let (before, audit) = (row(store, &other).await, sample::restored(4));
    assert_eq!(store.restore(&looked_at.id, looked_at.digest(), &audit).await, CONFLICT);
    assert_eq!(row(store, &other).await, before);
    assert_not_recorded(store, &audit).await;
}

pub async fn every_workload_is_listed_once(store: &impl Subject) {
    let mut expected = Vec::new();
    for _ in 0..3 {
        expected.extend([registered(store).await, revoked(store).await]);
    }
    let listed = all(async |after: Option<&Cursor>| store.workloads(after).await).await;
    for workload in expected {
        assert_eq!(listed.iter().filter(|&listed| *listed == workload).count(), 1);
    }
}

pub async fn every_endorsement_is_listed_and_no_lease(store: &impl Subject) {
    let (key, leased, row) = (sample::endorsement_key(), sample::endorsement_key(), sample::endorsement(0));
    store.put_endorsement(&key, &row).await.expect("an endorsement");
    for key in [&key, &leased] {
        store.lease(key, &sample::lease(0)).await.expect("a lease");
    }
    let listed = all(async |after: Option<&Cursor>| store.endorsements(after).await).await;
    let of =
        |key: &str| listed.iter().filter(|(listed, _)| listed.contains(key)).cloned().collect::<Vec<_>>();
    assert_eq!(of(&key), [(key.clone(), row)]);
    assert_eq!(of(&leased), []);
}

pub async fn an_endorsement_is_deleted_and_its_lease_stays(store: &impl Subject) {
    let (key, lease) = (sample::endorsement_key(), sample::lease(0));
    assert_eq!(store.delete_endorsement(&key).await, Ok(()), "there is none");
    store.put_endorsement(&key, &sample::endorsement(0)).await.expect("an endorsement");
    store.lease(&key, &lease).await.expect("a lease");
    assert_eq!(store.delete_endorsement(&key).await, Ok(()));
    assert_eq!(store.endorsement(&key).await, Ok(None));
    assert_eq!(store.lease(&key, &sample::lease(1)).await, Ok(Some(lease)));
}

pub async fn audit_records_are_listed_by_workload_oldest_first(store: &impl Subject) {
    let workload = sample::workload().id;
    let of = |record: AuditRecord| AuditRecord { workload_id: Some(workload.clone()), ..record };
    let expected: Vec<_> = (1..6).map(|second| of(sample::attested(second))).collect();
    for record in expected.iter().rev() {
        store.append(record).await.expect("a new record");
        store.append(&sample::attested(3)).await.expect("a record of no workload");
        let other = AuditRecord { workload_id: Some(sample::workload().id), ..sample::attested(3) };
        store.append(&other).await.expect("a record of another workload");
    }
    let query = AuditQuery { workload: Some(workload.clone()), ..AuditQuery::default() };
    assert_eq!(records(store, &query).await, expected);
    let query = AuditQuery { since: Some(sample::at(2)), until: Some(sample::at(4)), ..query };
    assert_eq!(records(store, &query).await, expected.get(1..3).unwrap_or_default());
    // A decision that writes a row leaves its record there, too.
    let registered = AuditRecord { workload_id: Some(workload.clone()), ..sample::registered() };
    let row = Workload { id: workload.clone(), ..sample::workload() };
    store.create(&row, &registered, None).await.expect("a new workload");
    let query = AuditQuery { until: Some(sample::at(1)), workload: Some(workload), ..AuditQuery::default() };
    assert_eq!(records(store, &query).await, [registered]);
}

pub async fn audit_records_are_listed_by_time(store: &impl Subject) {
    // Apart from whatever else the suite records.
    let day = 86_400 * 400;
    let written: Vec<_> = (0..4).map(|second| sample::attested(day + 60 * second)).collect();
    for record in &written {
        store.append(record).await.expect("a new record");
    }
    let span = |from: i64, to: i64| AuditQuery {
        since: Some(sample::at(day + from)),
        until: Some(sample::at(day + to)),
        ..AuditQuery::default()
    };
    for (query, expected) in [
        (span(0, 181), 0..4),
        (span(0, 180), 0..3),
        (span(1, 180), 1..3),
        (span(60, 121), 1..3),
        (span(61, 119), 0..0),
        (span(180, 0), 0..0),
    ] {
        let mut found = records(store, &query).await;
        found.sort_by_key(|record| record.time);
        found.retain(|record| written.contains(record));
        assert_eq!(found, written.get(expected).unwrap_or_default(), "{query:?}");
    }
    let since = AuditQuery { since: Some(sample::at(day + 121)), ..AuditQuery::default() };
    assert!(records(store, &since).await.contains(written.last().expect("a record")));
}

/// Enough for several pages, by the bytes in their rows.
pub async fn a_listing_goes_on_from_page_to_page(store: &impl Subject) {
    let workload = sample::workload().id;
    let mut expected = Vec::new();
    for second in 0..12 {
        let failed =
            keybroker_common::audit::FailedCheck { check: "long".to_owned(), cause: "x".repeat(200_000) };
        let workload_id = Some(workload.clone());
        let record = AuditRecord { workload_id, failed: Some(failed), ..sample::attested(second) };
        store.append(&record).await.expect("a new record");
        expected.push(record.id);
    }
    let query = AuditQuery { workload: Some(workload), ..AuditQuery::default() };
    let first = store.audit_records(&query, None).await.expect("a page");
    assert!(first.next.is_some() && first.rows.len() < 12, "{} rows", first.rows.len());
    let ids: Vec<_> = records(store, &query).await.iter().map(|record| record.id).collect();
    assert_eq!(ids, expected);
}
