//! `keybroker workload export`, and what `register --from` makes of it.

use std::{fs, sync::Arc};

use keybroker_tests::{
    operator::Operator,
    program::Ended,
    secrets::{contains, spellings},
    server::Home,
    unique,
    world::{World, anchors, kds},
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A secret whose length is like no other number here.
fn secret(letter: char) -> String {
    format!("{letter}").repeat(3777)
}

struct Desk {
    /// The broker whose registrations are exported.
    from: Operator,
    /// A store of its own, which they are registered in.
    to: Operator,
    _world: World,
    home: Home,
    files: TempDir,
}

impl Desk {
    fn new() -> Self {
        let world = World::serve(&[]);
        let home = Home::new(&anchors());
        drop(home.serve(&Arc::new(kds()).url(), &[]));
        let (from, to) = (Operator::of(&world), Operator::of_directory(&home.data_dir(), "file"));
        Self { from, to, _world: world, home, files: TempDir::new().unwrap() }
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.files.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Registers, and gives the id.
    fn register(&self, flags: &[&str]) -> String {
        let registered = self.from.json(&[&["register", "--yes"], flags].concat());
        registered["workload_id"].as_str().unwrap().to_owned()
    }

    fn export(&self, id: &str) -> Ended {
        let ended = self.from.run(&["workload", "export", id]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended
    }

    /// Registers an export with its secrets in the other store, and compares both registrations.
    fn assert_round(&self, id: &str, secrets: &[&str]) {
        let document = self.write("export.json", &self.export(id).out);
        let key = self.home.key_file();
        let key = ["--key-file", key.to_str().unwrap(), "--yes", "--from", &document];
        let registered = self.to.json(&[&["register"], &key[..], secrets].concat());
        let new = registered["workload_id"].as_str().unwrap();
        let shown = |operator: &Operator, id: &str| operator.json(&["workload", "show", id]);
        let (mut one, mut other) = (shown(&self.from, id), shown(&self.to, new));
        assert_eq!(one["dialects"], other["dialects"]);
        let names = |shown: &Value| {
            let secrets = shown["secrets"].as_array().unwrap().iter();
            secrets.map(|secret| secret["name"].clone()).collect::<Vec<_>>()
        };
        assert_eq!(names(&one), names(&other));
        for shown in [&mut one, &mut other] {
            let requirements = shown["requirements"].as_object_mut().unwrap();
            requirements.remove("serial");
            requirements.remove("owner");
            if id != new {
                requirements["policy"]["host_data"] = Value::Null;
            }
        }
        assert_eq!(one["requirements"], other["requirements"]);
    }
}

fn measurement() -> String {
    "4d".repeat(48)
}

#[test]
fn a_registration_comes_back_in_every_dialect() {
    let desk = Desk::new();
    let (file, measurement, key) = (desk.write("secret", &secret('s')), measurement(), "1d".repeat(48));
    let policy = desk.write("policy.rego", "package policy\n\nallow if input.snp.vmpl == 0\n");
    let data = desk.write("data.json", r#"{ "least":  1.50 }"#);
    let plain = format!("key={file}");
    let by_values = desk.register(&[
        "--measurement",
        &measurement,
        "--id-key",
        &key,
        "--id-key",
        &"2d".repeat(48),
        "--author-key",
        &"a0".repeat(48),
        "--require",
        "minimum_guest_svn=2",
        "--forbid-smt",
        "--minimum-tcb",
        "milan-x:snp=27,ucode=71",
        "--launch-mitigations",
        "milan-x:1+2",
        "--require-platform",
        "alias-check",
        "--minimum-firmware",
        "1.55.29",
        "--accept-product",
        "milan",
        "--query",
        "data.policy.allow",
        "--policy",
        &policy,
        "--reference-values",
        &data,
        "--resource",
        &plain,
    ]);
    desk.assert_round(&by_values, &["--resource", &plain]);

    let path = format!("default/key/tls={file}");
    let init_data = "version = \"0.1.0\"\nalgorithm = \"sha384\"\n\n[data]\n\"a\" = \"b\"\n";
    let init_data = desk.write("initdata.toml", init_data);
    let id = unique("pod");
    let pods = desk.register(&[
        "--workload-id",
        &id,
        "--dialect",
        "trustee",
        "--init-data",
        &init_data,
        "--measurement",
        &measurement,
        "--minimum-committed-tcb",
        "milan:snp=1",
        "--resource",
        &path,
    ]);
    desk.assert_round(&pods, &["--resource", &path]);

    let (id, short) = (unique("krun"), desk.write("passphrase", "open sesame"));
    let krun = desk.register(&[
        "--workload-id",
        &id,
        "--measurement",
        &measurement,
        "--passphrase-file",
        &short,
        "--forbid-smt",
        "--minimum-abi",
        "1.55",
    ]);
    desk.assert_round(&krun, &["--passphrase-file", &short]);
}

/// Nothing of a secret is in an export, nor of its length: two registrations that differ in nothing else have
/// the same.
#[test]
fn an_export_tells_nothing_of_the_secrets() {
    let desk = Desk::new();
    let (long, short) = (desk.write("long", &secret('s')), desk.write("short", "t"));
    let measurement = measurement();
    let exports = [&long, &short].map(|file| {
        let resource = format!("key={file}");
        let id = desk.register(&["--measurement", &measurement, "--resource", &resource]);
        let shown = desk.from.json(&["workload", "show", &id]);
        let wrapped = shown["secrets"][0]["wrapped_bytes"].to_string();
        let (ended, length) = (desk.export(&id), fs::read(file).unwrap().len().to_string());
        for text in [&ended.out, &ended.log] {
            for told in [&wrapped, &length].into_iter().filter(|number| number.len() > 2) {
                assert!(!text.contains(told.as_str()), "{told}: {text}");
            }
            for spelling in spellings(secret('s').as_bytes()) {
                assert!(!contains(text.as_bytes(), &spelling), "{text}");
            }
        }
        assert!(ended.log.contains("--resource key=FILE"), "{ended:?}");
        ended.out
    });
    assert_eq!(exports[0], exports[1]);
    let document: Value = serde_json::from_str(&exports[0]).unwrap();
    assert_eq!(document, json!({ "measurements": [measurement] }));
}

#[test]
fn an_export_without_its_secrets_is_not_registered() {
    let desk = Desk::new();
    let measurement = measurement();
    let document = desk.write("export.json", &json!({ "measurements": [measurement] }).to_string());
    let krun = json!({ "workload_id": "w", "dialects": ["v0"], "measurements": [measurement] });
    let krun = desk.write("krun.json", &krun.to_string());
    let file = desk.write("secret", "open sesame");
    let resource = format!("key={file}");
    let own = json!({ "measurements": [measurement], "resources": { "key": "x" } });
    let own = desk.write("own.json", &own.to_string());
    let rows: [(&[&str], i32, &str); 6] = [
        (&["--from", &document], 2, "--resource NAME=FILE"),
        (&["--from", &document, "--passphrase-file", &file], 2, "names no resources"),
        (&["--from", &krun], 2, "needs --passphrase-file"),
        (&["--from", &krun, "--resource", &resource], 2, "--passphrase-file"),
        (&["--from", &own, "--resource", &resource], 5, "own.json: body: duplicate field key"),
        (&["--from", &own, "--passphrase-file", &file], 2, "the dialect v0"),
    ];
    for (arguments, code, said) in rows {
        let ended = desk.to.run(&[&["register", "--yes"], arguments].concat());
        assert_eq!((ended.code, ended.out.as_str()), (Some(code), ""), "{arguments:?}: {ended:?}");
        assert!(ended.log.contains(said), "{arguments:?}: {ended:?}");
    }
    assert_eq!(desk.from.run(&["workload", "export", "nobody"]).code, Some(1));
}
