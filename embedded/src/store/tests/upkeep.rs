//! Pruning, compacting and reading all of a store.

use std::{fs, path::Path, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use keybroker_common::{
    audit::{Act, AuditRecord, Decision, Operation},
    challenge::{Challenges, Claim},
    clock::Clock,
    decision::AttestDecision,
    ids::AuditId,
    keyring::Purpose,
    keys::Keys,
    store::{AuditStore as _, DecisionStore as _, RegistrationStore as _, StoreError, WorkloadStore as _},
};
use keybroker_testing::{clock::ManualClock, sample};

use super::{Scratch, reopen};
use crate::{
    key::LocalKey,
    store::{EmbeddedStore, OpenError, file, stores::recorded},
};

fn clock_at(seconds: i64) -> Arc<ManualClock> {
    let clock = ManualClock::new();
    clock.set(sample::at(seconds));
    Arc::new(clock)
}

/// A store whose clock shows so many seconds into the suite.
fn at(seconds: i64) -> Scratch {
    Scratch::at(clock_at(seconds))
}

async fn append_all(store: &EmbeddedStore, records: &[AuditRecord]) {
    let edits: Vec<_> = records.iter().map(|record| recorded(record).unwrap()).collect();
    store.write(move |_| Ok(edits.clone())).await.unwrap();
}

fn pruned(before: Timestamp, now: Timestamp) -> impl FnOnce(u64) -> AuditRecord {
    move |records| AuditRecord {
        act: Some(Act::Pruned { before, records }),
        ..AuditRecord::new(now, Operation::Operate, Decision::Pruned)
    }
}

fn ids(store: &EmbeddedStore) -> Vec<AuditId> {
    store.audit_records().unwrap().map(|record| record.unwrap().id).collect()
}

#[tokio::test]
async fn old_records_go_and_a_record_of_it_stays() {
    let store = at(10_000);
    let (old, new) = (sample::revoked(99), sample::revoked(100));
    let (old_release, new_release) = (sample::released(99), sample::released(100));
    let (old_decision, new_decision) = (sample::attest_decision(99), sample::refusal(100));
    for record in [&old, &new] {
        store.append(record).await.unwrap();
    }
    for record in [&old_release, &new_release] {
        store.record(record).await.unwrap();
    }
    for decision in [&old_decision, &new_decision] {
        store.decide(decision).await.unwrap();
    }
    let workload = sample::workload();
    store.create(&workload, &sample::registered(), None).await.unwrap();

    let (before, now) = (sample::at(100), sample::at(10_000));
    // The registration's record is of the time 0.
    assert_eq!(store.prune(before, pruned(before, now)).await, Ok(4));
    let left = ids(&store);
    assert_eq!(left.len(), 4, "{left:?}");
    assert!([new.id, new_release.id, new_decision.record.id].iter().all(|id| left.contains(id)));
    let record = store.audit_records().unwrap().map(Result::unwrap).find(|record| record.act.is_some());
    assert_eq!(record.unwrap().act, Some(Act::Pruned { before, records: 4 }));
    assert_eq!(store.workload(&workload.id).await, Ok(Some(workload)));

    // There is nothing more to prune, and no record that says so.
    assert_eq!(store.prune(before, pruned(before, now)).await, Ok(0));
    assert_eq!(ids(&store).len(), 4);
}

/// More than one transaction deletes.
#[tokio::test]
async fn many_records_are_pruned_page_by_page() {
    let store = at(10_000);
    let records: Vec<_> = (0..2_500).map(|_| sample::revoked(1)).collect();
    append_all(&store, &records).await;
    let before = sample::at(2);
    assert_eq!(store.prune(before, pruned(before, sample::at(3))).await, Ok(2_500));
    assert_eq!(ids(&store).len(), 1);
}

#[tokio::test]
async fn records_of_a_time_to_come_are_not_pruned() {
    let store = at(100);
    let before = sample::at(101);
    let refused = store.prune(before, pruned(before, sample::at(100))).await;
    assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
}

/// A decision is there until its challenge, and a session of it, can count no more.
#[tokio::test]
async fn no_decision_goes_before_its_time() {
    let clock = clock_at(0);
    let store = Scratch::at(clock.clone());
    let decision = AttestDecision { keep_until: sample::at(1200), ..sample::attest_decision(0) };
    store.decide(&decision).await.unwrap();
    let replay = sample::under(decision.record.id, sample::attest_decision(1));
    let last_instant = sample::at(1200) - SignedDuration::from_nanos(1);
    for now in [sample::at(1), last_instant] {
        clock.set(now);
        assert_eq!(store.prune(now, pruned(now, now)).await, Ok(0));
        assert_eq!(store.decide(&replay).await.as_ref(), Ok(&Some(decision.clone())));
    }
    // Neither a restart nor compaction takes it away.
    let Scratch { store, dir } = store;
    drop(store);
    let data_dir = dir.path().join("data");
    EmbeddedStore::compact(&data_dir).unwrap();
    let store = EmbeddedStore::open(&data_dir, clock.clone()).unwrap();
    assert_eq!(store.decide(&replay).await, Ok(Some(decision)));
    clock.set(sample::at(1200));
    assert_eq!(store.prune(sample::at(1200), pruned(sample::at(1200), sample::at(1200))).await, Ok(1));
}

fn challenges(store: Arc<EmbeddedStore>, key: &Arc<LocalKey>, clock: Arc<dyn Clock>) -> Challenges {
    let (ttl, deployment) = (Duration::from_secs(300), store.deployment().unwrap());
    let keyring = Arc::new(key.keyring(Purpose::Challenge));
    let keys = Keys::new(Purpose::Challenge, store, keyring, clock, Challenges::keys_last(ttl));
    Challenges::new(Arc::new(keys), deployment, ttl)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// A backup knows nothing of the decisions after it. So no challenge from before the restore counts.
#[tokio::test]
async fn a_restored_store_takes_no_challenge_of_before() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, backup) = (dir.path().join("ours"), dir.path().join("backup"));
    let key = Arc::new(LocalKey::in_memory().unwrap());
    let now = sample::at(0);
    let clock: Arc<dyn Clock> = clock_at(0);
    let open = || Arc::new(EmbeddedStore::open(&ours, Arc::clone(&clock)).unwrap());
    let given = {
        let challenges = challenges(open(), &key, Arc::clone(&clock));
        challenges.give(Claim::HostData, now).await.unwrap()
    };
    copy(&ours, &backup);
    {
        let store = open();
        let challenges = challenges(Arc::clone(&store), &key, Arc::clone(&clock));
        assert_eq!(challenges.recognise(&given.session_id, now).await, Ok(given.clone()), "after a restart");
        let decision = sample::under(AuditId::of(&given.session_id), sample::attest_decision(0));
        assert_eq!(store.decide(&decision).await, Ok(None));
    }
    copy(&backup, &ours);
    let store = open();
    assert_eq!(store.decision(AuditId::of(&given.session_id)).await, Ok(None), "the backup is older");
    let replayed = challenges(store, &key, clock).recognise(&given.session_id, now).await;
    assert!(replayed.is_err(), "{replayed:?}");
}

#[tokio::test]
async fn compaction_gives_room_back_and_loses_nothing() {
    let store = at(10_000);
    let kept = sample::attest_decision(5_000);
    store.decide(&kept).await.unwrap();
    for _ in 0..40 {
        let records: Vec<_> = (0..100).map(|_| sample::revoked(1)).collect();
        append_all(&store, &records).await;
    }
    let before = sample::at(2);
    store.prune(before, pruned(before, sample::at(3))).await.unwrap();
    let data_dir = store.data_dir();
    let busy = EmbeddedStore::compact(&data_dir);
    assert_eq!(busy, Err(OpenError::Locked));
    let Scratch { store, dir: _dir } = store;
    drop(store);
    let len = || data_dir.join(file::NAME).metadata().unwrap().len();
    let before = len();
    let freed = EmbeddedStore::compact(&data_dir).unwrap();
    assert_eq!(before - len(), freed);
    assert!(freed > before / 4, "{freed} of {before}");
    EmbeddedStore::check_deeply(&data_dir).unwrap();
    assert_eq!(reopen(&data_dir).unwrap().decision(kept.record.id).await, Ok(Some(kept)));
}

#[test]
fn upkeep_makes_no_store() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(EmbeddedStore::check_deeply(dir.path()), Err(OpenError::Missing));
    assert_eq!(EmbeddedStore::compact(dir.path()), Err(OpenError::Missing));
    assert!(!dir.path().join(file::NAME).exists());
}
