//! `keybroker import-trustee`: from a KBS's directory to a registration.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use data_encoding::HEXLOWER;
use keybroker_tests::{
    operator::Operator,
    program::Ended,
    secrets::{contains, spellings},
    unique,
    world::{MEASUREMENT, World},
};
use serde_json::{Value, json};
use tempfile::TempDir;

const TEXT: &[u8] = b"-----BEGIN PRIVATE KEY----- of a pod";
const BYTES: &[u8] = b"\xff\x00\xc3\x28 key of an image";

struct Desk {
    operator: Operator,
    files: TempDir,
    _world: World,
}

impl Desk {
    fn new() -> Self {
        let world = World::serve(&["--registration", "token"]);
        let key_file = world.home().key_file();
        let operator = Operator::of(&world).with("KEYBROKER_KEY_FILE", key_file.to_str().unwrap());
        let desk = Self { operator, files: TempDir::new().unwrap(), _world: world };
        let measurements = format!(
            r#"[{{"version":"0.1.0","name":"snp_launch_measurement","value":["{}"]}},
                {{"version":"0.1.0","name":"measurement","expiration":"2020-01-01T00:00:00Z","value":["{}"]}}]"#,
            HEXLOWER.encode(&MEASUREMENT),
            "66".repeat(48),
        );
        for (path, contents) in [
            ("kbs/repository/default/key/tls", TEXT),
            ("kbs/repository/default/key/kek", BYTES),
            ("kbs/repository/other/key/tls", b"another tenant's"),
            ("kbs/policy.rego", b"package policy\ndefault allow := false\n"),
            ("attestation-service/reference_values.json", measurements.as_bytes()),
        ] {
            let path = desk.path(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, contents).unwrap();
        }
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    fn import(&self, more: &[&str]) -> Ended {
        let ended = self.operator.run(&[&["import-trustee", text(self.files.path())][..], more].concat());
        for spelling in [spellings(TEXT), spellings(BYTES)].concat() {
            assert!(!contains(format!("{ended:?}").as_bytes(), &spelling), "{ended:?}");
        }
        ended
    }

    fn names(&self, id: &str) -> Vec<String> {
        let listed = self.operator.json(&["resource", "list", id]);
        let rows = listed["resources"].as_array().unwrap().iter();
        rows.map(|row| row["name"].as_str().unwrap().to_owned()).collect()
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test]
async fn without_a_workload_it_only_says_what_maps() {
    let desk = Desk::new();
    let table = desk.import(&[]);
    assert_eq!(table.code, Some(0), "{table:?}");
    assert!(
        table.out.starts_with("WHAT") && table.log.contains("4 of 6 can be in a registration"),
        "{table:?}"
    );
    assert!(table.out.contains("no equivalent") && table.out.contains("expired at"), "{table:?}");
    let json: Value = serde_json::from_str(&desk.import(&["--json"]).out).unwrap();
    let item = |name: &str| {
        let items = json["items"].as_array().unwrap().iter();
        items.filter(|item| item["name"] == name).map(|item| item["becomes"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(item("default/key/tls"), [json!("a resource")]);
    assert_eq!(item("snp_launch_measurement"), [json!("a measurement")]);
    assert_eq!((item("measurement"), item("kbs/policy.rego")), (vec![Value::Null], vec![Value::Null]));
    assert_eq!(desk.operator.json(&["workload", "list"])["workloads"], json!([]));
}

#[tokio::test]
async fn what_maps_is_registered_as_one_workload() {
    let desk = Desk::new();
    let id = unique("w");
    let more = ["--only", "default", "--workload-id", &id];
    let dry = desk.import(&[&more[..], &["--dry-run"]].concat());
    assert!(dry.code == Some(0) && dry.log.contains("nothing was registered"), "{dry:?}");
    let ended = desk.import(&[&more[..], &["--yes", "--broker", "https://k.example.org"]].concat());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.out.contains(&format!("cc_kbc::https://k.example.org/w/{id}")), "{ended:?}");
    assert_eq!(desk.names(&id), ["default/key/kek", "default/key/tls"]);
    let shown = desk.operator.json(&["workload", "show", &id]);
    let measurements = &shown["requirements"]["reference_values"]["measurements"];
    assert_eq!(measurements, &json!([HEXLOWER.encode(&MEASUREMENT)]));
    assert_eq!(shown["dialects"], json!(["trustee"]));
}

/// The file is its owner's alone, never overwritten, and what `keybroker register` takes.
#[tokio::test]
async fn what_maps_is_written_as_a_document() {
    let desk = Desk::new();
    let (id, file) = (unique("w"), desk.path("web.json"));
    let more = ["--only", "default", "--workload-id", &id, "--document", text(&file)];
    let ended = desk.import(&more);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(ended.log.contains("to register it: keybroker register --from"), "{ended:?}");
    assert_eq!(desk.operator.json(&["workload", "list"])["workloads"], json!([]));
    let written = fs::read(&file).unwrap();
    let again = desk.import(&more);
    assert_eq!((again.code, fs::read(&file).unwrap()), (Some(5), written), "{again:?}");
    let registered = desk.operator.run(&["register", "--from", text(&file), "--yes"]);
    assert_eq!(registered.code, Some(0), "{registered:?}");
    assert_eq!(desk.names(&id), ["default/key/kek", "default/key/tls"]);
}

#[tokio::test]
async fn a_registration_that_could_not_hold_is_refused() {
    let desk = Desk::new();
    let id = unique("w");
    for (more, said) in [
        (&["--only", "nothing"][..], "no resource maps"),
        (&["--measurement", "abcd"], "measurements is not one or more measurements"),
    ] {
        let ended = desk.import(&[&["--workload-id", &id, "--yes"][..], more].concat());
        assert!(ended.code == Some(2) && ended.log.contains(said), "{more:?}: {ended:?}");
    }
    fs::remove_dir_all(desk.path("attestation-service")).unwrap();
    let ended = desk.import(&["--workload-id", &id, "--yes"]);
    assert!(ended.code == Some(2) && ended.log.contains("no launch measurement maps"), "{ended:?}");
    for number in 0..17 {
        fs::write(desk.path(&format!("kbs/repository/other/key/{number}")), b"s").unwrap();
    }
    let measurement = HEXLOWER.encode(&MEASUREMENT);
    let ended = desk.import(&["--workload-id", &id, "--yes", "--measurement", &measurement]);
    assert!(ended.code == Some(2) && ended.log.contains("at most 16"), "{ended:?}");
    let missing = desk.operator.run(&["import-trustee", text(&desk.path("nothing"))]);
    assert!(missing.code == Some(5), "{missing:?}");
    assert_eq!(desk.operator.json(&["workload", "list"])["workloads"], json!([]));
}
