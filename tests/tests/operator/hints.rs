//! Commands that the program suggests are pasted into a bare shell. They act on the same store.

use std::{fs, process::Command};

use jiff::SignedDuration;
use keybroker_common::{
    audit::{AuditRecord, Decision, FailedCheck},
    config,
    ids::WorkloadId,
};
use keybroker_tests::{
    operator::{Contents, Operator, record, workload},
    program::{self, Ended},
};
use serde_json::Value;

fn two() -> Contents {
    let ago = SignedDuration::from_hours(24);
    // An id that a shell would split if it were not quoted.
    Contents {
        workloads: vec![workload("billing", None, ago), workload("it's$HOME", None, ago)],
        ..Contents::default()
    }
}

/// The rest of the line after `lead`.
fn told(ended: &Ended, lead: &str) -> String {
    let line = ended.log.lines().find_map(|line| line.strip_prefix(lead));
    line.unwrap_or_else(|| panic!("no {lead:?}: {ended:?}")).to_owned()
}

/// Pastes a line into another shell in another directory. Its environment holds only the credentials, which
/// no hint prints.
fn paste(line: &str) -> Ended {
    let elsewhere = tempfile::tempdir().unwrap();
    let mut shell = Command::new("/bin/sh");
    shell.env_clear().env("PATH", program::path().parent().unwrap()).env("HOME", elsewhere.path());
    shell.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
    shell.current_dir(elsewhere.path()).args(["-c", line]).output().unwrap().into()
}

fn revoked(operator: &Operator, id: &str) -> bool {
    operator.json(&["workload", "show", id])["revoked_at"].is_string()
}

#[tokio::test]
async fn a_pasted_undo_acts_on_the_same_store() {
    for operator in Operator::everywhere(&two()).await {
        for id in ["billing", "it's$HOME"] {
            let ended = operator.run(&["workload", "revoke", id]);
            assert!(revoked(&operator, id), "{}: {ended:?}", operator.kind);
            let undone = paste(&told(&ended, "to undo this: "));
            assert_eq!(undone.code, Some(0), "{}: {undone:?}", operator.kind);
            assert!(!revoked(&operator, id), "{}: {ended:?}", operator.kind);
        }
        let created = operator.run(&["token", "create"]);
        let ended = paste(&told(&created, "to revoke it: "));
        assert_eq!(ended.code, Some(0), "{}: {ended:?}", operator.kind);
        assert_eq!(
            operator.json(&["token", "list"])["tokens"],
            Value::Array(Vec::new()),
            "{}",
            operator.kind
        );

        let listed = operator.run(&["audit", "--workload", "billing"]);
        let one = paste(&told(&listed, "to see one decision in words: "));
        assert!(one.code == Some(0) && one.out.contains("billing"), "{}: {one:?}", operator.kind);
        let missing = operator.run(&["workload", "show", "nobody"]);
        let list = told(&missing, "hint: to see all of them: ");
        let list = paste(&list);
        assert!(list.code == Some(0) && list.out.contains("billing"), "{}: {list:?}", operator.kind);
    }
}

/// A stranger may ask with any possible id, and the text about the refusal puts that id into a command.
#[tokio::test]
async fn a_pasted_command_about_a_refusal_takes_any_id_as_an_id() {
    let ids = [
        "a;id",
        "$(id)",
        "-x",
        "--aws",
        "--data-dir=x",
        "-h",
        "it's",
        "&id",
        "ID",
        "a|id",
        "=ls",
        "help",
        "$HOME",
    ];
    let named = |id: &&str| WorkloadId::new(*id).unwrap();
    let refused = |id: &&str| {
        let failed = FailedCheck { check: "workload".to_owned(), cause: String::new() };
        let record = record(&named(id), Decision::Refused, SignedDuration::ZERO);
        AuditRecord { failed: Some(failed), ..record }
    };
    let ago = SignedDuration::from_hours(24);
    let contents = Contents {
        workloads: ids.iter().map(|id| workload(id, None, ago)).collect(),
        records: ids.iter().map(refused).collect(),
        ..Contents::default()
    };
    for operator in Operator::everywhere(&contents).await {
        for (id, record) in ids.iter().zip(&contents.records) {
            let words = operator.out(&["audit", &record.id.to_string()]);
            let command = words.split_once("Look at it with `").and_then(|(_, rest)| rest.split_once('`'));
            let (command, _) = command.unwrap_or_else(|| panic!("{words}"));
            let shown = paste(command);
            assert!(
                shown.code == Some(0) && shown.out.contains(id),
                "{}: {command}: {shown:?}",
                operator.kind
            );
        }
    }
}

/// A key file that nobody named is in the home of a user who may not be the broker's.
#[test]
fn the_health_check_names_no_key_file_of_its_own() {
    let data_dir = tempfile::tempdir().unwrap();
    let operator = Operator::of_directory(data_dir.path(), "none").with("HOME", "/home/somebody");
    let at = data_dir.path().display();
    let bare = operator.run(&["doctor", "--health"]);
    assert!(bare.out.contains(&format!("run `keybroker doctor --data-dir {at}`")), "{bare:?}");
    let keyed = operator.run(&["doctor", "--health", "--key-file", "/etc/keybroker/key"]);
    let whole = format!("run `keybroker doctor --data-dir {at} --key-file /etc/keybroker/key`");
    assert!(keyed.out.contains(&whole), "{keyed:?}");
}

/// The environment that `localstack/up` prints for the functions: commands on AWS read the same settings.
#[tokio::test]
async fn a_local_aws_environment_breaks_no_command_on_aws() {
    let script = fs::read_to_string(program::workspace().join("localstack/provision.py")).unwrap();
    let (_, tables) = script.split_once("TABLES = (").unwrap();
    let tables: Vec<_> = tables.split(')').next().unwrap().split('"').skip(1).step_by(2).collect();
    let names: Vec<_> =
        tables.iter().map(|table| format!("KEYBROKER_{}_TABLE", table.to_uppercase())).collect();
    let known: Vec<_> = config::VARIABLES.iter().map(|variable| variable.name).collect();
    assert!(tables.len() == 6 && names.iter().all(|name| known.contains(&name.as_str())), "{names:?}");

    let mut operator = Operator::aws(&two()).await;
    for (name, table) in names.iter().zip(&tables) {
        let table = operator.table(table);
        operator = operator.with(name, &table);
    }
    operator = operator.with("KEYBROKER_KMS_KEY", "alias/keybroker");
    assert!(operator.out(&["workload", "list"]).contains("billing"));
    let doctor = operator.run(&["doctor"]);
    assert!(doctor.out.contains("every KEYBROKER_ variable that is set is known"), "{doctor:?}");

    // A setting that names other tables than the command's is an error.
    let other = operator.with("KEYBROKER_WORKLOADS_TABLE", "other-workloads");
    let ended = other.run(&["workload", "list"]);
    assert_eq!((ended.code, ended.out.as_str()), (Some(5), ""), "{ended:?}");
    assert!(ended.log.contains("names the table other-workloads"), "{ended:?}");
    // A setting for AWS is an error too if the command's store is on this machine.
    let local = Operator::file(&two()).await.with("KEYBROKER_WORKLOADS_TABLE", "keybroker-workloads");
    let ended = local.run(&["workload", "revoke", "billing"]);
    assert_eq!((ended.code, ended.out.as_str()), (Some(5), ""), "{ended:?}");
    assert!(ended.log.contains("this command's store is on this machine"), "{ended:?}");
}
