//! Writes that share a transaction.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    task::{Context, Waker},
};

use super::*;

/// Requests that come while one is being synced share the next sync, and reads wait for neither.
#[tokio::test]
async fn writes_that_wait_share_a_sync() {
    let scratch = Scratch::of(1 << 20);
    let store = scratch.store;
    let first = sample::refused();
    store.append(&first).await.unwrap();
    let (gate, syncs) = (Arc::clone(&scratch.disk.disk().gate), || scratch.disk.disk().syncs);
    let before = syncs();
    let shut = gate.lock().unwrap();
    let records: Vec<_> = (0..64).map(|_| sample::refused()).collect();
    let mut writes: Vec<_> = records.iter().map(|record| Box::pin(store.append(record))).collect();
    // Each asks when it is polled first.
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..2 {
        let asked = writes.iter_mut().all(|write| write.as_mut().poll(&mut context).is_pending());
        assert!(asked, "nothing is acknowledged unsynced");
    }
    assert_eq!(store.audit_record(first.id), Ok(Some(first)), "a read waits for no sync");
    drop(shut);
    for write in writes {
        write.await.unwrap();
    }
    assert!((1..=2).contains(&(syncs() - before)), "{} syncs", syncs() - before);
    assert_eq!(store.audit_records().unwrap().count(), 65);
}

/// A write sees those before it in its transaction. If it fails it leaves nothing, and stops no other.
#[tokio::test]
async fn a_write_that_fails_leaves_nothing_among_others() {
    let scratch = Scratch::of(1 << 20);
    let disk = &scratch.store.disk;
    let (one, two, three) = (sample::refused(), sample::refused(), sample::refused());
    let pair = |first: &AuditRecord, second: &AuditRecord| {
        let edits = [first, second].map(|record| Edit::create(record.id.0.as_bytes(), record).unwrap());
        Write::new(Use::Ends, move |_| Ok(edits.to_vec()))
    };
    let deleted = Write::new(Use::Ends, {
        let id = one.id;
        move |view| {
            assert!(view.get::<AuditRecord>(id.0.as_bytes())?.is_some(), "written by the one before");
            Err(StoreError::Corrupt { table: "audit".into(), cause: "made to".to_owned() })
        }
    });
    let outcomes = disk.write(&[
        append(Use::Begins, &one),
        pair(&two, &one),
        deleted,
        append(Use::Ends, &one),
        append(Use::Ends, &three),
    ]);
    let conflict = || Err(StoreError::Conflict);
    assert!(matches!(outcomes[2], Err(StoreError::Corrupt { .. })), "{outcomes:?}");
    assert_eq!([&outcomes[0], &outcomes[1]], [&Ok(()), &conflict()]);
    assert_eq!([&outcomes[3], &outcomes[4]], [&conflict(), &Ok(())]);
    let there: BTreeSet<_> = scratch.store.audit_records().unwrap().map(|row| row.unwrap().id).collect();
    assert_eq!(there, [one.id, three.id].into());
    assert_eq!(scratch.disk.disk().opened, 1, "the database never failed");
}

/// Where the database fails under many writes, each is done again alone.
#[tokio::test]
async fn a_failure_under_many_writes_is_not_theirs() {
    for fault in [Fault::Panics, Fault::Sync(io::ErrorKind::Other)] {
        let scratch = Scratch::of(1 << 20);
        let records: Vec<_> = (0..20).map(|_| sample::refused()).collect();
        scratch.fail(fault);
        let writes: Vec<_> = records
            .iter()
            .enumerate()
            .map(|(n, record)| append(if n.is_multiple_of(2) { Use::Begins } else { Use::Ends }, record))
            .collect();
        let outcomes = scratch.store.disk.write(&writes);
        scratch.well().await;
        let there: Vec<_> = scratch.store.audit_records().unwrap().map(|row| row.unwrap().id).collect();
        // All of the first attempt's writes may be there: then none of them is a conflict.
        let told = |outcome: &Outcome| matches!(outcome, Ok(()) | Err(StoreError::Unavailable(_)));
        assert!(outcomes.iter().all(told), "{fault:?}: {outcomes:?}");
        assert!(fault != Fault::Panics || outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        assert_eq!(there.len(), 20, "{fault:?}: each once");
    }
}

/// A write that panics each time fails alone.
#[tokio::test]
async fn a_write_that_panics_ends_no_other() {
    let scratch = Scratch::of(1 << 20);
    let records = [sample::refused(), sample::refused()];
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let panics = Write::new(Use::Begins, move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        panic!("made to")
    });
    let outcomes =
        scratch.store.disk.write(&[append(Use::Ends, &records[0]), panics, append(Use::Ends, &records[1])]);
    assert!(matches!(*outcomes, [Ok(()), Err(StoreError::Unavailable(_)), Ok(())]), "{outcomes:?}");
    assert!(asked.load(Ordering::Relaxed) <= 2);
    scratch.well().await;
    assert_eq!(scratch.store.audit_records().unwrap().count(), 2);
}

/// Where many writes find no room together, those that end something have the reserve.
#[tokio::test]
async fn many_writes_that_find_no_room_are_done_one_by_one() {
    let scratch = Scratch::of(120);
    let (mut acknowledged, mut all_fit) = (Vec::new(), true);
    while all_fit {
        let records: Vec<_> = (0..50).map(|_| sample::refused()).collect();
        let what = |n: usize| if n.is_multiple_of(2) { Use::Begins } else { Use::Ends };
        let writes: Vec<_> = records.iter().enumerate().map(|(n, record)| append(what(n), record)).collect();
        for (n, outcome) in scratch.store.disk.write(&writes).into_iter().enumerate() {
            all_fit &= outcome.is_ok();
            match outcome {
                Ok(()) => acknowledged.push(records[n].id),
                Err(cause) => assert_eq!(what(n), Use::Begins, "{cause}"),
            }
        }
    }
    scratch.recover();
    scratch.well().await;
    let there: BTreeSet<_> = scratch.store.audit_records().unwrap().map(|row| row.unwrap().id).collect();
    assert!(acknowledged.iter().all(|id| there.contains(id)));
}
