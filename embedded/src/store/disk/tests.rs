//! A store on a disk that fails: full, broken, or in code that panics.

mod together;

use std::{collections::BTreeSet, io, path::PathBuf, sync::Arc};

use keybroker_common::{
    audit::AuditRecord,
    clock::SystemClock,
    keyring::{Keyring, Purpose},
    store::{
        AuditStore as _, DecisionStore as _, Health as _, KeyringStore as _, OperatorStore as _,
        RegistrationStore as _, RevocationStore as _, WorkloadStore as _,
    },
};
use keybroker_testing::sample;
use redb::StorageBackend;
use tempfile::TempDir;

use super::*;
use crate::store::{
    EmbeddedStore,
    room::{self, HEADROOM},
};

/// Bytes of a block.
const BLOCK: u64 = 4096;

/// A write of an audit record.
fn append(what: Use, record: &AuditRecord) -> Write {
    let edit = Edit::create(record.id.0.as_bytes(), record).unwrap();
    Write::new(what, move |_| Ok(vec![edit.clone()]))
}

/// How a disk fails that is not full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Writes fail.
    Writes(io::ErrorKind),
    /// The write is there, and its sync fails: this once.
    Sync(io::ErrorKind),
    /// The code that writes panics: this once.
    Panics,
}

/// A disk of so many blocks, in memory. The reserve's are free once its file is gone.
#[derive(Debug)]
struct SmallDisk {
    bytes: Vec<u8>,
    written: BTreeSet<u64>,
    blocks: usize,
    reserve: PathBuf,
    fault: Option<Fault>,
    opened: usize,
    syncs: usize,
    /// Held by a test while no sync may end.
    gate: Arc<Mutex<()>>,
}

/// The reserve on a disk as small as that.
const RESERVED: usize = 64;

#[derive(Debug, Clone)]
struct Handle(Arc<Mutex<SmallDisk>>);

impl Handle {
    fn disk(&self) -> MutexGuard<'_, SmallDisk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StorageBackend for Handle {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk().bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let disk = self.disk();
        let at = usize::try_from(offset).unwrap();
        out.copy_from_slice(&disk.bytes[at..at + out.len()]);
        Ok(())
    }

    /// A file without blocks, as most file systems make it.
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk().bytes.resize(usize::try_from(len).unwrap(), 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let gate = Arc::clone(&self.disk().gate);
        drop(gate.lock());
        let mut disk = self.disk();
        disk.syncs += 1;
        match disk.fault {
            Some(Fault::Sync(kind)) => {
                disk.fault = None;
                Err(kind.into())
            }
            _ => Ok(()),
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut disk = self.disk();
        match disk.fault {
            Some(Fault::Writes(kind)) => return Err(kind.into()),
            Some(Fault::Panics) => {
                disk.fault = None;
                drop(disk);
                panic!("made to");
            }
            _ => {}
        }
        let free = disk.blocks + if disk.reserve.exists() { 0 } else { RESERVED };
        for block in offset / BLOCK..(offset + data.len() as u64).div_ceil(BLOCK) {
            if !disk.written.contains(&block) && disk.written.len() >= free {
                return Err(io::ErrorKind::StorageFull.into());
            }
            disk.written.insert(block);
        }
        let at = usize::try_from(offset).unwrap();
        disk.bytes[at..at + data.len()].copy_from_slice(data);
        Ok(())
    }
}

struct Scratch {
    store: EmbeddedStore,
    disk: Handle,
    directory: TempDir,
}

impl Scratch {
    /// A store on a disk of so many blocks.
    fn of(blocks: usize) -> Self {
        Self::with_free(blocks, |_| Ok(None))
    }

    fn with_free(blocks: usize, free: room::Free) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let reserve = directory.path().join(room::NAME);
        let disk = SmallDisk {
            bytes: Vec::new(),
            written: BTreeSet::new(),
            blocks,
            reserve,
            fault: None,
            opened: 0,
            syncs: 0,
            gate: Arc::default(),
        };
        let disk = Handle(Arc::new(Mutex::new(disk)));
        let open = {
            let disk = disk.clone();
            move || {
                disk.disk().opened += 1;
                let mut builder = Builder::new();
                builder.set_check_integrity_on_open(true);
                Ok(builder.create_with_backend(disk.clone())?)
            }
        };
        let database = open().unwrap();
        meta::adopt(&database).unwrap();
        let room = Room::with_free(directory.path(), free);
        let _ = room.check();
        let store = EmbeddedStore::over(
            Disk::over(database, Box::new(open), Some(room)),
            None,
            Arc::new(SystemClock),
        )
        .unwrap();
        Self { store, disk, directory }
    }

    fn reserved(&self) -> bool {
        room::reserved(self.directory.path()) > 0
    }

    fn fail(&self, fault: Fault) {
        self.disk.disk().fault = Some(fault);
    }

    /// The disk is as it should be.
    fn recover(&self) {
        let mut disk = self.disk.disk();
        disk.fault = None;
        disk.blocks = 1 << 20;
    }

    /// Waits until the store says that it is well.
    async fn well(&self) {
        let well = async {
            while let Err(cause) = self.store.check().await {
                assert!(matches!(cause, StoreError::Unavailable(_)), "{cause:?}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), well).await.expect("the store to be well again");
    }

    /// Waits until what is in the store can be read.
    async fn readable(&self) {
        let readable = async {
            while self.store.audit_records().is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), readable).await.expect("the store to be readable");
    }

    /// Writes records until one is not taken. Those that were.
    async fn fill(&self) -> (Vec<AuditRecord>, StoreError) {
        let mut taken = Vec::new();
        loop {
            let record = sample::refused();
            match self.store.append(&record).await {
                Ok(()) => taken.push(record),
                Err(cause) => return (taken, cause),
            }
            assert!(taken.len() < 100_000, "the disk has no end");
        }
    }
}

#[tokio::test]
async fn a_full_disk_loses_nothing_that_was_acknowledged() {
    let scratch = Scratch::of(200);
    let store = &scratch.store;
    let workload = sample::workload();
    store.create(&workload, &sample::registered(), None).await.unwrap();
    let decision = sample::attest_decision(1);
    store.decide(&decision).await.unwrap();
    assert!(scratch.reserved());

    let (taken, cause) = scratch.fill().await;
    assert!(matches!(cause, StoreError::Full(_)), "{cause:?}");
    assert!(!scratch.reserved(), "the reserve was used up first");
    assert!(scratch.disk.disk().opened >= 3, "it was opened anew with the reserve, and without");
    // It can be read although nothing fits, and has what it acknowledged.
    scratch.readable().await;
    assert_eq!(store.workload(&workload.id).await, Ok(Some(workload.clone())));
    assert_eq!(store.decision(decision.record.id).await, Ok(Some(decision)));
    let on_record: Vec<_> = store.audit_records().unwrap().map(|record| record.unwrap().id).collect();
    assert!(taken.iter().all(|record| on_record.contains(&record.id)));
    // Beside the registration's and the decision's, of the one that was not acknowledged all or nothing.
    assert!((2..=3).contains(&(on_record.len() - taken.len())), "{}", on_record.len());

    scratch.recover();
    scratch.well().await;
    store.decide(&sample::attest_decision(1)).await.unwrap();
    assert!(scratch.reserved(), "it is made anew");
    store.revoke(&workload.id, &sample::revoked(1)).await.unwrap();
    assert_eq!(store.audit_records().unwrap().count(), on_record.len() + 2);
}

/// Where a decision has no room the record of a release has: the reserve is for it.
#[tokio::test]
async fn the_reserve_is_for_what_ends_something() {
    let scratch = Scratch::of(120);
    let store = &scratch.store;
    let workload = sample::workload();
    store.create(&workload, &sample::registered(), None).await.unwrap();
    let cause = loop {
        match store.decide(&sample::attest_decision(1)).await {
            Ok(decided) => assert_eq!(decided, None),
            Err(cause) => break cause,
        }
    };
    assert!(matches!(cause, StoreError::Full(_)), "{cause:?}");
    assert!(scratch.reserved(), "no decision has taken it");
    scratch.well().await;
    store.record(&sample::released(1)).await.unwrap();
    while scratch.reserved() {
        store.append(&sample::refused()).await.unwrap();
    }
    store.revoke(&workload.id, &sample::revoked(1)).await.unwrap();
    assert!(store.workload(&workload.id).await.unwrap().unwrap().revoked_at.is_some());
}

#[tokio::test]
async fn without_room_nothing_begins_and_everything_ends() {
    let scratch = Scratch::with_free(1 << 20, |_| Ok(Some(HEADROOM - 1)));
    let store = &scratch.store;
    for decision in [sample::attest_decision(1), sample::refusal(1)] {
        assert!(matches!(store.decide(&decision).await, Err(StoreError::Full(_))));
    }
    let create = store.create(&sample::workload(), &sample::registered(), None).await;
    assert!(matches!(create, Err(StoreError::Full(_))));
    store.append(&sample::refused()).await.unwrap();
    store.record(&sample::released(1)).await.unwrap();
    assert!(matches!(store.check().await, Err(StoreError::Full(_))), "whoever watches is told");
    assert_eq!(scratch.disk.disk().opened, 1, "the database never failed");
    // The same in one transaction.
    let (begins, ends) = (sample::refused(), sample::refused());
    let outcomes = store.disk.write(&[append(Use::Begins, &begins), append(Use::Ends, &ends)]);
    assert!(matches!(*outcomes, [Err(StoreError::Full(_)), Ok(())]), "{outcomes:?}");
    assert_eq!(store.audit_record(begins.id), Ok(None));
}

#[tokio::test]
async fn a_disk_that_fails_is_told_until_it_works() {
    let scratch = Scratch::of(1 << 20);
    let store = &scratch.store;
    let (before, lost) = (sample::refused(), sample::refused());
    store.append(&before).await.unwrap();
    assert_eq!(store.check().await, Ok(()));
    scratch.fail(Fault::Writes(io::ErrorKind::Other));
    assert!(matches!(store.append(&lost).await, Err(StoreError::Unavailable(_))));
    // Neither a read that succeeds nor being asked makes it well.
    let _ = store.audit_record(before.id);
    for _ in 0..3 {
        assert!(matches!(store.check().await, Err(StoreError::Unavailable(_))));
    }
    scratch.recover();
    scratch.well().await;
    assert_eq!(store.audit_record(before.id), Ok(Some(before)));
    assert_eq!(store.audit_record(lost.id), Ok(None));
    store.append(&lost).await.unwrap();
}

/// A write whose sync failed may have landed: it is not done twice, and what came of it is not called a
/// conflict.
#[tokio::test]
async fn a_write_that_landed_before_it_failed_is_not_done_twice() {
    let scratch = Scratch::of(1 << 20);
    let store = &scratch.store;
    let record = sample::refused();
    scratch.fail(Fault::Sync(io::ErrorKind::StorageFull));
    let written = store.append(&record).await;
    assert!(matches!(written, Ok(()) | Err(StoreError::Full(_))), "{written:?}");
    scratch.well().await;
    let there: Vec<_> = store.audit_records().unwrap().collect::<Result<_, _>>().unwrap();
    assert_eq!(there, [record]);
}

#[tokio::test]
async fn a_panic_within_the_database_ends_one_write() {
    let scratch = Scratch::of(1 << 20);
    let store = &scratch.store;
    let decision = sample::attest_decision(1);
    scratch.fail(Fault::Panics);
    let decided = store.decide(&decision).await;
    assert!(matches!(decided, Err(StoreError::Unavailable(_))), "{decided:?}");
    scratch.well().await;
    assert_eq!(store.decision(decision.record.id).await, Ok(None), "nothing is half done");
    assert_eq!(store.decide(&decision).await, Ok(None));
}

#[tokio::test]
async fn a_write_that_ends_something_is_tried_again_at_once() {
    let scratch = Scratch::of(1 << 20);
    let store = &scratch.store;
    let workload = sample::workload();
    store.create(&workload, &sample::registered(), None).await.unwrap();
    scratch.fail(Fault::Panics);
    store.revoke(&workload.id, &sample::revoked(1)).await.unwrap();
    assert!(store.workload(&workload.id).await.unwrap().unwrap().revoked_at.is_some());
    assert_eq!(store.audit_records().unwrap().count(), 2);
}

/// The file that has the name by then does not belong to this broker.
#[tokio::test]
async fn the_very_file_is_opened_anew() {
    let directory = tempfile::tempdir().unwrap();
    let open = |name: &str| EmbeddedStore::open(&directory.path().join(name), Arc::new(SystemClock)).unwrap();
    let store = open("ours");
    let workload = sample::workload();
    store.create(&workload, &sample::registered(), None).await.unwrap();
    drop(open("other"));
    let at = |name: &str| directory.path().join(name).join(file::NAME);
    std::fs::rename(at("other"), at("ours")).unwrap();
    store.disk.state().broken = true;
    store.disk.mend();
    assert!(!store.disk.is_broken());
    assert_eq!(store.workload(&workload.id).await, Ok(Some(workload)));
}

/// A store is never made in the place of one that lost everything.
#[tokio::test]
async fn a_file_that_was_emptied_is_not_taken_for_a_new_store() {
    let directory = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(directory.path(), Arc::new(SystemClock)).unwrap();
    std::fs::File::options().write(true).open(directory.path().join(file::NAME)).unwrap().set_len(0).unwrap();
    store.disk.state().broken = true;
    store.disk.mend();
    assert!(store.disk.is_broken());
    assert!(matches!(store.append(&sample::refused()).await, Err(StoreError::Unavailable(_))));
}

/// If a decision lands and its answer is lost, the next attempt at it finds the very decision.
#[tokio::test]
async fn a_decision_whose_answer_was_lost_is_found() {
    let scratch = Scratch::of(1 << 20);
    let store = &scratch.store;
    let decision = sample::attest_decision(1);
    scratch.fail(Fault::Sync(io::ErrorKind::Other));
    let first = store.decide(&decision).await;
    scratch.well().await;
    let there = store.decision(decision.record.id).await.unwrap();
    match first {
        Err(StoreError::Unavailable(_)) => assert!(there.is_none_or(|there| there == decision)),
        decided => assert_eq!((decided, there), (Ok(None), Some(decision.clone()))),
    }
    let other = sample::under(decision.record.id, sample::refusal(2));
    let found = store.decide(&other).await.unwrap();
    assert!(found.is_none_or(|found| found == decision), "the first that landed is the only one");
    assert_eq!(store.audit_records().unwrap().count(), 1);
}

/// A start on a full disk has a name of its own.
#[tokio::test]
async fn a_start_on_a_full_disk_has_a_name() {
    let scratch = Scratch::of(120);
    let store = &scratch.store;
    scratch.fill().await;
    let name = store.deployment().unwrap();
    assert_eq!(store.deployment().unwrap(), name, "one for this start");
    scratch.readable().await;
    scratch.recover();
    scratch.well().await;
    store.append(&sample::refused()).await.unwrap();
}

/// The broker makes its own keys on a full disk, too: without them no session fetches its secrets.
#[tokio::test]
async fn without_room_an_emptied_ring_gets_its_next_key() {
    let scratch = Scratch::with_free(1 << 20, |_| Ok(Some(HEADROOM - 1)));
    let store = &scratch.store;
    store.turn_keyring(Purpose::Challenge, None, &Keyring::default(), &sample::refused()).await.unwrap();
    assert_eq!(store.put_keyring(Purpose::Challenge, Some(0), &sample::ring()).await, Ok(()));
}
