//! The promises of [`WorkloadStore`](keybroker_common::store::WorkloadStore) and the roles above it.

use keybroker_common::{audit::AuditRecord, revocation::Revocation, store::Build, workload::Workload};

use super::{CONFLICT, Subject, assert_not_recorded, assert_recorded, sample};

/// Registers a new workload.
pub(super) async fn registered(store: &impl Subject) -> Workload {
    let workload = sample::workload();
    store.create(&workload, &sample::registered(), None).await.expect("a new workload");
    workload
}

pub(super) async fn row(store: &impl Subject, workload: &Workload) -> Option<Workload> {
    store.workload(&workload.id).await.expect("a readable row")
}

pub async fn a_new_workload_is_read_back(store: &impl Subject) {
    let (workload, audit) = (sample::workload(), sample::registered());
    assert_eq!(row(store, &workload).await, None);
    assert_eq!(store.create(&workload, &audit, None).await, Ok(()));
    assert_eq!(row(store, &workload).await, Some(workload));
    assert_recorded(store, &audit).await;
}

pub async fn an_id_is_registered_once(store: &impl Subject) {
    let first = registered(store).await;
    let second = sample::registered_anew(&first);
    assert_eq!(store.create(&second, &sample::registered(), None).await, CONFLICT);
    assert_eq!(row(store, &first).await, Some(first.clone()));

    store.revoke(&first.id, &sample::revoked(1)).await.expect("a revocation");
    assert_eq!(store.create(&second, &sample::registered(), None).await, CONFLICT);
}

pub async fn a_failed_create_leaves_no_audit_record(store: &impl Subject) {
    let workload = registered(store).await;
    let audit = sample::registered();
    assert_eq!(store.create(&workload, &audit, None).await, CONFLICT);
    assert_not_recorded(store, &audit).await;
}

pub async fn a_taken_audit_id_undoes_a_create(store: &impl Subject) {
    let (workload, audit) = (sample::workload(), sample::registered());
    store.append(&audit).await.expect("a new record");
    assert_eq!(store.create(&workload, &audit, None).await, CONFLICT);
    assert_eq!(row(store, &workload).await, None);
}

pub async fn a_replacement_takes_the_whole_row(store: &impl Subject) {
    let first = registered(store).await;
    let second = Workload { first_registered_at: sample::at(7), ..sample::registered_anew(&first) };
    let audit = sample::registered();
    assert_eq!(store.replace(&first, Build::Same, &second, &audit, None).await, Ok(()));
    assert_eq!(row(store, &first).await, Some(second));
    assert_recorded(store, &audit).await;
}

pub async fn a_replacement_names_the_registration_it_replaces(store: &impl Subject) {
    let first = registered(store).await;
    let (second, third) = (sample::registered_anew(&first), sample::registered_anew(&first));
    store.replace(&first, Build::Same, &second, &sample::registered(), None).await.expect("a replacement");
    assert_eq!(store.replace(&first, Build::Same, &third, &sample::registered(), None).await, CONFLICT);
    assert_eq!(row(store, &first).await, Some(second));
}

pub async fn an_absent_row_is_not_replaced(store: &impl Subject) {
    let workload = sample::workload();
    assert_eq!(store.replace(&workload, Build::Same, &workload, &sample::registered(), None).await, CONFLICT);
    assert_eq!(row(store, &workload).await, None);
}

pub async fn a_revoked_row_is_not_replaced(store: &impl Subject) {
    let first = registered(store).await;
    store.revoke(&first.id, &sample::revoked(1)).await.expect("a revocation");
    let second = sample::registered_anew(&first);
    assert_eq!(store.replace(&first, Build::Same, &second, &sample::registered(), None).await, CONFLICT);
}

pub async fn a_released_row_is_not_replaced(store: &impl Subject) {
    let first = registered(store).await;
    store.mark_released(&first.id, first.digest(), sample::at(1)).await.expect("a release");
    let second = sample::registered_anew(&first);
    assert_eq!(store.replace(&first, Build::Same, &second, &sample::registered(), None).await, CONFLICT);
}

pub async fn a_released_row_gives_way_to_a_new_build(store: &impl Subject) {
    let first = registered(store).await;
    store.mark_released(&first.id, first.digest(), sample::at(1)).await.expect("a release");
    let second = Workload { first_registered_at: sample::at(2), ..sample::registered_anew(&first) };
    let audit = sample::registered();
    assert_eq!(store.replace(&first, Build::New, &second, &audit, None).await, Ok(()));
    assert_eq!(row(store, &first).await, Some(second.clone()));
    // But a revoked one does not.
    store.revoke(&first.id, &sample::revoked(1)).await.expect("a revocation");
    let third = sample::registered_anew(&first);
    assert_eq!(store.replace(&second, Build::New, &third, &sample::registered(), None).await, CONFLICT);
}

pub async fn a_failed_replacement_changes_nothing(store: &impl Subject) {
    let first = registered(store).await;
    let (second, audit) = (sample::registered_anew(&first), sample::registered());
    assert_eq!(store.replace(&second, Build::Same, &second, &audit, None).await, CONFLICT);
    assert_not_recorded(store, &audit).await;
    // Nor with the right digest, if the audit record cannot be written.
    store.append(&audit).await.expect("a new record");
    assert_eq!(store.replace(&first, Build::Same, &second, &audit, None).await, CONFLICT);
    assert_eq!(row(store, &first).await, Some(first));
}

pub async fn a_release_is_noted_once(store: &impl Subject) {
    let workload = registered(store).await;
    let digest = workload.digest();
    assert_eq!(store.mark_released(&workload.id, digest, sample::at(1)).await, Ok(()));
    assert_eq!(store.mark_released(&workload.id, digest, sample::at(2)).await, Ok(()));
    let expected = Workload { released_at: Some(sample::at(1)), ..workload };
    assert_eq!(row(store, &expected).await, Some(expected));
}

pub async fn a_release_under_another_registration_is_not_noted(store: &impl Subject) {
    let workload = registered(store).await;
    let other = sample::registered_anew(&workload).digest();
    assert_eq!(store.mark_released(&workload.id, other, sample::at(1)).await, CONFLICT);
    assert_eq!(row(store, &workload).await, Some(workload.clone()));
    // Nor when a release is noted already.
    store.mark_released(&workload.id, workload.digest(), sample::at(2)).await.expect("a release");
    assert_eq!(store.mark_released(&workload.id, other, sample::at(3)).await, CONFLICT);
}

pub async fn a_release_of_nothing_is_not_noted(store: &impl Subject) {
    let workload = sample::workload();
    assert_eq!(store.mark_released(&workload.id, workload.digest(), sample::at(1)).await, CONFLICT);
    assert_eq!(row(store, &workload).await, None);
}

pub async fn a_revoked_row_can_still_be_marked_released(store: &impl Subject) {
    let workload = registered(store).await;
    let audit = sample::revoked(1);
    store.revoke(&workload.id, &audit).await.expect("a revocation");
    assert_eq!(store.mark_released(&workload.id, workload.digest(), sample::at(2)).await, Ok(()));
    let (revoked_at, released_at) = (Some(audit.time), Some(sample::at(2)));
    let expected = Workload { revoked_at, released_at, revocation: Some(Revocation::of(&audit)), ..workload };
    assert_eq!(row(store, &expected).await, Some(expected));
}

pub async fn a_release_that_stands_is_recorded(store: &impl Subject) {
    let workload = registered(store).await;
    for seconds in [1, 2] {
        let audit = sample::released(seconds);
        assert_eq!(store.record_release(&workload.id, &workload.standing(), &audit).await, Ok(()));
        assert_recorded(store, &audit).await;
    }
    assert_eq!(row(store, &workload).await, Some(workload), "the row is as it was");
}

/// By the write, which then leaves no record, or by the look behind it.
pub async fn a_release_that_does_not_stand_is_found_out(store: &impl Subject) {
    let revoked = registered(store).await;
    store.revoke(&revoked.id, &sample::revoked(1)).await.expect("a revocation");
    let restored = registered(store).await;
    store.revoke(&restored.id, &sample::revoked(1)).await.expect("a revocation");
    store.restore(&restored.id, restored.digest(), &sample::restored(2)).await.expect("a restoration");
    let replaced = registered(store).await;
    let by = sample::registered_anew(&replaced);
    store.replace(&replaced, Build::Same, &by, &sample::registered(), None).await.expect("a replacement");
    for seen in [revoked, restored, replaced, sample::workload()] {
        let audit = sample::released(3);
        match store.record_release(&seen.id, &seen.standing(), &audit).await {
            Ok(()) => assert_recorded(store, &audit).await,
            outcome => {
                assert_eq!(outcome, CONFLICT);
                assert_not_recorded(store, &audit).await;
            }
        }
        let stands = row(store, &seen).await.is_some_and(|row| row.stands_as(&seen.standing()));
        assert!(!stands, "{seen:?}");
    }
}

pub async fn a_taken_audit_id_undoes_the_record_of_a_release(store: &impl Subject) {
    let (workload, audit) = (registered(store).await, sample::released(1));
    let taken = AuditRecord { id: audit.id, ..sample::refused() };
    store.record(&taken).await.expect("a new record");
    assert_eq!(store.record_release(&workload.id, &workload.standing(), &audit).await, CONFLICT);
    assert_recorded(store, &taken).await;
}

pub async fn the_first_revocation_counts(store: &impl Subject) {
    let workload = registered(store).await;
    let (first, second) = (sample::revoked(1), sample::revoked(2));
    assert_eq!(store.revoke(&workload.id, &first).await, Ok(()));
    assert_eq!(store.revoke(&workload.id, &second).await, Ok(()));
    let expected =
        Workload { revoked_at: Some(first.time), revocation: Some(Revocation::of(&first)), ..workload };
    assert_eq!(row(store, &expected).await, Some(expected));
    // Both are on record.
    assert_recorded(store, &first).await;
    assert_recorded(store, &second).await;
}

pub async fn an_absent_row_is_not_revoked(store: &impl Subject) {
    let (workload, audit) = (sample::workload(), sample::revoked(1));
    assert_eq!(store.revoke(&workload.id, &audit).await, CONFLICT);
    assert_not_recorded(store, &audit).await;
}
