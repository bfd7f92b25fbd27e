//! A store of release 0.1, opened by this one.

use std::{fs, path::Path};

use data_encoding::HEXLOWER;
use keybroker_common::{
    ids::{AuditId, RegistrationDigest, TokenId, WorkloadId},
    secret::WrappedSecret,
    store::{
        DecisionStore as _, EndorsementStore as _, RegistrationStore as _, RevocationStore as _,
        TokenStore as _, WorkloadStore as _,
    },
};
use keybroker_testing::{
    earlier::{self, RECORD, TOKEN},
    sample,
};
use redb::{Database, ReadableDatabase as _, TableHandle as _};
use tempfile::TempDir;

use super::{mode, reopen};
use crate::store::{EmbeddedStore, OpenError, file, room::HEADROOM, upgrade};

const KEY: &str = "local:0123456789abcdef";

/// A store as release 0.1 wrote it, with a row in each table.
fn store_of_0_1() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let sealed = WrappedSecret { key_id: KEY.to_owned(), ciphertext: b"sealed".to_vec() };
    earlier::store_of_0_1(&dir.path().join(file::NAME), b"{}", &sealed);
    dir
}

fn token_id() -> TokenId {
    TokenId::parse(&HEXLOWER.encode(&TOKEN)).unwrap()
}

fn tables(data_dir: &Path) -> Vec<String> {
    let database = Database::open(data_dir.join(file::NAME)).unwrap();
    let transaction = database.begin_read().unwrap();
    transaction.list_tables().unwrap().map(|table| table.name().to_owned()).collect()
}

fn backups(data_dir: &Path) -> Vec<String> {
    let names =
        fs::read_dir(data_dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.starts_with(upgrade::BACKUP)).collect();
    names.sort();
    names
}

/// All that 0.1 had and that is no guest's is there, and can be changed.
async fn assert_upgraded(data_dir: &Path) {
    let store = reopen(data_dir).unwrap();
    let id = WorkloadId::new("w").unwrap();
    let workload = store.workload(&id).await.unwrap().unwrap();
    assert_eq!((workload.digest(), workload.restored_by), (RegistrationDigest::of(b"{}"), None));
    assert_eq!(store.tokens(None).await.unwrap().rows.len(), 1);
    let token = store.token(&token_id()).await.unwrap().unwrap();
    assert_eq!(token.bound.unwrap().workload_id, id);
    assert_eq!(store.endorsement("Milan/vcek/chain").await.unwrap().unwrap().bytes, b"PEM");
    let record = store.audit_record(AuditId(RECORD)).unwrap().unwrap();
    assert_eq!(record.evidence.unwrap().measurement, "ab".repeat(48));
    assert_eq!(store.bound_key(), Ok(Some(KEY.to_owned())));
    store.revoke(&id, &sample::revoked(1)).await.unwrap();
    store.decide(&sample::attest_decision(1)).await.unwrap();
    let init_data = sample::init_data();
    let selected = sample::selected_by(&init_data);
    store.create(&selected, &sample::registered(), None).await.unwrap();
    assert_eq!(store.selected(&init_data.host_data()).await, Ok(Some(selected.id)));
    drop(store);
    EmbeddedStore::check_deeply(data_dir).unwrap();
    let kept = ["audit", "decisions", "endorsements", "keys", "meta", "selections", "tokens", "workloads"];
    assert_eq!(tables(data_dir), kept);
}

#[tokio::test]
async fn a_store_of_0_1_is_upgraded_as_it_is_opened() {
    let dir = store_of_0_1();
    assert_upgraded(dir.path()).await;
    assert_eq!(backups(dir.path()), [upgrade::BACKUP]);
    assert_upgraded(dir.path()).await;
    assert_eq!(backups(dir.path()), [upgrade::BACKUP], "it is upgraded once");
}

/// The copy is a store that release 0.1 opens, and this one upgrades.
#[tokio::test]
async fn the_copy_is_whole_and_its_owners_alone() {
    let dir = store_of_0_1();
    let before = tables(dir.path());
    drop(reopen(dir.path()).unwrap());
    let copy = dir.path().join(upgrade::BACKUP);
    assert_eq!(mode(&copy), 0o600);
    let restored = tempfile::tempdir().unwrap();
    fs::copy(copy, restored.path().join(file::NAME)).unwrap();
    assert_eq!(tables(restored.path()), before);
    assert_upgraded(restored.path()).await;
}

/// Killed while it copied, after it copied, or before the step was committed: the next start makes it.
#[tokio::test]
async fn an_upgrade_that_was_cut_off_is_made_by_the_next_start() {
    let dir = store_of_0_1();
    fs::write(dir.path().join("keybroker.redb.format-1.new"), b"half a copy").unwrap();
    fs::write(dir.path().join(upgrade::BACKUP), b"an earlier copy").unwrap();
    assert_upgraded(dir.path()).await;
    assert_eq!(backups(dir.path()), [upgrade::BACKUP.to_owned(), format!("{}.2", upgrade::BACKUP)]);
    assert_eq!(fs::read(dir.path().join(upgrade::BACKUP)).unwrap(), b"an earlier copy");
}

/// A store that was not closed in order is repaired first.
#[tokio::test]
async fn a_store_of_0_1_that_was_killed_is_upgraded() {
    let (dir, killed) = (store_of_0_1(), tempfile::tempdir().unwrap());
    let running = Database::open(dir.path().join(file::NAME)).unwrap();
    fs::copy(dir.path().join(file::NAME), killed.path().join(file::NAME)).unwrap();
    drop(running);
    assert_upgraded(killed.path()).await;
}

#[test]
fn a_copy_that_has_no_room_is_not_begun() {
    let dir = store_of_0_1();
    let file = fs::File::open(dir.path().join(file::NAME)).unwrap();
    let needed = file.metadata().unwrap().len() + HEADROOM;
    let copied = upgrade::back_up(dir.path(), &file, |_| Ok(Some(HEADROOM)));
    assert_eq!(copied, Err(OpenError::NoRoomForBackup { needed }));
    assert!(copied.unwrap_err().to_string().contains(&format!("{needed} bytes must be free")));
    assert_eq!(backups(dir.path()), [""; 0]);
}

/// Nothing is changed where the copy has no place.
#[tokio::test]
async fn without_a_copy_nothing_is_changed() {
    let dir = store_of_0_1();
    let before = tables(dir.path());
    // A directory has the name that the copy has while it is made.
    fs::create_dir(dir.path().join("keybroker.redb.format-1.new")).unwrap();
    assert!(matches!(reopen(dir.path()), Err(OpenError::Io(_))));
    assert_eq!(tables(dir.path()), before);
    fs::remove_dir(dir.path().join("keybroker.redb.format-1.new")).unwrap();
    assert_upgraded(dir.path()).await;
}
