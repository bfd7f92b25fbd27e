//! `keybroker register --dialect trustee`: guests of Kata and CoCo, by their init data or by their URL.

use std::{fs, path::PathBuf};

use data_encoding::{BASE64, HEXLOWER};
use keybroker_simulator::guest::{
    Error,
    trustee::{Credential, HashAlgorithm, InitData, KbsVersion, KeyForm, Pace, TrusteeGuest},
};
use keybroker_tests::{
    operator::Operator,
    program::Ended,
    secrets::{contains, spellings},
    unique,
    world::{MEASUREMENT, World},
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256, Sha384};
use tempfile::TempDir;

const INIT_DATA: &str = "\
version = \"0.1.0\"
algorithm = \"sha384\"

[data]
\"aa.toml\" = '''
[token_configs.kbs]
url = \"https://k.example.org\"
'''
\"policy.rego\" = '''
package agent_policy
default AllowRequestsFailingPolicy := true
'''
";

struct Desk {
    world: World,
    operator: Operator,
    files: TempDir,
    id: String,
}

impl Desk {
    fn new() -> Self {
        let world = World::serve(&["--registration", "token"]);
        let key_file = world.home().key_file();
        let operator = Operator::of(&world).with("KEYBROKER_KEY_FILE", key_file.to_str().unwrap());
        Self { world, operator, files: TempDir::new().unwrap(), id: unique("w") }
    }

    fn write(&self, name: &str, contents: &[u8]) -> String {
        let path: PathBuf = self.files.path().join(name);
        fs::write(&path, contents).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Runs the command for the desk's workload with `more`.
    fn register(&self, dialect: &str, more: &[&str]) -> Ended {
        self.command(dialect, &[&["--yes"], more].concat())
    }

    fn command(&self, dialect: &str, more: &[&str]) -> Ended {
        let measurement = HEXLOWER.encode(&MEASUREMENT);
        let id = ["register", "--workload-id", &self.id, "--measurement", &measurement];
        self.operator.run(&[&id[..], &["--dialect", dialect], more].concat())
    }

    fn shown(&self) -> Value {
        self.operator.json(&["workload", "show", &self.id])
    }
}

fn names(shown: &Value) -> Vec<String> {
    let secrets = shown["secrets"].as_array().unwrap().iter();
    secrets.map(|secret| secret["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_pods_init_data_resources_and_measurement_are_registered() {
    let desk = Desk::new();
    let init_data = desk.write("initdata.toml", INIT_DATA.as_bytes());
    let (text, bytes) = ("a secret text", [0xFF, 0x00, 0xC3, 0x28, 0xFE, 0x9D, 0x41, 0x88]);
    let (tls, kek) = (desk.write("tls", text.as_bytes()), desk.write("kek", &bytes));
    let resources = [format!("default/key/tls={tls}"), format!("default/key/kek={kek}")];
    let ended = desk.register(
        "trustee",
        &["--init-data", &init_data, "--resource", &resources[0], "--resource", &resources[1], "--json"],
    );
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for spelling in [spellings(text.as_bytes()), spellings(&bytes)].into_iter().flatten() {
        assert!(!contains(format!("{ended:?}").as_bytes(), &spelling), "{ended:?}");
    }
    let digest = Sha384::digest(INIT_DATA);
    let output: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(output["host_data_hex"], HEXLOWER.encode(&digest[..32]));
    assert_eq!(output["host_data"], BASE64.encode(&digest[..32]));
    assert_eq!(output["workload_id"], desk.id);
    let url = format!("https://BROKER/w/{}", desk.id);
    assert_eq!(output["kbs"]["url"], url);
    assert_eq!(output["kbs"]["aa_kbc_params"], format!("cc_kbc::{url}"));
    assert_eq!(output["kbs"]["selected_by_host_data"], true);
    let shown = desk.shown();
    assert_eq!(
        (&shown["dialects"], names(&shown)),
        (&json!(["trustee"]), vec!["default/key/kek".to_owned(), "default/key/tls".to_owned(),])
    );
    let required = &shown["requirements"]["policy"]["init_data"];
    assert_eq!(
        (&required["digest"], &required["bound_by"]),
        (&json!(HEXLOWER.encode(&digest)), &json!("host_data"))
    );
    assert_eq!(desk.world.server().log_until_now().matches(text).count(), 0);
}

#[tokio::test]
async fn the_url_that_guests_are_told_is_printed() {
    let desk = Desk::new();
    let tls = desk.write("tls", b"a secret text");
    let resource = format!("default/key/tls={tls}");
    let ended = desk.register("trustee", &["--resource", &resource, "--broker", "https://k.example.org/"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let parameter = format!("agent.aa_kbc_params=cc_kbc::https://k.example.org/w/{}", desk.id);
    assert!(ended.out.contains(&parameter), "{ended:?}");
    // Without init data nothing else selects the workload, and no HOST_DATA is required.
    assert!(!ended.out.contains("HOST_DATA"), "{ended:?}");
    assert_eq!(desk.shown()["requirements"]["policy"].get("init_data"), None);
}

/// A replacement deletes secrets: the command says so before it asks, and which.
#[tokio::test]
async fn a_replacement_is_told_with_the_secrets_that_it_deletes() {
    let desk = Desk::new();
    let file = desk.write("tls", b"a secret text");
    let [one, two] = ["one", "two"].map(|tag| format!("default/key/{tag}={file}"));
    let said = |ended: &Ended, what: &str| ended.log.contains(what);
    let new = desk.register("trustee", &["--resource", &one, "--resource", &two]);
    assert!(new.code == Some(0) && !said(&new, "this replaces it"), "{new:?}");
    let fewer = desk.command("trustee", &["--resource", &two, "--dry-run"]);
    assert!(fewer.code == Some(0) && said(&fewer, "this replaces it"), "{fewer:?}");
    assert!(said(&fewer, "these secrets are deleted, for good: default/key/one\n"), "{fewer:?}");
    assert_eq!(names(&desk.shown()).len(), 2);
    let same = desk.register("trustee", &["--resource", &one, "--resource", &two]);
    assert!(said(&same, "this replaces it") && !said(&same, "are deleted"), "{same:?}");
    assert_eq!(desk.operator.run(&["workload", "revoke", &desk.id]).code, Some(0));
    let revoked = desk.register("trustee", &["--resource", &one]);
    assert_eq!(revoked.code, Some(1), "{revoked:?}");
    assert!(said(&revoked, &format!("keybroker workload restore {}", desk.id)), "{revoked:?}");
}

/// One document has one workload: the broker's answer is passed on, with the way to see why.
#[tokio::test]
async fn init_data_of_another_workload_is_refused() {
    let mut desk = Desk::new();
    let init_data = desk.write("initdata.toml", INIT_DATA.as_bytes());
    let resource = format!("default/key/tls={}", desk.write("tls", b"s"));
    let more = ["--init-data", &init_data, "--resource", &resource];
    assert_eq!(desk.register("trustee", &more).code, Some(0));
    let holder = desk.id.clone();
    assert!(!desk.register("trustee", &more).log.contains("HOST_DATA selects"));
    desk.id = unique("w");
    let ended = desk.register("trustee", &more);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.log.contains(&format!("HOST_DATA selects the guests of {holder}, so")), "{ended:?}");
    assert!(ended.log.contains("409") && ended.log.contains("to see why"), "{ended:?}");
}

#[tokio::test]
async fn what_the_broker_would_refuse_for_its_length_is_not_sent() {
    let desk = Desk::new();
    let policy = format!("# {}\npackage agent_policy\n", "x".repeat(192 * 1024));
    let long = INIT_DATA.replace("package agent_policy\n", &policy);
    let init_data = desk.write("initdata.toml", long.as_bytes());
    let resource = format!("default/key/tls={}", desk.write("tls", b"s"));
    for more in [&["--yes"][..], &["--dry-run"]] {
        let ended =
            desk.command("trustee", &[&["--init-data", &init_data, "--resource", &resource], more].concat());
        assert!(
            ended.code == Some(2) && ended.log.contains("the broker takes 196608"),
            "{more:?}: {ended:?}"
        );
    }
    let endless = desk.command("trustee", &["--init-data", "/dev/zero", "--yes"]);
    assert!(endless.code == Some(5) && endless.log.contains("more than 16 MiB"), "{endless:?}");
}

#[tokio::test]
async fn a_registration_without_a_secret_is_warned_of() {
    let desk = Desk::new();
    let warned = |ended: &Ended| ended.log.contains("warning: no secret is given");
    let bare = desk.register("trustee", &[]);
    assert!(bare.code == Some(0) && warned(&bare), "{bare:?}");
    let resource = format!("default/key/tls={}", desk.write("tls", b"s"));
    let some = desk.register("trustee", &["--resource", &resource]);
    assert!(some.code == Some(0) && !warned(&some), "{some:?}");
}

#[tokio::test]
async fn a_registration_that_no_guest_of_trustee_could_use_is_refused_before_it_is_sent() {
    let desk = Desk::new();
    let init_data = desk.write("initdata.toml", INIT_DATA.as_bytes());
    let broken = desk.write("broken.toml", b"version = \"0.1.0\"\nalgorithm = \"md5\"\n[data]\n");
    let secret = desk.write("tls", b"s");
    let (path, plain) = (format!("default/key/tls={secret}"), format!("tls={secret}"));
    let uri = format!("kbs:///default/key/tls={secret}");
    let long = format!("default/key/tls={}", desk.write("long", &[b'x'; 4001]));
    let empty = format!("default/key/tls={}", desk.write("empty", b""));
    for (dialect, more, code, said) in [
        ("trustee", &["--resource", &plain][..], 2, "can ask for a resource that is named \"tls\""),
        ("trustee", &["--resource", &uri], 2, "its resources are named repository/type/tag"),
        ("trustee", &["--resource", &long], 5, "default/key/tls has 4001 bytes"),
        ("trustee", &["--resource", &empty], 5, "default/key/tls has 0 bytes"),
        ("trustee", &["--resource", &path, "--broker", "k.example.org"], 2, "must begin with https://"),
        ("trustee", &["--resource", &path, "--broker", "http://[::1]:80"], 2, "give an IPv6 address a name"),
        ("v1", &["--resource", &path], 2, "v1 needs workload_id and init_data together"),
        ("trustee", &["--init-data", &broken, "--resource", &path], 5, "broken.toml"),
        ("v1,trustee", &["--init-data", &init_data, "--resource", &path], 5, "initdata.toml"),
        ("trustee", &["--passphrase-file", &secret], 2, "--passphrase-file is for guests that open a disk"),
        ("trustee,trustee", &["--resource", &path], 2, "--dialect"),
        ("rvp", &["--resource", &path], 2, "possible values: v1, trustee"),
    ] {
        let ended = desk.register(dialect, more);
        assert_eq!(ended.code, Some(code), "{dialect} {more:?}: {ended:?}");
        assert!(ended.log.contains(said), "{dialect} {more:?}: {ended:?}");
    }
    let alone = desk.operator.run(&["register", "--dialect", "trustee", "--yes"]);
    assert!(alone.code == Some(2) && alone.log.contains("--workload-id"), "{alone:?}");
    assert_eq!(desk.operator.json(&["workload", "list"])["workloads"], json!([]));
}

/// The document of a registration may name its workload: then no HOST_DATA is the broker's to draw.
#[tokio::test]
async fn a_document_that_names_its_workload_is_registered_under_it() {
    let desk = Desk::new();
    let document = json!({
        "workload_id": desk.id,
        "dialects": ["trustee"],
        "init_data": {"bound_by": "host_data", "document": INIT_DATA.replace("384", "256")},
        "measurements": [HEXLOWER.encode(&MEASUREMENT)],
        "resources": {"default/key/tls": "a secret text"},
    });
    let file = desk.write("registration.json", document.to_string().as_bytes());
    let ended = desk.operator.run(&["register", "--from", &file, "--yes", "--json"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let output: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(output["workload_id"], desk.id);
    let digest = Sha256::digest(INIT_DATA.replace("384", "256"));
    assert_eq!(output["host_data_hex"], HEXLOWER.encode(&digest));
    assert!(ended.log.contains(&desk.id) && !ended.log.contains("an id that the broker draws"), "{ended:?}");
    assert_eq!(names(&desk.shown()), ["default/key/tls"]);
}

/// By init data and by URL, with a cookie and with a token: a changed resource reaches a pod by a handshake
/// of after the change, and by no other.
#[tokio::test]
async fn a_pod_gets_a_changed_resource_after_a_new_handshake_alone() {
    let mut desk = Desk::new();
    let init_data = InitData::new(HashAlgorithm::Sha384, &[("aa.toml", "[token_configs]")]);
    let file = desk.write("initdata.toml", init_data.text.as_bytes());
    let (tls, kek) = (desk.write("tls", b"first"), desk.write("kek", b"\xff\x00\xfe"));
    let resources = [format!("default/key/tls={tls}"), format!("default/key/kek={kek}")];
    let resources = ["--resource", &resources[0], "--resource", &resources[1]];
    let registered = desk.register("trustee", &[&["--init-data", &file][..], &resources].concat());
    assert_eq!(registered.code, Some(0), "{registered:?}");
    let selected = desk.id.clone();
    desk.id = unique("w");
    assert_eq!(desk.register("trustee", &resources).code, Some(0));
    let base = format!("http://{}", desk.world.authority());
    let guest = |url: &str, version, form| TrusteeGuest::new(url, version, form, desk.world.milan()).unwrap();
    let by_init_data = guest(&base, KbsVersion::V0_4_0, KeyForm::P256).launched_with(init_data);
    let by_url = guest(&format!("{base}/w/{}", desk.id), KbsVersion::V0_2_0, KeyForm::RsaOaep256);
    for (id, mut guest) in [(&selected, by_init_data), (&desk.id, by_url)] {
        for (credential, before, after) in
            [(Credential::Bearer, "first", "second"), (Credential::Cookie, "second", "third")]
        {
            assert_eq!(guest.boot("default/key/tls", credential).await.unwrap(), before.as_bytes());
            let file = desk.write("new", after.as_bytes());
            let set = desk.operator.run(&["resource", "set", id, "default/key/tls", &file, "--yes"]);
            assert_eq!(set.code, Some(0), "{set:?}");
            for path in ["default/key/tls", "default/key/kek"] {
                let refused = guest.resource(path, credential).await;
                assert!(matches!(refused, Err(Error::Refused(_))), "{path}: {refused:?}");
            }
            // The client makes the new handshake by itself.
            let fetched = guest.fetch("default/key/tls", credential, Pace::HURRIED).await;
            assert_eq!(fetched.unwrap(), after.as_bytes());
            assert_eq!(guest.resource("default/key/kek", credential).await.unwrap(), b"\xff\x00\xfe");
        }
    }
}
