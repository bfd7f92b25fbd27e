//! `keybroker keys prepare`, `import`, `rotate signature` and `retire`, on each kind of store.

use std::{any::Any, fs, os::unix::fs::PermissionsExt as _, path::PathBuf, sync::Arc};

use jiff::SignedDuration;
use keybroker_common::{
    clock::SystemClock,
    dialect::Dialect,
    keyring::{Purpose, signing},
    requirements::{BoundBy, InitDataRequirement},
    store::{KeyringStore as _, StoredKeyring},
    workload::Workload,
};
use keybroker_embedded::{key::LocalKey, store::EmbeddedStore};
use keybroker_initdata::{Algorithm, InitDataDigest, KeyId};
use keybroker_tests::{
    operator::{Contents, Operator, workload},
    server::Home,
    world::{World, anchors, kds},
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A key of openssl's, and its id: SHA-256 of the point that `openssl ec -text` shows.
pub(crate) const PEM: &str = "\
-----BEGIN PRIVATE KEY-----
MIG2AgEAMBAGByqGSM49AgEGBSuBBAAiBIGeMIGbAgEBBDDrC44ihAqajSeHoQP8
ohqvb/HhS/MOlIj4eyr2lvRm9yZN0mkM2lrIQy2E9lHKa8mhZANiAASR3m/iT2ew
KneUgMKIrDf4RygCCJbH1gz8x9GoTdsB00seH9kATUHdMZT+gunhUKn2W0F1uvLY
mocjjrMby4Nys3Ptp8OeH9ntBSVD0lLdKlQY/TfMPgo19pfB57Z5NMg=
-----END PRIVATE KEY-----
";
const PEM_ID: &str = "9e13144c679c3e6c712e9b01ca770ef9c0945cc0975bdcf6086ca67b3c8b1332";

/// An operator, and what must live as long.
struct Deployment(Operator, Box<dyn Any>);

/// A file that no broker has open, and its wrapping key, in one directory.
async fn file(contents: &Contents) -> (TempDir, Operator) {
    let directory = TempDir::new().unwrap();
    let (data_dir, key_file) = (directory.path().join("data"), directory.path().join("key"));
    fs::create_dir(&data_dir).unwrap();
    let store = EmbeddedStore::open(&data_dir, Arc::new(SystemClock)).unwrap();
    store.bind_key(LocalKey::create(&key_file).unwrap().key_id()).unwrap();
    contents.fill(&store).await;
    let operator = Operator::of_directory(&data_dir, "file");
    (directory, operator.with("KEYBROKER_KEY_FILE", key_file.to_str().unwrap()))
}

/// One of each kind of store that has a wrapping key, with these workloads.
async fn everywhere(workloads: &[Workload]) -> [Deployment; 3] {
    let contents = Contents { workloads: workloads.to_vec(), ..Contents::default() };
    let (directory, file) = file(&contents).await;
    let keyed = |operator: Operator, key_file: PathBuf| {
        operator.with("KEYBROKER_KEY_FILE", key_file.to_str().unwrap())
    };
    let home = Home::new(&anchors());
    contents.fill(&EmbeddedStore::open(&home.data_dir(), Arc::new(SystemClock)).unwrap()).await;
    let kds = Arc::new(kds());
    let server = home.serve(&kds.url(), &[]);
    let world = World::of(server, home, kds);
    let served = keyed(Operator::of(&world), world.home().key_file());
    let aws = Operator::aws(&contents).await;
    [
        Deployment(file, Box::new(directory)),
        Deployment(served, Box::new(world)),
        Deployment(aws, Box::new(())),
    ]
}

/// Number, state and id of every signing key.
fn listed(operator: &Operator) -> Vec<(u64, String, String)> {
    let document = operator.json(&["keys", "list"]);
    let rings = document["rings"].as_array().unwrap();
    let ring = rings.iter().find(|ring| ring["ring"] == "signature").unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let keys = ring["keys"].as_array().unwrap().iter();
    keys.map(|key| (key["number"].as_u64().unwrap(), text(&key["state"]), text(&key["key_id"]))).collect()
}

fn states(operator: &Operator) -> Vec<String> {
    listed(operator).into_iter().map(|(number, state, _)| format!("{number} {state}")).collect()
}

fn id(prepared: &Value) -> String {
    prepared["key_id"].as_str().unwrap().to_owned()
}

/// The records about signing keys, oldest first: the decision, and the key.
fn acts(operator: &Operator) -> Vec<(String, String)> {
    let records = operator.json(&["audit", "--since", "1h"])["records"].clone();
    let of_key = |record: &Value| {
        let key = record["act"]["signing_key"]["key"].as_str()?.to_owned();
        assert!(record["principal"].is_string(), "{record}");
        Some((record["decision"].as_str().unwrap().to_owned(), key))
    };
    records.as_array().unwrap().iter().filter_map(of_key).collect()
}

fn refused(operator: &Operator, arguments: &[&str], said: &str) {
    let ended = operator.run(arguments);
    assert!(ended.code == Some(1) && ended.log.contains(said), "{} {arguments:?}: {ended:?}", operator.kind);
}

#[tokio::test]
async fn a_signing_key_is_prepared_used_and_retired_on_an_operators_word() {
    for Deployment(operator, _kept) in everywhere(&[]).await {
        let kind = operator.kind;
        refused(&operator, &["keys", "rotate", "signature"], "no next key is prepared");
        refused(&operator, &["keys", "list", "--document"], "there is no signing key yet");

        // Nobody knows another, so the first is used at once.
        let first = operator.json(&["keys", "prepare"]);
        assert_eq!((&first["used"], states(&operator)), (&json!(true), vec!["1 used".to_owned()]), "{kind}");
        refused(&operator, &["keys", "retire", &id(&first), "--yes"], "the key is the current one");

        let second = operator.json(&["keys", "prepare"]);
        assert_eq!(
            (&second["used"], states(&operator)),
            (&json!(false), ["1 used", "2 next"].map(str::to_owned).to_vec()),
            "{kind}"
        );
        assert_eq!(operator.json(&["keys", "prepare"]), second, "{kind}: the same again");
        let told = operator.run(&["keys", "prepare"]).log;
        let (_, turns) = told.split_once("keybroker keys rotate signature ").expect(&told);
        let leads_here = if kind == "aws" { "--aws --prefix t" } else { "--data-dir /" };
        assert!(turns.starts_with(leads_here), "{kind}: a pasted command turns this key: {told}");
        assert_eq!(listed(&operator)[1].2, id(&second), "{kind}");

        let lines = operator.out(&["keys", "list", "--document", "--valid-for", "10d"]);
        assert_eq!(lines.matches("[[broker_key]]").count(), 2, "{kind}: {lines}");
        for key in [&first, &second] {
            let line = format!("key = {:?}\n", key["public_key"].as_str().unwrap());
            let named = ["key_id", "key_id_base64url"].map(|name| key[name].as_str().unwrap());
            assert!(lines.contains(&line) && named.iter().all(|id| lines.contains(id)), "{kind}: {lines}");
        }
        assert!(
            operator.out(&["keys", "prepare"]).contains(second["public_key"].as_str().unwrap()),
            "{kind}"
        );

        let dry = operator.run(&["keys", "rotate", "signature", "--dry-run"]);
        assert!(dry.code == Some(0) && dry.log.contains("would become the current one"), "{kind}: {dry:?}");
        let now = operator.run(&["keys", "rotate", "signature", "--now", "--yes"]);
        assert!(now.code == Some(2) && now.log.contains("keybroker keys retire"), "{kind}: {now:?}");
        // The rings that turn by themselves are turned without this one.
        operator.out(&["keys", "rotate", "--now", "--yes"]);
        assert_eq!(states(&operator), ["1 used", "2 next"], "{kind}");

        operator.out(&["keys", "rotate", "signature"]);
        assert_eq!(states(&operator), ["1 honoured", "2 used"], "{kind}");
        refused(&operator, &["keys", "rotate", "signature"], "no next key is prepared");
        let asked = operator.run(&["keys", "retire", &id(&first)]);
        assert!(asked.code == Some(2), "{kind}: nobody can confirm: {asked:?}");
        operator.out(&["keys", "retire", first["key_id_base64url"].as_str().unwrap(), "--yes"]);
        assert_eq!(states(&operator), ["2 used"], "{kind}");
        refused(&operator, &["keys", "retire", &id(&first), "--yes"], "the key is not in the ring");

        let expected = [
            ("key_prepared", &first),
            ("key_prepared", &second),
            ("keys_turned", &second),
            ("key_retired", &first),
        ];
        let expected = expected.map(|(decision, key)| (decision.to_owned(), id(key)));
        assert_eq!(acts(&operator), expected, "{kind}");
    }
}

#[tokio::test]
async fn two_deployments_can_hold_the_same_signing_key() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("signing.pem");
    fs::write(&path, PEM).unwrap();
    let file = path.to_str().unwrap();
    for Deployment(operator, _kept) in everywhere(&[]).await {
        let kind = operator.kind;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let exposed = operator.run(&["keys", "import", file]);
        assert!(exposed.code == Some(5) && exposed.log.contains("mode 0644"), "{kind}: {exposed:?}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();

        let lines = operator.out(&["keys", "import", file]);
        assert!(lines.contains(PEM_ID), "{kind}: {lines}");
        assert_eq!(listed(&operator), [(1, "used".to_owned(), PEM_ID.to_owned())], "{kind}");
        refused(&operator, &["keys", "import", file], "the key is in the ring already");
        assert_eq!(acts(&operator), [("key_imported".to_owned(), PEM_ID.to_owned())], "{kind}");
        let log = operator.json(&["audit", "--since", "1h"])["records"][0]["id"].clone();
        let words = operator.out(&["audit", log.as_str().unwrap()]);
        assert!(words.contains("was brought from outside by "), "{kind}: {words}");
        // Where a key is there, another is the next one, and one at a time.
        let next = operator.json(&["keys", "prepare"]);
        let other = directory.path().join("other.pem");
        fs::copy(&path, &other).unwrap();
        assert_eq!(states(&operator), ["1 used", "2 next"], "{kind}");
        operator.out(&["keys", "retire", &id(&next), "--yes"]);
        assert_eq!(states(&operator), ["1 used"], "{kind}");
    }
}

/// A key that another file wrapped would be of no use to the broker.
#[tokio::test]
async fn only_the_stores_own_wrapping_key_wraps_a_signing_key() {
    let [file, served, _] = everywhere(&[]).await;
    let directory = TempDir::new().unwrap();
    let other = directory.path().join("key");
    LocalKey::create(&other).unwrap();
    for Deployment(operator, _kept) in [file, served] {
        let operator = operator.with("KEYBROKER_KEY_FILE", other.to_str().unwrap());
        let ended = operator.run(&["keys", "prepare"]);
        assert!(ended.code == Some(5) && ended.log.contains("the store belongs to local:"), "{ended:?}");
        let operator = operator.with("KEYBROKER_KEY_FILE", "/nonexistent/key");
        let ended = operator.run(&["keys", "prepare"]);
        assert!(ended.code == Some(5) && ended.log.contains("there is no key file"), "{ended:?}");
        assert_eq!(states(&operator), Vec::<String>::new());
    }
}

/// The same registration, with an owner.
fn owned(row: Workload) -> Workload {
    let mut registration = row.read().unwrap().registration().clone();
    registration.owner = Some("alice".to_owned());
    Workload { registration: registration.to_bytes().unwrap(), ..row }
}

/// The registration of a guest of this project, whose document names these keys, or is known by its digest.
fn with_document(id: &str, broker_keys: Option<Vec<KeyId>>) -> Workload {
    let row = workload(id, None, SignedDuration::from_hours(1));
    let mut registration = row.read().unwrap().registration().clone();
    let digest = InitDataDigest::new(Algorithm::Sha256, vec![7; 32]).unwrap();
    let init_data = InitDataRequirement { digest, bound_by: BoundBy::HostData, broker_keys };
    registration.policy.init_data = Some(init_data);
    registration.dialects = Dialect::Native.into();
    Workload { registration: registration.to_bytes().unwrap(), ..row }
}

#[tokio::test]
async fn a_key_that_registered_documents_do_not_name_is_not_the_next() {
    let imported: [u8; 32] = data_encoding::HEXLOWER.decode(PEM_ID.as_bytes()).unwrap().try_into().unwrap();
    let (imported, other) = (KeyId::from_bytes(imported), KeyId::from_bytes([7; 32]));
    let unbound = {
        let row = with_document("unbound", None);
        let mut registration = row.read().unwrap().registration().clone();
        registration.policy.init_data = None;
        Workload { registration: registration.to_bytes().unwrap(), ..row }
    };
    let workloads = [
        with_document("names-it", Some(vec![other, imported])),
        owned(with_document("silent", Some(vec![other]))),
        with_document("by-digest", None),
        unbound,
        // Its guests know no key of the broker.
        workload("of-buildah", None, SignedDuration::from_hours(1)),
    ];
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("signing.pem");
    fs::write(&path, PEM).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    for Deployment(operator, _kept) in everywhere(&workloads).await {
        let kind = operator.kind;
        let listing = |arguments: &[&str], said: &str, listed: &[&str]| {
            let ended = operator.run(arguments);
            assert!(ended.code == Some(1) && ended.log.contains(said), "{kind} {arguments:?}: {ended:?}");
            let mut lines: Vec<_> = ended.log.lines().take_while(|line| !line.starts_with("error")).collect();
            lines.sort_unstable();
            assert_eq!(lines, listed, "{kind} {arguments:?}: {ended:?}");
        };
        let first = id(&operator.json(&["keys", "prepare"]));
        operator.out(&["keys", "import", path.to_str().unwrap()]);

        listing(
            &["keys", "rotate", "signature"],
            "is missing in the init data documents of one",
            &["silent (alice)"],
        );
        let unknown = &["keys", "rotate", "signature", "--yes-unknown"];
        listing(unknown, "is missing in the init data documents of one", &["silent (alice)"]);
        listing(&["keys", "retire", PEM_ID, "--yes", "--yes-unknown"], "is named by", &["names-it"]);
        assert_eq!(states(&operator), ["1 used", "2 next"], "{kind}");

        // A tenant holds nothing up for good. A revoked workload that names a key keeps it, all the same.
        operator.out(&["workload", "revoke", "silent"]);
        operator.out(&["workload", "revoke", "names-it"]);
        listing(&["keys", "retire", PEM_ID, "--yes", "--yes-unknown"], "is named by", &["names-it"]);
        listing(
            &["keys", "rotate", "signature"],
            "cannot tell which signing keys 2",
            &["by-digest", "unbound"],
        );
        operator.out(unknown);
        assert_eq!(states(&operator), ["1 honoured", "2 used"], "{kind}");
        listing(&["keys", "retire", &first, "--yes"], "cannot tell", &["by-digest", "unbound"]);
        operator.out(&["keys", "retire", &first, "--yes", "--yes-unknown"]);
        assert_eq!(states(&operator), ["2 used"], "{kind}");
    }
}

/// The store is free while a person thinks, and what comes into it then counts.
#[tokio::test]
async fn a_key_that_a_document_names_meanwhile_is_not_retired() {
    let (directory, operator) = file(&Contents::default()).await;
    operator.out(&["keys", "prepare"]);
    let next = id(&operator.json(&["keys", "prepare"]));
    let mut terminal = operator.at_terminal(&["keys", "retire", &next]);
    terminal.wait_for(" for good? [y/N]");
    let named: [u8; 32] = data_encoding::HEXLOWER.decode(next.as_bytes()).unwrap().try_into().unwrap();
    let workloads = vec![with_document("names-it", Some(vec![KeyId::from_bytes(named)]))];
    {
        let store = EmbeddedStore::open(&directory.path().join("data"), Arc::new(SystemClock)).unwrap();
        Contents { workloads, ..Contents::default() }.fill(&store).await;
    }
    let (code, shown) = terminal.typed("y\n");
    assert!(code == Some(1) && shown.contains("is named by the init data documents of one"), "{shown}");
    assert!(shown.contains("names-it"), "{shown}");
    assert_eq!(states(&operator), ["1 used", "2 next"]);
}

/// A writer of the store puts another key in the place of the next one's public half, for operators to put it
/// into documents.
#[tokio::test]
async fn an_altered_public_half_gets_into_no_document() {
    let (directory, operator) = file(&Contents::default()).await;
    operator.out(&["keys", "prepare"]);
    operator.out(&["keys", "prepare"]);
    {
        let store = EmbeddedStore::open(&directory.path().join("data"), Arc::new(SystemClock)).unwrap();
        let StoredKeyring { edition, mut ring } = store.keyring(Purpose::Signature).await.unwrap().unwrap();
        ring.keys[1].public = Some(signing::drawn().unwrap().1.into());
        store.put_keyring(Purpose::Signature, Some(edition), &ring).await.unwrap();
    }
    for arguments in
        [&["keys", "list", "--document"][..], &["keys", "prepare"], &["keys", "rotate", "signature"]]
    {
        let ended = operator.run(arguments);
        assert!(
            ended.log.contains("the signing key 2 is not what the store says"),
            "{arguments:?}: {ended:?}"
        );
        assert_eq!((ended.code, ended.out.as_str()), (Some(1), ""), "{arguments:?}");
    }
    assert_eq!(states(&operator), ["1 used", "2 next"]);
    // Another store's key is a mistake about which store is meant.
    let (elsewhere, _) = file(&Contents::default()).await;
    let other = elsewhere.path().join("key");
    assert!(other.exists());
    let mistaken = operator.with("KEYBROKER_KEY_FILE", other.to_str().unwrap());
    let refused = mistaken.run(&["keys", "rotate", "signature"]);
    assert!(refused.code == Some(5) && refused.log.contains("the store belongs to"), "{refused:?}");
    // Without the wrapping key nobody can compare them, and the command says so.
    let blind = mistaken.with("KEYBROKER_KEY_FILE", "/nonexistent/key").run(&["keys", "list", "--document"]);
    assert!(blind.code == Some(0) && blind.log.contains("were not compared with their own"), "{blind:?}");
}
