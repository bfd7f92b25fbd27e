//! A store that moves to another wrapping key.

use std::{
    env,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
    thread::sleep,
};

use keybroker_common::{
    keyring::{Keyring, KeyringWrap as _},
    rewrap::KeyMove,
    secret::Unwrap as _,
    store::StoreError,
};

use super::*;
use crate::{key::LocalMove, store::Moved};

const CONFLICT: Result<(), StoreError> = Err(StoreError::Conflict);

/// Two keys in files beside the data directory.
fn keys(dir: &Path) -> LocalMove {
    let key = |name: &str| {
        let path = dir.join(name);
        Arc::new(LocalKey::load(&path).or_else(|_| LocalKey::create(&path)).unwrap())
    };
    LocalMove { from: key("old.key"), to: key("new.key") }
}

fn between(keys: &LocalMove) -> KeyMove {
    KeyMove { from: [keys.from.key_id().to_owned()].into(), to: keys.to.key_id().to_owned() }
}

fn context(workload: &Workload) -> EncryptionContext {
    let (workload_id, secret) = (workload.id.clone(), "passphrase".to_owned());
    EncryptionContext { workload_id, secret, registration: workload.digest() }
}

/// Fills the store with so many workloads, whose secrets are their ids, and two rings, all under the old key.
async fn fill(store: &EmbeddedStore, keys: &LocalMove, workloads: usize) {
    store.bind_key(keys.from.key_id()).unwrap();
    let mut creating = Vec::new();
    for _ in 0..workloads {
        let mut workload = sample::workload();
        let secret = Secret::new(workload.id.as_str().as_bytes().to_vec());
        let wrapped = keys.from.wrap_secret(&context(&workload), &secret).await.unwrap();
        workload.secrets = [("passphrase".to_owned(), wrapped)].into();
        creating.push(workload);
    }
    for workload in &creating {
        store.create(workload, &sample::registered(), None).await.unwrap();
    }
    if let Some(first) = creating.first() {
        store.revoke(&first.id, &sample::revoked(1)).await.unwrap();
    }
    for purpose in [Purpose::Challenge, Purpose::Signature] {
        let key = keys.from.keyring(purpose).wrap_key(&Secret::new(vec![7; 32])).await.unwrap();
        let ring = Keyring::default().with(key.clone(), sample::at(0)).with(key, sample::at(8 * 24 * 3600));
        store.put_keyring(purpose, None, &ring).await.unwrap();
    }
}

/// All rows of the store as they become.
async fn moved(store: &EmbeddedStore, keys: &LocalMove) -> Moved {
    let (between, mut moved) = (between(keys), Moved::default());
    for workload in all(store).await {
        let secrets = between.moved_secrets(&workload, keys).await.unwrap();
        moved.workloads.push((workload.id, secrets, sample::rewrapped(2)));
    }
    for purpose in [Purpose::Challenge, Purpose::Signature] {
        let ring = store.keyring(purpose).await.unwrap().unwrap().ring;
        let ring = between.moved_ring(purpose, &ring, keys).await.unwrap();
        moved.rings.push((purpose, ring, sample::rewrapped(2)));
    }
    moved
}

async fn all(store: &EmbeddedStore) -> Vec<Workload> {
    let (mut rows, mut next) = (Vec::new(), None);
    loop {
        let page = store.workloads(next.as_ref()).await.unwrap();
        rows.extend(page.rows);
        next = page.next;
        if next.is_none() {
            return rows;
        }
    }
}

/// Asserts that the key that the store belongs to opens everything in it; whether that is the new one.
async fn assert_opens(store: &EmbeddedStore, keys: &LocalMove) -> bool {
    let bound = store.bound_key().unwrap().unwrap();
    let is_new = bound == keys.to.key_id();
    let key = if is_new { &keys.to } else { &keys.from };
    assert_eq!(bound, key.key_id());
    for workload in all(store).await {
        let secret = key.unwrap_secret(&context(&workload), &workload.secrets["passphrase"]).await.unwrap();
        assert_eq!(secret.expose(), workload.id.as_str().as_bytes());
    }
    for purpose in [Purpose::Challenge, Purpose::Signature] {
        for kept in store.keyring(purpose).await.unwrap().unwrap().ring.keys {
            let opened = key.keyring(purpose).unwrap_key(&kept.wrapped).await.unwrap();
            assert_eq!(opened.expose(), [7; 32]);
        }
    }
    is_new
}

#[tokio::test]
async fn everything_moves_at_once_and_nothing_else_changes() {
    let scratch = Scratch::new();
    let keys = keys(scratch.dir.path());
    fill(&scratch.store, &keys, 20).await;
    let (before, rings) = (all(&scratch.store).await, scratch.store.keyring(Purpose::Challenge).await);
    let moves = moved(&scratch.store, &keys).await;
    scratch.store.move_to_key(keys.from.key_id(), keys.to.key_id(), &moves).unwrap();
    let scratch = scratch.reopened();
    assert!(assert_opens(&scratch.store, &keys).await);
    let same = |workload: Workload| Workload { secrets: Default::default(), ..workload };
    let after = all(&scratch.store).await.into_iter().map(same).collect::<Vec<_>>();
    assert_eq!(after, before.into_iter().map(same).collect::<Vec<_>>());
    let ring = scratch.store.keyring(Purpose::Challenge).await.unwrap().unwrap();
    assert_eq!(ring.edition, rings.unwrap().unwrap().edition + 1);
    for (_, _, record) in &moves.workloads {
        assert_eq!(scratch.store.audit_record(record.id), Ok(Some(record.clone())));
    }
    for (_, _, record) in &moves.rings {
        assert_eq!(scratch.store.audit_record(record.id), Ok(Some(record.clone())));
    }
    let back = scratch.store.move_to_key(keys.from.key_id(), keys.to.key_id(), &moves);
    assert_eq!(back, CONFLICT, "it belongs to the new key");
}

/// All is undone, the records too.
#[tokio::test]
async fn a_store_with_something_left_behind_stays_with_its_key() {
    let scratch = Scratch::new();
    let (keys, store) = (keys(scratch.dir.path()), &scratch.store);
    fill(store, &keys, 5).await;
    let (from, to) = (keys.from.key_id(), keys.to.key_id());
    let cases: [fn(&mut Moved); 5] = [
        |moves| drop(moves.workloads.pop()),
        |moves| drop(moves.rings.pop()),
        |moves| moves.workloads[0].0 = sample::workload().id,
        |moves| {
            moves.workloads[0].1.values_mut().for_each(|wrapped| wrapped.key_id = "local:other".to_owned())
        },
        |moves| moves.workloads[1].2 = moves.workloads[0].2.clone(),
    ];
    for (number, change) in cases.into_iter().enumerate() {
        let mut moves = moved(store, &keys).await;
        change(&mut moves);
        assert_eq!(store.move_to_key(from, to, &moves), CONFLICT, "{number}");
        assert!(!assert_opens(store, &keys).await, "{number}");
        for (_, _, record) in &moves.workloads {
            assert_eq!(store.audit_record(record.id), Ok(None), "{number}");
        }
    }
    let moves = moved(store, &keys).await;
    assert_eq!(store.move_to_key("local:another", to, &moves), CONFLICT);
    store.move_to_key(from, to, &moves).unwrap();
}

/// Names the directory to a process that is there to be killed.
const DIR: &str = "KEYBROKER_TEST_MOVES_IN";

/// The process that is killed: it moves the store to and fro.
#[tokio::test]
async fn moves_until_it_is_killed() {
    let Some(dir) = env::var_os(DIR) else { return };
    let dir = Path::new(&dir);
    let mut keys = keys(dir);
    let store = reopen(&dir.join("data")).unwrap();
    if assert_opens(&store, &keys).await {
        (keys.from, keys.to) = (keys.to, keys.from);
    }
    for _ in 0..10_000 {
        eprintln!("moving");
        let moves = moved(&store, &keys).await;
        store.move_to_key(keys.from.key_id(), keys.to.key_id(), &moves).unwrap();
        (keys.from, keys.to) = (keys.to, keys.from);
    }
}

#[tokio::test]
async fn a_store_that_is_killed_belongs_to_one_key_with_everything_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let keys = keys(dir.path());
    let store = reopen(&dir.path().join("data")).unwrap();
    fill(&store, &keys, 100).await;
    drop(store);
    for round in 0..8 {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "store::tests::rewrap::moves_until_it_is_killed", "--nocapture"])
            .env(DIR, dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // In the middle of the second move, or of one after it.
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        assert_eq!(lines.take(2).filter(|line| line.as_ref().is_ok_and(|line| line == "moving")).count(), 2);
        sleep(Duration::from_millis(3 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_opens(&reopen(&dir.path().join("data")).unwrap(), &keys).await;
    }
}
