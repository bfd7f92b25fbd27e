//! `keybroker resource` as an operator uses it, on each kind of store.

use std::{any::Any, collections::BTreeMap, fs, io::Write as _, path::PathBuf, process::Stdio, sync::Arc};

use jiff::SignedDuration;
use keybroker_aws::kms::KmsWrap;
use keybroker_common::{
    clock::SystemClock,
    dialect::Dialect,
    ids::RegistrationDigest,
    requirements::Measurement,
    secret::{EncryptionContext, Secret, Wrap},
    workload::{Registration, Workload},
};
use keybroker_embedded::{key::LocalKey, store::EmbeddedStore};
use keybroker_tests::{
    local_aws::kms,
    operator::{Contents, Operator, workload},
    program::Ended,
    secrets::{contains, spellings},
    server::Home,
    unique,
    world::{World, anchors, kds},
};
use serde_json::{Value, json};
use tempfile::TempDir;

const FIRST: &[u8] = b"the first secret of this workload";
const SECOND: &[u8] = b"\xff\x00 another secret, and no text";

/// An operator, and what must live as long.
struct Deployment {
    operator: Operator,
    files: TempDir,
    _kept: Box<dyn Any>,
}

/// The workload `id` for guests of this dialect, with these secrets.
pub(crate) async fn wrapped(
    wrap: &dyn Wrap,
    id: &str,
    dialect: Dialect,
    secrets: &[(&str, &[u8])],
) -> Workload {
    let plain = workload(id, Some("operator"), SignedDuration::from_hours(24));
    let read = plain.read().unwrap();
    let registration = Registration { dialects: dialect.into(), ..read.registration().clone() };
    let registration = registration.to_bytes().unwrap();
    let digest = RegistrationDigest::of(&registration);
    let mut wrapped = BTreeMap::new();
    for (name, secret) in secrets {
        let context = EncryptionContext {
            workload_id: plain.id.clone(),
            secret: (*name).to_owned(),
            registration: digest,
        };
        let secret = wrap.wrap_secret(&context, &Secret::new(secret.to_vec())).await.unwrap();
        wrapped.insert((*name).to_owned(), secret);
    }
    Workload { registration, secrets: wrapped, ..plain }
}

/// `web` has two secrets for guests of Trustee and `api` one for keybroker's; `image` is of libkrun, and
/// `altered` admits another measurement than was registered.
pub(crate) async fn contents(wrap: &dyn Wrap) -> Contents {
    let mut altered = wrapped(wrap, "altered", Dialect::Keybroker, &[("tls.key", FIRST)]).await;
    let mut registration = altered.read().unwrap().registration().clone();
    registration.reference_values.measurements = vec![Measurement([0x66; 48])];
    altered.registration = registration.to_bytes().unwrap();
    let workloads = vec![
        wrapped(wrap, "web", Dialect::Trustee, &[("default/key/tls", FIRST), ("default/key/kek", SECOND)])
            .await,
        wrapped(wrap, "api", Dialect::Keybroker, &[("tls.key", FIRST)]).await,
        wrapped(wrap, "image", Dialect::Libkrun, &[("passphrase", FIRST)]).await,
        altered,
    ];
    Contents { workloads, ..Contents::default() }
}

/// One of each kind of store that has a wrapping key.
async fn everywhere() -> [Deployment; 3] {
    let keyed =
        |operator: Operator, file: PathBuf| operator.with("KEYBROKER_KEY_FILE", file.to_str().unwrap());
    let files = || TempDir::new().unwrap();

    let directory = files();
    let (data_dir, key_file) = (directory.path().join("data"), directory.path().join("key"));
    fs::create_dir(&data_dir).unwrap();
    let key = LocalKey::create(&key_file).unwrap();
    let store = EmbeddedStore::open(&data_dir, Arc::new(SystemClock)).unwrap();
    store.bind_key(key.key_id()).unwrap();
    contents(&key).await.fill(&store).await;
    drop(store);
    let file = keyed(Operator::of_directory(&data_dir, "file"), key_file);

    let (home, kds) = (Home::new(&anchors()), Arc::new(kds()));
    drop(home.serve(&kds.url(), &[]));
    let key = LocalKey::load(&home.key_file()).unwrap();
    contents(&key).await.fill(&EmbeddedStore::open(&home.data_dir(), Arc::new(SystemClock)).unwrap()).await;
    let server = home.serve(&kds.url(), &[]);
    let world = World::of(server, home, kds);
    let served = keyed(Operator::of(&world), world.home().key_file());

    let (client, key_id) = kms().await;
    // Another key than the alias leads to: each secret is bound anew with the key that wrapped it.
    let aws = Operator::aws(&contents(&KmsWrap::new(client, key_id)).await).await;
    [
        Deployment { operator: file, files: files(), _kept: Box::new(directory) },
        Deployment { operator: served, files: files(), _kept: Box::new(world) },
        Deployment { operator: aws, files: files(), _kept: Box::new(()) },
    ]
}

impl Deployment {
    fn write(&self, contents: &[u8]) -> String {
        let path = self.files.path().join(unique("f"));
        fs::write(&path, contents).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn set(&self, id: &str, name: &str, contents: &[u8], more: &[&str]) -> Ended {
        let file = self.write(contents);
        self.operator.run(&[&["resource", "set", id, name, &file][..], more].concat())
    }

    fn names(&self, id: &str) -> Vec<String> {
        let listed = self.operator.json(&["resource", "list", id]);
        let rows = listed["resources"].as_array().unwrap().iter();
        rows.map(|row| row["name"].as_str().unwrap().to_owned()).collect()
    }

    fn shown(&self, id: &str) -> Value {
        self.operator.json(&["workload", "show", id])
    }

    fn records(&self, id: &str) -> Vec<Value> {
        let records = self.operator.json(&["audit", "--workload", id])["records"].clone();
        let mut records = records.as_array().unwrap().clone();
        records.retain(|record| record["operation"] == "operate");
        records
    }
}

#[tokio::test]
async fn one_secret_changes_and_everything_else_stays() {
    for deployment in everywhere().await {
        let kind = deployment.operator.kind;
        let before = deployment.shown("web");
        let new = b"a secret that was not there";
        let ended = deployment.set("web", "default/key/new", new, &["--json"]);
        assert_eq!(ended.code, Some(0), "{kind}: {ended:?}");
        for spelling in spellings(new) {
            assert!(!contains(format!("{ended:?}").as_bytes(), &spelling), "{kind}: {ended:?}");
        }
        let output: Value = serde_json::from_str(&ended.out).unwrap();
        assert_eq!((&output["existed"], &output["replaced"]), (&json!(false), &before["registration"]));
        assert_eq!(deployment.names("web"), ["default/key/kek", "default/key/new", "default/key/tls"]);

        let after = deployment.shown("web");
        assert_eq!(after["registration"], output["registration"], "{kind}");
        assert_ne!(after["registration"], before["registration"], "{kind}");
        let mut same = after["requirements"].clone();
        same["serial"] = before["requirements"]["serial"].clone();
        assert_eq!(same, before["requirements"], "{kind}");
        for field in ["owner", "registered_at", "released_at", "revoked_at", "dialects"] {
            assert_eq!(after[field], before[field], "{kind} {field}");
        }

        let deleted = deployment.operator.run(&["resource", "delete", "web", "default/key/kek", "--yes"]);
        assert_eq!(deleted.code, Some(0), "{kind}: {deleted:?}");
        assert!(deleted.log.contains("must attest again"), "{kind}: {deleted:?}");
        assert_eq!(deployment.names("web"), ["default/key/new", "default/key/tls"]);

        let records = deployment.records("web");
        let told: Vec<_> = records.iter().map(|record| (&record["decision"], &record["secret"])).collect();
        let (set, gone) = (json!("resource_set"), json!("resource_deleted"));
        let (added, kek) = (json!("default/key/new"), json!("default/key/kek"));
        assert_eq!(told, [(&set, &added), (&gone, &kek)], "{kind}");
        assert_eq!(records[0]["act"]["amended"]["replaced"], before["registration"], "{kind}");
        assert!(records.iter().all(|record| record["principal"].is_string()), "{kind}: {records:?}");
        let words = deployment.operator.out(&["audit", records[0]["id"].as_str().unwrap()]);
        assert!(words.contains("was set by") && words.contains("must attest again"), "{kind}: {words}");
    }
}

#[tokio::test]
async fn a_secret_is_replaced_or_deleted_only_if_somebody_agrees() {
    for deployment in everywhere().await {
        let kind = deployment.operator.kind;
        let before = deployment.shown("web");
        let ended = deployment.set("web", "default/key/tls", SECOND, &[]);
        assert!(ended.code == Some(2) && ended.log.contains("--yes"), "{kind}: {ended:?}");
        let ended = deployment.operator.run(&["resource", "delete", "web", "default/key/tls"]);
        assert!(ended.code == Some(2) && ended.log.contains("--yes"), "{kind}: {ended:?}");
        let ended = deployment.set("web", "default/key/tls", SECOND, &["--dry-run"]);
        assert!(ended.code == Some(0) && ended.out.contains("would be replaced"), "{kind}: {ended:?}");
        let mut terminal = deployment.operator.at_terminal(&["resource", "delete", "web", "default/key/tls"]);
        terminal.wait_for("Delete the secret default/key/tls of web, for good? [y/N]");
        let (code, shown) = terminal.typed("n\n");
        assert!(code == Some(1) && shown.contains("nothing was changed"), "{kind}: {shown}");
        assert_eq!(deployment.shown("web"), before, "{kind}");
        assert_eq!(deployment.records("web"), Vec::<Value>::new(), "{kind}");
    }
}

#[tokio::test]
async fn a_change_that_cannot_be_is_refused_with_what_helps() {
    for deployment in everywhere().await {
        let kind = deployment.operator.kind;
        let long = vec![b'x'; 4001];
        for (id, name, contents, code, said) in [
            ("web", "tls.key", FIRST, 2, "its secrets are named repository/type/tag"),
            ("web", "a/b/c/d", FIRST, 2, "its secrets are named repository/type/tag"),
            ("web", ".a/b/c", FIRST, 2, "its secrets are named repository/type/tag"),
            ("api", "a/b/c", FIRST, 2, "its secrets are named a plain name"),
            ("api", "new", b"", 5, "1 to 4000 bytes"),
            ("api", "new", long.as_slice(), 5, "1 to 4000 bytes"),
            ("image", "passphrase", FIRST, 1, "the passphrase of their image"),
            ("altered", "tls.key", SECOND, 1, "somebody altered the row"),
            ("altered", "new", SECOND, 1, "somebody altered the row"),
            ("nobody", "new", FIRST, 1, "there is no workload nobody"),
        ] {
            let ended = deployment.set(id, name, contents, &["--yes"]);
            assert_eq!(ended.code, Some(code), "{kind} {id} {name}: {ended:?}");
            assert!(ended.log.contains(said), "{kind} {id} {name}: {ended:?}");
        }
        for (id, name, said) in [
            ("api", "tls.key", "it is the only secret of the workload"),
            ("api", "nothing", "the workload has no such secret"),
        ] {
            let ended = deployment.operator.run(&["resource", "delete", id, name, "--yes"]);
            assert!(ended.code == Some(1) && ended.log.contains(said), "{kind} {id} {name}: {ended:?}");
        }
        assert_eq!(deployment.names("api"), ["tls.key"], "{kind}");
        assert_eq!(deployment.records("altered"), Vec::<Value>::new(), "{kind}");
    }
}

#[tokio::test]
async fn a_revoked_workload_stays_revoked() {
    for deployment in everywhere().await {
        let kind = deployment.operator.kind;
        assert_eq!(deployment.operator.run(&["workload", "revoke", "api"]).code, Some(0));
        let revoked_at = deployment.shown("api")["revoked_at"].clone();
        let ended = deployment.set("api", "tls.key", SECOND, &["--yes"]);
        assert!(ended.code == Some(0) && ended.log.contains("and stays so"), "{kind}: {ended:?}");
        assert!(revoked_at.is_string() && deployment.shown("api")["revoked_at"] == revoked_at, "{kind}");
    }
}

#[tokio::test]
async fn a_secret_comes_through_a_pipe_and_no_listing_has_it() {
    for deployment in everywhere().await {
        let kind = deployment.operator.kind;
        let mut command = deployment.operator.command(&["resource", "set", "api", "piped", "-"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(FIRST).unwrap();
        let ended: Ended = child.wait_with_output().unwrap().into();
        assert_eq!(ended.code, Some(0), "{kind}: {ended:?}");
        let table = deployment.operator.out(&["resource", "list", "api"]);
        assert!(table.starts_with("NAME") && table.contains("piped"), "{kind}: {table}");
        let everything = [format!("{ended:?}"), table, deployment.shown("api").to_string()].concat();
        for spelling in spellings(FIRST) {
            assert!(!contains(everything.as_bytes(), &spelling), "{kind}");
        }
        // The length shows that all of it was wrapped.
        let listed = deployment.operator.json(&["resource", "list", "api"]);
        let piped =
            listed["resources"].as_array().unwrap().iter().find(|row| row["name"] == "piped").unwrap();
        assert!(piped["wrapped_bytes"].as_u64().unwrap() > FIRST.len() as u64, "{kind}: {piped}");
    }
}

/// The key of another store is not taken for the store's own.
#[tokio::test]
async fn another_wrapping_key_changes_nothing() {
    let [file, served, _] = everywhere().await;
    for deployment in [file, served] {
        let other = deployment.files.path().join("other.key");
        LocalKey::create(&other).unwrap();
        let more = ["--yes", "--key-file", other.to_str().unwrap()];
        let ended = deployment.set("api", "tls.key", SECOND, &more);
        let kind = deployment.operator.kind;
        assert!(ended.code == Some(5) && ended.log.contains("the store belongs to"), "{kind}: {ended:?}");
        assert_eq!(deployment.records("api"), Vec::<Value>::new(), "{kind}");
    }
}
