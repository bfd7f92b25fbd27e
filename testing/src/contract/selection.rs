//! The promises about selection: HOST_DATA selects one workload at most, in the transaction of its row.

use keybroker_common::{
    audit::AuditRecord,
    ids::WorkloadId,
    store::{Build, StoreError},
    workload::Workload,
};
use keybroker_initdata::InitDataDigest;

use super::{
    CONFLICT, Subject, all_at_once, assert_not_recorded, assert_recorded, sample,
    tokens::{kept, made},
    workloads::{registered, row},
};

/// The failure of a registration by HOST_DATA that selects another workload.
const SELECTS: Result<(), StoreError> = Err(StoreError::Selects);

/// Registers a new workload that is selected by `init_data`.
async fn selected_by(store: &impl Subject, init_data: &InitDataDigest) -> Workload {
    let workload = sample::selected_by(init_data);
    store.create(&workload, &sample::registered(), None).await.expect("a new workload");
    workload
}

async fn replaced(store: &impl Subject, first: &Workload, second: &Workload) -> Result<(), StoreError> {
    store.replace(first, Build::New, second, &sample::registered(), None).await
}

async fn selected(store: &impl Subject, init_data: &InitDataDigest) -> Option<WorkloadId> {
    store.selected(&init_data.host_data()).await.expect("a readable selection")
}

async fn assert_selects(store: &impl Subject, init_data: &InitDataDigest, workload: &Workload) {
    assert_eq!(selected(store, init_data).await.as_ref(), Some(&workload.id));
}

async fn assert_free(store: &impl Subject, init_data: &InitDataDigest) {
    assert_eq!(selected(store, init_data).await, None);
}

/// Nothing of a write was done that another workload's selection was in the way of.
async fn assert_not_written(store: &impl Subject, before: &Workload, audit: &AuditRecord) {
    assert_eq!(row(store, before).await.as_ref(), Some(before));
    assert_not_recorded(store, audit).await;
}

pub async fn a_workload_is_selected_by_its_host_data(store: &impl Subject) {
    let (init_data, audit) = (sample::init_data(), sample::registered());
    assert_free(store, &init_data).await;
    let workload = sample::selected_by(&init_data);
    assert_eq!(store.create(&workload, &audit, None).await, Ok(()));
    assert_selects(store, &init_data, &workload).await;
    assert_eq!(row(store, &workload).await, Some(workload));
    assert_recorded(store, &audit).await;
    assert_free(store, &sample::init_data()).await;
}

pub async fn host_data_selects_one_workload(store: &impl Subject) {
    let init_data = sample::init_data();
    let first = selected_by(store, &init_data).await;
    let token = made(store, sample::token()).await;
    for token_id in [None, Some(&token.id)] {
        let (second, audit) = (sample::selected_by(&init_data), sample::registered());
        assert_eq!(store.create(&second, &audit, token_id).await, SELECTS);
        assert_eq!(row(store, &second).await, None);
        assert_not_recorded(store, &audit).await;
    }
    assert_eq!(kept(store, &token.id).await, Some(token));
    assert_selects(store, &init_data, &first).await;
    assert_eq!(row(store, &first).await, Some(first));
}

/// A caller learns first of the conflict that it can do something about, and then of the other.
pub async fn a_conflict_comes_before_a_selection(store: &impl Subject) {
    let (init_data, own) = (sample::init_data(), sample::init_data());
    let first = selected_by(store, &init_data).await;
    let second = selected_by(store, &own).await;
    let anew = sample::moved_to(&second, &init_data);
    assert_eq!(store.create(&anew, &sample::registered(), None).await, CONFLICT, "the id is taken");
    let absent = sample::token();
    let other = sample::selected_by(&init_data);
    let used = store.create(&other, &sample::registered(), Some(&absent.id)).await;
    assert_eq!(used, CONFLICT, "there is no such token");
    let taken = sample::registered();
    store.append(&taken).await.expect("a new record");
    assert_eq!(store.create(&other, &taken, None).await, CONFLICT, "the record is there");
    assert_eq!(replaced(store, &first, &anew).await, CONFLICT, "another registration is there");
    assert_eq!(store.replace(&second, Build::New, &anew, &taken, None).await, CONFLICT);
    assert_selects(store, &init_data, &first).await;
    assert_selects(store, &own, &second).await;
}

pub async fn a_failed_create_selects_nothing(store: &impl Subject) {
    let (init_data, held) = (sample::init_data(), registered(store).await);
    let audit = sample::registered();
    assert_eq!(store.create(&sample::moved_to(&held, &init_data), &audit, None).await, CONFLICT);
    assert_free(store, &init_data).await;
    store.append(&audit).await.expect("a new record");
    assert_eq!(store.create(&sample::selected_by(&init_data), &audit, None).await, CONFLICT);
    assert_free(store, &init_data).await;
    // It can be had by the next.
    selected_by(store, &init_data).await;
}

pub async fn a_replacement_with_the_same_init_data_is_selected_still(store: &impl Subject) {
    let init_data = sample::init_data();
    let mut held = selected_by(store, &init_data).await;
    for build in [Build::Same, Build::New] {
        let (second, audit) = (sample::moved_to(&held, &init_data), sample::registered());
        assert_eq!(store.replace(&held, build, &second, &audit, None).await, Ok(()));
        assert_selects(store, &init_data, &held).await;
        assert_eq!(row(store, &held).await.as_ref(), Some(&second));
        held = second;
    }
}

pub async fn a_replacement_moves_what_selects_it(store: &impl Subject) {
    let (first, second) = (sample::init_data(), sample::init_data());
    let workload = selected_by(store, &first).await;
    let (moved, audit) = (sample::moved_to(&workload, &second), sample::registered());
    assert_eq!(store.replace(&workload, Build::New, &moved, &audit, None).await, Ok(()));
    assert_recorded(store, &audit).await;
    assert_free(store, &first).await;
    assert_selects(store, &second, &workload).await;
    // A selection that is free can be had by others, and one that is taken cannot.
    let other = selected_by(store, &first).await;
    let refused = store.create(&sample::selected_by(&second), &sample::registered(), None).await;
    assert_eq!(refused, SELECTS);
    // And nobody gets back what is another's by now.
    let back = sample::moved_to(&moved, &first);
    assert_eq!(replaced(store, &moved, &back).await, SELECTS);
    assert_selects(store, &first, &other).await;
    assert_selects(store, &second, &workload).await;
}

pub async fn a_replacement_begins_and_ends_a_selection(store: &impl Subject) {
    let (init_data, plain) = (sample::init_data(), registered(store).await);
    let selected = sample::moved_to(&plain, &init_data);
    assert_eq!(replaced(store, &plain, &selected).await, Ok(()));
    assert_selects(store, &init_data, &plain).await;
    let plain = sample::registered_anew(&selected);
    assert_eq!(replaced(store, &selected, &plain).await, Ok(()));
    assert_free(store, &init_data).await;
    assert_eq!(row(store, &plain).await, Some(plain));
}

pub async fn a_replacement_by_anothers_host_data_changes_nothing(store: &impl Subject) {
    let (init_data, own) = (sample::init_data(), sample::init_data());
    let other = selected_by(store, &init_data).await;
    let token = made(store, sample::token()).await;
    for held in [registered(store).await, selected_by(store, &own).await] {
        for token_id in [None, Some(&token.id)] {
            let (anew, audit) = (sample::moved_to(&held, &init_data), sample::registered());
            assert_eq!(store.replace(&held, Build::New, &anew, &audit, token_id).await, SELECTS);
            assert_not_written(store, &held, &audit).await;
        }
    }
    assert_eq!(kept(store, &token.id).await, Some(token));
    assert_selects(store, &init_data, &other).await;
    assert!(selected(store, &own).await.is_some(), "it keeps its own");
}

pub async fn a_failed_replacement_moves_no_selection(store: &impl Subject) {
    let (first, second) = (sample::init_data(), sample::init_data());
    let held = selected_by(store, &first).await;
    let (moved, taken) = (sample::moved_to(&held, &second), sample::registered());
    store.append(&taken).await.expect("a new record");
    assert_eq!(store.replace(&held, Build::New, &moved, &taken, None).await, CONFLICT);
    assert_eq!(replaced(store, &moved, &moved).await, CONFLICT, "another registration is there");
    assert_selects(store, &first, &held).await;
    assert_free(store, &second).await;
    store.revoke(&held.id, &sample::revoked(1)).await.expect("a revocation");
    assert_eq!(replaced(store, &held, &moved).await, CONFLICT, "it is revoked");
    assert_selects(store, &first, &held).await;
    assert_free(store, &second).await;
}

/// Nobody else gets the guests of a workload because an operator stopped it.
pub async fn a_revocation_leaves_its_selection(store: &impl Subject) {
    let init_data = sample::init_data();
    let workload = selected_by(store, &init_data).await;
    store.revoke(&workload.id, &sample::revoked(1)).await.expect("a revocation");
    assert_selects(store, &init_data, &workload).await;
    let refused = store.create(&sample::selected_by(&init_data), &sample::registered(), None).await;
    assert_eq!(refused, SELECTS);
    store.restore(&workload.id, workload.digest(), &sample::restored(2)).await.expect("a restoration");
    assert_selects(store, &init_data, &workload).await;
}

pub async fn a_deletion_frees_what_selected_the_row(store: &impl Subject) {
    let (init_data, audit) = (sample::init_data(), sample::deleted(1));
    let workload = selected_by(store, &init_data).await;
    assert_eq!(store.delete(&workload, &audit).await, Ok(()));
    assert_recorded(store, &audit).await;
    assert_free(store, &init_data).await;
    let other = selected_by(store, &init_data).await;
    assert_selects(store, &init_data, &other).await;
}

pub async fn a_failed_deletion_frees_nothing(store: &impl Subject) {
    let init_data = sample::init_data();
    let workload = selected_by(store, &init_data).await;
    let taken = sample::deleted(1);
    store.append(&taken).await.expect("a new record");
    assert_eq!(store.delete(&workload, &taken).await, CONFLICT);
    assert_selects(store, &init_data, &workload).await;
    // Nor is a row deleted that is another by now, or what selects that.
    let second = sample::init_data();
    let moved = sample::moved_to(&workload, &second);
    assert_eq!(replaced(store, &workload, &moved).await, Ok(()));
    let other = selected_by(store, &init_data).await;
    assert_eq!(store.delete(&workload, &sample::deleted(1)).await, CONFLICT);
    assert_selects(store, &second, &workload).await;
    assert_selects(store, &init_data, &other).await;
}

pub async fn of_many_registrations_by_one_host_data_one_wins(store: &impl Subject) {
    let init_data = sample::init_data();
    let workloads: Vec<_> =
        (0..16).map(|_| (sample::selected_by(&init_data), sample::registered())).collect();
    let outcomes =
        all_at_once(workloads.iter().map(|(workload, audit)| store.create(workload, audit, None))).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
    for ((workload, audit), outcome) in workloads.iter().zip(&outcomes) {
        if outcome.is_ok() {
            assert_selects(store, &init_data, workload).await;
            assert_eq!(row(store, workload).await.as_ref(), Some(workload));
        } else {
            assert_eq!(*outcome, SELECTS);
            assert_eq!(row(store, workload).await, None);
            assert_not_recorded(store, audit).await;
        }
    }
}

/// Some are new, and some move from what selected them before.
pub async fn of_many_that_move_to_one_host_data_one_wins(store: &impl Subject) {
    let (init_data, mut held) = (sample::init_data(), Vec::new());
    for _ in 0..8 {
        let own = sample::init_data();
        held.push((selected_by(store, &own).await, own));
    }
    let moved: Vec<_> = held.iter().map(|(workload, _)| sample::moved_to(workload, &init_data)).collect();
    let moves = held.iter().zip(&moved).map(|((held, _), moved)| replaced(store, held, moved));
    let outcomes = all_at_once(moves).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
    for (((held, own), moved), outcome) in held.iter().zip(&moved).zip(&outcomes) {
        if outcome.is_ok() {
            assert_selects(store, &init_data, held).await;
            assert_free(store, own).await;
            assert_eq!(row(store, held).await.as_ref(), Some(moved));
        } else {
            assert_eq!(*outcome, SELECTS);
            assert_selects(store, own, held).await;
            assert_eq!(row(store, held).await.as_ref(), Some(held));
        }
    }
}

/// Whatever comes first, what selects a workload and its row agree.
pub async fn a_deletion_and_a_registration_at_once_agree(store: &impl Subject) {
    for _ in 0..8 {
        let init_data = sample::init_data();
        let first = selected_by(store, &init_data).await;
        let second = sample::selected_by(&init_data);
        let (deleted, registered) = (sample::deleted(1), sample::registered());
        let acts = (0..2).map(async |act| match act {
            0 => store.delete(&first, &deleted).await,
            _ => store.create(&second, &registered, None).await,
        });
        let outcomes = all_at_once(acts).await;
        assert_eq!(outcomes.first(), Some(&Ok(())), "nothing is in the way of the deletion");
        match outcomes.last() {
            Some(Ok(())) => assert_selects(store, &init_data, &second).await,
            other => {
                assert_eq!(other, Some(&SELECTS));
                assert_free(store, &init_data).await;
                assert_eq!(row(store, &second).await, None);
            }
        }
    }
}

pub async fn a_selection_is_no_workload(store: &impl Subject) {
    let init_data = sample::init_data();
    let workload = selected_by(store, &init_data).await;
    let (mut listed, mut after) = (Vec::new(), None);
    loop {
        let page = store.workloads(after.as_ref()).await.expect("a page");
        assert_eq!(page.unreadable, []);
        listed.extend(page.rows);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let digest = init_data.to_string();
    let named = |row: &Workload| row.id == workload.id || row.id.as_str().contains(&digest[..64]);
    assert_eq!(listed.into_iter().filter(named).collect::<Vec<_>>(), [workload]);
}

/// And one that would move or end it is none.
pub async fn an_amendment_leaves_what_selects_it(store: &impl Subject) {
    let (init_data, other) = (sample::init_data(), sample::init_data());
    let first = selected_by(store, &init_data).await;
    let second = sample::moved_to(&first, &init_data);
    assert_eq!(store.amend(&first, &second, &sample::amended(1)).await, Ok(()));
    assert_eq!(row(store, &first).await.as_ref(), Some(&second));
    assert_selects(store, &init_data, &first).await;
    for amended in [sample::moved_to(&second, &other), sample::registered_anew(&second)] {
        let audit = sample::amended(2);
        assert_eq!(store.amend(&second, &amended, &audit).await, CONFLICT);
        assert_not_written(store, &second, &audit).await;
    }
    assert_selects(store, &init_data, &first).await;
    assert_free(store, &other).await;
    store.delete(&second, &sample::deleted(3)).await.expect("a deletion");
    assert_free(store, &init_data).await;
}
