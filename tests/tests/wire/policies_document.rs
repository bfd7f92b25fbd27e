//! Follows docs/policies.md as it is written. The core's own tests run its policies.

use std::{fs, path::Path, process::Command};

use keybroker_simulator::guest::KeybrokerGuest;
use keybroker_tests::{
    genuine,
    program::{self, Ended},
    skip,
    world::World,
};
use serde_json::Value;
use tempfile::TempDir;

fn document() -> String {
    fs::read_to_string(program::workspace().join("docs/policies.md")).unwrap()
}

/// The first code block with this label.
fn block<'a>(document: &'a str, label: &str) -> &'a str {
    let (_, rest) = document.split_once(&format!("```{label}\n")).unwrap_or_else(|| panic!("no {label}"));
    rest.split_once("```").unwrap().0
}

/// A directory with the files that the document names: the policy for releases, and the sample.
fn directory() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let (document, (report, vcek)) = (document(), genuine::sev_sample());
    let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
    write("policy.rego", block(&document, "rego policy=releases"));
    write("reference.json", block(&document, "json reference=releases"));
    write("passphrase.txt", "secret\n");
    fs::copy(report, directory.path().join("report.bin")).unwrap();
    fs::copy(vcek, directory.path().join("vcek.der")).unwrap();
    directory
}

fn shell(line: &str, path: &str, directory: &Path) -> Ended {
    let mut shell = Command::new("/bin/sh");
    shell.env_clear().env("PATH", path).current_dir(directory).args(["-c", line]).output().unwrap().into()
}

#[test]
fn trying_a_policy_prints_what_the_document_shows() {
    let (document, directory) = (document(), directory());
    let (_, section) = document.split_once("## Trying one").unwrap();
    let (command, shown) = block(section, "console").split_once('\n').unwrap();
    let command = format!("{} --at 2026-06-01T00:00:00Z", command.strip_prefix("$ ").unwrap());
    let programs = program::path().parent().unwrap().to_str().unwrap();
    let ended = shell(&command, programs, directory.path());
    assert_eq!(ended.code, Some(3), "{ended:?}");
    let last = |text: &str| text.trim_end().lines().rev().take(3).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(last(&ended.out), last(shown));
    // The paragraph below the example in the document.
    let verdict = shell(&format!("{command} --json"), programs, directory.path()).out;
    let verdict: Value = serde_json::from_str(&verdict).unwrap();
    let reference = directory.path().join("reference.json");
    let known = fs::read_to_string(&reference).unwrap();
    let measured = known.replace(&"0a".repeat(48), verdict["evidence"]["measurement"].as_str().unwrap());
    fs::write(&reference, measured).unwrap();
    let ended = shell(&command, programs, directory.path());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.out.contains("data.policy.allow: true\n"), "{}", ended.out);
    fs::write(directory.path().join("policy.rego"), "package policy\n\nallow if {\n").unwrap();
    let ended = shell(&command, programs, directory.path());
    assert_eq!((ended.code, ended.log.as_str()), (Some(5), block(section, "text")));
}

#[test]
fn the_documents_body_registers_and_its_faults_are_named() {
    let (world, document) = (World::start(), document());
    let body: Value = serde_json::from_str(block(&document, "json registration")).unwrap();
    let register = |body: &Value| world.ask("POST", "/rvp/register", &[], Some(&body.to_string()));
    let response = register(&body);
    assert_eq!(response.status, 200, "{}", response.text());
    let (_, table) = document.split_once("| fields | error |\n|---|---|\n").expect("a table");
    let rows: Vec<_> = table.lines().take_while(|line| line.starts_with('|')).collect();
    assert!(rows.len() >= 10, "{rows:?}");
    for row in rows {
        let (fields, error) = row.strip_prefix("| `").unwrap().split_once("` | ").unwrap();
        let fields: Value = serde_json::from_str(fields).unwrap_or_else(|error| panic!("{fields}: {error}"));
        let mut altered = body.clone();
        let members = altered.as_object_mut().unwrap();
        members.extend(fields.as_object().unwrap().clone());
        members.retain(|_, value| !value.is_null());
        let response = register(&altered);
        let answer: Value = serde_json::from_slice(&response.body).unwrap();
        let shown = error.strip_suffix(" |").unwrap();
        assert_eq!((response.status, answer["error"].as_str().unwrap()), (400, shown), "{row}");
    }
}

#[tokio::test]
async fn the_documents_command_registers_and_its_policy_decides() {
    let path = std::env::var("PATH").unwrap_or_default();
    let directory = directory();
    if !["jq", "curl"]
        .iter()
        .all(|tool| shell(&format!("{tool} --version"), &path, directory.path()).code == Some(0))
    {
        return skip("the document's command: no jq and curl here");
    }
    let world = World::start();
    let document = document();
    let command = block(&document, "sh register").replace("http://127.0.0.1:8080", &world.url);
    let ended = shell(&command, &path, directory.path());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let host_data: String = serde_json::from_str(&ended.out).unwrap();
    let host_data: [u8; 32] = data_encoding::BASE64.decode(host_data.as_bytes()).unwrap().try_into().unwrap();
    let guest = |measurement: u8| {
        let mut machine = world.milan();
        machine.fields.measurement = [measurement; 48];
        machine.fields.host_data = host_data;
        KeybrokerGuest::new(&world.url, machine).unwrap()
    };
    assert_eq!(guest(0x0A).boot("passphrase").await, Ok(b"secret".to_vec()));
    // The measurement of the retired release is registered; the policy refuses it.
    let record = world.assert_refused(guest(0x09).boot("passphrase").await, (403, "policy"));
    let (_, section) = document.split_once("### What is refused at boot").unwrap();
    let shown: Value = serde_json::from_str(block(section, "json")).unwrap();
    if let Some(record) = record {
        assert_eq!(record["failed"], shown["failed"], "{record}");
    }
    world.assert_refused(guest(0x0C).boot("passphrase").await, (403, "measurement"));
}
