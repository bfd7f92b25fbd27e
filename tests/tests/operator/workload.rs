//! `keybroker workload` as an operator uses it, on each kind of store.

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::{SignedDuration, Timestamp};
use keybroker_common::{policy::PolicyText, requirements::Measurement, workload::Workload};
use keybroker_tests::{
    local_aws::{dynamodb, refuse},
    operator::{Contents, Operator, workload},
    program, unique,
};
use serde_json::{Value, json};

const BUILDER: &str = "arn:aws:sts::123456789012:assumed-role/builder/session";

fn days(days: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * days)
}

/// Five workloads: `old` and `young` were never released, `used` was, `gone` is revoked, `owned` has an
/// owner.
fn five() -> Contents {
    let at = |days_ago| Some(Timestamp::now() - days(days_ago));
    let workloads = vec![
        workload("old", None, days(30)),
        workload("young", None, SignedDuration::from_mins(1)),
        Workload { released_at: at(19), ..workload("used", None, days(20)) },
        Workload { released_at: at(9), revoked_at: at(8), ..workload("gone", None, days(10)) },
        workload("owned", Some(BUILDER), days(5)),
    ];
    Contents { workloads, ..Contents::default() }
}

fn ids(document: &Value, list: &str) -> Vec<String> {
    let rows = document[list].as_array().unwrap();
    rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
}

fn list(operator: &Operator, filter: &[&str]) -> Vec<String> {
    ids(&operator.json(&[&["workload", "list"], filter].concat()), "workloads")
}

#[tokio::test]
async fn list_shows_all_workloads_or_those_that_match() {
    let contents = five();
    for operator in Operator::everywhere(&contents).await {
        let kind = operator.kind;
        for (filter, expected) in [
            (vec![], vec!["old", "used", "gone", "owned", "young"]),
            (vec!["--never-released"], vec!["old", "owned", "young"]),
            (vec!["--never-released", "--older-than", "7d"], vec!["old"]),
            (vec!["--older-than", "1w"], vec!["old", "used", "gone"]),
            (vec!["--revoked"], vec!["gone"]),
            (vec!["--owner", BUILDER], vec!["owned"]),
            (vec!["--owner", "nobody"], vec![]),
        ] {
            assert_eq!(list(&operator, &filter), expected, "{kind} {filter:?}");
        }
        let document = operator.json(&["workload", "list", "--revoked"]);
        let gone = &contents.workloads[3];
        let expected = json!([{
            "id": "gone",
            "dialect": "v0",
            "dialects": ["v0"],
            "owner": null,
            "registered_at": gone.first_registered_at,
            "released_at": gone.released_at,
            "revoked_at": gone.revoked_at,
            "registration": gone.digest(),
            "measurement_shared": null,
        }]);
        assert_eq!((&document["workloads"], &document["unreadable"]), (&expected, &json!([])), "{kind}");

        let table = operator.out(&["workload", "list"]);
        let lines: Vec<Vec<_>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(
            lines[0],
            ["ID", "DIALECT", "OWNER", "REGISTERED", "RELEASED", "REVOKED", "SHARED"],
            "{table}"
        );
        assert_eq!(lines.len(), 6, "{table}");
        let shared = ["4", "ids,", "2", "owners"];
        assert_eq!((&lines[1][..3], &lines[1][4..6]), (&["old", "v0", "-"][..], &["-", "-"][..]), "{table}");
        assert_eq!(lines[1][6..], shared, "{table}");
        assert_eq!((lines[4][0], lines[4][2]), ("owned", BUILDER), "{table}");
        let released: Timestamp = lines[2][4].parse().unwrap();
        assert_eq!(released.as_second(), contents.workloads[2].released_at.unwrap().as_second());
        assert!(lines[2][4].ends_with('Z') && !table.contains('\u{1b}'), "{table}");

        let nothing = operator.run(&["workload", "list", "--owner", "nobody"]);
        assert_eq!(
            (nothing.code, nothing.out.as_str(), nothing.log.as_str()),
            (Some(0), "", "no workloads\n")
        );
    }
}

/// If several ids share a launch measurement, a guest of one can claim any of them. The command shows which
/// ids are exposed to which.
#[tokio::test]
async fn launch_measurements_that_several_ids_share_are_marked() {
    let own = |id, byte| with_measurement(workload(id, None, days(1)), byte);
    let mut contents = five();
    contents.workloads.extend([own("alone", 0x01), own("twin", 0x02), own("other-twin", 0x02)]);
    for operator in Operator::everywhere(&contents).await {
        let kind = operator.kind;
        let document = operator.json(&["workload", "list"]);
        let marks: Vec<_> = document["workloads"].as_array().unwrap().iter().collect();
        let mark = |id: &str| &marks.iter().find(|row| row["id"] == id).unwrap()["measurement_shared"];
        let four = json!({"ids": 4, "owners": 2});
        for id in ["old", "young", "used", "owned"] {
            assert_eq!(mark(id), &four, "{kind} {id}");
        }
        let two = json!({"ids": 2, "owners": 1});
        assert_eq!((mark("twin"), mark("other-twin")), (&two, &two), "{kind}");
        // Nothing is released for a revoked id, and no other id shares the last measurement.
        assert_eq!((mark("gone"), mark("alone")), (&Value::Null, &Value::Null), "{kind}");
        // The filter does not change which ids share a measurement.
        let owned = operator.json(&["workload", "list", "--owner", BUILDER]);
        assert_eq!(owned["workloads"][0]["measurement_shared"], four, "{kind}");

        let others = |id: &str| operator.json(&["workload", "show", id])["measurement_shared_with"].clone();
        assert_eq!(others("twin"), json!(["other-twin"]), "{kind}");
        assert_eq!((others("alone"), others("gone")), (json!([]), json!([])), "{kind}");
        let text = operator.out(&["workload", "show", "owned"]);
        let shared = "3 others have the same launch measurement or ID key: old, used, young. \
                      A guest of theirs can claim this id";
        assert!(text.contains(shared), "{kind}: {text}");
        let bound = "bound by      the launch measurement alone: the id is only the guest's claim\n";
        assert!(text.contains(bound), "{kind}: {text}");
    }
}

fn with_measurement(mut workload: Workload, byte: u8) -> Workload {
    let mut registration = workload.read().unwrap().registration().clone();
    registration.reference_values.measurements = vec![Measurement([byte; 48])];
    workload.registration = registration.to_bytes().unwrap();
    workload
}

/// Registrations that may have let any guest in, and registrations that can no longer let one in.
#[tokio::test]
async fn list_marks_queries_that_always_held_and_refused_policies() {
    let asks = |id: &str, queries: &[&str]| {
        let plain = workload(id, None, days(1));
        let mut registration = plain.read().unwrap().registration().clone();
        let queries = queries.iter().map(|&query| query.to_owned()).collect();
        registration.rego = Some(PolicyText { module: None, queries, reference_values: "{}".to_owned() });
        Workload { registration: registration.to_bytes().unwrap(), ..plain }
    };
    let workloads = vec![
        asks("good", &["input.snp.vmpl == 0"]),
        asks("negates", &["true", "input.snp.vmpl == 0\nnot input.snp.policy.smt_allowed"]),
        asks("every", &["every x in [1] { x == 2 }"]),
        asks("calls", &["http.send({}).ok"]),
    ];
    let contents = Contents { workloads, ..Contents::default() };
    for operator in Operator::everywhere(&contents).await {
        let ended = operator.run(&["workload", "list", "--json"]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let document: Value = serde_json::from_str(&ended.out).unwrap();
        let of = |id: &str| {
            document["workloads"].as_array().unwrap().iter().find(|row| row["id"] == id).unwrap().clone()
        };
        assert_eq!(
            of("negates")["once_always_held"],
            json!(["input.snp.vmpl == 0\nnot input.snp.policy.smt_allowed"])
        );
        assert_eq!(of("every")["once_always_held"], json!(["every x in [1] { x == 2 }"]));
        assert_eq!((of("good").get("once_always_held"), of("good").get("policy_refused")), (None, None));
        let refused = of("calls")["policy_refused"].as_str().unwrap().to_owned();
        assert!(
            refused.starts_with("query 0, line 1, column 10: not allowed: the function http.send"),
            "{refused}"
        );

        let table = operator.run(&["workload", "list"]);
        assert_eq!(table.code, Some(0), "{table:?}");
        let warned: Vec<&str> = table.log.lines().filter(|line| line.starts_with("warning: ")).collect();
        assert_eq!(warned.len(), 3, "{table:?}");
        for id in ["negates", "every", "calls"] {
            assert!(warned.iter().any(|line| line.contains(&format!(" {id} "))), "{id}: {table:?}");
        }
    }
}

#[tokio::test]
async fn show_prints_the_requirements_and_no_secret() {
    let contents = five();
    for operator in Operator::everywhere(&contents).await {
        let owned = &contents.workloads[4];
        let text = operator.out(&["workload", "show", "owned"]);
        for expected in [
            &format!("owner         {BUILDER}\n"),
            &format!("registration  {}\n", owned.digest()),
            "released      never\n",
            "revoked       no\n",
            "build window  closed\n",
            "secret        passphrase: 41 bytes, wrapped by local:0123456789abcdef\n",
            &format!("measurement  {}\n", "4d".repeat(48)),
            "SMT          forbidden by the guest policy\n",
        ] {
            assert!(text.contains(expected), "{}: {expected:?} is not in\n{text}", operator.kind);
        }
        let young = operator.json(&["workload", "show", "young"]);
        let window: Timestamp = young["build_window_until"].as_str().unwrap().parse().unwrap();
        assert_eq!(window, contents.workloads[1].first_registered_at + SignedDuration::from_mins(30));
        assert_eq!(
            young["secrets"],
            json!([{"name": "passphrase", "wrapped_bytes": 41, "key_id": "local:0123456789abcdef"}])
        );
        assert_eq!(young["requirements"]["policy"]["forbid_smt"], true);
        let document = young.to_string();
        assert!(!document.contains("xcXFxcXF") && !document.contains("c5c5c5c5"), "{document}");

        let missing = operator.run(&["workload", "show", "nobody"]);
        assert_eq!((missing.code, missing.out.as_str()), (Some(1), ""));
        assert!(missing.log.starts_with("error: there is no workload nobody\nhint: "), "{}", missing.log);
    }
}

#[tokio::test]
async fn revoke_and_restore_take_effect_and_are_recorded() {
    for operator in Operator::everywhere(&five()).await {
        let kind = operator.kind;
        let state = || operator.json(&["workload", "show", "old"])["revoked_at"].clone();
        assert_eq!(state(), Value::Null);
        let revoked = operator.run(&["workload", "revoke", "old"]);
        assert_eq!((revoked.code, revoked.out.as_str()), (Some(0), ""), "{kind}: {revoked:?}");
        let since = state();
        assert!(since.is_string(), "{kind}");
        // A second time changes nothing, and is recorded too.
        let again = operator.run(&["workload", "revoke", "old"]);
        assert!(again.code == Some(0) && again.log.contains("has been revoked since"), "{kind}: {again:?}");
        assert_eq!(state(), since);
        operator.out(&["workload", "restore", "old"]);
        assert_eq!(state(), Value::Null);
        let again = operator.run(&["workload", "restore", "old"]);
        assert!(again.code == Some(0) && again.log.contains("was not revoked"), "{kind}: {again:?}");

        let records = operator.json(&["audit", "--workload", "old"])["records"].clone();
        let acts: Vec<_> = records.as_array().unwrap().iter().map(|record| &record["decision"]).collect();
        assert_eq!(acts, ["registered", "revoked", "revoked", "restored", "restored"], "{kind}");
        let principal = records[1]["principal"].as_str().unwrap();
        let expected = if kind == "aws" { "aws-access-key/test" } else { "uid/" };
        assert!(principal.starts_with(expected), "{kind}: {principal}");
        assert_eq!((&records[1]["operation"], &records[1]["time"]), (&"operate".into(), &since));
        assert!(records[1]["registration"].is_string());

        for act in ["revoke", "restore"] {
            let missing = operator.run(&["workload", act, "nobody"]);
            assert_eq!(missing.code, Some(1), "{kind}: {missing:?}");
            assert!(missing.log.contains("there is no workload nobody"), "{}", missing.log);
        }
        assert_eq!(operator.json(&["audit", "--workload", "nobody"])["records"], json!([]));
    }
}

#[tokio::test]
async fn delete_shows_the_workloads_and_asks_first() {
    for operator in Operator::everywhere(&five()).await {
        let kind = operator.kind;
        // No terminal, so nobody can confirm.
        for what in [&["old"][..], &["--never-released"]] {
            let refused = operator.run(&[&["workload", "delete"], what].concat());
            assert_eq!(refused.code, Some(2), "{kind}: {refused:?}");
            assert!(refused.out.contains("old") && refused.log.contains("hint: --dry-run"), "{refused:?}");
        }
        let filter = ["workload", "delete", "--never-released", "--older-than", "7d"];
        let dry = operator.run(&[&filter[..], &["--dry-run"]].concat());
        assert_eq!((dry.code, dry.log.as_str()), (Some(0), "1 would be deleted\n"), "{kind}");
        assert!(dry.out.contains("old") && !dry.out.contains("young"), "{}", dry.out);
        assert_eq!(list(&operator, &[]).len(), 5, "{kind}: nothing was deleted yet");

        let document = operator.json(&[&filter[..], &["--yes"]].concat());
        assert_eq!(
            (ids(&document, "deleted"), &document["dry_run"]),
            (vec!["old".to_owned()], &json!(false))
        );
        let again = operator.run(&[&filter[..], &["--yes"]].concat());
        assert_eq!((again.code, again.log.as_str()), (Some(0), "0 deleted\n"), "{kind}");
        // A revoked workload keeps its id taken, so it is deleted only by name.
        operator.out(&["workload", "revoke", "owned"]);
        let spared = operator.run(&["workload", "delete", "--never-released", "--dry-run"]);
        let told = "2 left out: revoked, or registered less than 30 minutes ago\n0 would be deleted\n";
        assert_eq!((spared.code, spared.log.as_str()), (Some(0), told), "{kind}");
        let spared = operator.json(&["workload", "delete", "--never-released", "--dry-run"]);
        assert_eq!(ids(&spared, "deleted"), Vec::<String>::new(), "{kind}");
        operator.out(&["workload", "restore", "owned"]);
        // With --json and nobody to confirm, the command prints nothing.
        let silent = operator.run(&["workload", "delete", "gone", "--json"]);
        assert_eq!((silent.code, silent.out.as_str()), (Some(2), ""), "{kind}: {silent:?}");
        operator.out(&["workload", "delete", "gone", "--yes"]);
        assert_eq!(list(&operator, &[]), ["used", "owned", "young"], "{kind}");
        assert_eq!(operator.run(&["workload", "delete", "gone", "--yes"]).code, Some(1));

        let records = operator.json(&["audit", "--workload", "gone"])["records"].clone();
        assert_eq!((&records[1]["decision"], &records[2]), (&json!("deleted"), &Value::Null), "{kind}");
    }
}

#[tokio::test]
async fn delete_at_a_terminal_waits_for_an_answer() {
    let delete = ["workload", "delete", "--never-released"];
    let question = "Delete these 2 workloads and their secrets, for good? [y/N] ";
    for operator in Operator::everywhere(&five()).await {
        let kind = operator.kind;
        for (keys, exit) in [("n\n", 1), ("\n", 1), ("\u{4}", 1), ("\u{3}", 130)] {
            let mut terminal = operator.at_terminal(&delete);
            terminal.wait_for(question);
            let (code, screen) = terminal.typed(keys);
            assert_eq!(code, Some(exit), "{kind} {keys:?}: {screen}");
            assert!(screen.contains("owned") && !screen.contains("used"), "{screen}");
            // The build of this workload may still be running.
            assert!(!screen.contains("young"), "{screen}");
            assert_eq!(list(&operator, &[]).len(), 5, "{kind} {keys:?}: {screen}");
        }
        // A workload that changes before the answer is not deleted.
        let mut terminal = operator.at_terminal(&delete);
        terminal.wait_for(question);
        operator.out(&["workload", "revoke", "old"]);
        operator.out(&["workload", "delete", "owned", "--yes"]);
        let (code, screen) = terminal.typed("y\n");
        assert_eq!(code, Some(1), "{kind}: {screen}");
        assert!(
            screen.contains("old changed after it was shown") && screen.contains("0 deleted"),
            "{screen}"
        );
        assert_eq!(list(&operator, &[]), ["old", "used", "gone", "young"], "{kind}");
        let mut terminal = operator.at_terminal(&["workload", "delete", "old"]);
        terminal.wait_for("Delete this workload and its secrets, for good? [y/N] ");
        let (code, screen) = terminal.typed("y\n");
        assert_eq!(code, Some(0), "{kind}: {screen}");
        assert_eq!(list(&operator, &[]), ["used", "gone", "young"], "{kind}");
    }
}

#[test]
fn delete_without_a_choice_is_refused() {
    for arguments in [
        &["workload", "delete"][..],
        &["workload", "delete", "--older-than", "7d", "--yes"],
        &["workload", "delete", "w", "--never-released"],
        &["workload", "delete", "w", "--older-than", "7d"],
        &["workload", "delete", "w", "--yes", "--dry-run"],
        &["workload", "delete", "a b"],
        &["workload", "list", "--older-than", "soon"],
        &["workload", "list", "--prefix", "other"],
        &["workload"],
    ] {
        let ended = program::run(arguments);
        assert_eq!(ended.code, Some(2), "{arguments:?}: {ended:?}");
    }
    // An id beside the age would be refused, too.
    let age = program::run(&["workload", "delete", "--older-than", "7d", "--yes"]);
    assert!(age.log.contains("--never-released") && !age.log.contains("<ID>"), "{age:?}");
}

/// A registration that this release cannot read is listed as unreadable.
#[tokio::test]
async fn an_unreadable_registration_does_not_hide_the_rest() {
    let mut contents = five();
    contents.workloads[2].registration = b"not a registration".to_vec();
    for operator in Operator::everywhere(&contents).await {
        let ended = operator.run(&["workload", "list"]);
        assert_eq!((ended.code, ended.out.lines().count()), (Some(1), 6), "{}: {ended:?}", operator.kind);
        assert!(ended.out.contains("unreadable"), "{}", ended.out);
        assert!(ended.log.starts_with("warning: the workload \"used\" cannot be read: "), "{}", ended.log);
        assert_eq!(operator.run(&["workload", "show", "used"]).code, Some(1));
        // It can still be revoked and deleted.
        operator.out(&["workload", "revoke", "used"]);
        operator.out(&["workload", "delete", "used", "--yes"]);
        assert_eq!(list(&operator, &[]).len(), 4, "{}", operator.kind);
    }
}

#[tokio::test]
async fn an_item_of_another_format_does_not_hide_the_rest() {
    let operator = Operator::aws(&five()).await;
    let set = |name: &str, value: &str| (name.to_owned(), AttributeValue::S(value.to_owned()));
    let item = [set("workload_id", "later"), ("format".to_owned(), AttributeValue::N("2".to_owned()))].into();
    let table = operator.table("workloads");
    dynamodb().put_item().table_name(table).set_item(Some(item)).send().await.unwrap();
    let ended = operator.run(&["workload", "list", "--json"]);
    let document: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!((ended.code, ids(&document, "workloads").len()), (Some(1), 5), "{ended:?}");
    assert_eq!(document["unreadable"][0]["key"], "later");
    assert!(document["unreadable"][0]["cause"].as_str().unwrap().contains("format 2"), "{document}");
}

#[tokio::test]
async fn a_missing_store_is_not_created() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("data");
    let operator = Operator::of_directory(&missing, "missing");
    for arguments in [&["workload", "list"][..], &["workload", "revoke", "w"], &["audit", "--since", "1h"]] {
        let ended = operator.run(arguments);
        assert_eq!(ended.code, Some(5), "{ended:?}");
        assert!(ended.log.contains("there is no store\nhint: "), "{}", ended.log);
        assert!(!missing.exists());
    }
    std::fs::create_dir(&missing).unwrap();
    assert_eq!(operator.run(&["workload", "list"]).code, Some(5));
    assert_eq!(std::fs::read_dir(&missing).unwrap().count(), 0);
}

/// A look at all rows, for those that share its measurement, may fail where a look at one does not.
#[tokio::test]
async fn a_workload_is_shown_though_the_others_cannot_be_seen() {
    let workloads = vec![workload("one", None, SignedDuration::from_hours(1))];
    let operator = Operator::aws(&Contents { workloads, ..Contents::default() }).await;
    let key = unique("AKIA");
    let operator = operator.with("AWS_ACCESS_KEY_ID", &key);
    for json in [false, true] {
        refuse(&key, "Scan", "AccessDeniedException");
        let ended =
            operator.run(&[&["workload", "show", "one"][..], if json { &["--json"] } else { &[] }].concat());
        assert!(ended.code == Some(1) && ended.log.contains("DynamoDB denies this"), "{ended:?}");
        assert!(ended.out.contains("one") && ended.out.contains("measurement"), "{ended:?}");
        assert_eq!(ended.out.contains("\"measurement_shared_with\": null"), json, "{ended:?}");
    }
    assert_eq!(operator.json(&["workload", "show", "one"])["measurement_shared_with"], serde_json::json!([]));
}

#[tokio::test]
async fn each_kind_of_unusable_aws_has_an_error_of_its_own() {
    let operator = Operator::aws(&Contents::default()).await;
    let key = unique("AKIA");
    let operator = operator.with("AWS_ACCESS_KEY_ID", &key);
    refuse(&key, "Scan", "AccessDeniedException");
    let ended = operator.run(&["workload", "list"]);
    assert!(ended.code == Some(1) && ended.log.contains("DynamoDB denies this"), "{ended:?}");
    assert_eq!(list(&operator, &[]).len(), 0, "it was refused once");

    // Nothing listens on port 9.
    let operator = operator.with("AWS_ENDPOINT_URL", "http://127.0.0.1:9");
    let ended = operator.run(&["workload", "list"]);
    assert!(ended.code == Some(4) && ended.log.contains("DynamoDB cannot be reached"), "{ended:?}");

    let operator = Operator::without_tables();
    let ended = operator.run(&["workload", "list"]);
    assert!(ended.code == Some(5) && ended.log.contains("DynamoDB does not have"), "{ended:?}");
    assert!(ended.log.contains("hint: check --prefix"), "{}", ended.log);

    for missing in ["AWS_REGION", "AWS_SECRET_ACCESS_KEY"] {
        let mut command = operator.command(&["workload", "list"]);
        command.env_remove(missing).env("AWS_EC2_METADATA_DISABLED", "true");
        let ended: program::Ended = command.output().unwrap().into();
        assert!(ended.code == Some(5) && ended.log.contains("hint: give --"), "{missing}: {ended:?}");
    }
}
