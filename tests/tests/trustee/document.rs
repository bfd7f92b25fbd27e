//! Follows docs/kata.md as it is written: its commands, and what the program prints.

use std::{fs, path::Path, process::Command};

use data_encoding::HEXLOWER;
use keybroker_simulator::guest::trustee::{
    Credential, HashAlgorithm, InitData, KbsVersion, KeyForm, TrusteeGuest, claims,
};
use keybroker_tests::{
    program::{self, Ended},
    world::{MEASUREMENT, World},
};
use serde_json::Value;
use tempfile::TempDir;

use crate::scene::{Refusal, Scene};

fn document() -> String {
    fs::read_to_string(program::workspace().join("docs/kata.md")).unwrap()
}

/// The code block with this label.
fn block<'a>(document: &'a str, label: &str) -> &'a str {
    let (_, rest) = document.split_once(&format!("```{label}\n")).unwrap_or_else(|| panic!("no {label}"));
    rest.split_once("```").unwrap().0
}

/// The files that the document's commands name.
fn directory(document: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
    write("initdata.toml", block(document, "toml initdata"));
    write("tls.pem", "of the first certificate");
    write("image.key", "0123456789abcdef0123456789abcdef");
    write("new.pem", "of the second certificate");
    let resources = directory.path().join("kbs/repository/default/key");
    fs::create_dir_all(&resources).unwrap();
    fs::write(resources.join("tls"), "of the first certificate").unwrap();
    fs::write(directory.path().join("kbs/policy.rego"), "package policy\n\ndefault allow = true\n").unwrap();
    directory
}

/// Runs the commands of a block against the world's broker.
fn shell(world: &World, commands: &str, directory: &Path) -> Ended {
    let programs = program::path().parent().unwrap().to_str().unwrap();
    let path = format!("{programs}:{}", std::env::var("PATH").unwrap_or_default());
    let mut shell = Command::new("/bin/sh");
    shell.env_clear().env("PATH", path).env("MEASUREMENT", HEXLOWER.encode(&MEASUREMENT));
    shell.env("KEYBROKER_DATA_DIR", world.home().data_dir());
    shell.env("KEYBROKER_KEY_FILE", world.home().key_file());
    shell.current_dir(directory).args(["-ec", commands]).output().unwrap().into()
}

/// Asserts that each line of `out` is the one that is `shown`, where the document has words in brackets for
/// what differs each time.
fn assert_shown(out: &str, shown: &str) {
    let (lines, expected): (Vec<_>, Vec<_>) = (out.lines().collect(), shown.lines().collect());
    assert_eq!(lines.len(), expected.len(), "{out}\n{shown}");
    for (line, expected) in lines.into_iter().zip(expected) {
        let matches = match expected.split_once('(') {
            Some((begin, _)) => line.starts_with(begin) && line.len() > begin.len(),
            None => line == expected,
        };
        assert!(matches, "{line:?}, and in the document {expected:?}");
    }
}

/// A guest of kata's that has the document's init data, as the world's broker is reached.
fn guest(world: &World, text: &str, by_path: bool, version: KbsVersion, form: KeyForm) -> TrusteeGuest {
    let url = if by_path { format!("{}/w/web", world.url) } else { world.url.clone() };
    let init_data = InitData { text: text.to_owned(), algorithm: HashAlgorithm::Sha384 };
    TrusteeGuest::new(&url, version, form, world.milan()).unwrap().launched_with(init_data)
}

#[tokio::test]
async fn the_documents_commands_give_a_pod_its_resources() {
    let Some(world) = World::with(&[], "the commands of docs/kata.md") else { return };
    let document = document();
    let (directory, init_data) = (directory(&document), block(&document, "toml initdata"));
    let ended = shell(&world, block(&document, "sh register"), directory.path());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_shown(&ended.out, block(&document, "text registered"));
    let forms = [(KbsVersion::V0_1_0, KeyForm::Rsa1_5), (KbsVersion::V0_4_0, KeyForm::P256)];
    for (version, form) in forms {
        for by_path in [true, false] {
            let mut guest = guest(&world, init_data, by_path, version, form);
            let opened = guest.boot("default/key/tls", Credential::Bearer).await;
            assert_eq!(opened.as_deref(), Ok(&b"of the first certificate"[..]), "{version:?} {by_path}");
        }
    }
    // The annotation for kata is the document, compressed.
    let commands = format!("{} | base64 -d | gzip -dc", block(&document, "sh annotation").trim_end());
    assert_eq!(shell(&world, &commands, directory.path()).out, init_data);

    let mut before = guest(&world, init_data, true, KbsVersion::V0_4_0, KeyForm::P256);
    before.handshake().await.unwrap();
    let ended = shell(&world, block(&document, "sh rotate"), directory.path());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_shown(&ended.out, block(&document, "text rotated"));
    let scene = Scene { world, id: "web".to_owned(), secret: String::new(), init_data: None };
    for credential in Credential::ALL {
        let fetched = before.resource("default/key/image", credential).await;
        scene.assert_refused(fetched, Refusal::at_resource("workload"));
    }
    let rotated = before.boot("default/key/tls", Credential::Cookie).await;
    assert_eq!(rotated.as_deref(), Ok(&b"of the second certificate"[..]));
    let kept = before.resource("default/key/image", Credential::Cookie).await;
    assert_eq!(kept.as_deref(), Ok(&b"0123456789abcdef0123456789abcdef"[..]));
}

#[test]
fn the_documents_import_registers_nothing() {
    let Some(world) = World::with(&[], "the commands of docs/kata.md") else { return };
    let document = document();
    let directory = directory(&document);
    let ended = shell(&world, block(&document, "sh import"), directory.path());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let listed = shell(&world, "keybroker workload list --json", directory.path());
    let listed: Value = serde_json::from_str(&listed.out).unwrap();
    assert_eq!(listed["workloads"].as_array().map(Vec::len), Some(0), "{listed}");
}

/// Every claim of a token has a row, and every row is about a claim.
#[tokio::test]
async fn the_document_names_the_claims_of_a_token() {
    let scene = Scene::launched(World::start());
    let guest = scene.attested(KbsVersion::V0_4_0).await;
    let claims = claims(guest.token.as_ref().unwrap()).unwrap();
    let document = document();
    let (_, table) = document.split_once("| claim | says |\n|---|---|\n").expect("a table");
    let table: String = table.lines().take_while(|line| line.starts_with('|')).collect();
    let cpu0 = &claims["submods"]["cpu0"];
    let named = |of: &Value| of.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    for name in [named(&claims), named(cpu0), named(&cpu0["ear.veraison.annotated-evidence"])].concat() {
        assert!(table.contains(&name), "{name} is not in the document");
    }
    for name in ["measurement", "policy", "host_data", "reported_tcb_snp"] {
        assert!(cpu0["ear.veraison.annotated-evidence"]["snp"][name].is_string(), "{name}");
    }
    assert_eq!(cpu0["ear.trustworthiness-vector"]["hardware"], 97, "a simulated chip");
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 300);
}
