use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, time::Duration};

use keybroker_common::{
    audit::{AuditRecord, Decision, Operation},
    clock::SystemClock,
    keyring::Purpose,
    secret::{EncryptionContext, Secret, Wrap as _},
    store::{
        AuditQuery, AuditStore as _, Build, DecisionStore as _, EndorsementStore as _, KeyringStore as _,
        OperatorStore, RegistrationStore as _, ReleaseStore as _, RevocationStore as _, StoredEndorsement,
        TokenStore as _, WorkloadStore as _,
    },
    workload::Workload,
};
use keybroker_testing::{
    faulty::{FaultyStore, Method, When, injected},
    sample,
};
use redb::{Database, TableDefinition};
use tempfile::TempDir;

mod damage;
mod deployment;
mod killed;
mod planted;
mod rewrap;
mod selections;
mod upgrade;
mod upkeep;

use super::{
    rows::{GuestRow, KeyringRow, Row},
    *,
};
use crate::key::LocalKey;

mod contract {
    keybroker_testing::store_contract!(*super::Scratch::new());
}

/// The same in memory.
mod contract_in_memory {
    use super::{Arc, EmbeddedStore, SystemClock};

    keybroker_testing::store_contract!(EmbeddedStore::in_memory(Arc::new(SystemClock)).unwrap());
}

/// A store in a directory of its own, that goes when it does.
struct Scratch {
    store: EmbeddedStore,
    dir: TempDir,
}

impl Scratch {
    fn new() -> Self {
        Self::at(Arc::new(SystemClock))
    }

    fn at(clock: Arc<dyn Clock>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(&dir.path().join("data"), clock).unwrap();
        Self { store, dir }
    }

    fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn file(&self) -> PathBuf {
        self.data_dir().join(file::NAME)
    }

    /// Closes the store and opens it again.
    fn reopened(self) -> Self {
        let Self { store, dir } = self;
        drop(store);
        Self { store: reopen(&dir.path().join("data")).unwrap(), dir }
    }

    /// Writes `bytes` as a row.
    fn plant<R: Row>(&self, key: &[u8], bytes: &[u8]) {
        let plant = |database: &Database| {
            let transaction = database.begin_write()?;
            transaction.open_table(R::TABLE)?.insert(key, bytes)?;
            Ok(transaction.commit()?)
        };
        self.store.disk.with(plant).unwrap();
    }
}

impl std::ops::Deref for Scratch {
    type Target = EmbeddedStore;

    fn deref(&self) -> &EmbeddedStore {
        &self.store
    }
}

fn reopen(data_dir: &Path) -> Result<EmbeddedStore, OpenError> {
    EmbeddedStore::open(data_dir, Arc::new(SystemClock))
}

/// A database with one table of this name, with text for keys and values.
fn database_with(table: &str, name: &str, value: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let database = Database::create(dir.path().join(file::NAME)).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(TableDefinition::<&str, &str>::new(table)).unwrap().insert(name, value).unwrap();
    transaction.commit().unwrap();
    dir
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[tokio::test]
async fn everything_is_there_after_reopening() {
    let store = Scratch::new();
    let (workload, registered) = (sample::workload(), sample::registered());
    store.create(&workload, &registered, None).await.unwrap();
    let (decision, ring) = (sample::attest_decision(1), sample::ring());
    store.decide(&decision).await.unwrap();
    store.put_keyring(Purpose::Session, None, &ring).await.unwrap();
    let (key, endorsement) = (sample::endorsement_key(), sample::endorsement(1));
    store.put_endorsement(&key, &endorsement).await.unwrap();
    store.bind_key("local:1").unwrap();

    let store = store.reopened();
    assert_eq!(store.workload(&workload.id).await, Ok(Some(workload)));
    assert_eq!(store.decision(decision.record.id).await.as_ref(), Ok(&Some(decision.clone())));
    assert_eq!(store.keyring(Purpose::Session).await.unwrap().unwrap().ring, ring);
    assert_eq!(store.endorsement(&key).await, Ok(Some(endorsement)));
    assert_eq!(store.audit_record(decision.record.id), Ok(Some(decision.record)));
    assert_eq!(store.audit_record(registered.id), Ok(Some(registered)));
    assert_eq!(store.bound_key(), Ok(Some("local:1".to_owned())));
}

#[tokio::test]
async fn the_audit_log_is_read_oldest_first() {
    let store = Scratch::new();
    let records: Vec<_> = (0..20).map(|_| sample::refused()).collect();
    for record in records.iter().rev() {
        store.append(record).await.unwrap();
    }
    let log = store.audit_records().unwrap();
    // Not a record of what was already being read.
    store.append(&sample::refused()).await.unwrap();
    assert_eq!(log.collect::<Result<Vec<_>, _>>(), Ok(records));
}

#[test]
fn a_store_is_opened_once_at_a_time() {
    let store = Scratch::new();
    let again = reopen(&store.data_dir()).unwrap_err();
    assert_eq!(again, OpenError::Locked);
    assert_eq!(again.to_string(), "the store is in use by another process");
    store.reopened();
}

#[test]
fn the_file_is_its_owners_alone() {
    let store = Scratch::new();
    assert_eq!(mode(&store.data_dir()), 0o700);
    assert_eq!(mode(&store.file()), 0o600);
    fs::set_permissions(store.file(), fs::Permissions::from_mode(0o644)).unwrap();
    let store = store.reopened();
    assert_eq!(mode(&store.file()), 0o600);
}

#[test]
fn a_directory_that_cannot_be_made_is_an_error() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = reopen(&file.path().join("data")).unwrap_err();
    assert_eq!(error, OpenError::Io(std::io::ErrorKind::NotADirectory));
}

#[test]
fn a_file_of_another_kind_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(file::NAME);
    for contents in [b"x".to_vec(), b"SQLite format 3\0".repeat(1000)] {
        fs::write(&file, &contents).unwrap();
        assert_eq!(reopen(dir.path()).unwrap_err(), OpenError::Foreign);
        assert_eq!(fs::read(&file).unwrap(), contents, "the file is left as it was");
    }
}

/// The states of a new file that redb makes, at each of its steps until the first words that say what it is.
fn half_made() -> Vec<Vec<u8>> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(file::NAME);
    drop(Database::create(&path).unwrap());
    let whole = fs::read(path).unwrap();
    let mut header = vec![0; whole.len()];
    header[9..320].copy_from_slice(&whole[9..320]);
    vec![Vec::new(), vec![0; whole.len()], header]
}

/// Nobody was told of anything in it: earlier releases were killed at their first start, and never accepted
/// it again.
#[test]
fn a_file_that_was_never_made_a_database_is_none() {
    for left in half_made() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(file::NAME);
        fs::write(&file, &left).unwrap();
        let existing = EmbeddedStore::open_existing(dir.path(), Arc::new(SystemClock));
        assert_eq!(existing.unwrap_err(), OpenError::Missing);
        assert_eq!(fs::read(&file).unwrap(), left, "nothing is made");
        let store = reopen(dir.path()).unwrap();
        store.bind_key("local:1").unwrap();
        drop(store);
        assert_eq!(reopen(dir.path()).unwrap().bound_key(), Ok(Some("local:1".to_owned())));
    }
}

/// A store whose first words are gone has rows, and is somebody's.
#[test]
fn a_store_without_its_first_words_is_not_made_anew() {
    let Scratch { store, dir } = Scratch::new();
    drop(store);
    let file = dir.path().join("data").join(file::NAME);
    let mut bytes = fs::read(&file).unwrap();
    bytes[..4096].fill(0);
    fs::write(&file, &bytes).unwrap();
    assert_eq!(reopen(&dir.path().join("data")).unwrap_err(), OpenError::Foreign);
    assert_eq!(fs::read(&file).unwrap(), bytes);
}

/// It has its name once it is whole; what a killed process left on the way is overwritten, and what one is at
/// is not.
#[test]
fn a_store_is_made_under_another_name() {
    let dir = tempfile::tempdir().unwrap();
    let workshop = dir.path().join(file::WORKSHOP);
    fs::write(&workshop, b"SQLite format 3").unwrap();
    let maker = fs::File::open(&workshop).unwrap();
    maker.lock().unwrap();
    assert_eq!(reopen(dir.path()).unwrap_err(), OpenError::Locked);
    assert_eq!(fs::read(&workshop).unwrap(), b"SQLite format 3");
    assert!(!dir.path().join(file::NAME).exists());
    drop(maker);
    let store = reopen(dir.path()).unwrap();
    assert!(!workshop.exists() && dir.path().join(file::NAME).exists());
    assert_eq!(reopen(dir.path()).unwrap_err(), OpenError::Locked, "it is locked as it is made");
    drop(store);
    assert_eq!(mode(&dir.path().join(file::NAME)), 0o600);
}

#[test]
fn a_database_of_another_program_is_refused() {
    let other = database_with("users", "root", "admin");
    assert_eq!(reopen(other.path()).unwrap_err(), OpenError::Foreign);

    let other = database_with("meta", "version", "7");
    assert_eq!(reopen(other.path()).unwrap_err(), OpenError::Foreign);

    let other = tempfile::tempdir().unwrap();
    let database = Database::create(other.path().join(file::NAME)).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(TableDefinition::<u64, u64>::new("meta")).unwrap();
    transaction.commit().unwrap();
    drop(database);
    assert_eq!(reopen(other.path()).unwrap_err(), OpenError::Foreign);
}

#[test]
fn another_format_is_refused() {
    let newer = database_with("meta", "format", "3");
    assert_eq!(reopen(newer.path()).unwrap_err(), OpenError::Format { found: "3".to_owned() });
}

/// If any byte of the rows is altered while the store is closed, reading all of it says so.
#[tokio::test]
async fn a_damaged_file_is_found_out() {
    let store = Scratch::new();
    let workload = sample::workload();
    store.create(&workload, &sample::registered(), None).await.unwrap();
    let Scratch { store, dir } = store;
    drop(store);
    let file = dir.path().join("data").join(file::NAME);
    let mut bytes = fs::read(&file).unwrap();
    let id = workload.id.as_str().as_bytes();
    let places: Vec<_> = (0..bytes.len() - id.len()).filter(|&at| bytes[at..].starts_with(id)).collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at] ^= 0x20;
    }
    fs::write(&file, bytes).unwrap();
    let error = EmbeddedStore::check_deeply(&dir.path().join("data")).unwrap_err();
    assert!(matches!(error, OpenError::Corrupt(_)), "{error:?}");
}

#[test]
fn a_store_belongs_to_the_first_key() {
    let store = Scratch::new();
    assert_eq!(store.bound_key(), Ok(None));
    assert_eq!(store.bind_key("local:1"), Ok(()));
    assert_eq!(store.bind_key("local:1"), Ok(()));
    let (expected, found) = ("local:1".to_owned(), "local:2".to_owned());
    assert_eq!(store.bind_key("local:2"), Err(OpenError::OtherKey { expected: expected.clone(), found }));
    assert_eq!(store.bound_key(), Ok(Some(expected)));
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_an_error_of_that_row() {
    let store = Scratch::new();
    let good = sample::workload();
    store.create(&good, &sample::registered(), None).await.unwrap();
    let (audit, decision) = (sample::refused(), sample::attest_decision(1));
    let decided = decision.record.id;
    let garbage: [&[u8]; 6] = [b"", b"null", b"{}", b"[1,2", b"\xff\xfe", b"{\"id\":7}"];
    for bytes in garbage {
        store.plant::<Workload>(b"broken", bytes);
        store.plant::<GuestRow>(decided.0.as_bytes(), bytes);
        store.plant::<KeyringRow>(Purpose::Session.name().as_bytes(), bytes);
        store.plant::<StoredEndorsement>(b"broken", bytes);
        store.plant::<AuditRecord>(audit.id.0.as_bytes(), bytes);

        let id = keybroker_common::ids::WorkloadId::new("broken").unwrap();
        let broken = Workload { id: id.clone(), ..sample::workload() };
        assert_corrupt("workloads", store.workload(&id).await);
        assert_corrupt(
            "workloads",
            store.replace(&broken, Build::Same, &broken, &sample::registered(), None).await,
        );
        assert_corrupt("workloads", store.mark_released(&id, broken.digest(), sample::at(1)).await);
        assert_corrupt("workloads", store.revoke(&id, &sample::revoked(1)).await);
        assert_eq!(store.create(&broken, &sample::registered(), None).await, Err(StoreError::Conflict));
        assert_corrupt("decisions", store.decision(decided).await);
        assert_corrupt("decisions", store.decide(&decision).await);
        assert_corrupt("decisions", store.audit_record(decided));
        assert_eq!(store.record(&decision.record).await, Err(StoreError::Conflict));
        assert_corrupt("keys", store.keyring(Purpose::Session).await);
        assert_corrupt("keys", store.put_keyring(Purpose::Session, None, &sample::ring()).await);
        assert_corrupt("endorsements", store.endorsement("broken").await);
        assert_corrupt("audit", store.audit_record(audit.id));
        let unreadable: Vec<_> = store.audit_records().unwrap().filter_map(Result::err).collect();
        assert_eq!(unreadable.len(), 2, "{unreadable:?}");
        let listed = OperatorStore::audit_records(&*store, &AuditQuery::default(), None).await.unwrap();
        assert_eq!((listed.rows.len(), listed.unreadable.len()), (1, 2), "they stop no listing");
        assert_eq!(store.workload(&good.id).await.as_ref(), Ok(&Some(good.clone())));
    }
}

fn assert_corrupt<T: std::fmt::Debug>(expected: &str, outcome: Result<T, StoreError>) {
    match outcome {
        Err(StoreError::Corrupt { table, .. }) => assert_eq!(table, expected),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_error_does_not_quote_the_row() {
    let store = Scratch::new();
    store.plant::<KeyringRow>(b"session", b"{\"edition\":\"topsecret\"}");
    let error = store.keyring(Purpose::Session).await.unwrap_err().to_string();
    assert_eq!(error, "a row of keys cannot be read: Data error at byte 22");
}

#[tokio::test]
async fn an_endorsement_that_cannot_be_read_gives_way() {
    let store = Scratch::new();
    store.plant::<StoredEndorsement>(b"key", b"garbage");
    let endorsement = sample::endorsement(0);
    assert_eq!(store.put_endorsement("key", &endorsement).await, Ok(()));
    assert_eq!(store.endorsement("key").await, Ok(Some(endorsement)));
}

#[tokio::test]
async fn no_secret_stands_in_the_file() {
    let store = Scratch::new();
    let key = LocalKey::create(&store.dir.path().join("wrapping.key")).unwrap();
    store.bind_key(key.key_id()).unwrap();
    let passphrase = "3f9c0d5e7a1b";
    let mut workload = sample::workload();
    let context = EncryptionContext {
        workload_id: workload.id.clone(),
        secret: "passphrase".to_owned(),
        registration: workload.digest(),
    };
    let secret = Secret::new(passphrase.as_bytes().to_vec());
    let wrapped = key.wrap_secret(&context, &secret).await.unwrap();
    workload.secrets = [("passphrase".to_owned(), wrapped.clone())].into();
    store.create(&workload, &sample::registered(), None).await.unwrap();

    let (key_file, file) =
        (fs::read(store.dir.path().join("wrapping.key")).unwrap(), fs::read(store.file()).unwrap());
    let holds = |needle: &[u8]| file.windows(needle.len()).any(|window| window == needle);
    let base64 = |bytes: &[u8]| data_encoding::BASE64.encode(bytes);
    let key_hex = key_file.trim_ascii_end().split(|&byte| byte == b':').next_back().unwrap();
    assert!(!holds(passphrase.as_bytes()));
    assert!(!holds(base64(passphrase.as_bytes()).trim_end_matches('=').as_bytes()));
    assert!(!holds(key_hex) && !holds(&data_encoding::HEXLOWER.decode(key_hex).unwrap()));
    // The search finds what is there.
    assert!(holds(base64(&wrapped.ciphertext).as_bytes()) && holds(key.key_id().as_bytes()));
}

/// A caller that goes away does not call its write back.
#[tokio::test]
async fn a_write_outlives_its_caller() {
    let store = Scratch::new();
    let audit = AuditRecord::new(sample::at(0), Operation::Key, Decision::Released);
    let mut append = Box::pin(store.append(&audit));
    let begun = std::future::poll_fn(|context| std::task::Poll::Ready(append.as_mut().poll(context))).await;
    drop((begun, append));
    let landed = async {
        while store.audit_record(audit.id) == Ok(None) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), landed).await.expect("the write to land");
    assert_eq!(store.audit_record(audit.id), Ok(Some(audit)));
}

#[tokio::test]
async fn the_double_fails_before_and_after_persisting() {
    let store = FaultyStore::new(Scratch::new().store);
    let (lost, landed) = (sample::workload(), sample::workload());
    store.fail(Method::Create, 1, When::Before);
    store.fail(Method::Create, 2, When::After);
    assert_eq!(store.create(&lost, &sample::registered(), None).await, Err(injected()));
    assert_eq!(store.create(&landed, &sample::registered(), None).await, Err(injected()));
    assert_eq!(store.create(&lost, &sample::registered(), None).await, Ok(()));
    assert_eq!(store.create(&landed, &sample::registered(), None).await, Err(StoreError::Conflict));
    assert_eq!(store.inner().workload(&landed.id).await, Ok(Some(landed)));
    assert_eq!(store.log(), [Method::Create; 4]);

    // Counted from now on, and each method for itself.
    store.fail(Method::Append, 1, When::Before);
    store.fail(Method::Create, 2, When::Before);
    assert_eq!(store.create(&sample::workload(), &sample::registered(), None).await, Ok(()));
    assert_eq!(store.create(&sample::workload(), &sample::registered(), None).await, Err(injected()));
    assert_eq!(store.append(&sample::refused()).await, Err(injected()));
    assert_eq!((store.calls(Method::Create), store.calls(Method::Append)), (6, 1));
}

/// An error of the store itself is not hidden by one that was injected after it.
#[tokio::test]
async fn the_double_passes_a_conflict_on() {
    let store = FaultyStore::new(Scratch::new().store);
    store.fail(Method::Revoke, 1, When::After);
    assert_eq!(store.revoke(&sample::workload().id, &sample::revoked(1)).await, Err(StoreError::Conflict));
}

/// 30 days after it expired a token is no longer listed; its row goes when the next one is made.
#[tokio::test]
async fn tokens_of_long_ago_make_room() {
    let scratch = Scratch::new();
    let store = &scratch.store;
    let old = sample::token();
    store.put_token(&old, &sample::token_made()).await.unwrap();
    let gone_at = old.unlisted_at().unwrap();
    let made = |time| AuditRecord { time, ..sample::token_made() };
    let just_before = gone_at - jiff::SignedDuration::from_nanos(1);
    store.put_token(&sample::token(), &made(just_before)).await.unwrap();
    assert_eq!(store.token(&old.id).await, Ok(Some(old.clone())));
    let next = sample::token();
    store.put_token(&next, &made(gone_at)).await.unwrap();
    assert_eq!(store.token(&old.id).await, Ok(None));
    assert_eq!(store.token(&next.id).await, Ok(Some(next)));
}
