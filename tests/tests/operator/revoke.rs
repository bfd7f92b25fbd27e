//! `keybroker workload revoke`: one at once, several after a question, and what is told of it later.

use std::{fs::File, process::Stdio};

use jiff::SignedDuration;
use keybroker_common::workload::Workload;
use keybroker_tests::{
    local_aws::refuse,
    operator::{Contents, Operator, workload},
};
use serde_json::{Value, json};

const BUILDER: &str = "token/0a9f5c1e2b7d4c3f8e6a1b2c3d4e5f60";

/// Two workloads of a builder, one of them revoked, one of nobody's, and one that cannot be read.
fn four() -> Contents {
    let ago = SignedDuration::from_hours(1);
    let gone = workload("gone", Some(BUILDER), ago);
    let workloads = vec![
        workload("one", Some(BUILDER), ago),
        Workload { revoked_at: Some(gone.first_registered_at), ..gone },
        workload("two", None, ago),
        Workload { registration: b"of a later release".to_vec(), ..workload("odd", None, ago) },
    ];
    Contents { workloads, ..Contents::default() }
}

fn is_revoked(operator: &Operator, id: &str) -> bool {
    let ended = operator.run(&["workload", "show", id, "--json"]);
    let shown: Value = serde_json::from_str(&ended.out).unwrap();
    shown["revoked_at"].is_string()
}

#[tokio::test]
async fn several_are_shown_and_asked_about_and_a_failure_keeps_no_other() {
    for operator in Operator::everywhere(&four()).await {
        let kind = operator.kind;
        let revoke = ["workload", "revoke", "one", "nobody", "two", "odd", "two"];
        let with = |more: &[&str]| operator.run(&[&revoke[..], more].concat());
        let unasked = with(&[]);
        assert!(unasked.code == Some(2) && unasked.log.contains("--yes"), "{kind}: {unasked:?}");
        let shown: Vec<_> = unasked.out.lines().filter_map(|line| line.split_whitespace().next()).collect();
        assert_eq!(shown, ["ID", "one", "two", "odd"], "{kind}: {unasked:?}");
        assert_eq!(with(&["--json"]).code, Some(2), "{kind}: nothing is shown before");
        let one = operator.run(&["workload", "revoke", "two", "--json"]);
        let told: Value = serde_json::from_str(&one.out).unwrap();
        let revoked = json!({"schema": 1, "dry_run": false, "revoked": ["two"], "failed": []});
        assert_eq!((one.code, &told), (Some(0), &revoked), "{kind}: one is revoked at once");
        let dry = with(&["--dry-run"]);
        assert!(dry.code == Some(1) && dry.log.contains("3 would be revoked"), "{kind}: {dry:?}");
        assert!(
            dry.log.contains("error: nobody is not revoked: there is no workload nobody"),
            "{kind}: {dry:?}"
        );
        if kind == "file" {
            let mut terminal = operator.at_terminal(&revoke);
            terminal.wait_for("Revoke these 3 workloads? [y/N]");
            assert!(terminal.shows("error: nobody is not revoked: there is no workload nobody"));
            let (code, screen) = terminal.typed("n\n");
            assert!(code == Some(1) && screen.contains("nothing was revoked"), "{screen}");
        }
        assert!(!is_revoked(&operator, "one"), "{kind}");

        let ended = with(&["--yes", "--json"]);
        assert_eq!(ended.code, Some(1), "{kind}: {ended:?}");
        let document: Value = serde_json::from_str(&ended.out).unwrap();
        let expected = json!({
            "schema": 1, "dry_run": false, "revoked": ["one", "two", "odd"],
            "failed": [{"id": "nobody", "cause": "there is no workload nobody"}],
        });
        assert_eq!(document, expected, "{kind}");
        for id in ["one", "two", "odd"] {
            assert!(is_revoked(&operator, id), "{kind} {id}");
        }
    }
}

#[tokio::test]
async fn all_of_an_owner_are_revoked_and_nobody_elses() {
    for operator in Operator::everywhere(&four()).await {
        let kind = operator.kind;
        let revoke = ["workload", "revoke", "--owner", BUILDER];
        let dry = operator.run(&[&revoke[..], &["--dry-run"]].concat());
        // Nobody can tell whose the unreadable one is.
        assert!(dry.code == Some(1) && dry.log.contains("\"odd\" cannot be read"), "{kind}: {dry:?}");
        assert!(dry.log.ends_with("1 would be revoked\n"), "{kind}: {dry:?}");
        let ended = operator.run(&[&revoke[..], &["--yes"]].concat());
        assert!(ended.code == Some(1) && ended.log.ends_with("1 revoked\n"), "{kind}: {ended:?}");
        let revoked = ["one", "two", "odd"].map(|id| is_revoked(&operator, id));
        assert_eq!(revoked, [true, false, false], "{kind}");
        let again = operator.run(&[&revoke[..], &["--yes"]].concat());
        assert!(again.log.ends_with("0 revoked\n"), "{kind}: {again:?}");
        assert!(again.log.contains(&format!("every workload of {BUILDER} is revoked already")), "{again:?}");
        // A name that nobody has is a slip, and no success.
        let slip = operator.run(&["workload", "revoke", "--owner", &BUILDER[1..], "--yes"]);
        let told = format!("no workload has the owner {}", &BUILDER[1..]);
        assert!(slip.code == Some(1) && slip.log.contains(&told), "{kind}: {slip:?}");
        let both = operator.run(&["workload", "revoke", "two", "--owner", BUILDER]);
        assert_eq!(both.code, Some(2), "{kind}: {both:?}");
    }
}

/// The person agrees to the rows that were shown.
#[tokio::test]
async fn a_workload_that_another_registers_meanwhile_is_left_alone() {
    let ago = SignedDuration::from_hours(1);
    let of = |owner| Contents { workloads: vec![workload("one", Some(owner), ago)], ..Contents::default() };
    let operator = Operator::file(&of(BUILDER)).await;
    let mut terminal = operator.at_terminal(&["workload", "revoke", "--owner", BUILDER]);
    terminal.wait_for("Revoke this workload? [y/N]");
    let deleted = operator.run(&["workload", "delete", "one", "--yes"]);
    assert_eq!(deleted.code, Some(0), "{deleted:?}");
    operator.add(&of("another")).await;
    let (code, screen) = terminal.typed("y\n");
    assert!(code == Some(1) && screen.contains("it is registered by another principal since"), "{screen}");
    assert!(!is_revoked(&operator, "one"));
}

/// In the record, and wherever the row is shown.
#[tokio::test]
async fn who_revoked_when_and_why_is_told() {
    for operator in Operator::everywhere(&four()).await {
        let kind = operator.kind;
        let by = if kind == "aws" { "aws-access-key/test" } else { "uid/" };
        operator.out(&["workload", "revoke", "one", "--reason", "INC-4711: \"leak\""]);
        // A second revocation is on record, and the row keeps the first.
        let again = operator.run(&["workload", "revoke", "one", "--reason", "again"]);
        let told = ["one has been revoked since ", by, "(INC-4711: \"leak\"), and its row keeps that"];
        assert!(
            again.code == Some(0) && told.iter().all(|told| again.log.contains(told)),
            "{kind}: {again:?}"
        );
        let several = operator.run(&["workload", "revoke", "one", "one", "--yes", "--json"]);
        assert!(several.code == Some(0) && several.log.contains(told[2]), "{kind}: {several:?}");
        let shown = operator.json(&["workload", "show", "one"]);
        let revocation = &shown["revocation"];
        assert_eq!(revocation["reason"], "INC-4711: \"leak\"", "{kind}");
        assert!(revocation["by"].as_str().unwrap().starts_with(by), "{kind}: {revocation}");
        let text = operator.out(&["workload", "show", "one"]);
        let told = format!("by {}", revocation["by"].as_str().unwrap());
        assert!(
            text.contains(&told) && text.contains("reason        INC-4711: \"leak\"\n"),
            "{kind}: {text}"
        );

        let list = operator.run(&["workload", "list", "--revoked"]);
        let row = list.out.lines().find(|line| line.starts_with("one ")).unwrap();
        assert!(row.contains(by) && row.ends_with("INC-4711: \"leak\""), "{kind}: {row}");
        let record = revocation["record"].as_str().unwrap();
        let words = operator.out(&["audit", record]);
        assert!(words.contains("The reason that was given: INC-4711: \"leak\"\n"), "{kind}: {words}");
        let records =
            operator.json(&["audit", "--workload", "one", "--decision", "revoked"])["records"].clone();
        assert_eq!((&records[0]["id"], &records[1]["reason"]), (&json!(record), &json!("again")), "{kind}");
        let table = operator.out(&["audit", "--workload", "one", "--decision", "revoked"]);
        let who = if kind == "aws" { "aws-access-key/test" } else { revocation["by"].as_str().unwrap() };
        let told = [format!(" {who}  INC-4711: \"leak\"  {record}\n"), format!(" {who}  again ")];
        assert!(told.iter().all(|told| table.contains(told)), "{kind}: {table}");
        // A row that another release revoked says when alone.
        let unknown = operator.run(&["workload", "show", "gone"]);
        assert!(
            unknown.log.contains("audit --workload=gone --decision=revoked")
                || unknown.log.contains("audit --decision revoked")
                || unknown.log.contains("--workload gone"),
            "{kind}: {unknown:?}"
        );

        operator.out(&["workload", "restore", "one"]);
        assert_eq!(operator.json(&["workload", "show", "one"]).get("revocation"), None, "{kind}");
        for reason in ["", "a\nb", "a\u{1b}[2J", &"r".repeat(201)] {
            let ended = operator.run(&["workload", "revoke", "one", "--reason", reason]);
            assert_eq!(ended.code, Some(2), "{kind} {reason:?}: {ended:?}");
        }
    }
}

/// The command's own words may be lost, as when the disk of its log is full; its acts may not.
#[tokio::test]
async fn nobody_who_reads_its_words_stops_a_revocation() {
    let operator = Operator::file(&four()).await;
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut command = operator.command(&["workload", "revoke", "gone", "one", "two", "--yes"]);
    let status = command.stdout(Stdio::null()).stderr(full).status().unwrap();
    assert_eq!(status.code(), Some(0));
    assert!(is_revoked(&operator, "one") && is_revoked(&operator, "two"));
}

/// A store that refuses one of them does not keep the others from being revoked.
#[tokio::test]
async fn a_store_that_fails_once_fails_one() {
    let key = "revokes-several";
    let operator = Operator::aws(&four()).await.with("AWS_ACCESS_KEY_ID", key);
    refuse(key, "TransactWriteItems", "AccessDeniedException");
    let ended = operator.run(&["workload", "revoke", "one", "two", "--yes"]);
    assert!(ended.code == Some(1) && ended.log.contains("error: one is not revoked: DynamoDB"), "{ended:?}");
    assert!(ended.log.ends_with("1 revoked\n"), "{ended:?}");
    assert!(!is_revoked(&operator, "one") && is_revoked(&operator, "two"));
}
