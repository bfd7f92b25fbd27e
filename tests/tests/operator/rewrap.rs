//! `keybroker keys rewrap` on one machine: the store moves to another key file.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _, chown, symlink},
        process::CommandExt as _,
    },
    path::PathBuf,
    sync::Arc,
};

use keybroker_common::{
    clock::SystemClock,
    dialect::Dialect,
    keyring::{Keyring, KeyringWrap as _, Purpose},
    secret::{EncryptionContext, Secret, Unwrap as _},
    store::{KeyringStore as _, WorkloadStore as _},
    workload::Workload,
};
use keybroker_embedded::{key::LocalKey, store::EmbeddedStore};
use keybroker_tests::{
    operator::{Contents, Operator},
    program::{self, Ended},
    server::Server,
    skip, unique,
    world::World,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::resource::wrapped;

const SECRET: &[u8] = b"a secret that stays what it is";

/// A store that no broker has open, and its key.
struct Machine {
    operator: Operator,
    dir: TempDir,
}

impl Machine {
    async fn with(contents: impl AsyncFnOnce(&Arc<LocalKey>) -> Contents) -> Self {
        let dir = TempDir::new().unwrap();
        let (data_dir, key_file) = (dir.path().join("data"), dir.path().join("old.key"));
        let key = Arc::new(LocalKey::create(&key_file).unwrap());
        let store = EmbeddedStore::open(&data_dir, Arc::new(SystemClock)).unwrap();
        store.bind_key(key.key_id()).unwrap();
        contents(&key).await.fill(&store).await;
        drop(store);
        let operator = Operator::of_directory(&data_dir, "file");
        Self { operator: operator.with("KEYBROKER_KEY_FILE", key_file.to_str().unwrap()), dir }
    }

    /// `web` has two secrets, `api` one; two rings have keys.
    async fn new() -> Self {
        Self::with(async |key| {
            let web = [("a/b/c", SECRET), ("a/b/d", SECRET)];
            let wrapped = |purpose| async move {
                let key = key.keyring(purpose).wrap_key(&Secret::new(vec![7; 32])).await.unwrap();
                (purpose, Keyring::default().with(key, jiff::Timestamp::now()))
            };
            Contents {
                workloads: vec![
                    self::wrapped(key.as_ref(), "web", Dialect::Trustee, &web).await,
                    self::wrapped(key.as_ref(), "api", Dialect::Keybroker, &[("tls.key", SECRET)]).await,
                ],
                rings: vec![wrapped(Purpose::Challenge).await, wrapped(Purpose::Session).await],
                ..Contents::default()
            }
        })
        .await
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn rewrap(&self, new: &str, more: &[&str]) -> Ended {
        let new = self.path(new);
        self.operator.run(&[&["keys", "rewrap", "--new-key-file", new.to_str().unwrap()][..], more].concat())
    }

    fn store(&self) -> EmbeddedStore {
        EmbeddedStore::open_existing(&self.path("data"), Arc::new(SystemClock)).unwrap()
    }

    /// Asserts that the store belongs to the key in this file, which opens all secrets and rings.
    async fn assert_opens_with(&self, name: &str) {
        let (store, key) = (self.store(), Arc::new(LocalKey::load(&self.path(name)).unwrap()));
        assert_eq!(store.bound_key().unwrap().as_deref(), Some(key.key_id()));
        for id in ["web", "api"] {
            let workload = store.workload(&id.parse_id()).await.unwrap().unwrap();
            for (secret, wrapped) in &workload.secrets {
                let opened = key.unwrap_secret(&context(&workload, secret), wrapped).await.unwrap();
                assert_eq!(opened.expose(), SECRET, "{id} {secret}");
            }
        }
        for purpose in [Purpose::Challenge, Purpose::Session] {
            for kept in store.keyring(purpose).await.unwrap().unwrap().ring.keys {
                let opened = key.keyring(purpose).unwrap_key(&kept.wrapped).await.unwrap();
                assert_eq!(opened.expose(), [7; 32], "{purpose}");
            }
        }
    }

    fn records(&self) -> Vec<Value> {
        let records = self.operator.json(&["audit", "--since", "1h"])["records"].clone();
        let mut records = records.as_array().unwrap().clone();
        records.retain(|record| record["operation"] == "operate");
        records
    }
}

trait ParseId {
    fn parse_id(&self) -> keybroker_common::ids::WorkloadId;
}

impl ParseId for str {
    fn parse_id(&self) -> keybroker_common::ids::WorkloadId {
        keybroker_common::ids::WorkloadId::new(self).unwrap()
    }
}

fn context(workload: &Workload, secret: &str) -> EncryptionContext {
    let (workload_id, registration) = (workload.id.clone(), workload.digest());
    EncryptionContext { workload_id, secret: secret.to_owned(), registration }
}

#[tokio::test]
async fn everything_moves_to_a_new_key_file_and_is_on_record() {
    let machine = Machine::new().await;
    assert_eq!(machine.operator.run(&["workload", "revoke", "api"]).code, Some(0));
    let dry = machine.rewrap("new.key", &["--dry-run"]);
    assert!(
        dry.code == Some(0) && dry.out.contains("workload web") && dry.out.contains("ring session"),
        "{dry:?}"
    );
    assert!(!machine.path("new.key").exists());
    machine.assert_opens_with("old.key").await;
    let asked = machine.rewrap("new.key", &[]);
    assert!(asked.code == Some(2) && asked.log.contains("--yes"), "{asked:?}");
    let before = machine.operator.json(&["workload", "show", "web"]);

    let ended = machine.rewrap("new.key", &["--yes", "--json"]);
    assert!(ended.code == Some(0) && ended.log.contains("start the broker with --key-file"), "{ended:?}");
    machine.assert_opens_with("new.key").await;
    let document: Value = serde_json::from_str(&ended.out).unwrap();
    let moved: Vec<_> =
        document["workloads"].as_array().unwrap().iter().map(|row| &row["workload_id"]).collect();
    assert_eq!((moved, &document["stuck"]), (vec![&json!("api"), &json!("web")], &json!([])), "{document}");

    let after = machine.operator.json(&["workload", "show", "web"]);
    for field in ["registration", "requirements", "owner", "registered_at", "revoked_at"] {
        assert_eq!(after[field], before[field], "{field}");
    }
    assert!(machine.operator.json(&["workload", "show", "api"])["revoked_at"].is_string());
    let records = machine.records();
    let told: BTreeMap<_, _> = records
        .iter()
        .filter(|record| record["decision"] == "rewrapped")
        .map(|record| {
            let act = &record["act"]["rewrapped"];
            let what = record["workload_id"].as_str().or(act["ring"].as_str()).unwrap();
            assert!(
                record["principal"].is_string()
                    && act["to"] == document["to"]
                    && act["from"] == document["from"]
            );
            (what, record["id"].as_str().unwrap())
        })
        .collect();
    assert_eq!(told.keys().copied().collect::<Vec<_>>(), ["api", "challenge", "session", "web"]);
    let words = machine.operator.out(&["audit", told["web"]]);
    assert!(words.contains("The secrets of web were moved from the wrapping key local:"), "{words}");
    let words = machine.operator.out(&["audit", told["session"]]);
    assert!(words.contains("The broker's keys of the ring session were moved"), "{words}");

    // Again, with both files: nothing is left. With the old one alone the operator names the wrong key.
    let again = machine.rewrap("new.key", &["--yes"]);
    assert!(again.code == Some(0) && again.log.contains("nothing is left to move"), "{again:?}");
    let wrong = machine.rewrap("third.key", &["--yes"]);
    assert!(wrong.code == Some(5) && wrong.log.contains("the store belongs to"), "{wrong:?}");
    assert!(!machine.path("third.key").exists());
    // And on, from the new key.
    let on = machine.rewrap("third.key", &["--yes", "--key-file", machine.path("new.key").to_str().unwrap()]);
    assert_eq!(on.code, Some(0), "{on:?}");
    machine.assert_opens_with("third.key").await;
}

/// An earlier run was killed between the two steps: the key is there, and nothing is wrapped by it.
#[tokio::test]
async fn a_run_goes_on_with_the_key_that_an_earlier_one_made() {
    let machine = Machine::new().await;
    let made = LocalKey::create(&machine.path("new.key")).unwrap();
    assert_eq!(machine.rewrap("new.key", &["--yes"]).code, Some(0));
    assert_eq!(LocalKey::load(&machine.path("new.key")).unwrap().key_id(), made.key_id());
    machine.assert_opens_with("new.key").await;
}

/// The store's only key may have any name.
#[tokio::test]
async fn a_move_takes_away_no_key_beside_the_new_one() {
    let machine = Machine::new().await;
    assert_eq!(machine.rewrap("key.new", &["--yes"]).code, Some(0));
    let key_new = machine.path("key.new");
    let ended = machine.rewrap("key", &["--yes", "--key-file", key_new.to_str().unwrap()]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    machine.assert_opens_with("key").await;
    LocalKey::load(&key_new).unwrap();
}

/// Root moves the store of a broker that runs as another user, and the broker reads its new key.
#[tokio::test]
async fn the_new_key_is_the_old_ones_owners() {
    const BROKER: u32 = 65534;
    let machine = Machine::new().await;
    let owned = ["data", "data/keybroker.redb", "old.key", ""];
    if owned.iter().any(|name| chown(machine.path(name), Some(BROKER), Some(BROKER)).is_err()) {
        skip("a store that is moved for another user: only root can give it to one");
        return;
    }
    // Root makes no directory there: its name could lead elsewhere by the time that it is given away.
    let new = machine.path("keys/new.key");
    let ended = machine.rewrap("keys/new.key", &["--yes"]);
    assert!(ended.code == Some(5) && ended.log.contains("its directory is not there"), "{ended:?}");
    fs::create_dir(machine.path("keys")).unwrap();
    chown(machine.path("keys"), Some(BROKER), Some(BROKER)).unwrap();
    let ended = machine.rewrap("keys/new.key", &["--yes"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let metadata = fs::metadata(&new).unwrap();
    assert_eq!((metadata.uid(), metadata.gid(), metadata.mode() & 0o7777), (BROKER, BROKER, 0o600));
    let mut serve = program::keybroker();
    serve.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(machine.path("data"));
    serve.arg("--key-file").arg(&new).uid(BROKER).gid(BROKER);
    assert_eq!(Server::start(serve).terminate().code, Some(0));

    // One that root made by other means: the broker could not read it.
    LocalKey::create(&machine.path("roots.key")).unwrap();
    let ended = machine.rewrap("roots.key", &["--yes", "--key-file", new.to_str().unwrap()]);
    let said = "belongs to user 0, and the old one to 65534\nhint: chown --no-dereference --reference=";
    assert!(ended.code == Some(5) && ended.log.contains(said), "{ended:?}");
    // A link of the broker's to a key of root's: no advice gives that one away.
    symlink("../roots.key", machine.path("keys/link.key")).unwrap();
    let ended = machine.rewrap("keys/link.key", &["--yes", "--key-file", new.to_str().unwrap()]);
    let said = "keys/link.key is a link, or no regular file\nhint: name the file itself";
    assert!(ended.code == Some(5) && ended.log.contains(said), "{ended:?}");
    machine.assert_opens_with("keys/new.key").await;
}

/// The store is free while a person thinks.
#[tokio::test]
async fn the_question_keeps_nobody_from_the_store() {
    let machine = Machine::new().await;
    let new = machine.path("new.key");
    let rewrap = ["keys", "rewrap", "--new-key-file", new.to_str().unwrap()];
    let mut terminal = machine.operator.at_terminal(&rewrap);
    terminal.wait_for("? [y/N]");
    let meanwhile = machine.operator.run(&["workload", "list"]);
    assert_eq!(meanwhile.code, Some(0), "{meanwhile:?}");
    let (code, shown) = terminal.typed("y\n");
    assert_eq!(code, Some(0), "{shown}");
    machine.assert_opens_with("new.key").await;
}

#[tokio::test]
async fn a_key_that_cannot_take_over_is_refused_and_nothing_moves() {
    let machine = Machine::new().await;
    fs::copy(machine.path("old.key"), machine.path("copy.key")).unwrap();
    fs::write(machine.path("garbage.key"), "no key").unwrap();
    fs::set_permissions(machine.path("garbage.key"), fs::Permissions::from_mode(0o600)).unwrap();
    LocalKey::create(&machine.path("open.key")).unwrap();
    fs::set_permissions(machine.path("open.key"), fs::Permissions::from_mode(0o644)).unwrap();
    for (new, code, said) in [
        ("old.key", 2, "both files hold the same key"),
        ("copy.key", 2, "both files hold the same key"),
        ("data/new.key", 5, "is in the data directory\nhint: name a path elsewhere"),
        ("garbage.key", 5, "it is not one line"),
        ("open.key", 5, "others than its owner"),
    ] {
        let ended = machine.rewrap(new, &["--yes"]);
        assert!(ended.code == Some(code) && ended.log.contains(said), "{new}: {ended:?}");
    }
    for (arguments, said) in [
        (&["keys", "rewrap"][..], "give --new-key-file"),
        (&["keys", "rewrap", "--to", "arn:aws:kms:us-east-1:123456789012:key/a"], "--aws"),
        (&["keys", "rewrap", "--from", "arn:aws:kms:us-east-1:123456789012:key/a"], "--aws"),
    ] {
        let ended = machine.operator.run(arguments);
        assert!(ended.code == Some(2) && ended.log.contains(said), "{arguments:?}: {ended:?}");
    }
    machine.assert_opens_with("old.key").await;
    assert_eq!(machine.records(), Vec::<Value>::new());
}

/// One that somebody altered, or that another key wrapped: it might be mended while its key is there.
#[tokio::test]
async fn one_row_that_does_not_open_keeps_the_store_with_its_key() {
    for altered in [false, true] {
        let machine = Machine::with(async |key| {
            let other = LocalKey::in_memory().unwrap();
            let good = wrapped(key.as_ref(), "good", Dialect::Keybroker, &[("tls.key", SECRET)]).await;
            let bad = if altered {
                let mut bad = wrapped(key.as_ref(), "bad", Dialect::Keybroker, &[("tls.key", SECRET)]).await;
                bad.registration.push(b' ');
                bad
            } else {
                wrapped(&other, "bad", Dialect::Keybroker, &[("tls.key", SECRET)]).await
            };
            Contents { workloads: vec![good, bad], ..Contents::default() }
        })
        .await;
        let ended = machine.rewrap("new.key", &["--yes"]);
        let said = ended.log.contains("workload bad: ") && ended.log.contains("so nothing was moved");
        assert!(ended.code == Some(1) && said, "{altered}: {ended:?}");
        let key = LocalKey::load(&machine.path("old.key")).unwrap();
        assert_eq!(machine.store().bound_key().unwrap().as_deref(), Some(key.key_id()));
        assert_eq!(machine.records(), Vec::<Value>::new());
        assert_eq!(machine.operator.run(&["workload", "delete", "bad", "--yes"]).code, Some(0));
        assert_eq!(machine.rewrap("new.key", &["--yes"]).code, Some(0));
    }
}

/// With the old key file the broker does not start. A session from before goes on: its key is the same.
#[tokio::test]
async fn guests_boot_before_and_after_and_a_session_goes_on() {
    let mut world = World::serve(&[]);
    let id = unique("w");
    let passphrase = world.register(&id).await.into_bytes();
    assert_eq!(world.polite(&id, world.milan()).boot().await, Ok(passphrase.clone()));
    let mut attested = world.polite(&id, world.milan());
    attested.auth().await.unwrap();
    attested.attest().await.unwrap();

    let home = world.home();
    let (data_dir, old) = (home.data_dir(), home.key_file());
    let new = old.with_extension("2");
    let operator =
        Operator::of_directory(&data_dir, "served").with("KEYBROKER_KEY_FILE", old.to_str().unwrap());
    let rewrap = ["keys", "rewrap", "--new-key-file", new.to_str().unwrap(), "--yes"];
    let running = operator.run(&rewrap);
    assert!(running.code == Some(6) && running.log.contains("end the broker"), "{running:?}");
    assert!(!new.exists());

    let (server, home, kds) = world.into_parts();
    server.terminate();
    assert_eq!(operator.run(&rewrap).code, Some(0));
    let ended: Ended = home.command(&kds.url(), &[]).output().unwrap().into();
    assert!(
        ended.code == Some(5) && ended.log.contains("the store belongs to the wrapping key"),
        "{ended:?}"
    );
    fs::rename(&new, &old).unwrap();
    world = World::over(home, kds, &[]);
    let guest = world.adopt(&mut attested);
    assert_eq!(guest.key().await, Ok(passphrase.clone()));
    assert_eq!(world.polite(&id, world.milan()).boot().await, Ok(passphrase));
}
